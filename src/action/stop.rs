//! `stop`: no server process is left. It needs no SQL, no cluster and no valid configuration.

use std::time::Duration;

use super::{Agent, Outcome};
use crate::cluster::Paper;
use crate::instance::Ending;
use crate::ocf::{ExitCode, Failure};
use crate::policy::stop::budget;
use crate::sys::{Deadline, Running};
use crate::types::Position;

/// The last position of a primary, while the attribute daemon takes it.
pub(super) type Leaving = (Position, Running);

impl Agent {
    pub(super) fn stop(&self) -> Outcome {
        self.instance.end_worker(self.deadline)?;
        let withdrawing = self.begin_withdrawing_hold();
        if !self.instance.is_running() {
            self.withdraw();
            self.show_nothing();
            self.finish_withdrawing_hold(withdrawing);
            return Ok(ExitCode::Success);
        }
        let ending = self.instance.end(budget(self.deadline.remaining()));
        let ending = ending.map_err(|e| Failure::generic(e.to_string()))?;
        let left = self.leave_position(ending);
        self.withdraw();
        self.show_nothing();
        finish_leaving(left);
        self.finish_withdrawing_hold(withdrawing);
        Ok(ExitCode::Success)
    }

    /// A stopped primary cannot vote, so it leaves the position of its shutdown checkpoint: a candidate
    /// that has not received it can be told apart. Nothing here may fail the action.
    pub(super) fn leave_position(&self, ending: Ending) -> Option<Leaving> {
        let control = self.instance.control_data(Deadline::after(Duration::from_secs(1)));
        let control = control.map_err(|e| log::warn!("{e}; the last position is not known")).ok()?;
        match ending {
            Ending::Fast => log::info!("stopped, the control file says '{}'", control.state),
            Ending::Forced => log::warn!(
                "stopped by force, not cleanly: the control file says '{}'; the next start recovers from the WAL",
                control.state
            ),
        }
        let position = control.left_by_primary().filter(|_| self.in_cluster())?;
        let publishing = self.cluster.begin_publishing(Some(&Paper::Left(position)));
        let publishing = publishing.map_err(|e| log::warn!("cannot leave the last position {position}: {e}")).ok()?;
        Some((position, publishing))
    }
}

/// Waits shortly until the position is published; that it is not is a warning.
pub(super) fn finish_leaving(leaving: Option<Leaving>) {
    let Some((position, publishing)) = leaving else { return };
    if let Err(error) = publishing.finish(Deadline::after(Duration::from_secs(1))) {
        log::warn!("cannot leave the last position {position} as an attribute: {error}");
    }
}
