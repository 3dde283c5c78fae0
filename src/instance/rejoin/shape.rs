//! Which relation files a directory has, and how long they are.
//!
//! `pg_rewind` fetches the blocks that the instance's own WAL has changed, whole files that the instance has not, and the
//! ends of files that are longer on the source. An interrupted rewind has made the last two kinds look like the
//! instance's own, so that another one would leave them as they are: right for the same source, whose WAL has all that
//! was done to them, and wrong for any other. So they are cut off again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::instance::files::sync_directory;
use crate::types::Gather;

const NAME: &str = "shape";

/// Files by their path below the data directory, with their length.
type Shape = BTreeMap<PathBuf, u64>;

/// Writes down the shape of a data directory.
pub(super) fn write(data: &Path, kept: &Path) -> io::Result<()> {
    let mut text = String::new();
    for (path, size) in of(data)? {
        text += &format!("{size} {}\n", path.display());
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(kept.join(NAME))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes files that were not there, and what was added to those that were. What an older agent has kept has no shape.
pub(super) fn put_back(kept: &Path, data: &Path) -> io::Result<()> {
    let before = match fs::read_to_string(kept.join(NAME)) {
        Ok(text) => parse(&text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for (path, size) in of(data)? {
        match before.get(&path) {
            None => fs::remove_file(data.join(path))?,
            Some(length) if size > *length => {
                let file = OpenOptions::new().write(true).open(data.join(path))?;
                file.set_len(*length)?;
                file.sync_all()?;
            }
            Some(_) => {}
        }
    }
    directories(data)?.iter().try_for_each(|directory| sync_directory(&data.join(directory)))
}

fn parse(text: &str) -> io::Result<Shape> {
    let line = |line: &str| {
        let (size, path) = line.split_once(' ')?;
        Some((path.into(), size.parse().ok()?))
    };
    let lines: Option<Vec<_>> = text.lines().map(line).collect();
    lines.map(|lines| lines.into_iter().into_map()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn of(data: &Path) -> io::Result<Shape> {
    let mut shape = Shape::new();
    for directory in directories(data)? {
        for entry in fs::read_dir(data.join(&directory))? {
            let entry = entry?;
            if is_relation(&entry.file_name().to_string_lossy()) && entry.file_type()?.is_file() {
                shape.insert(directory.join(entry.file_name()), entry.metadata()?.len());
            }
        }
    }
    Ok(shape)
}

/// `global`, `base/<oid>`, `pg_tblspc/<oid>/PG_<version>/<oid>`: where `pg_rewind` looks for relations (`isRelDataFile`).
fn directories(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::from("global")];
    found.extend(below(data, Path::new("base"))?);
    for space in below(data, Path::new("pg_tblspc"))? {
        for version in below(data, &space)? {
            found.extend(below(data, &version)?);
        }
    }
    Ok(found)
}

/// The directories in one, links to directories included.
fn below(data: &Path, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(data.join(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = directory.join(entry?.file_name());
        if data.join(&path).is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// The main fork only, `16384` or `16384.1`: all other files are fetched whole.
fn is_relation(name: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (relation, segment) = name.split_once('.').unwrap_or((name, "0"));
    is_number(relation) && is_number(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rewind_has_added_is_cut_off_again() {
        let home = tempfile::tempdir().unwrap();
        let (data, kept, space) = (home.path().join("main"), home.path().join("kept"), home.path().join("space"));
        for directory in ["main/global", "main/base/5", "main/pg_tblspc", "kept", "space/PG_15_1/5"] {
            fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        std::os::unix::fs::symlink(&space, data.join("pg_tblspc/16")).unwrap();
        let files =
            ["global/1260", "base/5/1", "base/5/1.1", "base/5/1_vm", "base/5/PG_VERSION", "pg_tblspc/16/PG_15_1/5/7"];
        files.iter().for_each(|file| fs::write(data.join(file), "12345678").unwrap());
        write(&data, &kept).unwrap();
        fs::create_dir(data.join("base/6")).unwrap();
        for new in ["base/6/1", "base/5/2", "base/5/2_fsm", "pg_tblspc/16/PG_15_1/5/8"] {
            fs::write(data.join(new), "new").unwrap();
        }
        for file in files {
            fs::write(data.join(file), "1234567890").unwrap();
        }
        fs::write(data.join("base/5/1"), "short").unwrap();
        put_back(&kept, &data).unwrap();
        put_back(&kept, &data).unwrap();
        let length = |file: &str| fs::metadata(data.join(file)).ok().map(|file| file.len());
        for (file, expected) in [
            ("global/1260", Some(8)),
            ("base/5/1", Some(5)),
            ("base/5/1.1", Some(8)),
            ("pg_tblspc/16/PG_15_1/5/7", Some(8)),
            // Fetched whole by any rewind.
            ("base/5/1_vm", Some(10)),
            ("base/5/PG_VERSION", Some(10)),
            ("base/5/2_fsm", Some(3)),
            ("base/6/1", None),
            ("base/5/2", None),
            ("pg_tblspc/16/PG_15_1/5/8", None),
        ] {
            assert_eq!(length(file), expected, "{file}");
        }
    }

    #[test]
    fn a_damaged_shape_is_no_shape() {
        for text in ["x base/5/1", "8", "8 base/5/1\n\n"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("").unwrap().is_empty());
    }
}
