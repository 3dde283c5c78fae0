//! The directories in which the copies of a clone are made, each in the place that it is for, and how they come up from
//! there. What is done next is decided in [`crate::policy::placing`].
//!
//! Their name is random and in the marker. A place itself is never emptied: what is in it besides was put there by a person.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::outside::is_mount_point;
use crate::instance::files::sync_directory;
use crate::policy::placing::{self, Next, Place};
use crate::types::Gather;

const PREFIX: &str = ".pgbaton-copy-";
/// Without it no directory is an instance: it comes up last.
const LAST: &str = "PG_VERSION";

/// Whether a name is one of these directories'.
pub(in crate::instance) fn is_name(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A name that nobody else uses.
///
/// # Errors
/// When the system has no random numbers.
pub(super) fn new_name() -> io::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{PREFIX}{:016x}", u64::from_ne_bytes(bytes)))
}

/// What tells a directory from another one that has its path later: a line `<inode>[m] <place>`, `m` for a mount point.
pub(super) fn claim(place: &Path) -> String {
    let inode = fs::metadata(place).map(|found| found.ino()).unwrap_or_default();
    format!("{inode}{} {}", if is_mount_point(place) { "m" } else { "" }, place.display())
}

/// All places of a clone: those outside of the data directory, then the data directory.
#[derive(Clone, Debug)]
pub(super) struct Nursery {
    pub(super) name: String,
    pub(super) places: Vec<PathBuf>,
}

impl Nursery {
    /// Where the copy for this place is made.
    pub(super) fn of(&self, place: &Path) -> PathBuf {
        place.join(&self.name)
    }

    /// What is to be done next.
    pub(super) fn next(&self, is_whole: bool, claims: &str) -> Next {
        let places: Vec<_> = self.places.iter().map(|place| self.look_at(place, claims)).collect();
        placing::next(is_whole, &places)
    }

    fn look_at(&self, place: &Path, claims: &str) -> Place {
        let copy = self.of(place);
        let now = claim(place);
        let was_mounted = |line: &str| line.strip_suffix(&format!("m {}", place.display())).is_some();
        Place {
            path: place.display().to_string(),
            has_copy: copy.is_dir(),
            entry: first_foreign(place),
            twice: first(&copy, |name| place.join(name).symlink_metadata().is_ok()),
            is_same: claims.lines().any(|line| line == now),
            is_unmounted: claims.lines().any(was_mounted) && !is_mount_point(place),
        }
    }

    /// Makes them anew, empty. What earlier attempts have left goes.
    pub(super) fn make(&self) -> Result<(), String> {
        for place in &self.places {
            self.make_in(place).map_err(|e| format!("cannot make a directory in {}: {e}", place.display()))?;
        }
        Ok(())
    }

    fn make_in(&self, place: &Path) -> io::Result<()> {
        make_place(place)?;
        for name in entries(place).iter().filter(|name| is_name(&name.to_string_lossy())) {
            fs::remove_dir_all(place.join(name))?;
        }
        DirBuilder::new().mode(0o700).create(self.of(place))?;
        sync_directory(place)
    }

    /// Moves up what is in the copy of one place, and removes the empty directory.
    pub(super) fn move_up(&self, place: &Path) -> Result<(), String> {
        let failed = |e: io::Error| format!("cannot move the copy up to {}: {e}", place.display());
        while self.move_one_up(place).map_err(failed)? {}
        sync_directory(place).map_err(failed)?;
        fs::remove_dir(self.of(place)).map_err(failed)?;
        sync_directory(place).map_err(failed)
    }

    /// False when nothing is left to be moved.
    fn move_one_up(&self, place: &Path) -> io::Result<bool> {
        let copy = self.of(place);
        let names = entries(&copy);
        let Some(name) = names.iter().find(|name| *name != LAST).or(names.first()) else { return Ok(false) };
        rename_unless_there(&copy.join(name), &place.join(name)).map(|()| true)
    }
}

/// The names in a directory, in their order; none when it cannot be read.
fn entries(directory: &Path) -> Vec<OsString> {
    let names = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.file_name());
    names.into_set().into_iter().collect()
}

/// The first of them that is so, for people.
fn first(directory: &Path, is_so: impl Fn(&OsString) -> bool) -> Option<String> {
    Some(entries(directory).iter().find(|name| is_so(name))?.to_string_lossy().into_owned())
}

/// Something in a directory besides these.
pub(super) fn first_foreign(directory: &Path) -> Option<String> {
    first(directory, |name| !is_name(&name.to_string_lossy()))
}

/// Whether there is anything in a directory but what the agent itself puts there for a while.
pub(in crate::instance) fn is_in_use(directory: &Path) -> bool {
    first_foreign(directory).is_some()
}

