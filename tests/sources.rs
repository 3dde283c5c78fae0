//! What the sources promise beyond what the compiler of this machine checks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Expr, ExprBinary};

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let of = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => Some(path).filter(|path| path.extension().is_some_and(|e| e == "rs")).into_iter().collect(),
    };
    entries.flat_map(of).collect()
}

/// Counts the conditions that join a `let` with something else.
#[derive(Default)]
struct LetChains(usize);

impl<'ast> Visit<'ast> for LetChains {
    fn visit_expr_binary(&mut self, expression: &'ast ExprBinary) {
        let has_let = [&expression.left, &expression.right].iter().any(|side| matches!(***side, Expr::Let(_)));
        self.0 += usize::from(has_let);
        visit::visit_expr_binary(self, expression);
    }
}

fn let_chains(text: &str) -> usize {
    let mut found = LetChains::default();
    found.visit_file(&syn::parse_file(text).unwrap());
    found.0
}

/// Cargo.toml says Rust 1.85; `let` chains came with 1.88, and no lint of clippy's names them.
#[test]
fn the_sources_have_no_let_chains() {
    let within = |condition: &str| let_chains(&format!("fn f() {{ if {condition} {{}} }}"));
    assert_eq!(within("let Some(a) = b.filter(|c| d && e)"), 0);
    assert_eq!(within("f && matches!(g, Some(_) if h)"), 0);
    assert_eq!(within("a && let Some(b) = c"), 1);
    assert_eq!(within("let Some(b) = c && d && e"), 1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "tests"].iter().flat_map(|directory| rust_files(&root.join(directory))) {
        assert_eq!(let_chains(&fs::read_to_string(&file).unwrap()), 0, "{} needs Rust 1.88", file.display());
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
