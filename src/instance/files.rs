//! Reading the server's small files as root, in a directory that is not root's.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;

/// The longest of these files, `postmaster.pid`, has 8 lines.
const LIMIT: u64 = 8192;

/// Reads a regular file up to a limit. A link, a pipe or a device in its place is an error and not a
/// wait: neither may hold up a monitor.
pub(super) fn read_small(path: &Path) -> io::Result<String> {
    read_up_to(path, LIMIT)
}

/// The same with another limit, in bytes.
pub(super) fn read_up_to(path: &Path, limit: u64) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_read_and_not_to_any_length() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "x".repeat(100_000)).unwrap();
        assert_eq!(read_small(&file).unwrap().len(), 8192);
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        assert!(read_small(&link).is_err());
        assert!(read_small(directory.path()).is_err());
    }
}
