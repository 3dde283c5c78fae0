//! A standby follows another node than it should, for a moment: to fetch what that one has before it is promoted.
//!
//! The settings for it are lines at the end of `postgresql.auto.conf`, which count last; the marker `<data>.catchup` beside
//! the data directory has their text, and is there before they are. Who finds the marker and nobody at work, which the lock
//! on it tells, takes the lines out again: so the file is, byte for byte, what it was, wherever the agent was killed. It is written
//! as the owner, because the agent's role may not be a superuser, to a temporary name, and renamed, as `ALTER SYSTEM` does it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use serde::{Deserialize, Serialize};

use super::as_owner::AsOwnerError;
use super::files::{beside, read_up_to, replace, sync_parent, write_temporary};
use super::{Instance, Session, SqlError};
use crate::policy::conninfo::Conninfo;
use crate::policy::detour::{added, lines, without};
use crate::sys::{Deadline, IdentityError, Program, ProgramError};

/// A file of settings is smaller.
const LONGEST: u64 = 1 << 20;
/// A marker holds one, with all quotes escaped.
const LONGEST_MARKER: u64 = 3 * LONGEST;

/// What this version writes and understands.
const VERSION: u32 = 1;

/// What has to be taken out again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    version: u32,
    /// `postgresql.auto.conf` as it was.
    before: String,
    /// The text that was put at the end of `postgresql.auto.conf`.
    text: String,
}

/// Why the settings are not as they should be.
#[derive(Debug, thiserror::Error)]
pub enum DetourError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// A file cannot be read or written.
    #[error("cannot change postgresql.auto.conf or {marker}: {cause}")]
    Files {
        /// The marker.
        marker: PathBuf,
        /// What the system said.
        cause: AsOwnerError,
    },
    /// The marker was written by a version that this one does not know, or damaged.
    #[error(
        "{0} is not understood; take the lines that it names out of postgresql.auto.conf, reload the server, and remove it"
    )]
    NotUnderstood(PathBuf),
    /// Another process is at work.
    #[error("another action of this resource fetches WAL at this moment")]
    Busy,
    /// The connection string cannot be written to a file of settings.
    #[error("primary_conninfo has a line break in it; take it out")]
    LineBreak,
    /// The server was not told.
    #[error("the server cannot be told to read its settings: {0}")]
    Reload(#[from] ProgramError),
}

/// A detour under way: while it lives, nobody else ends it.
#[derive(Debug)]
pub struct Detour {
    _lock: Flock<File>,
}

impl Instance {
    /// Has the running standby follow this connection string, without a slot and without a delay of its replay.
    ///
    /// # Errors
    /// When the settings cannot be written, or the server is not told.
    pub fn begin_detour(&self, conninfo: &Conninfo, deadline: Deadline) -> Result<Detour, DetourError> {
        let lines = lines(conninfo).ok_or(DetourError::LineBreak)?;
        let data = self.data_directory().to_owned();
        let begun = self.as_owner(move || begin(&data, &lines), deadline).map_err(|cause| self.files(cause))?;
        let lock = begun.ok_or(DetourError::Busy)?;
        self.reload(deadline)?;
        Ok(Detour { _lock: lock })
    }

    /// Ends a detour: the settings are as they were, and a running server knows.
    ///
    /// # Errors
    /// When they are not.
    pub fn end_detour(&self, detour: Detour, deadline: Deadline) -> Result<(), DetourError> {
        let ended = self.take_lines_out(deadline);
        drop(detour);
        ended
    }

    /// Whether an action has left a detour behind, or is on one.
    #[must_use]
    pub fn has_detour(&self) -> bool {
        fs::symlink_metadata(marker_path(self.data_directory())).is_ok()
    }

    /// Ends a detour that an action which was killed has left. Returns whether there was one.
    ///
    /// # Errors
    /// When the settings are not as they were, or somebody is at work.
    pub fn end_left_detour(&self, deadline: Deadline) -> Result<bool, DetourError> {
        if !self.has_detour() {
            return Ok(false);
        }
        let data = self.data_directory().to_owned();
        let locked = self.as_owner(move || lock(&marker_path(&data)), deadline).map_err(|cause| self.files(cause))?;
        let _lock = locked.ok_or(DetourError::Busy)?;
        self.take_lines_out(deadline).map(|()| true)
    }

    /// First the file, then the server, then the marker: killed in between, the next action does it again.
    fn take_lines_out(&self, deadline: Deadline) -> Result<(), DetourError> {
        let data = self.data_directory().to_owned();
        self.as_owner(move || restore(&data), deadline).map_err(|cause| self.files(cause))?;
        if self.is_running() {
            self.reload(deadline)?;
        }
        let marker = marker_path(self.data_directory());
        let remove = move || fs::remove_file(&marker).and_then(|()| sync_parent(&marker));
        self.as_owner(remove, deadline).map_err(|cause| self.files(cause))
    }

    fn reload(&self, deadline: Deadline) -> Result<(), DetourError> {
        let program = Program::new(self.program("pg_ctl")).owned_by(&self.owner()?);
        Ok(program.args(["reload", "--silent", "-D"]).arg(self.data_directory()).run(deadline).map(drop)?)
    }

