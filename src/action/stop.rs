//! `stop`: no server process is left. It needs no SQL, no cluster and no valid configuration.

use std::time::Duration;

use super::leaving::Ended;
use super::{Agent, Outcome};
use crate::instance::Ending;
use crate::ocf::{ExitCode, Failure};
use crate::policy::stop::{budget, for_shutdown};

impl Agent {
    pub(super) fn stop(&self) -> Outcome {
        self.instance.end_worker(self.deadline)?;
        let withdrawing = self.begin_withdrawing_hold();
        let restarts = self.begin_stop();
        let ended = match self.instance.is_running() {
            true => {
                self.end(for_shutdown(self.deadline.remaining()), &|| self.has_it_elsewhere(None).is_some())?.into()
            }
            false => Ended::Before,
        };
        self.leave_behind(ended, restarts);
        self.withdraw();
        self.show_nothing();
        self.finish_withdrawing_hold(withdrawing);
        Ok(ExitCode::Success)
    }

    /// Ends the server within this time. The checkpoint of a fast shutdown removes WAL from before a promotion by hand, which a
    /// rewind needs; and nobody is handed over to.
    pub(super) fn end(&self, time: Duration, is_elsewhere: &dyn Fn() -> bool) -> Result<Ending, Failure> {
        let ending = match self.was_promoted_by_hand() {
            true => self.instance.end_by_force(budget(time)),
            false => self.instance.end(budget(time), is_elsewhere),
        };
        ending.map_err(|e| Failure::generic(e.to_string()))
    }

    /// Whether this transition starts the instance again. Without that, what was going on here is over: an election that this
    /// node has waited in, too.
    fn begin_stop(&self) -> bool {
        let mut restarts = false;
        self.change_notes(|notes| {
            restarts = notes.start_planned.take().unwrap_or(false);
            if !restarts {
                notes.forget_election();
            }
        });
        restarts
    }
}
