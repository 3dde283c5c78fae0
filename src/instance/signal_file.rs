//! The two files that the agent touches in the data directory, both with the owner's rights only: root
//! must not be led anywhere by a link in a directory that is not root's.
//!
//! `standby.signal`: its presence is what makes a starting server a standby. `postmaster.pid`: left over
//! from a crash, it keeps the server from starting when its process id now belongs to somebody else.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc;

use super::Instance;
use super::as_owner::AsOwnerError;
use super::files::{read_small, sync_directory};
use crate::sys::{Deadline, IdentityError};

/// What makes an archive recovery of the next start.
pub(super) const RECOVERY_SIGNAL: &str = "recovery.signal";

/// Why a file is not as it has to be before a start.
#[derive(Debug, thiserror::Error)]
pub enum SignalFileError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// Something else has the name.
    #[error("{0} is not a regular file, somebody else made it; remove it")]
    Foreign(PathBuf),
    /// The file cannot be made or removed.
    #[error("cannot create or remove {path}: {cause}")]
    Access {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The file system did not answer.
    #[error("creating or removing {0} took too long; is the file system stuck?")]
    Timeout(PathBuf),
}

impl Instance {
    /// Whether a backup was restored here that no server has brought to its end yet: `recovery.signal` is there.
    #[must_use]
    pub fn has_recovery_signal(&self) -> bool {
        fs::symlink_metadata(self.data_directory().join(RECOVERY_SIGNAL)).is_ok()
    }

    /// Whether the server is, or was, started as a standby: a promotion removes the file when it ends.
    #[must_use]
    pub fn has_standby_signal(&self) -> bool {
        self.data_directory().join("standby.signal").exists()
    }

    /// Whether the server was told to promote, and its startup process has not taken that up yet: it removes the file then
    /// (`CheckForStandbyTrigger` in xlogrecovery.c), as a postmaster does at its start.
    #[must_use]
    pub fn has_promote_signal(&self) -> bool {
        self.data_directory().join("promote").exists()
    }

    /// Makes `standby.signal` and sees to it that it is on disk.
    ///
    /// # Errors
    /// When the file is not there in the end.
    pub fn write_standby_signal(&self, deadline: Deadline) -> Result<(), SignalFileError> {
        self.in_data_directory("standby.signal", make_standby, deadline)
    }

    /// Removes the `postmaster.pid` of a server that is gone. The caller has found no server process. PostgreSQL itself overwrites
    /// a file whose process is gone, and refuses to start when the id is in use by the same user (`CreateLockFile`): by
    /// another program since a reboot, a thread of this one included, or by a postmaster that was killed and not yet reaped.
    ///
    /// # Errors
    /// When the file is in the way and cannot be removed.
    pub fn remove_stale_pid_file(&self, deadline: Deadline) -> Result<(), SignalFileError> {
        let Some(pid) = self.pid_file().and_then(|file| file.pid) else { return Ok(()) };
        if self.is_running() {
            return Ok(());
        }
        log::info!("removing postmaster.pid: process {pid} is no server of {}", self.data_directory().display());
        let socket_lock = self.stale_socket_lock();
        let remove = |directory: &Path| {
            socket_lock.map_or(Ok(()), fs::remove_file)?;
            fs::remove_file(directory.join("postmaster.pid"))
        };
        self.in_data_directory("postmaster.pid", remove, deadline)
    }

    /// The lock file of the socket that the dead server had: it names this data directory in line 2.
    fn stale_socket_lock(&self) -> Option<PathBuf> {
        let file = self.pid_file()?;
        let lock = file.socket_directory?.join(format!(".s.PGSQL.{}.lock", file.port?));
        let text = read_small(&lock).ok()?;
        let ours = text.lines().nth(1).is_some_and(|line| Path::new(line) == self.data_directory());
        ours.then_some(lock)
    }

    fn in_data_directory(
        &self,
        name: &str,
        work: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
        deadline: Deadline,
    ) -> Result<(), SignalFileError> {
        let directory = self.data_directory().to_owned();
        let path = directory.join(name);
        self.as_owner(move || work(&directory), deadline).map_err(|error| match error {
            AsOwnerError::Owner(error) => SignalFileError::Owner(error),
            AsOwnerError::Failed(cause) if cause.kind() == ErrorKind::InvalidInput => SignalFileError::Foreign(path),
            AsOwnerError::Failed(cause) => SignalFileError::Access { path, cause },
            AsOwnerError::Timeout => SignalFileError::Timeout(path),
        })
    }
}

/// Makes `standby.signal`, and removes a `recovery.signal` beside it. PostgreSQL does not look at that as long as there is a
/// `standby.signal`, and a promotion removes only the one that it has looked at (`readRecoverySignalFile` in xlog.c and
/// xlogrecovery.c): what is left makes an archive recovery of the next start without `standby.signal`.
pub(super) fn make_standby(directory: &Path) -> io::Result<()> {
    create(directory)?;
    match fs::remove_file(directory.join(RECOVERY_SIGNAL)) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Err(_) => Ok(()),
        Ok(()) => sync_directory(directory),
    }
}

/// The file is empty, so there is no half-written state. A link with its name, even a dangling one,
/// is refused: PostgreSQL would not see a dangling link and would start as a primary.
fn create(directory: &Path) -> io::Result<()> {
    let path = directory.join("standby.signal");
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    match options.open(&path) {
        Ok(file) => file.sync_all()?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            if !fs::symlink_metadata(&path)?.is_file() {
                return Err(ErrorKind::InvalidInput.into());
            }
        }
        Err(error) => return Err(error),
    }
    sync_directory(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_made_once_and_a_link_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(RECOVERY_SIGNAL), "").unwrap();
        make_standby(directory.path()).unwrap();
        make_standby(directory.path()).unwrap();
        assert!(!directory.path().join(RECOVERY_SIGNAL).exists());
        let path = directory.path().join("standby.signal");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/tmp/elsewhere", &path).unwrap();
        assert_eq!(create(directory.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
