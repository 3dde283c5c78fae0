//! Whether Pacemaker made this instance the primary, and what becomes of one that a person has promoted.
//!
//! Pacemaker takes the answer 8 of an unpromoted instance's monitor for a failure: it demotes the instance, stops it and starts
//! it as a standby (`unpack_rsc_op` and `remap_operation` in its scheduler). That is what is wanted, as long as the scores still
//! say who the primary is. It then comes back as any instance that has diverged: what it wrote is kept aside.

use std::time::Duration;

use super::Agent;
use crate::cluster::Durable;
use crate::instance::Session;
use crate::ocf::Failure;
use crate::policy::condition::Condition;
use crate::policy::origin::{Facts, Line, Origin, fork, origin};
use crate::sys::{Deadline, Notes};
use crate::types::{Position, Timeline, Vote};

/// How long the questions may take.
const QUESTIONS: Duration = Duration::from_secs(4);

impl Agent {
    /// Who made this server the primary. Once it is known to be ours it needs no more questions.
    pub(super) fn origin(&self, session: &Session, deadline: Deadline) -> Result<Origin, Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::generic(e.to_string());
        let server = self.instance.postmaster_identity();
        let ordered = server.is_some() && Notes::load(&self.notes_path()).promoted_server == server;
        if ordered {
            return Ok(Origin::Ours);
        }
        let own = self.own_name()?;
        let timeline = session.sending(deadline).map_err(|e| failed(&e))?.timeline;
        let record = self.cluster.record(deadline).map_err(|e| failed(&e))?;
        let primaries = self.cluster.primaries(deadline).map_err(|e| failed(&e))?;
        let last = record.as_ref().map(|record| (&record.primary, record.history.last().timeline));
        let primary_elsewhere = primaries.iter().any(|record| record.primary != own);
        let found = origin(&Facts { own: &own, timeline, ordered, record: last, primary_elsewhere });
        self.change_notes(|notes| match found {
            Origin::Ours => (notes.promoted_server, notes.by_hand) = (server, false),
            Origin::ByHand => notes.by_hand = true,
        });
        Ok(found)
    }

    /// For the monitor of a primary: what is to be shown when it is none of the cluster's, or when that is not known. It
    /// then writes nothing about itself or others.
    pub(super) fn disowned(&self, session: &Session) -> Option<Condition> {
        let (words, why) = match self.origin(session, self.deadline.at_most(QUESTIONS)) {
            Ok(Origin::Ours) => return None,
            Ok(Origin::ByHand) => ("promoted by hand", self.by_hand_in_words()),
            Err(failure) => {
                let why = format!("cannot see whether the cluster has promoted this instance: {failure}");
                log::warn!("the promotion scores were not updated: {why}");
                return Some(Condition::primary("primary", why));
            }
        };
        self.log_refusal_once(&why);
        Some(Condition::primary(words, why))
    }

    /// A vote of this node, which counts only as far as its timeline is one of the cluster's.
    pub(super) fn in_line(&self, vote: Vote, durable: &Durable) -> Vote {
        let timeline = vote.reach().map(|reach| reach.position.timeline);
        timeline.and_then(|timeline| self.fork_of(timeline, durable)).map_or(vote, Vote::Fork)
    }

    /// Where this timeline of this node has left the record's, if nobody but a person made it.
    pub(super) fn fork_of(&self, timeline: Timeline, durable: &Durable) -> Option<Position> {
        let record = &durable.record.as_ref()?.history;
        if timeline <= record.last().timeline || self.is_promised(timeline) {
            return None;
        }
        let history = self.instance.lineage_of(timeline);
        let history = history.map_err(|e| log::warn!("cannot see who made timeline {timeline}: {e}")).ok()?;
        fork(&Line { history: &history, record, is_promised: false })
    }

    /// By this node's own note, which outlives it, or by what is reserved on the nodes that are there.
    fn is_promised(&self, timeline: Timeline) -> bool {
        if self.instance.promised_timeline() >= Some(timeline) {
            return true;
        }
        let reserved = self.cluster.reserved(self.deadline.at_most(QUESTIONS)).unwrap_or_else(|error| {
            log::warn!("cannot see which timelines are reserved: {error}");
            None
        });
        reserved >= Some(timeline)
    }

    /// For a promotion: the number that it is about to use, in a file that outlives this node.
    pub(super) fn promise(&self, timeline: Timeline) {
        if let Err(error) = self.instance.promise_timeline(timeline, self.deadline.at_most(QUESTIONS)) {
            log::warn!(
                "cannot note beside the data directory that timeline {timeline} is made by the cluster: {error}"
            );
        }
    }

    /// After a promotion elsewhere: what it was about to use was reserved on this node.
    pub(super) fn promise_what_is_reserved(&self) {
        let witnessed = self.own_name().ok().zip(self.cluster.witnessed(self.deadline.at_most(QUESTIONS)).ok());
        let Some(timeline) = witnessed.and_then(|(own, witnessed)| witnessed.get(&own).copied()) else { return };
        if self.instance.promised_timeline() < Some(timeline) {
            self.promise(timeline);
        }
    }

    /// For a standby that streams: the timeline that the cluster's primary says it writes is the cluster's, also for a node that
    /// was away when it was made, and should the record be lost or replaced by an old one. Asked once for each timeline.
    pub(super) fn promise_what_is_followed(&self, timeline: Option<Timeline>) {
        let Some(timeline) = timeline.filter(|timeline| timeline.0 > 1) else { return };
        if self.instance.promised_timeline() >= Some(timeline)
            || Notes::load(&self.notes_path()).followed_timeline == Some(timeline.0)
        {
            return;
        }
        let primary = self.other_primary(self.deadline.at_most(QUESTIONS));
        if primary.is_some_and(|primary| primary.history.last().timeline == timeline) {
            self.promise(timeline);
            self.change_notes(|notes| notes.followed_timeline = Some(timeline.0));
        }
    }

    pub(super) fn by_hand_in_words(&self) -> String {
        format!(
            "this instance takes writes, and Pacemaker has not promoted it: a person has promoted it, or started it by hand; it \
             writes no promotion scores and is to be demoted, and what it wrote is kept aside when it is rewound; if it \
             is the one to keep, forget the last primary: {}",
            self.cluster.way_to_remove_record()
        )
    }
}
