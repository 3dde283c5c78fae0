//! Keeping aside what only this instance has, before anything of it is overwritten.
//!
//! `<data directory>.kept-<time>-<timeline>-<fork>` has the WAL from the last common checkpoint to the
//! instance's end, its control file, its [own files](super::own_files), and a text that lists them. It is
//! what an interrupted rewind is done again from, too: `pg_rewind` reads the WAL of the directory that it
//! has half overwritten, so that WAL is put back first.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use super::outside::{moved_with, resolve};
use super::own_files::{self, copy_durably};
use crate::instance::files::{beside, sync_directory, sync_parent};
use crate::sys::utc_now;
use crate::types::{Lsn, Timeline};

/// The text that tells a directory which the agent made from all others.
pub(super) const LIST: &str = "README.txt";
const FIRST_LINE: &str = "Kept aside by pgbaton";
const NUMBER: &str = "Number: ";
/// Room that is left on the volume besides.
const RESERVE: u64 = 64 << 20;
/// The node's own files, and the list of them.
const CONFIG: &str = "config";
const NAMES: &str = "config.txt";
/// What a rewind has brought of the primary's files that are no data.
const CAME_ALONG: &str = "from-the-primary";
/// What somebody has removed of the node's own files since they were kept.
const REMOVED: &str = "config-removed";
/// In the text of what the primary has, too.
pub(super) const SPARE: &str = "The primary has all of it.";

/// A name for what is kept of a data directory, told by time, timeline and position.
pub(super) fn new_name(data: &Path, timeline: Timeline, fork: Lsn) -> PathBuf {
    let position = fork.to_string().replace('/', "-");
    beside(data, &format!(".kept-{}-{timeline}-{position}", utc_now()))
}

/// Adds the node's own files to what is being kept, their list, and the text for people.
///
/// # Errors
/// When there is not enough room, with the sizes, or a file cannot be copied.
pub(super) fn add_own_files(data: &Path, kept: &Path, list: &str) -> Result<(), String> {
    let own = own_files::list(data)?;
    refuse_without_room_beside(data, own_files::size(data, &own))?;
    own_files::bring(&own, data, &kept.join(CONFIG))
        .and_then(|()| {
            own_files::write_names(&kept.join(NAMES), &own)
                .and_then(|()| write_list(kept, data, list))
                .map_err(|e| e.to_string())
        })
        .map_err(|e| format!("cannot keep the node's own files aside: {e}"))
}

/// Keeps the node's own files once more, as they are now, in the place of those that were kept. What is gone from the data
/// directory goes beside them.
///
/// # Errors
/// When a file cannot be copied or moved.
pub(super) fn keep_own_files_again(data: &Path, kept: &Path) -> Result<(), String> {
    let (own, config) = (own_files::list(data)?, kept.join(CONFIG));
    own_files::bring(&own, data, &config)?;
    for name in own_files::that_came_along(&own, &config)? {
        move_durably(&config.join(&name), &kept.join(REMOVED).join(&name))
            .map_err(|e| format!("{}: {e}", name.display()))?;
    }
    own_files::write_names(&kept.join(NAMES), &own).map_err(|e| e.to_string())
}

/// Puts the node's own files back as they were, and moves away what came from the source besides.
///
/// # Errors
/// When a file cannot be put back or moved.
pub(super) fn restore_own_files(kept: &Path, data: &Path) -> Result<(), String> {
    let config = kept.join(CONFIG);
    let own = own_files::list(&config)?;
    own_files::bring(&own, &config, data)?;
    // What an older version has kept is not all that the node had.
    if !kept.join(NAMES).is_file() {
        return Ok(());
    }
    for name in own_files::that_came_along(&own, data)? {
        move_durably(&data.join(&name), &kept.join(CAME_ALONG).join(&name))
            .map_err(|e| format!("{}: {e}", name.display()))?;
    }
    Ok(())
}

fn move_durably(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    // Another volume: the primary still has it.
    fs::rename(from, to).or_else(|_| fs::remove_file(from))?;
    sync_parent(from)
}

