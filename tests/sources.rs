//! What the sources promise beyond what the compiler of this machine checks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => Some(path).filter(|path| path.extension().is_some_and(|e| e == "rs")).into_iter().collect(),
    };
    entries.flat_map(of).collect()
}

/// The condition that begins at `text`, up to the brace that opens its block.
fn condition(text: &str) -> &str {
    let mut depth = 0_i32;
    let end = text.char_indices().find(|(_, c)| {
        depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        depth == 0 && *c == '{'
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// Whether a condition joins a `let` with something else outside of all parentheses.
fn is_let_chain(condition: &str) -> bool {
    let mut depth = 0_i32;
    let mut outside = String::new();
    for c in condition.chars() {
        depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        outside.push(if depth == 0 { c } else { ' ' });
    }
    outside.contains("&&") && format!(" {outside}").contains(" let ")
}

fn let_chains(text: &str) -> Vec<&str> {
    let conditions = ["if ", "while "].iter().flat_map(|word| text.match_indices(word).map(|(at, w)| at + w.len()));
    conditions.map(|at| condition(&text[at..])).filter(|condition| is_let_chain(condition)).collect()
}

/// Cargo.toml says Rust 1.85; `let` chains came with 1.88, and no lint of clippy's names them.
#[test]
fn the_sources_have_no_let_chains() {
    assert_eq!(let_chains("if let Some(a) = b.filter(|c| d && e) { } if f && g { let h = 1; }"), [""; 0]);
    assert_eq!(let_chains("if a && let Some(b) = c {").len(), 1);
    assert_eq!(let_chains("while let Some(b) = c\n    && d\n{").len(), 1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "tests"].iter().flat_map(|directory| rust_files(&root.join(directory))) {
        if file.ends_with("tests/sources.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(let_chains(&text), [""; 0], "{} needs Rust 1.88", file.display());
    }
}

/// The map of `src/sys/mod.rs` says so.
#[test]
fn only_the_operating_systems_room_has_unsafe_code() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let elsewhere = rust_files(&source).into_iter().filter(|file| !file.starts_with(source.join("sys")));
    let has_some = |file: &PathBuf| fs::read_to_string(file).unwrap().contains("unsafe {");
    assert_eq!(elsewhere.filter(has_some).collect::<Vec<_>>(), Vec::<PathBuf>::new());
}

/// What a message sends the reader to has to be there.
#[test]
fn the_readme_has_the_part_that_the_messages_name() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert!(fs::read_to_string(root.join("README.md")).unwrap().contains("- **Rights**:"));
    let rewind = fs::read_to_string(root.join("src/instance/rejoin/rewind.rs")).unwrap();
    assert!(rewind.contains(r#"under \"Rights\""#));
}
