//! The files in a data directory that are the node's and not the cluster's: configuration, keys, keytabs, certificates,
//! password files, logs, whatever a person has put there. `pg_rewind` and `pg_basebackup` know of no such difference: the
//! one removes what the primary has not and overwrites the rest, the other brings the primary's.
//!
//! So everything that PostgreSQL has not made itself is kept, with permissions, times and links, and put back by a list.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, FileTimes, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::keep_aside::is_list;
use super::nursery;
use super::outside::links;
use crate::instance::files::{beside, sync_directory};
use crate::types::Gather;

/// What PostgreSQL makes at the top of a data directory (storage.sgml, "Database File Layout"; the files of backups are
/// those of xlogrecovery.h), from version 12 to 18. Directories of later versions begin with `pg_`.
const OF_POSTGRESQL: [&str; 14] = [
    "PG_VERSION",
    "base",
    "global",
    "current_logfiles",
    "postmaster.pid",
    "postmaster.opts",
    "standby.signal",
    "recovery.signal",
    "promote",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
];
/// What has it in its name is half written, by this agent or by PostgreSQL's `ALTER SYSTEM`.
const UNFINISHED: [&str; 2] = [".pgbaton-new", "postgresql.auto.conf.tmp"];
/// Without these no server starts: when the node has had none, those of the primary stay.
const NEEDED: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];
/// Larger files get a second name instead of a copy: logs and dumps may be of any size.
const LARGE: u64 = 1 << 20;

/// The node's own files and directories, relative to the data directory, each directory before what is in it.
///
/// # Errors
/// When a directory cannot be read, with its path.
pub(super) fn list(data: &Path) -> Result<Vec<PathBuf>, String> {
    let led_to = links(data).iter().filter_map(|link| fs::canonicalize(link).ok()).collect();
    let mut found = Vec::new();
    list_below(data, Path::new(""), &led_to, &mut found)?;
    Ok(found)
}

fn list_below(data: &Path, below: &Path, led_to: &BTreeSet<PathBuf>, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let directory = data.join(below);
    let unread = |e: io::Error| format!("cannot read {}: {e}", directory.display());
    for entry in fs::read_dir(&directory).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        let (name, kind) = (below.join(entry.file_name()), entry.file_type().map_err(unread)?);
        let is_top = below == Path::new("");
        if (is_top && is_of_postgresql(&name, kind.is_dir(), data)) || is_unfinished(&name) {
            continue;
        }
        if kind.is_dir() {
            // A tablespace or WAL that lies here is data.
            let is_data = fs::canonicalize(entry.path()).is_ok_and(|path| led_to.contains(&path));
            if !is_data {
                found.push(name.clone());
                list_below(data, &name, led_to, found)?;
            }
        } else if kind.is_file() || kind.is_symlink() {
            found.push(name);
        }
    }
    Ok(())
}

fn is_of_postgresql(name: &Path, is_directory: bool, data: &Path) -> bool {
    let text = name.to_string_lossy();
    OF_POSTGRESQL.contains(&&*text)
        || (is_directory && text.starts_with("pg_") && text != "pg_log")
        || text == "pg_wal"
        || text == "lost+found"
        || nursery::is_name(&text)
        || is_list(&data.join(name))
}

fn is_unfinished(name: &Path) -> bool {
    let text = name.to_string_lossy();
    UNFINISHED.iter().any(|end| text.ends_with(end))
}

/// Bytes that a copy of these beside the data directory takes. On another volume nothing has a second name.
pub(super) fn size(data: &Path, list: &[PathBuf]) -> u64 {
    let beside = data.parent().and_then(|parent| fs::metadata(parent).ok());
    let is_here = |found: &Metadata| beside.as_ref().is_some_and(|beside| beside.dev() == found.dev());
    let found = list.iter().filter_map(|name| fs::symlink_metadata(data.join(name)).ok());
    let copied = found.filter(|found| found.is_file() && !(gets_second_name(found) && is_here(found)));
    copied.map(|found| found.len()).sum()
}

