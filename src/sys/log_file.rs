//! A log file that others write to and the agent opens: the output of a server before its logging collector runs.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::geteuid;

/// A file that is larger is cut.
const LARGEST: u64 = 10 << 20;
/// So much of its end is kept.
const END: u64 = 1 << 20;

/// Opens the file for reading and appending. One that has become large is cut before. Links are not followed.
///
/// # Errors
/// When it cannot be opened.
pub fn open_log_file(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    // That it cannot be cut starts no server later.
    let _ = cut_log_file(path);
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o640).custom_flags(libc::O_NOFOLLOW);
    options.open(path)
}

/// Empties a file that has become large; its end is in `<file>.1` then. Those who have it open append to it, and go on. They may
/// make it as long as they like: what is done here takes the same time for any length. Nothing is done in a directory where others
/// may write.
///
/// # Errors
/// When it is large and cannot be cut.
pub fn cut_log_file(path: &Path) -> io::Result<()> {
    let is_large = fs::symlink_metadata(path).is_ok_and(|file| file.is_file() && file.len() > LARGEST);
    if !is_large || !is_ours_alone(&fs::symlink_metadata(path.parent().unwrap_or(path))?) {
        return Ok(());
    }
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let kept = keep_end(&file, &before(path));
    file.set_len(0).and(kept)
}

fn keep_end(mut file: &File, path: &Path) -> io::Result<()> {
    let begin = file.metadata()?.len().saturating_sub(END);
    file.seek(SeekFrom::Start(begin))?;
    let _ = fs::remove_file(path);
    let mut kept = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    io::copy(&mut file.take(END), &mut kept).map(drop)
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
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn length(path: &Path) -> u64 {
        fs::metadata(path).unwrap().len()
    }

    #[test]
    fn a_large_file_is_cut_and_its_end_is_kept_in_the_place_of_an_older_one() {
        let home = tempfile::tempdir().unwrap();
        let log = home.path().join("log/pgsql.log");
        let mut writer = open_log_file(&log).unwrap();
        // Whoever has it open may give it any length, without filling it.
        for (size, words) in [(LARGEST + 1, "first"), (1 << 40, "second")] {
            writer.set_len(size).unwrap();
            writer.write_all(words.as_bytes()).unwrap();
            cut_log_file(&log).unwrap();
            assert_eq!((length(&log), length(&before(&log))), (0, END));
            assert!(fs::read(before(&log)).unwrap().ends_with(words.as_bytes()));
            writer.write_all(b"more").unwrap();
            assert_eq!(fs::read_to_string(&log).unwrap(), "more");
        }
        writer.set_len(LARGEST).unwrap();
        open_log_file(&log).unwrap();
        assert_eq!(length(&log), LARGEST);
        writer.set_len(LARGEST + 1).unwrap();
        open_log_file(&log).unwrap();
        assert_eq!(length(&log), 0);
    }

    #[test]
    fn links_are_not_followed_and_nothing_is_cut_where_others_may_write() {
        let home = tempfile::tempdir().unwrap();
        let (log, victim) = (home.path().join("pgsql.log"), home.path().join("victim"));
        File::create(&victim).unwrap().set_len(LARGEST + 1).unwrap();
        symlink(&victim, &log).unwrap();
        assert!(open_log_file(&log).is_err());
        fs::remove_file(&log).unwrap();
        fs::rename(&victim, &log).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o777)).unwrap();
        open_log_file(&log).unwrap();
        assert!(!before(&log).exists() && length(&log) > LARGEST);
    }
}
