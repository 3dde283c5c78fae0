//! `promote`: the last guard of the election, then the promotion itself.

use std::time::{Duration, Instant};

use super::election::Elected;
use super::start::{Check, Launching};
use super::{Agent, Outcome};
use crate::instance::{Session, Watch};
use crate::ocf::{ExitCode, Failure};
use crate::policy::makeshift::Archive;
use crate::policy::origin::Origin;
use crate::policy::progress::STALLED;
use crate::policy::promote::{Prospect, Step, next, prospect};
use crate::policy::start;
use crate::policy::start::RECOVERY;
use crate::sys::{Pace, PromotionNote};
use crate::types::{NodeName, State};

/// What is left for the promotion itself when room was waited for, or WAL.
pub(super) const PROMOTION: Duration = Duration::from_secs(5);

/// How often it is looked at whether a server that lets nobody in has replayed its WAL.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

impl Agent {
    pub(super) fn promote(&self) -> Outcome {
        let mut launched = Launching::default();
        let mut pace = Pace::up_to(Duration::from_millis(25));
        let (mut watch, mut stand_ins, mut elected) = (None, None, None);
        let mut look = Instant::now() + RECOVERY;
        loop {
            let found = self.instance.observe(self.deadline.at_most(Duration::from_secs(2)));
            let mut step = next(&found.state);
            if found.state == State::Starting && Instant::now() >= look {
                look = Instant::now() + BETWEEN_LOOKS;
                if self.is_done_but_shut() {
                    log::warn!("the server has replayed its WAL and lets nobody in yet; it is promoted as it is");
                    step = Step::Elect;
                }
            }
            let waits_for = match step {
                Step::Done => return self.is_primary_already(found.session.as_ref()),
                Step::Elect => {
                    if self.elect_and_promote(found.session.as_ref(), &mut elected)? {
                        return Ok(ExitCode::Success);
                    }
                    launched.leave_archive(self)?;
                    watch = None;
                    continue;
                }
                Step::Start(step) => {
                    if step == start::Step::Launch {
                        launched.begin_without_primary(self);
                    }
                    self.take_step(step, Check::Nothing, &mut launched)?
                }
            };
            let startup = watch.get_or_insert_with(|| self.instance.watch_startup());
            match self.archive(startup.idle_for()) {
                Archive::Hangs => {
                    launched.leave_archive(self)?;
                    watch = None;
                    continue;
                }
                Archive::Quiet if startup.idle_for() >= STALLED => {
                    let stand_ins = stand_ins.get_or_insert_with(|| self.stand_ins_by_votes());
                    self.yield_if_stuck(startup, stand_ins, &waits_for)?;
                }
                Archive::Quiet | Archive::Fetches => {}
            }
            if !pace.step(self.deadline) {
                return Err(self.out_of_time(&waits_for));
            }
        }
    }

    /// A promotion that an earlier action ordered has happened. One that a person made has had no election.
    fn is_primary_already(&self, session: Option<&Session>) -> Outcome {
        match session.filter(|_| self.in_cluster()).map(|session| self.origin(session, self.deadline)) {
            None | Some(Ok(Origin::Ours)) => Ok(ExitCode::Success),
            Some(Ok(Origin::ByHand)) => Err(Failure::generic(self.by_hand_in_words())),
            Some(Err(failure)) => Err(failure),
        }
    }

    /// Whether it is promoted. It is not when its archive hangs.
    fn elect_and_promote(&self, session: Option<&Session>, elected: &mut Option<Elected>) -> Result<bool, Failure> {
        self.await_room()?;
        let (stand_ins, reserved) = match self.in_cluster() {
            true => {
                let (stand_ins, reserved) = self.confirm_election(session, elected)?;
                (stand_ins, Some(reserved))
            }
            false => {
                log::warn!("promoting without an election: Pacemaker does not run this resource as a promotable clone");
                (&[][..], None)
            }
        };
        // Noted before the order: whatever becomes of this action, a demotion has to know of it.
        self.note_order_to_promote();
        // A promotion that an earlier, interrupted action began may end in this very moment: then pg_ctl
        // refuses, and only the server's own answer counts.
        let ordered = self.instance.promote(self.deadline);
        if !self.await_primary(session, ordered, stand_ins)? {
            return Ok(false);
        }
        if let Some(reserved) = reserved {
            self.reserve_what_was_taken(session, &reserved);
        }
        self.change_notes(|notes| notes.promotion = None);
        log::info!("promoted, the server takes writes");
        Ok(true)
    }

