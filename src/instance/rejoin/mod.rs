//! The way back of an instance that cannot follow: kept aside, then rewound or cloned.
//!
//! It may take longer than any action, so a process of its own does it (`pgbaton rejoin`, as the owner, in a
//! session of its own); the agent starts it, tells how far it is, and ends it when the resource is stopped. What the
//! two know of each other is in the [`Marker`].

mod abandon;
mod basebackup;
mod hold;
mod keep_aside;
mod lock;
mod marker;
pub(in crate::instance) mod nursery;
mod outside;
mod own_files;
mod own_wal;
mod rewind;
mod shape;
mod source;
mod worker;

use std::io;
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

pub use abandon::was_abandoned;
pub(crate) use marker::marker_path;
pub use marker::{Marker, Phase, Task};
pub use worker::work;

use super::as_owner::AsOwnerError;
use super::{Instance, LaunchError};
use crate::ocf::Failure;
use crate::sys::{Deadline, Pace, ProcessHandle, Program, detach, since_boot};

/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// How long a holder of the lock is waited for that is no worker of ours.
const STRANGERS_HAVE: Duration = Duration::from_secs(2);

/// What is known of a rejoin of this data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejoining {
    /// None was begun, or it is over.
    No,
    /// The directory is to be made from a primary, when one is there. Nobody is at work.
    Waiting(Marker),
    /// A worker is at work.
    UnderWay(Marker),
    /// It was begun and nobody is at work: the worker failed, or was killed.
    Interrupted(Marker),
    /// The directory is an instance again.
    Done(Marker),
}

impl Instance {
    /// Whether the instance is being rewound or cloned.
    ///
    /// # Errors
    /// When the marker is damaged: the directory must not be started then.
    pub fn rejoining(&self) -> Result<Rejoining, Failure> {
        let data = self.data_directory();
        let path = marker::marker_path(data);
        let damaged = |error: io::Error| {
            Failure::generic(format!(
                "{} cannot be read: {error}; {data} may be half rewound: 'pgbaton abandon {data}' takes the file away, then put a \
                 copy of the database there",
                path.display(),
                data = data.display()
            ))
        };
        // In this order: a worker writes its last word before it gives up the lock.
        let is_at_work = lock::worker(data).is_some();
        Ok(match Marker::read(data).map_err(damaged)? {
            None => Rejoining::No,
            Some(marker) if is_at_work => Rejoining::UnderWay(marker),
            Some(marker) if marker.phase == Phase::Waiting => Rejoining::Waiting(marker),
            Some(marker) if marker.phase == Phase::Done => Rejoining::Done(marker),
            Some(marker) => Rejoining::Interrupted(marker),
        })
    }

    /// Whether it is time to try again what has failed: the first time at once, then the later the more often it has.
    #[must_use]
    pub fn rejoin_is_due(&self, marker: &Marker) -> bool {
        let pause = Duration::from_secs(u64::from(marker.failures.saturating_sub(1)) * 10).min(LONGEST_PAUSE);
        let written =
            std::fs::symlink_metadata(marker::marker_path(self.data_directory())).and_then(|file| file.modified());
        // A clock that was set back makes it due.
        written.ok().and_then(|written| written.elapsed().ok()).is_none_or(|age| age >= pause)
    }

    /// Writes the marker: from now on the directory is not started.
    ///
    /// # Errors
    /// When it cannot be written, with the cure.
    pub fn plan_rejoin(&self, marker: Marker, deadline: Deadline) -> Result<(), Failure> {
        let data = self.data_directory().to_owned();
        let parent = data.parent().unwrap_or(&data).display().to_string();
        let written = self.as_owner(move || marker.write(&data), deadline);
        written.map_err(|error| {
            Failure::generic(format!(
                "cannot write beside the data directory: {error}; what is kept aside goes there: let the owner write in {parent}"
            ))
        })
    }

