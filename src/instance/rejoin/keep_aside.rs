//! Keeping aside what only this instance has, before anything of it is overwritten.
//!
//! `<data directory>.kept-<time>-<timeline>-<fork>` has the WAL from the last common checkpoint to the
//! instance's end, its control file, its own configuration files, and a text that lists them. It is
//! what an interrupted rewind is done again from, too: `pg_rewind` reads the WAL of the directory that it
//! has half overwritten, so that WAL is put back first.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::marker::{beside, sync_parent};
use super::outside::moved_with;
use crate::instance::wal::parse_segment_name;
use crate::sys::utc_now;
use crate::types::{Lsn, Timeline};

/// The text that tells a directory which the agent made from all others.
pub(super) const LIST: &str = "README.txt";
const FIRST_LINE: &str = "Kept aside by pgbaton";
/// Room that is left on the volume besides.
const RESERVE: u64 = 64 << 20;
/// Files at the top of the data directory that belong to the node and not to the data.
const OWN_SUFFIXES: [&str; 5] = [".conf", ".crt", ".key", ".pem", ".crl"];

/// A name for what is kept of a data directory, told by time, timeline and position.
pub(super) fn new_name(data: &Path, timeline: Timeline, fork: Lsn) -> PathBuf {
    let position = fork.to_string().replace('/', "-");
    beside(data, &format!(".kept-{}-{timeline}-{position}", utc_now()))
}

/// What of the WAL is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    /// The last checkpoint before the fork: a rewind reads from there.
    pub(super) checkpoint: Lsn,
    /// The end of the instance's WAL.
    pub(super) end: Lsn,
    /// Bytes per segment.
    pub(super) segment_size: u64,
}

/// Copies what is to be kept into a new directory. All of it is on disk when this returns.
///
/// # Errors
/// When there is not enough room, with the sizes, or a file cannot be copied.
pub(super) fn keep(data: &Path, kept: &Path, range: Range, list: &str) -> Result<(), String> {
    let files = files(data, range).map_err(|e| format!("cannot list the WAL: {e}"))?;
    let size: u64 = files.iter().filter_map(|(from, _)| fs::metadata(from).ok()).map(|data| data.len()).sum();
    // An attempt that was killed has left this; it has its real name only when it is complete.
    let unfinished = beside(data, ".kept.unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    refuse_without_room(data, size)?;
    let copy = || -> io::Result<()> {
        for (from, to) in &files {
            copy_durably(from, &unfinished.join(to))?;
        }
        write_list(&unfinished, list)?;
        sync_directories(&unfinished)?;
        fs::rename(&unfinished, kept)?;
        sync_parent(kept)
    };
    copy().map_err(|e| format!("cannot keep the WAL aside in {}: {e}", kept.display()))
}

/// What is copied, and under which name below the directory.
fn files(data: &Path, range: Range) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let size = range.segment_size.max(1);
    let wanted = range.checkpoint.0 / size..=range.end.0 / size;
    let mut files = vec![(data.join("global/pg_control"), PathBuf::from("pg_control"))];
    for entry in fs::read_dir(data.join("pg_wal"))?.flatten() {
        let name = entry.file_name();
        let text = name.to_string_lossy();
        let is_wanted = parse_segment_name(&text, size).is_some_and(|(_, number)| wanted.contains(&number));
        if is_wanted || text.ends_with(".history") {
            files.push((entry.path(), Path::new("pg_wal").join(&name)));
        }
    }
    files.extend(own_files(data)?.into_iter().map(|(from, name)| (from, Path::new("config").join(name))));
    Ok(files)
}

/// The node's own files at the top of the data directory: configuration, keys, certificates.
pub(super) fn own_files(data: &Path) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let entries = fs::read_dir(data)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let own = entries.filter(|entry| {
        let name = entry.file_name();
        OWN_SUFFIXES.iter().any(|suffix| name.to_string_lossy().ends_with(suffix))
    });
    Ok(own.map(|entry| (entry.path(), PathBuf::from(entry.file_name()))).collect())
}

/// Puts the node's own files back, which came from the source.
pub(super) fn restore_own_files(kept: &Path, data: &Path) -> io::Result<()> {
    copy_all(&kept.join("config"), data)
}

/// Puts WAL and control file back, so that a rewind finds what it found the first time.
pub(super) fn restore_wal(kept: &Path, data: &Path) -> io::Result<()> {
    copy_all(&kept.join("pg_wal"), &data.join("pg_wal"))?;
    copy_durably(&kept.join("pg_control"), &data.join("global/pg_control"))
}

fn copy_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)?.flatten() {
        copy_durably(&entry.path(), &to.join(entry.file_name()))?;
    }
    File::open(to)?.sync_all()
}

/// A copy is written beside its name, synced and renamed; links are not followed.
fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let temporary = beside(to, ".pgbaton-new");
    let _ = fs::remove_file(&temporary);
    let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    io::copy(&mut File::open(from)?, &mut target)?;
    target.sync_all()?;
    fs::rename(&temporary, to)
}