    /// Whoever asks later finds who promoted this server, and a demotion that it may still happen.
    fn note_order_to_promote(&self) {
        let server = self.instance.postmaster_identity();
        self.change_notes(|notes| {
            notes.promotion = server.map(|postmaster| PromotionNote { postmaster, hangs: false });
            (notes.promoted_server, notes.by_hand) = (server, false);
        });
    }

    fn note_that_it_hangs(&self) {
        let server = self.instance.postmaster_identity();
        self.change_notes(|notes| {
            notes.promotion = server.map(|postmaster| PromotionNote { postmaster, hangs: true });
        });
    }

    /// A candidate that does not get there is no better than one that is lost, where another one has as much, or where a new start
    /// gets it there.
    fn yield_if_stuck(&self, watch: &mut Watch, stand_ins: &[NodeName], waits_for: &str) -> Result<(), Failure> {
        let idle = watch.idle_for();
        let suspended = if idle < STALLED { None } else { self.instance.suspended_follower() };
        let prospect = prospect(idle, stand_ins, suspended.is_some());
        if prospect == Prospect::Waits {
            return Ok(());
        }
        self.note_that_it_hangs();
        let (s, who) = (idle.as_secs(), self.instance.startup_in_words());
        let Prospect::Yields(other) = prospect else {
            let (pid, title) = suspended.unwrap_or_default();
            return Err(Failure::generic(format!(
                "{waits_for}, and has done nothing for {s} s: process {pid} ({title}) is suspended by a signal or a debugger; the server \
                 is to be started anew, which loses nothing"
            )));
        };
        if let Err(failure) = self.yield_to(other) {
            log::warn!("the promotion scores do not say that {other} is to be promoted: {failure}");
        }
        Err(Failure::generic(format!(
            "{waits_for}; its startup process ({who}) has done nothing for {s} s, and {other} has as much WAL: {other} is to be \
             promoted; see the server's log on this node, and its disk"
        )))
    }

    /// A server that finds no room for its new timeline ends. After a few of such attempts Pacemaker would give up this node,
    /// which may be the one that has the most WAL, so room is waited for.
    fn await_room(&self) -> Result<(), Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(500));
        let patience = self.deadline.at_most(self.deadline.remaining().saturating_sub(PROMOTION));
        let mut told = false;
        while let Some(lack) = self.instance.lack_of_room_to_promote(self.deadline) {
            if !pace.step(patience) {
                return Err(Failure::generic(lack));
            }
            if !told {
                log::warn!("waiting for room: {lack}");
                told = true;
            }
        }
        Ok(())
    }

    /// Looks until the server is out of recovery, or its archive hangs: PostgreSQL asks that once more before it ends a recovery,
    /// for the next segment and for the history of the next timeline. An open connection outlives the promotion.
    fn await_primary(
        &self,
        session: Option<&Session>,
        ordered: Result<(), Failure>,
        stand_ins: &[NodeName],
    ) -> Result<bool, Failure> {
        const WAITS_FOR: &str = "the server is told to promote and is still in recovery";
        let mut pace = Pace::up_to(Duration::from_millis(15));
        let mut watch = self.instance.watch_startup();
        loop {
            match self.is_promoted(session)? {
                true => return Ok(true),
                false => ordered.clone()?,
            }
            match self.archive(watch.idle_for()) {
                Archive::Quiet => self.yield_if_stuck(&mut watch, stand_ins, WAITS_FOR)?,
                Archive::Fetches => {}
                Archive::Hangs => return Ok(false),
            }
            if !pace.step(self.deadline) {
                return Err(self.out_of_time(&format!("{WAITS_FOR}, probably replaying")));
            }
        }
    }

    fn is_promoted(&self, session: Option<&Session>) -> Result<bool, Failure> {
        let Some(session) = session else { return Ok(next(&self.state()) == Step::Done) };
        let in_recovery = session.is_in_recovery(self.deadline);
        let failed = |error| Failure::generic(format!("the server failed while it was promoted: {error}"));
        in_recovery.map(|in_recovery| !in_recovery).map_err(failed)
    }
}
