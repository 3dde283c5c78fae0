//! Work on files with the owner's rights: root must not be led anywhere by a link in a directory that is
//! not root's.

use std::io;
use std::sync::mpsc;

use super::Instance;
use crate::sys::{Deadline, IdentityError};

/// Why the work was not done.
#[derive(Debug, thiserror::Error)]
pub enum AsOwnerError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// It failed.
    #[error("{0}")]
    Failed(io::Error),
    /// The file system did not answer.
    #[error("it took too long; is the file system stuck?")]
    Timeout,
}

impl Instance {
    /// Does the work in a thread that is the owner. A file system that hangs keeps the thread, not the caller, and its
    /// process, for which nobody waits ([`crate::sys::apart`]).
    pub(super) fn as_owner<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
        deadline: Deadline,
    ) -> Result<T, AsOwnerError> {
        let (sender, done) = mpsc::channel();
        let work = move |became: io::Result<()>| drop(sender.send(became.and_then(|()| work())));
        self.owner()?.spawn_thread(work).map_err(AsOwnerError::Failed)?;
        match done.recv_timeout(deadline.remaining()) {
            Ok(result) => result.map_err(AsOwnerError::Failed),
            Err(_) => Err(AsOwnerError::Timeout),
        }
    }
}