/// Writes the text that makes the directory one of the agent's.
pub(super) fn write_list(kept: &Path, list: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(kept.join(LIST))?;
    file.write_all(format!("{FIRST_LINE}\n\n{list}\n").as_bytes())?;
    file.sync_all()
}

fn sync_directories(kept: &Path) -> io::Result<()> {
    for directory in [kept.join("pg_wal"), kept.join("config"), kept.to_owned()] {
        match File::open(directory) {
            Ok(directory) => directory.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes that the owner may still write on the volume.
///
/// # Errors
/// When the volume has not that much room, with the sizes.
pub(super) fn refuse_without_room(data: &Path, size: u64) -> Result<(), String> {
    let parent = data.parent().unwrap_or(Path::new("/"));
    let volume = statvfs(parent).map_err(|e| format!("cannot see how much room {} has: {e}", parent.display()))?;
    let free = volume.blocks_available() * volume.fragment_size();
    let needed = size + RESERVE;
    if free >= needed {
        return Ok(());
    }
    Err(format!(
        "{} has {} MB of room and {} MB are needed; make room, or remove old directories {}.kept-*",
        parent.display(),
        free >> 20,
        needed.div_ceil(1 << 20),
        data.display()
    ))
}

/// Removes the oldest directories beyond `keep`. Only what has the agent's text in it was made by the agent.
pub(super) fn remove_oldest(data: &Path, keep: u32) -> io::Result<()> {
    let parent = data.parent().unwrap_or(Path::new("/"));
    let prefix = beside(data, ".kept-").file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_ours = |path: &PathBuf| {
        let text = crate::instance::files::read_small(&path.join(LIST)).unwrap_or_default();
        text.starts_with(FIRST_LINE)
    };
    let named = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
    let paths = fs::read_dir(parent)?.flatten().map(|entry| entry.path());
    // The names begin with the time, so their order is that of their age.
    let mut ours: Vec<_> = paths.filter(named).filter(|path| !path.is_symlink() && is_ours(path)).collect();
    ours.sort();
    let surplus = ours.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    for path in ours.into_iter().take(surplus) {
        log::info!("removing {}: more than keep_aside={keep} directories are kept", path.display());
        // What it leads to is first: as long as it is there itself, all of it is found.
        for outside in moved_with(data, &path) {
            fs::remove_dir_all(outside)?;
        }
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory_with_wal() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        for sub in ["pg_wal/archive_status", "global"] {
            fs::create_dir_all(data.join(sub)).unwrap();
        }
        for segment in 1..=6 {
            fs::write(data.join(format!("pg_wal/{:08X}{:08X}{segment:08X}", 1, 0)), segment.to_string()).unwrap();
        }
        for (name, text) in
            [("pg_wal/00000002.history", "h"), ("global/pg_control", "c"), ("pg_hba.conf", "own"), ("PG_VERSION", "15")]
        {
            fs::write(data.join(name), text).unwrap();
        }
        (directory, data)
    }

    const RANGE: Range = Range { checkpoint: Lsn(0x300_0028), end: Lsn(0x400_1000), segment_size: 16 << 20 };

    #[test]
    fn what_is_kept_can_be_put_back() {
        let (_directory, data) = directory_with_wal();
        let kept = new_name(&data, Timeline(1), Lsn(0x300_5000));
        keep(&data, &kept, RANGE, "list").unwrap();
        let mut names: Vec<_> = fs::read_dir(kept.join("pg_wal")).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["000000010000000000000003", "000000010000000000000004", "00000002.history"]);
        for name in ["pg_wal/000000010000000000000004", "global/pg_control", "pg_hba.conf"] {
            fs::write(data.join(name), "overwritten").unwrap();
        }
        restore_wal(&kept, &data).unwrap();
        restore_own_files(&kept, &data).unwrap();
        for (name, text) in
            [("pg_wal/000000010000000000000004", "4"), ("global/pg_control", "c"), ("pg_hba.conf", "own")]
        {
            assert_eq!(fs::read_to_string(data.join(name)).unwrap(), text);
        }
    }

    #[test]
    fn too_little_room_is_refused_with_the_sizes() {
        let (_directory, data) = directory_with_wal();
        let refusal = refuse_without_room(&data, 1 << 60).unwrap_err();
        assert!(refusal.contains("MB of room and 1099511627840 MB are needed"), "{refusal}");
    }

    #[test]
    fn only_the_oldest_of_its_own_are_removed() {
        let (directory, data) = directory_with_wal();
        for (name, is_ours) in [
            ("a.kept-1", true),
            ("main.kept-1", true),
            ("main.kept-2", false),
            ("main.kept-3", true),
            ("main.kept-4", true),
        ] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            if is_ours {
                write_list(&path, "").unwrap();
            }
        }
        remove_oldest(&data, 2).unwrap();
        let there = |name: &str| directory.path().join(name).exists();
        assert!(!there("main.kept-1"));
        assert!(["a.kept-1", "main.kept-2", "main.kept-3", "main.kept-4"].into_iter().all(there));
    }
}
