//! `promote`: the last guard of the election, then the promotion itself.

use std::time::Duration;

use super::start::Check;
use super::{Agent, Outcome};
use crate::instance::{Launched, Session};
use crate::ocf::{ExitCode, Failure};
use crate::policy::promote::{Step, next};
use crate::sys::Pace;

/// What is left for the promotion itself when room was waited for.
const PROMOTION: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn promote(&self) -> Outcome {
        let mut launched: Option<Launched> = None;
        let mut pace = Pace::up_to(Duration::from_millis(25));
        loop {
            let found = self.instance.observe(self.deadline.at_most(Duration::from_secs(2)));
            let waits_for = match (next(&found.state), found.session) {
                (Step::Done, _) => return Ok(ExitCode::Success),
                (Step::Elect, session) => return self.elect_and_promote(session.as_ref()),
                (Step::Start(step), _) => self.take_step(step, Check::Nothing, &mut launched)?,
            };
            if !pace.step(self.deadline) {
                return Err(self.out_of_time(&waits_for));
            }
        }
    }

    fn elect_and_promote(&self, session: Option<&Session>) -> Outcome {
        self.await_room()?;
        if self.in_cluster() {
            self.confirm_election(session)?;
        } else {
            log::warn!("promoting without an election: Pacemaker does not run this resource as a promotable clone");
        }
        // A promotion that an earlier, interrupted action began may end in this very moment: then pg_ctl
        // refuses, and only the server's own answer counts.
        let ordered = self.instance.promote(self.deadline);
        self.await_primary(session, ordered)?;
        log::info!("promoted, the server takes writes");
        Ok(ExitCode::Success)
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

    /// Looks until the server is out of recovery. An open connection outlives the promotion.
    fn await_primary(&self, session: Option<&Session>, ordered: Result<(), Failure>) -> Result<(), Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(15));
        loop {
            match self.is_promoted(session)? {
                true => return Ok(()),
                false => ordered.clone()?,
            }
            if !pace.step(self.deadline) {
                return Err(
                    self.out_of_time("the server is told to promote and is still in recovery, probably replaying")
                );
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