/// A directory that only its owner may enter, as PostgreSQL demands.
fn make_place(place: &Path) -> io::Result<()> {
    if !place.exists() {
        return DirBuilder::new().mode(0o700).create(place);
    }
    // Somebody has made it for the agent to fill, with the permissions that directories usually get.
    let allows_others = fs::metadata(place)?.permissions().mode() & 0o027 != 0;
    if allows_others { fs::set_permissions(place, Permissions::from_mode(0o700)) } else { Ok(()) }
}

/// The kernel refuses to overwrite; a file system that cannot (NFS) is looked at before.
fn rename_unless_there(from: &Path, to: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) if to.symlink_metadata().is_err() => fs::rename(from, to),
        Err(nix::Error::EINVAL | nix::Error::ENOSYS) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [&str; 5] =
        ["data/PG_VERSION", "data/base/1", "data/postgresql.conf", "wal/0001", "wal/archive_status/1"];

    /// A whole copy in its nurseries.
    fn scene() -> (tempfile::TempDir, Nursery, String) {
        let home = tempfile::tempdir().unwrap();
        let places: Vec<_> = ["wal", "data"].map(|name| home.path().join(name)).to_vec();
        let nursery = Nursery { name: new_name().unwrap(), places };
        nursery.make().unwrap();
        for file in FILES {
            let (place, rest) = file.split_once('/').unwrap();
            let path = nursery.of(&home.path().join(place)).join(rest);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let claims = nursery.places.iter().map(|place| claim(place) + "\n").collect();
        (home, nursery, claims)
    }

    fn run(nursery: &Nursery, claims: &str) -> Next {
        loop {
            match nursery.next(true, claims) {
                Next::MoveUp(at) => nursery.move_up(&nursery.places[at]).unwrap(),
                other => return other,
            }
        }
    }

    fn expect_all_in_place(home: &Path) {
        for file in FILES {
            assert_eq!(fs::read_to_string(home.join(file)).unwrap(), file);
        }
        assert_eq!(entries(&home.join("data")), ["PG_VERSION", "base", "postgresql.conf"]);
    }

    /// Killed after each rename, and before and after the directory was removed.
    #[test]
    fn an_interruption_after_any_step_is_gone_on_from() {
        for killed_after in 0..=7 {
            let (home, nursery, claims) = scene();
            let mut steps = killed_after;
            'killed: for place in &nursery.places {
                while nursery.of(place).exists() {
                    if steps == 0 {
                        break 'killed;
                    }
                    steps -= 1;
                    if !nursery.move_one_up(place).unwrap() {
                        fs::remove_dir(nursery.of(place)).unwrap();
                    }
                }
            }
            let is_instance = home.path().join("data").join(LAST).exists();
            assert_eq!(is_instance, killed_after >= 6, "{killed_after}");
            assert_eq!(run(&nursery, &claims), Next::Done, "{killed_after}");
            expect_all_in_place(home.path());
        }
    }

    #[test]
    fn what_a_person_puts_there_is_never_touched() {
        let (home, nursery, claims) = scene();
        let theirs = home.path().join("data/base");
        fs::create_dir(&theirs).unwrap();
        fs::write(theirs.join("1"), "theirs").unwrap();
        for is_whole in [false, true] {
            let Next::Refuse(why) = nursery.next(is_whole, &claims) else { panic!("not refused") };
            assert!(why.contains("'base'"), "{why}");
        }
        // Put there between the look and the move.
        assert!(nursery.move_up(&home.path().join("data")).is_err());
        assert_eq!(fs::read_to_string(theirs.join("1")).unwrap(), "theirs");
        fs::remove_dir_all(theirs).unwrap();
        assert_eq!(run(&nursery, &claims), Next::Done);
        expect_all_in_place(home.path());
    }

    #[test]
    fn what_attempts_have_left_is_made_anew_and_a_place_gets_the_permissions() {
        let (home, nursery, claims) = scene();
        let data = home.path().join("data");
        fs::create_dir(data.join(".pgbaton-copy-0123456789abcdef")).unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        assert!(!is_in_use(&data));
        assert_eq!(nursery.next(false, &claims), Next::Copy);
        nursery.make().unwrap();
        assert_eq!(entries(&data), [OsString::from(&nursery.name)]);
        assert!(entries(&nursery.of(&data)).is_empty());
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn names_are_told_from_other_hidden_ones() {
        assert!(is_name(&new_name().unwrap()) && new_name().unwrap() != new_name().unwrap());
        assert!(![".pgbaton-copy-", ".pgbaton-copy-of-mine", ".pgpass", "base"].iter().any(|name| is_name(name)));
    }
}