/// Brings these files from one directory to another, durably, in place of those that are there.
///
/// # Errors
/// When one cannot be brought, with its path.
pub(super) fn bring(list: &[PathBuf], from: &Path, to: &Path) -> Result<(), String> {
    make_directory(to, 0o700).map_err(|e| format!("{}: {e}", to.display()))?;
    let mut touched = BTreeSet::from([to.to_owned()]);
    for name in list {
        let (source, target) = (from.join(name), to.join(name));
        bring_one(&source, &target).map_err(|e| format!("{}: {e}", source.display()))?;
        touched.extend(target.parent().map(Path::to_owned));
    }
    for directory in touched {
        sync_directory(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    }
    Ok(())
}

fn bring_one(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(from)?;
    if found.is_dir() {
        make_directory(to, found.mode() & 0o7777)
    } else if found.is_symlink() {
        let leads_to = fs::read_link(from)?;
        in_place_of(to, |temporary| symlink(&leads_to, temporary))
    } else if gets_second_name(&found) {
        let named = in_place_of(to, |temporary| fs::hard_link(from, temporary));
        // Another volume, or a file system without second names.
        named.or_else(|_| copy_durably(from, to))
    } else {
        copy_durably(from, to)
    }
}

/// A second name keeps what a copy by the owner would not: a file's other owner, root.
fn gets_second_name(found: &Metadata) -> bool {
    found.is_file() && (found.len() > LARGE || found.uid() != geteuid().as_raw())
}

/// What was another's, root's for instance, is the owner's now. Of a key that is its own a server takes none that a group may read,
/// and of root's it does (`check_ssl_key_file_permissions` in be-secure-common.c). What everybody may read is no secret.
fn mode_of_copy(found: &Metadata) -> u32 {
    let is_anothers_secret = found.uid() != geteuid().as_raw() && found.mode() & 0o004 == 0;
    found.mode() & if is_anothers_secret { 0o700 } else { 0o7777 }
}

/// Whether a file can neither be read nor get a second name: it is another user's, who keeps it from the owner, and so from the
/// server, too.
pub(super) fn is_closed(path: &Path) -> bool {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_file && File::open(path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied) && !gets_named(path)
}

fn gets_named(path: &Path) -> bool {
    let trial = beside(path, ".pgbaton-new");
    let named = remove_file(&trial).and_then(|()| fs::hard_link(path, &trial));
    let _ = remove_file(&trial);
    named.is_ok()
}

/// A copy with permissions, group and times, written beside its name, synced and renamed. Links are not followed.
///
/// # Errors
/// When it cannot be written.
pub(super) fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    in_place_of(to, |temporary| {
        let mut source = File::open(from)?;
        let found = source.metadata()?;
        let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        io::copy(&mut source, &mut target)?;
        // A group that the owner is not in cannot be given.
        let _ = fchown(&target, None, Some(found.gid()));
        target.set_permissions(Permissions::from_mode(mode_of_copy(&found)))?;
        target.set_times(FileTimes::new().set_modified(found.modified()?))?;
        target.sync_all()
    })
}

