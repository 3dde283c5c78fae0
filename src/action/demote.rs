//! `demote`: the primary becomes a standby, and what it wrote last is on record.

use std::time::Duration;

use super::start::{Check, ONE_LOOK};
use super::{Agent, Outcome};
use crate::instance::{Ending, Session};
use crate::ocf::{ExitCode, Failure};
use crate::policy::demote::{Manner, Promotion, Step, gone_counts_as_demoted, next, recovering};
use crate::policy::stop::budget;
use crate::sys::{Notes, Pace, PromotionNote, Running};

impl Agent {
    pub(super) fn demote(&self) -> Outcome {
        let time = self.deadline.remaining();
        let mut pace = Pace::up_to(Duration::from_millis(50));
        let mut elsewhere = None;
        loop {
            let found = self.instance.observe(self.deadline.at_most(ONE_LOOK));
            let step = match next(&found.state, self.instance.has_standby_signal(), self.promotion()) {
                Step::Recovering => {
                    let is_elsewhere = elsewhere.get_or_insert_with(|| self.has_it_elsewhere(None)).is_some();
                    recovering(is_elsewhere, self.deadline.remaining(), time)
                }
                step => step,
            };
            match step {
                Step::Done => return Ok(ExitCode::Success),
                Step::Gone | Step::RefuseAbsent(_) if self.is_on_its_way() => return Ok(ExitCode::Success),
                Step::Gone => return self.gone(),
                Step::Restart(Manner::Fast) => return self.restart_as_standby(found.session.as_ref()),
                Step::Restart(Manner::Force) => return self.restart_what_is_stuck(),
                Step::EndOrphans => {
                    self.instance.end_orphans(self.deadline).map_err(|e| Failure::generic(e.to_string()))?;
                }
                Step::StopSilent => {
                    log::warn!("the server does not answer; stopping it");
                    let time = self.deadline.remaining().min(Duration::from_secs(10));
                    let ended = self.instance.end(budget(time), &|| self.has_it_elsewhere(None).is_some());
                    ended.map_err(|e| Failure::generic(e.to_string()))?;
                }
                Step::RefuseAbsent(what) => return Err(Failure::new(ExitCode::NotInstalled, what)),
                Step::Recovering | Step::Wait if pace.step(self.deadline) => {}
                Step::Recovering | Step::Wait => return Err(self.out_of_time("the server neither starts nor stops")),
            }
        }
    }

    /// Whether the server that runs was told to promote, by the agent or by a person.
    fn promotion(&self) -> Promotion {
        let noted = Notes::load(&self.notes_path()).promotion;
        let is_of_this_server = |note: &PromotionNote| self.instance.postmaster_identity() == Some(note.postmaster);
        match noted.filter(is_of_this_server) {
            Some(note) if note.hangs => Promotion::Hangs,
            Some(_) => Promotion::Ordered,
            None if self.instance.has_promote_signal() => Promotion::Ordered,
            None => Promotion::None,
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
    fn restart_as_standby(&self, session: Option<&Session>) -> Outcome {
        let withdrawing = self.begin_withdrawing_hold();
        let time = self.deadline.remaining() * 6 / 10;
        let close = session.map(|session| self.close_standbys(session));
        let is_elsewhere = || self.has_it_elsewhere(close.as_deref()).is_some();
        let ending = self.end(time, &is_elsewhere)?;
        self.start_after(ending, withdrawing)
    }

    /// A promotion or a recovery that hangs, or a recovery that need not be waited for. Where this node is stopped in the same
    /// transition, starting the server in between would only delay whoever is promoted instead.
    fn restart_what_is_stuck(&self) -> Outcome {
        let withdrawing = self.begin_withdrawing_hold();
        log::warn!("stopping the server at once: {}", self.instance.startup_in_words());
        let ending = self.instance.end_by_force(budget(self.deadline.remaining() * 6 / 10));
        let ending = ending.map_err(|e| Failure::generic(e.to_string()))?;
        // That stop tells what this node has.
        if Notes::load(&self.notes_path()).stop_planned == Some(true) {
            self.finish_withdrawing_hold(withdrawing);
            return self.gone();
        }
        self.start_after(ending, withdrawing)
    }

    fn start_after(&self, ending: Ending, withdrawing: Option<Running>) -> Outcome {
        if ending == Ending::Forced {
            log::warn!("this demotion is no clean hand-over; the election will see to it that nothing is lost");
        }
        // What the cluster's tools do while the server starts costs an outage no time.
        let left = self.leave_checkpoint(ending);
        let published = self.begin_withdrawing();
        let started = self.become_standby(Check::Nothing);
        self.finish_leaving(left);
        self.finish_withdrawing(published);
        self.finish_withdrawing_hold(withdrawing);
        started.map(|()| ExitCode::Success)
    }
}
