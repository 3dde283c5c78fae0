//! The server's small files, read as root in a directory that is not root's, and the agent's own, written as the owner so that
//! a loss of power leaves the one that was there or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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

/// A path beside another one, with its name and a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Makes the entries of a directory durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Makes the entries of the directory that holds `path` durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    sync_directory(path.parent().unwrap_or(Path::new("/")))
}

/// A new file that is on disk but for its name. What somebody who was killed has left there goes.
pub(super) fn write_temporary(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<File> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

/// Puts a file in its place as a whole, by way of a temporary name.
pub(super) fn replace(path: &Path, temporary: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    write_temporary(temporary, mode, bytes)?;
    fs::rename(temporary, path)?;
    sync_parent(path)
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