    /// Removes the marker of a rejoin that is done.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn finish_rejoin(&self, deadline: Deadline) -> Result<(), AsOwnerError> {
        let data = self.data_directory().to_owned();
        self.as_owner(move || Marker::remove(&data), deadline)
    }

    /// Starts the worker, which outlives this action. Of two workers the second ends at once.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_worker(&self, resource: &str, ticket: u64) -> Result<(), LaunchError> {
        let owner = self.owner()?;
        let log = self.open_log().map_err(|cause| self.log_error(cause))?;
        let itself = std::env::current_exe().map_err(|cause| self.log_error(cause))?;
        let program = Program::new(itself).owned_by(&owner).arg("rejoin").variable("OCF_RESOURCE_INSTANCE", resource);
        let program = program.arg(ticket.to_string());
        let parameters = self.parameters.variables();
        let program = parameters.into_iter().fold(program, |program, (name, value)| program.variable(name, value));
        let mut command = program.command();
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(|cause| self.log_error(cause))?).stderr(log);
        detach(&mut command, None);
        let mut child = command.spawn().map_err(|cause| program.not_started(cause))?;
        // Reaped if it ends before this action does; init reaps it otherwise.
        std::thread::spawn(move || child.wait());
        Ok(())
    }

    /// Gives out a new ticket: workers that have an older one and have not begun yet never will.
    ///
    /// # Errors
    /// When the marker cannot be written.
    pub fn new_ticket(&self, marker: &Marker, deadline: Deadline) -> Result<u64, Failure> {
        let now = u64::try_from(since_boot().as_nanos()).unwrap_or(u64::MAX);
        let ticket = now.max(marker.ticket.saturating_add(1));
        self.plan_rejoin(Marker { ticket, ..marker.clone() }, deadline).map(|()| ticket)
    }

    /// Ends the worker and the programs that it runs. What they were doing is done again later. A node that only waits
    /// does so no longer.
    ///
    /// # Errors
    /// When they do not end in time.
    pub fn end_worker(&self, deadline: Deadline) -> Result<(), Failure> {
        self.end_working(deadline)?;
        let ended = match self.rejoining() {
            Ok(Rejoining::Interrupted(marker)) => self.new_ticket(&marker, deadline).map(drop),
            Ok(Rejoining::Waiting(_)) => self.finish_rejoin(deadline).map_err(|e| Failure::generic(e.to_string())),
            _ => Ok(()),
        };
        if let Err(failure) = ended {
            log::warn!("a rejoin that was just begun cannot be told to end: {failure}");
        }
        self.end_working(deadline)
    }

    fn end_working(&self, deadline: Deadline) -> Result<(), Failure> {
        let data = self.data_directory();
        let strangers_have = deadline.at_most(STRANGERS_HAVE.min(deadline.remaining() / 4));
        let mut pace = Pace::up_to(Duration::from_millis(50));
        let mut told = false;
        // Another user may run these programs, too, and is not ended.
        let owner = self.owner().ok();
        let is_worker = |pid: &i32| {
            let is_owners = owner.as_ref().is_none_or(|owner| owner.may_signal(*pid));
            is_owners && lock::is_ours(*pid, &self.parameters.bindir)
        };
        while lock::worker(data).is_some() {
            if !told {
                log::warn!("ending the rejoin of {}; the next start goes on with it", data.display());
                told = true;
            }
            let holders = lock::holders(data);
            self.kill_holders(&holders, deadline);
            if holders.iter().any(is_worker) {
                if !pace.step(deadline) {
                    return Err(Failure::generic(format!(
                        "the rejoin, processes {holders:?}, does not end, not even by SIGKILL; they probably wait for the disk"
                    )));
                }
            } else if !pace.step(strangers_have) {
                log::warn!(
                    "the lock of the rejoin of {} is held by processes {holders:?}, which are no rejoin; not waiting for them",
                    data.display()
                );
                return Ok(());
            }
        }
        Ok(())
    }

    /// As the owner: whoever holds the owner's lock is ended only if the owner could do that, too. The thread would be let by its
    /// real id, which is root's.
    fn kill_holders(&self, holders: &[i32], deadline: Deadline) {
        let Ok(owner) = self.owner() else { return };
        let (data, holders) = (self.data_directory().to_owned(), holders.to_owned());
        let kill = move || {
            for pid in holders {
                // Held first, then looked at: the number may be another process's by now.
                let is_theirs = |_: &ProcessHandle| owner.may_signal(pid) && lock::is_held_by(&data, pid);
                let process = ProcessHandle::of(pid).ok().filter(is_theirs);
                let _ = process.map(|process| process.send(Signal::SIGKILL));
            }
            Ok(())
        };
        if let Err(error) = self.as_owner(kill, deadline) {
            log::warn!("cannot end a rejoin: {error}");
        }
    }
}
