//! `monitor`: what the instance is. On the primary it also keeps the promotion scores right.

use std::time::Duration;

use super::state::healthy;
use super::{Agent, Outcome};
use crate::instance::{Session, Watch};
use crate::ocf::{ExitCode, Failure};
use crate::policy::condition::Condition;
use crate::policy::monitor::{Answer, Recovery, SUSPENDED, answer, recovering};
use crate::sys::{Notes, Pace, RecoveryNote, ms_since_boot};
use crate::types::{Role, State, Timeline};

/// How long a state that will change by itself is looked at. Notifications wait behind a monitor.
const PATIENCE: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn monitor(&self) -> Outcome {
        self.instance.cut_log();
        if let Some(answer) = self.monitor_rejoin() {
            return answer;
        }
        let patience = self.deadline.at_most(PATIENCE);
        let mut pace = Pace::up_to(Duration::from_millis(100));
        let mut recovery = None;
        loop {
            let found = self.instance.observe(self.deadline);
            let answer = answer(&found.state, self.request.meta.probe);
            if let Answer::Running(Role::Standby) | Answer::RunningWithWarning(Role::Standby, _) = answer {
                self.fail_when_suspended()?;
            }
            let failure = match answer {
                Answer::Running(role) => {
                    self.note_shut_out(None);
                    return Ok(self.running(role, found.session.as_ref(), None));
                }
                Answer::RunningWithWarning(role, why) => {
                    let shown = self.note_shut_out(Some((role, &why)));
                    return Ok(self.running(role, None, shown));
                }
                Answer::NotRunning => return Ok(ExitCode::NotRunning),
                Answer::LookAgain(why) => Failure::generic(why),
                // A connection that broke may be a backend's crash, from which the server recovers.
                Answer::Failed(code, why) if matches!(found.state, State::Silent { .. }) => Failure::new(code, why),
                Answer::Failed(code, why) => return Err(Failure::new(code, why)),
            };
            let is_recovering = found.state == State::Starting;
            if is_recovering {
                let watch = recovery.get_or_insert_with(|| self.instance.watch_recovery());
                // A standby need not be waited for: it serves nobody yet.
                if self.instance.has_standby_signal() && watch.has_worked() {
                    return self.recovering(watch);
                }
            }
            if !pace.step(patience) {
                return match recovery.as_mut().filter(|_| is_recovering) {
                    Some(watch) => self.recovering(watch),
                    None => Err(failure),
                };
            }
        }
    }

    /// A standby whose receiver or startup process is suspended looks well and gets nothing.
    fn fail_when_suspended(&self) -> Result<(), Failure> {
        let found = self.instance.suspended_follower();
        let (path, now) = (self.notes_path(), ms_since_boot());
        let before = Notes::load(&path);
        let noted = |pid| before.suspended.filter(|(noted, _)| *noted == pid).map_or(now, |(_, since)| since);
        let suspended = found.as_ref().map(|(pid, _)| (*pid, noted(*pid)));
        Notes { suspended, ..before.clone() }.save(&path, &before);
        match found.zip(suspended) {
            Some(((pid, title), (_, since))) if Duration::from_millis(now.saturating_sub(since)) >= SUSPENDED => {
                Err(Failure::generic(format!(
                    "process {pid} ({title}) is suspended by a signal or a debugger, and this standby gets nothing; it has to be started \
                     anew"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The answer for a server whose recovery takes longer than a look. A recovery is remembered from one monitor to the next.
    fn recovering(&self, watch: &mut Watch) -> Outcome {
        let role = if self.instance.has_standby_signal() { Role::Standby } else { Role::Primary };
        let recovery = Recovery {
            role,
            idle: self.idle_recovery(watch),
            is_suspended: self.instance.recovery_is_suspended(),
            is_elsewhere: role == Role::Primary && self.has_it_elsewhere(None).is_some(),
        };
        match recovering(&recovery) {
            Answer::Failed(code, why) => Err(Failure::new(code, why)),
            _ if self.request.meta.probe || !self.in_cluster() => Ok(healthy(role)),
            _ => {
                if role == Role::Standby {
                    self.stand_again_when_replayed();
                }
                Ok(self.tell(&Condition::recovering(role)))
            }
        }
    }

    /// How long the recovery has done nothing, as far as the monitors have seen.
    fn idle_recovery(&self, watch: &mut Watch) -> Duration {
        let noted = Notes::load(&self.notes_path()).recovery;
        let now = self.instance.postmaster_identity();
        match noted.filter(|note| Some(note.postmaster) == now) {
            Some(note) if !watch.has_worked() => Duration::from_millis(ms_since_boot().saturating_sub(note.worked_ms)),
            _ => {
                self.note_recovery();
                Duration::ZERO
            }
        }
    }

    /// Notes that the server recovers, and was seen to get somewhere.
    pub(super) fn note_recovery(&self) {
        let postmaster = self.instance.postmaster_identity();
        let note = postmaster.map(|postmaster| RecoveryNote { postmaster, worked_ms: ms_since_boot() });
        if Notes::load(&self.notes_path()).recovery.is_none() {
            log::warn!(
                "the server recovers and takes no connections yet; it is left to that as long as it gets somewhere"
            );
        }
        self.change_notes(|notes| notes.recovery = note);
    }

    /// The server has answered after a recovery that a start did not wait for.
    fn recovered(&self) {
        if Notes::load(&self.notes_path()).recovery.is_none() {
            return;
        }
        self.change_notes(|notes| notes.recovery = None);
        log::info!("the recovery is over, the server takes connections");
    }

    fn running(&self, role: Role, session: Option<&Session>, shut_out: Option<Condition>) -> ExitCode {
        if !self.in_cluster() || self.request.meta.probe {
            self.show_again();
            return healthy(role);
        }
        if self.begins_deep_monitor() {
            return healthy(role);
        }
        self.recovered();
        if role == Role::Standby {
            self.stand_again();
        }
        let condition = match session {
            Some(session) => self.look_after(role, session),
            None => self.look_after_blindly(role),
        };
        let condition = condition.or(shut_out);
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
        let disowned = if role == Role::Primary { self.disowned(session) } else { None };
        if disowned.is_some() {
            return disowned;
        }
        let condition = match role {
            Role::Primary => {
                let condition = self.judge_standbys(session);
                let published = Notes::load(&self.notes_path()).published_timeline;
                self.note_here(role, published.map(Timeline));
                condition
            }
            Role::Standby => {
                self.follow_unless_streaming(session);
                self.watch_standby(session)
            }
        };
        self.keep_slots(role, session);
        if role == Role::Primary {
            self.archive_planted(session);
        }
        condition
    }
}