/// Takes out of the way of a rewind what it would fail at or write through; it is put back with the rest.
///
/// # Errors
/// When a file cannot be removed.
pub(super) fn clear_way(kept: &Path, data: &Path) -> Result<(), String> {
    let config = kept.join(CONFIG);
    let cleared = own_files::clear_way(&own_files::list(&config)?, &config, data);
    cleared.map_err(|e| format!("cannot take a link out of the way of the rewind: {e}"))
}

/// Where a kept directory has the node's own files: itself, when it is a whole data directory.
pub(super) fn own_files_in(kept: &Path) -> PathBuf {
    let config = kept.join(CONFIG);
    if kept.join("pg_control").is_file() && config.is_dir() { config } else { kept.to_owned() }
}

/// Puts WAL and control file back, so that a rewind finds what it found the first time.
pub(super) fn restore_wal(kept: &Path, data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(kept.join("pg_wal"))?.flatten() {
        copy_durably(&entry.path(), &data.join("pg_wal").join(entry.file_name()))?;
    }
    sync_directory(&data.join("pg_wal"))?;
    copy_durably(&kept.join("pg_control"), &data.join("global/pg_control"))?;
    sync_directory(&data.join("global"))
}

/// Writes the text that makes the directory one of the agent's, with a number that is higher than those before: a clock
/// that was wrong makes no order.
pub(super) fn write_list(kept: &Path, data: &Path, list: &str) -> io::Result<()> {
    let number = all_kept(data).iter().map(|kept| kept.number).max().unwrap_or(0) + 1;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(kept.join(LIST))?;
    file.write_all(format!("{FIRST_LINE}\n{NUMBER}{number}\n\n{list}\n").as_bytes())?;
    file.sync_all()
}

/// Whether this file is the text of a directory that the agent has made.
pub(super) fn is_list(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == LIST) && text_of(path).is_some()
}

fn text_of(list: &Path) -> Option<String> {
    crate::instance::files::read_small(list).ok().filter(|text| text.starts_with(FIRST_LINE))
}

/// Refuses what is to be made in a place that is there, or is to be made.
///
/// # Errors
/// When the volume has not that much room, with the sizes.
pub(super) fn refuse_without_room(place: &Path, size: u64) -> Result<(), String> {
    let volume = if place.is_dir() { place } else { place.parent().unwrap_or(Path::new("/")) };
    refuse_without_room_on(volume, place, size)
}

/// The same for what is kept: beside the data directory, which may be a volume of its own.
///
/// # Errors
/// When the volume has not that much room, with the sizes.
pub(super) fn refuse_without_room_beside(data: &Path, size: u64) -> Result<(), String> {
    refuse_without_room_on(data.parent().unwrap_or(Path::new("/")), data, size)
}

fn refuse_without_room_on(volume: &Path, data: &Path, size: u64) -> Result<(), String> {
    let found = statvfs(volume).map_err(|e| format!("cannot see how much room {} has: {e}", volume.display()))?;
    // Bytes that the owner may still write.
    let free = found.blocks_available() * found.fragment_size();
    let needed = size + RESERVE;
    if free >= needed {
        return Ok(());
    }
    Err(format!(
        "{} has {} MB of room and {} MB are needed; make room, or remove old directories {}.kept-*",
        volume.display(),
        free >> 20,
        needed.div_ceil(1 << 20),
        data.display()
    ))
}

/// A directory that the agent has kept aside.
#[derive(Clone, Debug)]
struct Kept {
    /// Where it is; a link, when the data directory was one.
    path: PathBuf,
    /// The data directory's path that its name begins with.
    data: PathBuf,
    /// Its place in the order; 0 when an older version has made it.
    number: u64,
    /// The primary had all of it.
    is_spare: bool,
}