    fn files(&self, cause: AsOwnerError) -> DetourError {
        let marker = marker_path(self.data_directory());
        match cause {
            AsOwnerError::Failed(error) if error.kind() == ErrorKind::InvalidData => DetourError::NotUnderstood(marker),
            cause => DetourError::Files { marker, cause },
        }
    }
}

impl Session {
    /// Ends a pause of the replay, which keeps a standby from asking anybody for WAL.
    ///
    /// # Errors
    /// When the role may not.
    pub fn resume_replay(&self, deadline: Deadline) -> Result<(), SqlError> {
        self.query("select pg_wal_replay_resume()", deadline).map(drop)
    }
}

fn marker_path(data: &Path) -> PathBuf {
    beside(data, ".catchup")
}

/// The marker first. `None` when one is there already.
fn begin(data: &Path, lines: &str) -> io::Result<Option<Flock<File>>> {
    let (path, temporary, settings) = (marker_path(data), beside(data, ".catchup.new"), read_settings(data)?);
    if fs::symlink_metadata(&path).is_ok() {
        return Ok(None);
    }
    let text = added(&settings, lines);
    let marker = Marker { version: VERSION, before: settings.clone(), text: text.clone() };
    let file = write_temporary(&temporary, 0o600, &serde_json::to_vec_pretty(&marker)?)?;
    // Before it has its name, so that nobody finds it unlocked.
    let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
    fs::rename(&temporary, &path)?;
    sync_parent(&path)?;
    write_settings(data, &format!("{settings}{text}"))?;
    Ok(Some(lock))
}

fn lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Takes out what the marker names. What is not there any more was taken out before, or set anew by somebody.
fn restore(data: &Path) -> io::Result<()> {
    let invalid = || io::Error::from(ErrorKind::InvalidData);
    let marker: Marker =
        serde_json::from_str(&read_up_to(&marker_path(data), LONGEST_MARKER)?).map_err(|_| invalid())?;
    if marker.version != VERSION {
        return Err(invalid());
    }
    let settings = read_settings(data)?;
    let restored = without(&settings, &marker.before, &marker.text);
    if restored == settings { Ok(()) } else { write_settings(data, &restored) }
}

fn settings_path(data: &Path) -> PathBuf {
    data.join("postgresql.auto.conf")
}

/// Bytes that are no text would be changed by reading them as such.
fn read_settings(data: &Path) -> io::Result<String> {
    let path = settings_path(data);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Ok(found) if found.len() >= LONGEST => return Err(ErrorKind::InvalidInput.into()),
        Ok(_) => {}
        Err(error) => return Err(error),
    }
    let text = read_up_to(&path, LONGEST)?;
    if text.contains(char::REPLACEMENT_CHARACTER) { Err(ErrorKind::InvalidInput.into()) } else { Ok(text) }
}

fn write_settings(data: &Path, text: &str) -> io::Result<()> {
    let path = settings_path(data);
    let mode = fs::symlink_metadata(&path).map_or(0o600, |found| found.mode() & 0o777);
    replace(&path, &beside(&path, ".catchup"), mode, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "primary_conninfo = 'host=srv2'\n";

    fn directory(settings: &str) -> (tempfile::TempDir, PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("main");
        fs::create_dir(&data).unwrap();
        fs::write(settings_path(&data), settings).unwrap();
        (home, data)
    }

    #[test]
    fn the_settings_are_what_they_were_wherever_it_was_killed() {
        for settings in ["", "a = 1", "a = 1\n# c\n", "primary_conninfo = 'host=srv2'\n", "\n\n"] {
            let (_home, data) = directory(settings);
            let now = || fs::read_to_string(settings_path(&data)).unwrap();
            let lock_of_first = begin(&data, LINES).unwrap().unwrap();
            assert_eq!(now().trim_end().lines().last(), Some(LINES.trim_end()));
            assert!(begin(&data, LINES).unwrap().is_none(), "there is one already");
            assert!(lock(&marker_path(&data)).unwrap().is_none(), "somebody is at work");
            drop(lock_of_first);
            assert!(lock(&marker_path(&data)).unwrap().is_some());
            // Killed after the file, before the marker is gone: once more.
            for _ in 0..2 {
                restore(&data).unwrap();
                assert_eq!(now(), settings);
            }
            // Killed before the file was changed.
            fs::remove_file(marker_path(&data)).unwrap();
            drop(begin(&data, LINES).unwrap().unwrap());
            fs::write(settings_path(&data), settings).unwrap();
            restore(&data).unwrap();
            assert_eq!(now(), settings);
        }
    }

    #[test]
    fn a_marker_of_another_version_is_not_guessed_at() {
        let (_home, data) = directory("a = 1\n");
        for text in ["", "{\"version\": 2, \"before\": \"\", \"text\": \"a = 1\\n\"}", "{\"version\": 1}", "x"] {
            fs::write(marker_path(&data), text).unwrap();
            assert_eq!(restore(&data).unwrap_err().kind(), ErrorKind::InvalidData, "{text}");
        }
        assert_eq!(fs::read_to_string(settings_path(&data)).unwrap(), "a = 1\n");
    }
}
