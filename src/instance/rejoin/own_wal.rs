//! Keeping the instance's own WAL aside: before its crash recovery, which may recycle it, and completely before the rewind.
//!
//! A copy has the time of what it was made of, so that what a recovery has written since is seen. Copies and no hard
//! links: a recovery writes into a segment that is there, and `pg_rewind` into all that the source has, too.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::keep_aside::{add_own_files, refuse_without_room_beside};
use super::own_files::in_place_of;
use super::shape;
use crate::instance::files::{beside, sync_directory, sync_parent};
use crate::instance::wal::parse_segment_name;
use crate::types::Gather;

/// What the recovery has overwritten is kept below this name.
const BEFORE_RECOVERY: &str = "before-recovery";

/// What is kept has its real name only when it is complete.
pub(super) fn unfinished(data: &Path) -> PathBuf {
    beside(data, ".kept.unfinished")
}

/// Begins with nothing. An attempt that was killed may have left something.
///
/// # Errors
/// When that cannot be removed.
pub(super) fn begin(data: &Path) -> Result<(), String> {
    match fs::remove_dir_all(unfinished(data)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", unfinished(data).display()))
        }
        _ => Ok(()),
    }
}

/// Copies the written segments from this number on, unless they are kept already as they are. All of it is on disk when this
/// returns.
///
/// # Errors
/// When there is not enough room, with the sizes, or a file cannot be copied.
pub(super) fn save(data: &Path, first: u64, segment_size: u64) -> Result<(), String> {
    let kept = unfinished(data);
    let wanted = wanted(data, first, segment_size).map_err(|e| format!("cannot list the WAL: {e}"))?;
    let new: Vec<_> = wanted.into_iter().filter(|name| !is_same(data, &kept, name)).collect();
    let size = new.iter().filter_map(|name| fs::metadata(data.join("pg_wal").join(name)).ok()).map(|file| file.len());
    refuse_without_room_beside(data, size.sum())?;
    let copied = new.iter().try_for_each(|name| save_one(data, &kept, name)).and_then(|()| sync_all(&kept));
    copied.map_err(|e| format!("cannot keep the WAL aside in {}: {e}", kept.display()))
}

/// Adds the rest, and gives all of it its real name.
///
/// # Errors
/// When a file cannot be copied.
pub(super) fn finish(data: &Path, name: &Path, list: &str) -> Result<(), String> {
    let kept = unfinished(data);
    add_own_files(data, &kept, list)?;
    let add = || -> io::Result<()> {
        copy(&data.join("global/pg_control"), &kept.join("pg_control"))?;
        shape::write(data, &kept)?;
        sync_all(&kept)?;
        fs::rename(&kept, name)?;
        sync_parent(name)
    };
    add().map_err(|e| format!("cannot keep the WAL aside in {}: {e}", name.display()))
}

/// Puts kept segments back that lie before the fork, so that they are common, and that the source had no longer.
///
/// # Errors
/// When one cannot be copied.
pub(super) fn fill_in(kept: &Path, data: &Path, before: u64, segment_size: u64) -> io::Result<()> {
    let there = numbers(&data.join("pg_wal"), segment_size)?;
    for name in names(&kept.join("pg_wal"))? {
        let number = parse_segment_name(&name, segment_size).map(|(_, number)| number);
        if number.is_some_and(|number| number < before && !there.contains(&number)) {
            copy(&kept.join("pg_wal").join(&name), &data.join("pg_wal").join(&name))?;
        }
    }
    sync_directory(&data.join("pg_wal"))
}

/// The numbers of the written segments in a directory.
pub(super) fn numbers(wal: &Path, segment_size: u64) -> io::Result<BTreeSet<u64>> {
    let written = |name: String| {
        let (_, number) = parse_segment_name(&name, segment_size)?;
        is_written(&wal.join(name), number, segment_size).then_some(number)
    };
    Ok(names(wal)?.into_iter().filter_map(written).into_set())
}

fn wanted(data: &Path, first: u64, segment_size: u64) -> io::Result<Vec<String>> {
    let wal = data.join("pg_wal");
    let is_wanted = |name: &String| match parse_segment_name(name, segment_size) {
        Some((_, number)) => number >= first && is_written(&wal.join(name), number, segment_size),
        None => name.ends_with(".history"),
    };
    Ok(names(&wal)?.into_iter().filter(is_wanted).collect())
}

/// Segments are made in advance: of zeros, or of old ones, which have the address that they were written for
/// (`XLogPageHeaderData` in xlog_internal.h: magic, info, timeline, address).
fn is_written(path: &Path, number: u64, segment_size: u64) -> bool {
    let mut header = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut header));
    let address = header.last_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    read.is_ok() && address.is_some() && address == number.checked_mul(segment_size)
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        names.extend(entry?.file_name().into_string());
    }
    Ok(names.into_iter().collect())
}

fn is_same(data: &Path, kept: &Path, name: &str) -> bool {
    let seen = |directory: &Path| {
        let file = fs::metadata(directory.join("pg_wal").join(name)).ok()?;
        Some((file.len(), file.modified().ok()?))
    };
    seen(data).is_some() && seen(data) == seen(kept)
}