/// Makes something under a temporary name and gives it the name `to` then.
pub(super) fn in_place_of(to: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = beside(to, ".pgbaton-new");
    remove_file(&temporary)?;
    make(&temporary)?;
    fs::rename(&temporary, to)?;
    // Of two names of one file rename(2) leaves both.
    remove_file(&temporary)
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    if !path.is_dir() {
        DirBuilder::new().recursive(true).mode(mode | 0o700).create(path)?;
    }
    if fs::metadata(path)?.mode() & 0o7777 == mode {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Takes away what `pg_rewind` stumbles over or writes through, where it is kept: links, of which it says "different type
/// in source and target", and files that share what they hold with a second name.
///
/// # Errors
/// When one cannot be removed.
pub(super) fn clear_way(list: &[PathBuf], kept: &Path, data: &Path) -> io::Result<()> {
    for name in list {
        let (here, there) = (data.join(name), kept.join(name));
        let Ok(found) = fs::symlink_metadata(&here) else { continue };
        let is_in_the_way = found.is_symlink() || gets_second_name(&found);
        if is_in_the_way && fs::symlink_metadata(&there).is_ok() {
            remove_file(&here)?;
        }
    }
    Ok(())
}

/// The files that came from the primary: the node has had none of that name. What a server needs to start stays.
///
/// # Errors
/// When a directory cannot be read.
pub(super) fn that_came_along(own: &[PathBuf], data: &Path) -> Result<Vec<PathBuf>, String> {
    let own: BTreeSet<&Path> = own.iter().map(PathBuf::as_path).into_set();
    let is_needed = |name: &Path| name.to_str().is_some_and(|text| NEEDED.contains(&text));
    let all = list(data)?;
    let came = all.into_iter().filter(|name| !own.contains(name.as_path()) && !is_needed(name));
    Ok(came.filter(|name| !data.join(name).is_dir() || data.join(name).is_symlink()).collect())
}

/// Writes the names, one a line, for people and for [`read_names`].
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write_names(path: &Path, list: &[PathBuf]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    let names = list.iter().map(|name| name.display().to_string().replace('\n', "?") + "\n");
    file.write_all(names.collect::<String>().as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn scene() -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("main");
        for (name, mode) in [
            ("PG_VERSION", 0o600),
            ("base/1/1259", 0o600),
            ("global/pg_control", 0o600),
            ("pg_wal/000000010000000000000001", 0o600),
            ("pg_future/1", 0o600),
            ("postgresql.conf", 0o640),
            ("pg_hba.conf", 0o440),
            ("conf.d/10.conf", 0o644),
            (".pgpass", 0o600),
            ("krb5.keytab", 0o400),
            ("pg_log/monday.log", 0o600),
            ("backup_label", 0o600),
            ("space/PG_15_1/1", 0o600),
        ] {
            write(&data.join(name), name, mode);
        }
        fs::create_dir(data.join("pg_tblspc")).unwrap();
        symlink(data.join("space"), data.join("pg_tblspc/7")).unwrap();
        symlink("/etc/hostname", data.join("linked.conf")).unwrap();
        (home, data)
    }

    fn names(list: &[PathBuf]) -> Vec<String> {
        let mut names: Vec<_> = list.iter().map(|name| name.display().to_string()).collect();
        names.sort();
        names
    }

    #[test]
    fn everything_that_postgresql_has_not_made_is_the_nodes() {
        let (_home, data) = scene();
        let own = names(&list(&data).unwrap());
        let expected = [
            ".pgpass",
            "conf.d",
            "conf.d/10.conf",
            "krb5.keytab",
            "linked.conf",
            "pg_hba.conf",
            "pg_log",
            "pg_log/monday.log",
            "postgresql.conf",
        ];
        assert_eq!(own, expected);
    }

    #[test]
    fn what_is_brought_has_its_permissions_times_and_links() {
        let (home, data) = scene();
        write(&data.join("dump"), &"x".repeat(1 << 21), 0o600);
        let (own, kept) = (list(&data).unwrap(), home.path().join("kept"));
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
        let times = FileTimes::new().set_modified(old);
        File::open(data.join("pg_hba.conf")).unwrap().set_times(times).unwrap();
        bring(&own, &data, &kept).unwrap();
        for name in &own {
            let (before, after) =
                (fs::symlink_metadata(data.join(name)).unwrap(), fs::symlink_metadata(kept.join(name)).unwrap());
            assert_eq!(after.mode(), before.mode(), "{name:?}");
            assert!(after.is_dir() || after.is_symlink() || after.modified().unwrap() == before.modified().unwrap());
        }
        assert_eq!(fs::metadata(kept.join("pg_hba.conf")).unwrap().modified().unwrap(), old);
        assert_eq!(fs::read_link(kept.join("linked.conf")).unwrap(), Path::new("/etc/hostname"));
        let inode = |directory: &Path, name: &str| fs::metadata(directory.join(name)).unwrap().ino();
        assert_eq!(inode(&kept, "dump"), inode(&data, "dump"));
        assert_ne!(inode(&kept, "pg_hba.conf"), inode(&data, "pg_hba.conf"));
        // Once more, and back: what has two names has them still, and nothing half-made is left.
        bring(&own, &kept, &data).unwrap();
        assert_eq!(names(&list(&data).unwrap()), names(&own));
        assert!(!data.join("dump.pgbaton-new").exists());
    }

    /// A file that is replaced is whole under its name at any moment: it is another file then.
    #[test]
    fn nothing_is_truncated_in_its_place() {
        let (home, data) = scene();
        let (kept, witness) = (home.path().join("kept"), home.path().join("witness"));
        write(&kept.join("postgresql.conf"), "own", 0o600);
        fs::hard_link(data.join("postgresql.conf"), &witness).unwrap();
        bring(&["postgresql.conf".into()], &kept, &data).unwrap();
        assert_eq!(fs::read_to_string(data.join("postgresql.conf")).unwrap(), "own");
        assert_eq!(fs::read_to_string(witness).unwrap(), "postgresql.conf");
    }

    #[test]
    fn links_and_second_names_are_taken_out_of_the_way_only_when_they_are_kept() {
        let (home, data) = scene();
        write(&data.join("dump"), &"x".repeat(1 << 21), 0o600);
        let (own, kept) = (list(&data).unwrap(), home.path().join("kept"));
        clear_way(&own, &kept, &data).unwrap();
        assert_eq!(names(&list(&data).unwrap()), names(&own));
        bring(&own, &data, &kept).unwrap();
        clear_way(&own, &kept, &data).unwrap();
        let left = names(&list(&data).unwrap());
        assert!(!left.iter().any(|name| name == "dump" || name == "linked.conf"));
        assert_eq!(left.len() + 2, own.len());
    }

    #[test]
    fn what_came_along_is_told_from_what_a_server_needs() {
        let (_home, data) = scene();
        let own: Vec<PathBuf> = [".pgpass", "conf.d", "linked.conf", "pg_log"].map(PathBuf::from).to_vec();
        let came = names(&that_came_along(&own, &data).unwrap());
        assert_eq!(came, ["conf.d/10.conf", "krb5.keytab", "pg_log/monday.log"]);
    }
}
