//! Ending the server, by the mildest way that the time allows.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Instance;
use super::processes::{Processes, is_gone, is_suspended};
use crate::policy::progress::STALLED;
use crate::policy::stop::{Budget, Stall, after_giving_up, gives_up};
use crate::sys::{Deadline, Pace};

/// How the server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a fast shutdown.
    Fast,
    /// By an immediate shutdown or by SIGKILL: its next start recovers from the WAL.
    Forced,
}

/// What became of a fast shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fast {
    Ended,
    /// It got nowhere, and nothing depends on it.
    GivenUp,
    NotInTime,
}

/// The processes do not end.
#[derive(Debug, thiserror::Error)]
#[error("server processes {0:?} of {1} do not end, not even by SIGKILL; they probably wait for the disk")]
pub struct EndError(Vec<i32>, String);

impl Instance {
    /// Stops the server within the budget: fast, then immediate, then SIGKILL. Needs no SQL. A fast shutdown that gets nowhere
    /// is given up early where nothing depends on it; whether another node has what this one has is asked only then.
    ///
    /// # Errors
    /// When a process survives SIGKILL, which means that it hangs in the kernel.
    pub fn end(&self, budget: Budget, is_elsewhere: &dyn Fn() -> bool) -> Result<Ending, EndError> {
        let begin = Instant::now();
        if self.postmaster().is_some_and(is_suspended) {
            return self.kill_all(Deadline::after(budget.kill)).map(|()| Ending::Forced);
        }
        let fast = self.end_fast(budget, is_elsewhere);
        let budget = match fast {
            Fast::Ended => return Ok(Ending::Fast),
            Fast::GivenUp => after_giving_up(budget, begin.elapsed()),
            Fast::NotInTime => budget,
        };
        self.force(begin, budget)?;
        Ok(self.how_it_ended())
    }

    /// Stops a server that is known to hang: at once by force.
    ///
    /// # Errors
    /// As [`Instance::end`].
    pub fn end_by_force(&self, budget: Budget) -> Result<Ending, EndError> {
        self.force(Instant::now(), after_giving_up(budget, Duration::ZERO)).map(|()| Ending::Forced)
    }

    /// The immediate shutdown, then SIGKILL.
    fn force(&self, begin: Instant, budget: Budget) -> Result<(), EndError> {
        let until = |end: Duration| Deadline::after(end.saturating_sub(begin.elapsed()));
        if self.signal_postmaster(Signal::SIGQUIT) {
            log::warn!("going on with an immediate shutdown after {} ms", begin.elapsed().as_millis());
            self.await_postmaster(until(budget.immediate));
        }
        self.kill_all(until(budget.kill))
    }

    /// A shutdown that was cut short after its checkpoint was on disk is a clean one: what was left were senders and the
    /// archiver.
    fn how_it_ended(&self) -> Ending {
        let control = self.control_data(Deadline::after(Duration::from_secs(1)));
        if control.is_ok_and(|control| control.was_stopped_cleanly()) { Ending::Fast } else { Ending::Forced }
    }

    fn end_fast(&self, budget: Budget, is_elsewhere: &dyn Fn() -> bool) -> Fast {
        let processes = self.processes();
        let (deadline, mut watch) = (Deadline::after(budget.fast), self.watch_shutdown());
        if !self.signal_postmaster(Signal::SIGINT) {
            return Fast::NotInTime;
        }
        let mut pace = Pace::up_to(Duration::from_millis(20));
        while self.postmaster().is_some() {
            let idle = watch.idle_for();
            if idle >= STALLED {
                if self.gives_up(idle, is_elsewhere) {
                    return Fast::GivenUp;
                }
                watch.restart();
            }
            if !pace.step(deadline) {
                return Fast::NotInTime;
            }
        }
        if await_end(&processes, deadline) { Fast::Ended } else { Fast::NotInTime }
    }

    /// Asked only when nothing has been done for a while, because the answers cost programs.
    fn gives_up(&self, idle: Duration, is_elsewhere: &dyn Fn() -> bool) -> bool {
        let is_standby = self.has_standby_signal();
        let control = self.control_data(Deadline::after(Duration::from_secs(1)));
        let checkpoint_is_written = control.is_ok_and(|control| control.was_stopped_cleanly());
        let is_elsewhere = !is_standby && !checkpoint_is_written && is_elsewhere();
        let gives_up = gives_up(&Stall { idle, is_standby, checkpoint_is_written, is_elsewhere });
        let (ms, who) = (idle.as_millis(), self.workers_in_words());
        let why = match (is_standby, checkpoint_is_written, is_elsewhere) {
            (true, ..) => "it is a standby, nothing is lost",
            (_, true, _) => {
                "its checkpoint is on disk; what was not archived yet is archived when this node is the primary again"
            }
            (_, _, true) => "another node has what this one has",
            _ => "it has its time, since no other node is known to have what this one has",
        };
        log::warn!("the fast shutdown has done nothing for {ms} ms and waits for {who}: {why}");
        gives_up
    }

    /// Ends server processes that have no postmaster. Where there is one, nothing is ended.
    ///
    /// # Errors
    /// When a process survives SIGKILL until the deadline.
    pub fn end_orphans(&self, deadline: Deadline) -> Result<(), EndError> {
        if self.postmaster().is_some() { Ok(()) } else { self.kill_all(deadline) }
    }

    fn kill_all(&self, deadline: Deadline) -> Result<(), EndError> {
        let processes = self.processes();
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
            self.processes().send(pid, signal);
        }
        postmaster.is_some()
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

/// Waits until no server process is left. After the postmaster's end the logging collector and WAL senders may need a
/// moment. False when the postmaster died and left others.
fn await_end(processes: &Processes, deadline: Deadline) -> bool {
    let mut pace = Pace::up_to(Duration::from_millis(10));
    let moment = deadline.at_most(Duration::from_secs(2));
    while !processes.all().is_empty() {
        if !pace.step(moment) {
            return false;
        }
    }
    true
}
