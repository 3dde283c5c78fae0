//! Ending the server, by the mildest way that the time allows.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::Instance;
use super::processes::{Processes, is_gone, is_suspended};
use crate::policy::stop::Budget;
use crate::sys::{Deadline, Pace};

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a fast shutdown.
    Fast,
    /// By an immediate shutdown or by SIGKILL: its next start recovers from the WAL.
    Forced,
}

/// The processes do not end.
#[derive(Debug, thiserror::Error)]
#[error("server processes {0:?} of {1} do not end, not even by SIGKILL; they probably wait for the disk")]
pub struct EndError(Vec<i32>, String);

impl Instance {
    /// Stops the server within the budget: fast, then immediate, then SIGKILL. Needs no SQL.
    ///
    /// # Errors
    /// When a process survives SIGKILL, which means that it hangs in the kernel.
    pub fn end(&self, budget: Budget) -> Result<Ending, EndError> {
        let (fast, immediate, kill) =
            (Deadline::after(budget.fast), Deadline::after(budget.immediate), Deadline::after(budget.kill));
        let processes = Processes::of(self.data_directory());
        if self.postmaster().is_some_and(is_suspended) {
            return self.kill_all(kill).map(|()| Ending::Forced);
        }
        if self.signal_postmaster(Signal::SIGINT) && self.await_end(&processes, fast) {
            return Ok(Ending::Fast);
        }
        if self.signal_postmaster(Signal::SIGQUIT) {
            log::warn!(
                "the fast shutdown has not ended in {} ms; going on with an immediate one",
                budget.fast.as_millis()
            );
            self.await_postmaster(immediate);
        }
        self.kill_all(kill).map(|()| Ending::Forced)
    }

    /// Ends server processes that have no postmaster. Where there is one, nothing is ended.
    ///
    /// # Errors
    /// When a process survives SIGKILL until the deadline.
    pub fn end_orphans(&self, deadline: Deadline) -> Result<(), EndError> {
        if self.postmaster().is_some() { Ok(()) } else { self.kill_all(deadline) }
    }

    fn kill_all(&self, deadline: Deadline) -> Result<(), EndError> {
        let processes = Processes::of(self.data_directory());
        let left = processes.all();
        if left.is_empty() {
            return Ok(());
        }
        log::warn!("ending server processes {left:?} of {}", self.data_directory().display());
        left.iter().for_each(|pid| processes.send(*pid, Signal::SIGQUIT));
        let mut pace = Pace::up_to(Duration::from_millis(20));
        let mild = deadline.at_most(Duration::from_millis(300).min(deadline.remaining() / 2));
        while !processes.all().is_empty() && pace.step(mild) {}
        let reaped = deadline.at_most(Duration::from_millis(500));
        let seen = left;
        loop {
            let left = processes.all();
            if left.is_empty() {
                while !seen.iter().all(|pid| is_gone(*pid)) && pace.step(reaped) {}
                return Ok(());
            }
            left.iter().for_each(|pid| processes.send(*pid, Signal::SIGKILL));
            if !pace.step(deadline) {
                return Err(EndError(left, self.data_directory().display().to_string()));
            }
        }
    }

    fn signal_postmaster(&self, signal: Signal) -> bool {
        let postmaster = self.postmaster();
        if let Some(pid) = postmaster {
            Processes::of(self.data_directory()).send(pid, signal);
        }
        postmaster.is_some()
    }

    /// Waits until no server process is left. After the postmaster's end the logging collector and WAL
    /// senders may need a moment. False also when the postmaster died and left others.
    fn await_end(&self, processes: &Processes, deadline: Deadline) -> bool {
        if !self.await_postmaster(deadline) {
            return false;
        }
        let mut pace = Pace::up_to(Duration::from_millis(10));
        let moment = deadline.at_most(Duration::from_secs(2));
        while !processes.all().is_empty() {
            if !pace.step(moment) {
                return false;
            }
        }
        true
    }

    fn await_postmaster(&self, deadline: Deadline) -> bool {
        let mut pace = Pace::up_to(Duration::from_millis(20));
        while self.postmaster().is_some() {
            if !pace.step(deadline) {
                return false;
            }
        }
        true
    }
}
