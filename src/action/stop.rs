//! `stop`: no server process is left. It needs no SQL, no cluster and no valid configuration.

use super::leaving::Ended;
use super::{Agent, Outcome};
use crate::ocf::{ExitCode, Failure};
use crate::policy::stop::{budget, for_shutdown};

impl Agent {
    pub(super) fn stop(&self) -> Outcome {
        self.instance.end_worker(self.deadline)?;
        let withdrawing = self.begin_withdrawing_hold();
        let restarts = self.begin_stop();
        let ended = match self.instance.is_running() {
            true => {
                let budget = budget(for_shutdown(self.deadline.remaining()));
                let ending = self.instance.end(budget, &|| self.has_it_elsewhere(None).is_some());
                ending.map_err(|e| Failure::generic(e.to_string()))?.into()
            }
            false => Ended::Before,
        };
        self.leave_behind(ended, restarts);
        self.withdraw();
        self.show_nothing();
        self.finish_withdrawing_hold(withdrawing);
        Ok(ExitCode::Success)
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