impl Kept {
    /// The directory itself.
    fn directory(&self) -> PathBuf {
        fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone())
    }

    /// What it leads to is removed first: as long as it is there itself, all of it is found.
    fn remove(&self) -> io::Result<()> {
        let directory = self.directory();
        for outside in moved_with(&self.data, &self.path) {
            fs::remove_dir_all(outside)?;
        }
        fs::remove_dir_all(directory)?;
        if self.path.is_symlink() { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

/// All that the agent has kept of a data directory, the oldest first. Only what has the agent's text in it was made by it.
fn all_kept(data: &Path) -> Vec<Kept> {
    let mut homes = vec![data.to_owned()];
    homes.extend(Some(resolve(data)).filter(|home| home != data));
    let mut all: Vec<_> = homes.iter().flat_map(|home| kept_beside(home)).collect();
    // The names begin with the time.
    all.sort_by_key(|kept| (kept.number, kept.path.file_name().map(ToOwned::to_owned)));
    all
}

fn kept_beside(data: &Path) -> Vec<Kept> {
    let prefix = beside(data, ".kept-").file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = fs::read_dir(data.parent().unwrap_or(Path::new("/"))).into_iter().flatten().flatten();
    let named = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
    let kept = named.filter_map(|entry| {
        let text = text_of(&entry.path().join(LIST))?;
        let number = text.lines().nth(1).and_then(|line| line.strip_prefix(NUMBER)?.parse().ok());
        let is_spare = text.lines().any(|line| line == SPARE);
        Some(Kept { path: entry.path(), data: data.to_owned(), number: number.unwrap_or(0), is_spare })
    });
    kept.collect()
}

/// Removes the oldest directories beyond `keep`: never one of `spared`, which the present return has made, never the data
/// directory itself, and never one that somebody works in. Such a one does not count, either. What the primary has as well
/// goes first, and nothing that only this node has goes for it.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn remove_oldest(data: &Path, keep: u32, spared: &[&Path]) -> io::Result<()> {
    let mut room = usize::try_from(keep).unwrap_or(usize::MAX);
    for is_spare in [false, true] {
        let (now, before) = free_and_kept(data, spared, is_spare);
        room = room.saturating_sub(now);
        let surplus = before.len().saturating_sub(room);
        for kept in &before[..surplus] {
            log::info!("removing {}: more than keep_aside={keep} directories are kept", kept.path.display());
            kept.remove()?;
        }
        room -= before.len() - surplus;
    }
    Ok(())
}

/// Removes what the primary has as well, for want of room. False when there is nothing of it.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn remove_spare(data: &Path, spared: &[&Path]) -> io::Result<bool> {
    let (_, spare) = free_and_kept(data, spared, true);
    for kept in &spare {
        log::info!("removing {}: there is too little room, and the primary has all of it", kept.path.display());
        kept.remove()?;
    }
    Ok(!spare.is_empty())
}

/// How many of `spared` there are of this kind, and what else may be removed, the oldest first.
fn free_and_kept(data: &Path, spared: &[&Path], is_spare: bool) -> (usize, Vec<Kept>) {
    let (home, used) = (resolve(data), working_directories());
    let spared: Vec<_> = spared.iter().map(|path| resolve(path)).collect();
    let is_free = |kept: &Kept| {
        let directory = kept.directory();
        kept.is_spare == is_spare && !home.starts_with(&directory) && !is_worked_in(&directory, &used)
    };
    let (now, before): (Vec<_>, Vec<_>) =
        all_kept(data).into_iter().filter(is_free).partition(|kept| spared.contains(&kept.directory()));
    (now.len(), before)
}

/// A server works in its data directory, and a person who looks into a kept one may, too.
fn working_directories() -> Vec<PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| fs::read_link(entry.path().join("cwd")).ok()).collect()
}

fn is_worked_in(directory: &Path, used: &[PathBuf]) -> bool {
    used.iter().any(|path| path.starts_with(directory)) || has_postmaster(directory)
}

