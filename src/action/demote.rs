//! `demote`: the primary becomes a standby, and what it wrote last is on record.

use std::time::Duration;

use super::leaving::finish_leaving;
use super::start::Check;
use super::{Agent, Outcome};
use crate::instance::Ending;
use crate::ocf::{ExitCode, Failure};
use crate::policy::demote::{Step, gone_counts_as_demoted, next};
use crate::policy::stop::budget;
use crate::sys::{Notes, Pace};

impl Agent {
    pub(super) fn demote(&self) -> Outcome {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        loop {
            match next(&self.state()) {
                Step::Done => return Ok(ExitCode::Success),
                Step::Gone | Step::RefuseAbsent(_) if self.is_on_its_way() => return Ok(ExitCode::Success),
                Step::Gone => return self.gone(),
                Step::Restart => return self.restart_as_standby(),
                Step::EndOrphans => {
                    self.instance.end_orphans(self.deadline).map_err(|e| Failure::generic(e.to_string()))?;
                }
                Step::StopSilent => {
                    log::warn!("the server does not answer; stopping it");
                    let time = self.deadline.remaining().min(Duration::from_secs(10));
                    self.instance.end(budget(time)).map_err(|e| Failure::generic(e.to_string()))?;
                }
                Step::RefuseAbsent(what) => return Err(Failure::new(ExitCode::NotInstalled, what)),
                // It has never been a primary since it was rewound or cloned.
                Step::Wait if self.recovers_after_rejoin() => return Ok(ExitCode::Success),
                Step::Wait if pace.step(self.deadline) => {}
                Step::Wait => return Err(self.out_of_time("the server neither starts nor stops")),
            }
        }
    }

    fn gone(&self) -> Outcome {
        self.finish_withdrawing_hold(self.begin_withdrawing_hold());
        if gone_counts_as_demoted(Notes::load(&self.notes_path()).stop_planned) {
            log::info!("there is no server to demote; it is stopped");
            return Ok(ExitCode::Success);
        }
        Err(Failure::new(
            ExitCode::NotRunning,
            "there is no server to demote: it is stopped; the cluster will start it as a standby",
        ))
    }

    /// Most of the time is for the shutdown; the start that follows needs some of it, too.
    fn restart_as_standby(&self) -> Outcome {
        let withdrawing = self.begin_withdrawing_hold();
        let time = self.deadline.remaining() * 6 / 10;
        let ending = self.instance.end(budget(time)).map_err(|e| Failure::generic(e.to_string()))?;
        if ending == Ending::Forced {
            log::warn!("this demotion is no clean hand-over; the election will see to it that nothing is lost");
        }
        // What the cluster's tools do while the server starts costs an outage no time.
        let left = self.leave_checkpoint(ending);
        let published = self.begin_withdrawing();
        let started = self.become_standby(Check::Nothing);
        finish_leaving(left);
        self.finish_withdrawing(published);
        self.finish_withdrawing_hold(withdrawing);
        started.map(|()| ExitCode::Success)
    }
}
