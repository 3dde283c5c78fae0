//! A log file that others write to and the agent opens: the output of a server before its logging collector runs.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::geteuid;

/// A file that is larger makes room for a new one when it is opened.
const LARGEST: u64 = 10 << 20;

/// Opens the file for reading and appending. One that has become large gets the name `<file>.1` before, in the place of an
/// older one. Links are not followed, and nothing is renamed in a directory where others may write.
///
/// # Errors
/// When it cannot be opened.
pub fn open_log_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        let (directory, file) = (fs::symlink_metadata(directory)?, fs::symlink_metadata(path));
        if is_ours_alone(&directory) && file.is_ok_and(|file| file.is_file() && file.len() > LARGEST) {
            // That it cannot be renamed starts no server later.
            let _ = fs::rename(path, before(path));
        }
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

fn is_ours_alone(directory: &Metadata) -> bool {
    directory.is_dir() && directory.uid() == geteuid().as_raw() && directory.mode() & 0o022 == 0
}

fn before(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn length(path: &Path) -> u64 {
        fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_large_file_makes_room_for_a_new_one_and_one_older_is_there() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log/pgsql.log");
        open_log_file(&log).unwrap();
        for size in [LARGEST + 1, LARGEST + 2] {
            File::options().write(true).open(&log).unwrap().set_len(size).unwrap();
            open_log_file(&log).unwrap();
            assert_eq!((length(&log), length(&before(&log))), (0, size));
        }
        File::options().write(true).open(&log).unwrap().set_len(LARGEST).unwrap();
        open_log_file(&log).unwrap();
        assert_eq!(length(&log), LARGEST);
    }

    #[test]
    fn links_are_not_followed_and_nothing_is_renamed_where_others_may_write() {
        let home = tempfile::tempdir().unwrap();
        let (log, victim) = (home.path().join("pgsql.log"), home.path().join("victim"));
        File::create(&victim).unwrap().set_len(LARGEST + 1).unwrap();
        symlink(&victim, &log).unwrap();
        assert!(open_log_file(&log).is_err());
        fs::remove_file(&log).unwrap();
        fs::rename(&victim, &log).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        open_log_file(&log).unwrap();
        assert!(!before(&log).exists());
    }

    /// A server has its file open for as long as it runs, so that a file for logrotate must leave it where it is.
    #[test]
    fn the_file_for_logrotate_is_for_the_same_files() {
        let text = include_str!("../../packaging/logrotate");
        for word in ["/var/log/pgbaton/*.log {", "copytruncate", "size 10M"] {
            assert!(text.contains(word), "{word} is missing");
        }
    }
}
