//! One lab at a time on a machine.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, Error, Result, unexpected};
use crate::paths;

/// Held while the lab as a whole is being changed.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: Flock<File>,
}

impl Lock {
    pub(crate) fn take() -> Result<Self> {
        loop {
            let file = File::create(paths::LOCK).doing(|| format!("open {}", paths::LOCK))?;
            let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
                Error::Unexpected(format!(
                    "another lab command is at work (lock {}: {errno}); wait until it has ended",
                    paths::LOCK
                ))
            })?;
            // The holder before may have removed the file between our open and our lock.
            match same_file(&held)? {
                true => return Ok(Self { _held: held }),
                false => continue,
            }
        }
    }

    /// Removes the lock's file as well: nothing of the lab stays.
    pub(crate) fn remove(self) -> Result<()> {
        match fs::remove_file(paths::LOCK) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                unexpected(format!("remove {}: {error}", paths::LOCK))
            }
            _ => Ok(()),
        }
    }
}

fn same_file(held: &File) -> Result<bool> {
    let ours = held.metadata().doing(|| format!("look at {}", paths::LOCK))?;
    Ok(fs::metadata(paths::LOCK).is_ok_and(|there| there.ino() == ours.ino()))
}