/// Of a server of another user the working directory cannot be seen. The agent's own was dead when this was kept, but for
/// a number that is another server's by now: then it is kept for longer than it need be.
fn has_postmaster(directory: &Path) -> bool {
    let text = crate::instance::files::read_small(&directory.join("postmaster.pid")).unwrap_or_default();
    let Some(pid) = crate::instance::PidFile::parse(&text).pid else { return false };
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    matches!(command.trim(), "postgres" | "postmaster" | "edb-postgres")
}

#[cfg(test)]
mod tests {
    use super::super::own_wal;
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

    #[test]
    fn too_little_room_is_refused_with_the_sizes() {
        let (_directory, data) = directory_with_wal();
        let refusal = refuse_without_room(&data, 1 << 60).unwrap_err();
        assert!(refusal.contains("MB of room and 1099511627840 MB are needed"), "{refusal}");
    }

    fn kept_names(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.retain(|name| name.contains(".kept-"));
        names.sort();
        names
    }

    /// As an older version has made it: without a number.
    fn make_kept(directory: &Path, name: &str) -> PathBuf {
        let path = directory.join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join(LIST), format!("{FIRST_LINE}\n\nlist\n")).unwrap();
        path
    }

    #[test]
    fn only_the_oldest_of_its_own_are_removed() {
        let (directory, data) = directory_with_wal();
        for name in ["a.kept-1", "main.kept-1", "main.kept-3", "main.kept-4"] {
            make_kept(directory.path(), name);
        }
        fs::create_dir(directory.path().join("main.kept-2")).unwrap();
        remove_oldest(&data, 2, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["a.kept-1", "main.kept-2", "main.kept-3", "main.kept-4"]);
    }

    /// The names have the time, and the clock may have been years ahead when the first ones were made.
    #[test]
    fn age_is_not_the_clock_in_the_name() {
        let (directory, data) = directory_with_wal();
        make_kept(directory.path(), "main.kept-2099");
        for name in ["main.kept-2080", "main.kept-2026", "main.kept-2025"] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            write_list(&path, &data, "").unwrap();
        }
        remove_oldest(&data, 2, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-2025", "main.kept-2026"]);
    }

    #[test]
    fn what_the_present_return_has_made_is_not_removed() {
        let (directory, data) = directory_with_wal();
        let paths: Vec<_> = (1..=4).map(|n| make_kept(directory.path(), &format!("main.kept-{n}"))).collect();
        remove_oldest(&data, 1, &[&paths[0], &paths[1]]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-1", "main.kept-2"]);
        remove_oldest(&data, 0, &[&paths[0]]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-1"]);
    }

    fn make_spare(directory: &Path, name: &str, data: &Path) -> PathBuf {
        let path = make_kept(directory, name);
        write_list(&path, data, &format!("{SPARE}\nWhy: it is too far behind")).unwrap();
        path
    }

    /// However often a node is cloned because it was too far behind.
    #[test]
    fn what_the_primary_has_as_well_goes_before_what_only_this_node_has() {
        let (directory, data) = directory_with_wal();
        for name in ["main.kept-1", "main.kept-2"] {
            make_kept(directory.path(), name);
        }
        for (number, keep, expected) in [
            (3, 1, &["main.kept-2", "main.kept-3"][..]),
            (4, 2, &["main.kept-2", "main.kept-4"]),
            (5, 3, &["main.kept-2", "main.kept-4", "main.kept-5"]),
            (6, 3, &["main.kept-2", "main.kept-5", "main.kept-6"]),
        ] {
            let now = make_spare(directory.path(), &format!("main.kept-{number}"), &data);
            remove_oldest(&data, keep, &[&now]).unwrap();
            assert_eq!(kept_names(directory.path()), expected, "{number}");
        }
        assert!(remove_spare(&data, &[&directory.path().join("main.kept-6")]).unwrap());
        assert_eq!(kept_names(directory.path()), ["main.kept-2", "main.kept-6"]);
        assert!(!remove_spare(&data, &[&directory.path().join("main.kept-6")]).unwrap());
        remove_oldest(&data, 0, &[]).unwrap();
        assert!(kept_names(directory.path()).is_empty());
    }

    #[test]
    fn what_a_person_corrects_is_kept_again() {
        let (_directory, data) = directory_with_wal();
        let kept = new_name(&data, Timeline(1), Lsn(0x300_5000));
        fs::create_dir(data.join("conf.d")).unwrap();
        fs::write(data.join("conf.d/own.conf"), "own").unwrap();
        own_wal::save(&data, 1, 16 << 20).unwrap();
        own_wal::finish(&data, &kept, "list").unwrap();
        fs::write(data.join("pg_hba.conf"), "corrected").unwrap();
        fs::remove_file(data.join("conf.d/own.conf")).unwrap();
        for _ in 0..2 {
            keep_own_files_again(&data, &kept).unwrap();
        }
        fs::write(data.join("pg_hba.conf"), "theirs").unwrap();
        restore_own_files(&kept, &data).unwrap();
        assert_eq!(fs::read_to_string(data.join("pg_hba.conf")).unwrap(), "corrected");
        assert!(!data.join("conf.d/own.conf").exists());
        assert_eq!(fs::read_to_string(kept.join("config-removed/conf.d/own.conf")).unwrap(), "own");
    }

    #[test]
    fn what_somebody_works_in_is_not_removed_and_does_not_count() {
        let (directory, data) = directory_with_wal();
        let paths: Vec<_> = (1..=3).map(|n| make_kept(directory.path(), &format!("main.kept-{n}"))).collect();
        fs::create_dir(paths[0].join("config")).unwrap();
        let mut person =
            std::process::Command::new("sleep").arg("60").current_dir(paths[0].join("config")).spawn().unwrap();
        remove_oldest(&data, 1, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-1", "main.kept-3"]);
        person.kill().unwrap();
        person.wait().unwrap();
        remove_oldest(&data, 1, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-3"]);
    }

    #[test]
    fn what_a_kept_link_leads_to_counts_and_goes_with_it() {
        let (directory, data) = directory_with_wal();
        let old = make_kept(directory.path(), "elsewhere");
        std::os::unix::fs::symlink(&old, directory.path().join("main.kept-1")).unwrap();
        make_kept(directory.path(), "main.kept-2");
        remove_oldest(&data, 2, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-1", "main.kept-2"]);
        remove_oldest(&data, 1, &[]).unwrap();
        assert_eq!(kept_names(directory.path()), ["main.kept-2"]);
        assert!(!old.exists());
        // A kept link that leads to the data directory itself.
        std::os::unix::fs::symlink(&data, directory.path().join("main.kept-0")).unwrap();
        fs::write(data.join(LIST), FIRST_LINE).unwrap();
        remove_oldest(&data, 0, &[]).unwrap();
        assert!(data.join("PG_VERSION").is_file());
    }

    #[test]
    fn what_came_from_the_primary_is_moved_away() {
        let (_directory, data) = directory_with_wal();
        let kept = new_name(&data, Timeline(1), Lsn(0x300_5000));
        own_wal::save(&data, 1, 16 << 20).unwrap();
        own_wal::finish(&data, &kept, "list").unwrap();
        fs::create_dir(data.join("conf.d")).unwrap();
        fs::write(data.join("conf.d/of-srv2.conf"), "theirs").unwrap();
        fs::write(data.join("postgresql.conf"), "needed").unwrap();
        restore_own_files(&kept, &data).unwrap();
        assert!(!data.join("conf.d/of-srv2.conf").exists() && data.join("postgresql.conf").exists());
        assert_eq!(fs::read_to_string(kept.join("from-the-primary/conf.d/of-srv2.conf")).unwrap(), "theirs");
        // An older version has kept less than all, and says so by having no list.
        fs::remove_file(kept.join(NAMES)).unwrap();
        fs::write(data.join(".pgpass"), "own").unwrap();
        restore_own_files(&kept, &data).unwrap();
        assert!(data.join(".pgpass").exists());
    }
}