/// What was kept under this name before the recovery stays: of a damaged segment the recovery has used only the beginning.
fn save_one(data: &Path, kept: &Path, name: &str) -> io::Result<()> {
    let (present, before) = (kept.join("pg_wal").join(name), kept.join(BEFORE_RECOVERY));
    if present.exists() && !before.join(name).exists() {
        make_directory(&before)?;
        fs::rename(&present, before.join(name))?;
    }
    copy(&data.join("pg_wal").join(name), &present)
}

/// A copy is written beside its name, synced and renamed.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        make_directory(parent)?;
    }
    in_place_of(to, |temporary| {
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        let mut source = File::open(from)?;
        let modified = source.metadata()?.modified()?;
        io::copy(&mut source, &mut target)?;
        target.set_modified(modified)?;
        target.sync_all()
    })
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn sync_all(kept: &Path) -> io::Result<()> {
    make_directory(&kept.join("pg_wal"))?;
    for directory in ["pg_wal", BEFORE_RECOVERY, ""] {
        match File::open(kept.join(directory)) {
            Ok(directory) => directory.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    sync_parent(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::rejoin::keep_aside::{restore_own_files, restore_wal};

    const SIZE: u64 = 16 << 20;

    fn name(number: u64) -> String {
        format!("{:08X}{:08X}{number:08X}", 1, 0)
    }

    /// A segment that was written for this number, whatever its name is.
    fn segment(number: u64, text: &str) -> Vec<u8> {
        [&[0; 8], &(number * SIZE).to_ne_bytes()[..], text.as_bytes()].concat()
    }

    fn scene() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("main");
        for directory in ["pg_wal/archive_status", "global", "base/5"] {
            fs::create_dir_all(data.join(directory)).unwrap();
        }
        for number in 1..=5 {
            fs::write(data.join("pg_wal").join(name(number)), segment(number, "old")).unwrap();
        }
        // Recycled, and made in advance.
        fs::write(data.join("pg_wal").join(name(6)), segment(1, "recycled")).unwrap();
        fs::write(data.join("pg_wal").join(name(7)), [0; 100]).unwrap();
        for (file, text) in [("pg_wal/00000002.history", "h"), ("global/pg_control", "c"), ("pg_hba.conf", "own")] {
            fs::write(data.join(file), text).unwrap();
        }
        (home, data)
    }

    #[test]
    fn what_is_kept_before_and_after_the_recovery_can_be_put_back() {
        let (home, data) = scene();
        begin(&data).unwrap();
        save(&data, 4, SIZE).unwrap();
        let wal = unfinished(&data).join("pg_wal");
        assert_eq!(names(&wal).unwrap(), [name(4), name(5), "00000002.history".to_owned()]);
        // The recovery writes at the end; a rewind needs what is before its beginning, too.
        fs::write(data.join("pg_wal").join(name(5)), segment(5, "recovered")).unwrap();
        save(&data, 3, SIZE).unwrap();
        let kept = home.path().join("main.kept-1");
        finish(&data, &kept, "list").unwrap();
        assert_eq!(fs::read(kept.join(BEFORE_RECOVERY).join(name(5))).unwrap(), segment(5, "old"));
        assert!(kept.join("pg_wal").join(name(3)).exists() && !kept.join("pg_wal").join(name(2)).exists());
        for file in [format!("pg_wal/{}", name(5)), "global/pg_control".to_owned(), "pg_hba.conf".to_owned()] {
            fs::write(data.join(file), "overwritten").unwrap();
        }
        restore_wal(&kept, &data).unwrap();
        restore_own_files(&kept, &data).unwrap();
        assert_eq!(fs::read(data.join("pg_wal").join(name(5))).unwrap(), segment(5, "recovered"));
        for (file, text) in [("global/pg_control", "c"), ("pg_hba.conf", "own")] {
            assert_eq!(fs::read_to_string(data.join(file)).unwrap(), text);
        }
        assert!(!unfinished(&data).exists());
    }

    #[test]
    fn what_an_attempt_that_was_killed_has_kept_is_begun_anew() {
        let (_home, data) = scene();
        save(&data, 1, SIZE).unwrap();
        begin(&data).unwrap();
        begin(&data).unwrap();
        save(&data, 5, SIZE).unwrap();
        assert!(!unfinished(&data).join("pg_wal").join(name(1)).exists());
    }

    #[test]
    fn only_common_segments_that_are_missing_are_filled_in() {
        let (home, data) = scene();
        save(&data, 2, SIZE).unwrap();
        let kept = home.path().join("main.kept-1");
        finish(&data, &kept, "list").unwrap();
        for number in 2..=5 {
            fs::remove_file(data.join("pg_wal").join(name(number))).unwrap();
        }
        fs::write(data.join("pg_wal").join(name(3)), segment(3, "source's")).unwrap();
        fill_in(&kept, &data, 5, SIZE).unwrap();
        assert_eq!(numbers(&data.join("pg_wal"), SIZE).unwrap(), [1, 2, 3, 4].into());
        assert_eq!(fs::read(data.join("pg_wal").join(name(3))).unwrap(), segment(3, "source's"));
    }
}
