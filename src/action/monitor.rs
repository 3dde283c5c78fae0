//! `monitor`: what the instance is. On the primary it also keeps the promotion scores right.

use std::time::Duration;

use super::state::healthy;
use super::{Agent, Outcome};
use crate::instance::Session;
use crate::ocf::{ExitCode, Failure};
use crate::policy::condition::Condition;
use crate::policy::monitor::{Answer, answer};
use crate::sys::{Notes, Pace};
use crate::types::{Role, State};

/// How long a state that will change by itself is looked at. Notifications wait behind a monitor.
const PATIENCE: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn monitor(&self) -> Outcome {
        if let Some(answer) = self.monitor_rejoin() {
            return answer;
        }
        let patience = self.deadline.at_most(PATIENCE);
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            let found = self.instance.observe(self.deadline);
            let failure = match answer(&found.state, self.request.meta.probe) {
                Answer::Running(role) => return Ok(self.running(role, found.session.as_ref())),
                Answer::RunningWithWarning(role, why) => {
                    log::warn!("the server is alive and refuses the agent: {why}; it is a {role} by its files");
                    return Ok(self.running(role, None));
                }
                Answer::NotRunning => return Ok(ExitCode::NotRunning),
                Answer::LookAgain(why) => Failure::generic(why),
                // A connection that broke may be a backend's crash, from which the server recovers.
                Answer::Failed(code, why) if matches!(found.state, State::Silent { .. }) => Failure::new(code, why),
                Answer::Failed(code, why) => return Err(Failure::new(code, why)),
            };
            if !pace.step(patience) {
                return Err(failure);
            }
        }
    }

    fn running(&self, role: Role, session: Option<&Session>) -> ExitCode {
        if !self.in_cluster() || self.request.meta.probe {
            self.show_again();
            return healthy(role);
        }
        if self.begins_deep_monitor() {
            return healthy(role);
        }
        if role == Role::Standby {
            self.stand_again();
        }
        let condition = session.and_then(|session| self.look_after(role, session));
        condition.map_or(healthy(role), |condition| self.tell(&condition))
    }

    /// A probe that finds the instance running is the first question after Pacemaker, or its controller alone, was started
    /// anew. What was published before may be gone, and the promotion scores are what a failover needs first.
    fn show_again(&self) {
        self.change_notes(Notes::tell_all_again);
        if !self.in_cluster() {
            return;
        }
        if let Err(error) = self.cluster.resend_attributes(self.deadline.at_most(Duration::from_secs(2))) {
            log::warn!("the node's attributes may be missing in the cluster configuration: {error}");
        }
    }

    /// What a recurring monitor does besides looking. None of it fails the monitor.
    fn look_after(&self, role: Role, session: &Session) -> Option<Condition> {
        let condition = match role {
            Role::Primary => self.judge_standbys(session),
            Role::Standby => {
                self.follow_unless_streaming(session);
                self.watch_standby(session)
            }
        };
        self.keep_slots(role, session);
        condition
    }
}
