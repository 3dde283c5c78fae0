//! The candidate fetches what a better node has, which is not the one to be promoted, and is promoted then.
//!
//! The other node is a standby as well: its walsender serves what it has received or replayed, and every node lets the replication
//! role of every other in. Whatever becomes of it, the candidate's settings are afterwards what they were; what was fetched stays,
//! so that an attempt that was cut short is not in vain.

use std::time::{Duration, Instant};

use super::Agent;
use super::follow::{FIXED, Problem, parsed, problem, upstream};
use crate::cluster::Paper;
use crate::instance::{Detour, Session};
use crate::policy::conninfo::Conninfo;
use crate::policy::follow::{address, wanted};
use crate::sys::{Deadline, Pace};
use crate::types::{Lsn, NodeName, Position, Vote};

/// How long nothing may come before it is given up. A connection that is refused is tried again every
/// `wal_retrieve_retry_interval`, 5 s, and another node's recovery may have to wait for the end of this.
const STALLED: Duration = Duration::from_secs(8);

/// How often it is looked at whether the other node is still there, and told how far it is.
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
const BETWEEN_WORDS: Duration = Duration::from_secs(5);

/// For taking back what was changed.
const ENDING: Duration = Duration::from_secs(5);

impl Agent {
    /// Has this standby receive from another one until it has what that one has. False when the other node leaves the
    /// cluster meanwhile: the election is for the caller to hold.
    pub(super) fn catch_up(
        &self,
        from: &NodeName,
        theirs: Position,
        session: &Session,
        deadline: Deadline,
    ) -> Result<bool, Problem> {
        let begin = Instant::now();
        let addresses = self.cluster.addresses(deadline).map_err(problem)?;
        let host = address(from, &addresses.of_nodes);
        let conninfo = conninfo_to(session, host, deadline)?;
        if session.following(None, deadline).map_err(problem)?.paused {
            session.resume_replay(deadline).map_err(|e| format!("its replay is paused and cannot be resumed: {e}"))?;
        }
        let detour = self.instance.begin_detour(&conninfo, deadline).map_err(problem)?;
        let fetched = self.await_position(from, theirs, host, session, deadline);
        self.end_catching_up(detour)?;
        let fetched = fetched?;
        if fetched {
            log::info!("has all that {from} has, after {} ms", begin.elapsed().as_millis());
        }
        Ok(fetched)
    }

    fn end_catching_up(&self, detour: Detour) -> Result<(), Problem> {
        let ended = self.instance.end_detour(detour, Deadline::after(ENDING));
        ended.map_err(|e| {
            format!("what was changed for fetching WAL could not be taken back, the next action tries again: {e}")
        })
    }

    /// Looks until the position is reached. False when the other node has left.
    fn await_position(
        &self,
        from: &NodeName,
        theirs: Position,
        host: &str,
        session: &Session,
        deadline: Deadline,
    ) -> Result<bool, Problem> {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        let (mut looked, mut told) = (Instant::now(), Instant::now());
        let (mut end, mut moved) = (Lsn(0), Instant::now());
        loop {
            let following = session.following(None, deadline).map_err(problem)?;
            let now = following.received.max(following.replayed).unwrap_or(Lsn(0));
            if now >= theirs.end && self.reaches(theirs, session, deadline)? {
                return Ok(true);
            }
            if now > end {
                (end, moved) = (now, Instant::now());
            }
            if looked.elapsed() >= BETWEEN_LOOKS {
                looked = Instant::now();
                if !self.is_still_there(from, deadline) {
                    log::warn!("{from} has left while its WAL was fetched, at {end}");
                    return Ok(false);
                }
            }
            if told.elapsed() >= BETWEEN_WORDS {
                told = Instant::now();
                log::info!("fetching from {from}: at {end} of {}", theirs.end);
            }
            if moved.elapsed() >= STALLED || !pace.step(deadline) {
                return Err(self.why_nothing_comes(from, host, end, session, deadline));
            }
        }
    }

    fn reaches(&self, theirs: Position, session: &Session, deadline: Deadline) -> Result<bool, Problem> {
        let vote = self.instance.position(session, deadline).map_err(problem)?;
        Ok(matches!(vote, Vote::At(reach) if reach.position >= theirs))
    }

    /// Its paper goes with it.
    fn is_still_there(&self, node: &NodeName, deadline: Deadline) -> bool {
        let papers = self.cluster.papers(deadline.at_most(BETWEEN_LOOKS));
        papers
            .map_or(true, |papers| papers.iter().any(|(from, paper)| from == node && matches!(paper, Paper::Vote(..))))
    }

    fn why_nothing_comes(
        &self,
        from: &NodeName,
        host: &str,
        end: Lsn,
        session: &Session,
        deadline: Deadline,
    ) -> Problem {
        let streams = session.streams_from(host, deadline.at_most(BETWEEN_LOOKS)).unwrap_or(false);
        match streams {
            true => {
                format!("nothing more comes from {from} ({host}) than up to {end}: it may have to replay that first")
            }
            false => format!(
                "it does not stream from {from} ({host}), and is at {end}; the server's log tells why: pg_hba.conf of {from} has to \
                 let the replication role in, the node attribute {} or the node's name has to be its address, and its timeline \
                 has to begin where this node's WAL ends, or later",
                self.cluster.address_name()
            ),
        }
    }

    /// Takes back what an action that was killed has left. Nothing of it fails an action.
    pub(super) fn end_left_catching_up(&self) {
        match self.instance.end_left_detour(self.deadline.at_most(ENDING)) {
            Ok(false) => {}
            Ok(true) => log::info!("took back the settings that an interrupted promotion had changed for fetching WAL"),
            Err(error) => {
                log::warn!("the settings that a promotion had changed for fetching WAL are still so: {error}")
            }
        }
    }
}

/// The present connection string with another host.
fn conninfo_to(session: &Session, host: &str, deadline: Deadline) -> Result<Conninfo, Problem> {
    let upstream = upstream(session, deadline)?;
    if upstream.fixed {
        return Err(FIXED.to_owned());
    }
    let present = parsed(upstream.conninfo)?;
    Ok(wanted(&present, host).unwrap_or(present))
}
