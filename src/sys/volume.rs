//! Bringing whole filesystems to disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::unistd::syncfs;

/// Brings all that was written to the filesystem of this path to disk: one wait, where one for each file takes long in a
/// directory of thousands.
///
/// # Errors
/// When the path cannot be opened, or something cannot be written. Of the latter only a kernel tells of which
/// [`sync_tells_errors`] says so.
pub fn sync_filesystem_of(path: &Path) -> io::Result<()> {
    syncfs(File::open(path)?).map_err(io::Error::from)
}

/// Whether the kernel tells of what a sync of a filesystem could not write: since Linux 5.8 (syncfs(2)).
#[must_use]
pub fn sync_tells_errors() -> bool {
    fs::read_to_string("/proc/sys/kernel/osrelease").is_ok_and(|release| is_since_5_8(&release))
}

fn is_since_5_8(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
    numbers.next().zip(numbers.next()).is_some_and(|version| version >= (5, 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_told_apart_by_their_release() {
        for (release, tells) in [
            ("6.1.0-18-amd64\n", true),
            ("5.14.0-427.el9.x86_64", true),
            ("5.8-rc1", true),
            ("5.7.19", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("10.0", true),
            ("6", false),
            ("", false),
            ("unknown", false),
        ] {
            assert_eq!(is_since_5_8(release), tells, "{release}");
        }
    }

    #[test]
    fn a_path_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        sync_filesystem_of(directory.path()).unwrap();
        assert!(sync_filesystem_of(&directory.path().join("none")).is_err());
    }
}
