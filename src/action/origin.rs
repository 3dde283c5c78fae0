//! Whether Pacemaker made this instance the primary, and what becomes of one that a person has promoted.
//!
//! Pacemaker takes the answer 8 of an unpromoted instance's monitor for a failure: it demotes the instance, stops it and starts
//! it as a standby (`unpack_rsc_op` and `remap_operation` in its scheduler). That is what is wanted, as long as the scores still
//! say who the primary is. It then comes back as any instance that has diverged: what it wrote is kept aside.

use std::time::Duration;

use super::Agent;
use crate::cluster::{Durable, Record};
use crate::instance::Session;
use crate::ocf::Failure;
use crate::policy::condition::Condition;
use crate::policy::origin::{Facts, Line, Origin, fork, made_by_hand, origin};
use crate::sys::{Deadline, Notes};
use crate::types::{History, Position, Timeline, Vote};

/// How long the questions may take.
pub(super) const QUESTIONS: Duration = Duration::from_secs(4);

/// How long a disk may take in a notification, for whose end the address waits.
const NOTIFIED: Duration = Duration::from_secs(2);

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
        let found = origin(&Facts { own: &own, timeline, record: last, primary_elsewhere });
        self.change_notes(|notes| match found {
            Origin::Ours => (notes.promoted_server, notes.by_hand) = (server, false),
            Origin::ByHand => notes.by_hand = true,
        });
        if let (Origin::ByHand, Some(theirs)) = (found, record.as_ref().or(primaries.first())) {
            self.note_timeline_by_hand(timeline, &theirs.history, deadline);
        }
        Ok(found)
    }

    /// Noted durably: as a standby, this instance will be asked by the number of its timeline, which the cluster may have used.
    fn note_timeline_by_hand(&self, timeline: Timeline, record: &History, deadline: Deadline) {
        let noted = self.instance.timeline_by_hand();
        let made = self.identified(timeline, deadline).and_then(|history| made_by_hand(&history, record));
        if made.is_none() || made == noted {
            return;
        }
        if let Err(error) = self.instance.note_timeline_by_hand(made, deadline) {
            self.log_refusal_once(&format!(
                "cannot note beside the data directory that timeline {timeline} is made by hand: {error}"
            ));
        }
    }

    /// The history of a timeline of this instance, with the promotion that made it where that can be told.
    fn identified(&self, timeline: Timeline, deadline: Deadline) -> Option<History> {
        let control = self.instance.control_data(deadline).map_err(|e| e.to_string());
        let history = control.and_then(|control| {
            self.instance.history_of(timeline, control.segment_size, deadline).map_err(|e| e.to_string())
        });
        history.map_err(|e| log::warn!("cannot see who made timeline {timeline}: {e}")).ok()
    }

    /// The instance was made anew, or rewound to the primary's line: what a person has made of it is gone.
    pub(super) fn forget_timeline_by_hand(&self) {
        if self.instance.timeline_by_hand().is_none() {
            return;
        }
        if let Err(error) = self.instance.note_timeline_by_hand(None, self.deadline.at_most(QUESTIONS)) {
            log::warn!("that a person made a timeline of this instance, which is gone, stays noted: {error}");
        }
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
        let (record, noted) = (durable.record.as_ref()?, self.instance.timeline_by_hand());
        let (history, last) = (&record.history, record.history.last().timeline);
        let is_noted = noted.is_some_and(|noted| noted.timeline == timeline);
        if !is_noted && (timeline < last || timeline > last && self.is_promised(timeline, durable)) {
            return None;
        }
        let own = if is_noted || timeline == last && !self.is_known_to_be(record) {
            self.identified(timeline, self.deadline.at_most(QUESTIONS))?
        } else {
            let lineage = self.instance.lineage_of(timeline);
            lineage.map_err(|e| log::warn!("cannot see who made timeline {timeline}: {e}")).ok()?
        };
        let by_hand = noted.is_some_and(|noted| noted.is_same(&own.last()));
        if !by_hand && timeline > last && self.is_promised(timeline, durable) {
            return None;
        }
        fork(&Line { history: &own, record: history, by_hand })
    }

    /// Whether this node's timeline of the record's number is the record's for sure: it made it, or has followed it. For any other
    /// the promotions are compared, which takes two programs.
    fn is_known_to_be(&self, record: &Record) -> bool {
        let last = record.history.last().timeline;
        last.0 == 1
            || Notes::load(&self.notes_path()).followed_timeline == Some(last.0)
            || self.own_name().is_ok_and(|own| own == record.primary)
    }

    /// By this node's own note, which outlives it, by what is on record, or reserved on the nodes that are there.
    fn is_promised(&self, timeline: Timeline, durable: &Durable) -> bool {
        if self.instance.promised_timeline().max(durable.announced) >= Some(timeline) {
            return true;
        }
        let reserved = self.cluster.reserved(self.deadline.at_most(QUESTIONS)).unwrap_or_else(|error| {
            log::warn!("cannot see which timelines are reserved: {error}");
            None
        });
        reserved >= Some(timeline)
    }

    /// For a promotion: the number that it is about to use, in a file that outlives this node. False when it is not written.
    pub(super) fn promise(&self, timeline: Timeline, within: Duration) -> bool {
        let written = self.instance.promise_timeline(timeline, self.deadline.at_most(within));
        if let Err(error) = &written {
            log::warn!(
                "cannot note beside the data directory that timeline {timeline} is made by the cluster: {error}"
            );
        }
        written.is_ok()
    }

    /// After a promotion elsewhere: what it was about to use was reserved on this node.
    pub(super) fn promise_what_is_reserved(&self) {
        let witnessed = self.own_name().ok().zip(self.cluster.witnessed(self.deadline.at_most(QUESTIONS)).ok());
        let Some(timeline) = witnessed.and_then(|(own, witnessed)| witnessed.get(&own).copied()) else { return };
        if self.instance.promised_timeline() < Some(timeline) {
            self.promise(timeline, NOTIFIED);
        }
    }

    /// For a standby that streams: the timeline that the cluster's primary says it writes is the cluster's, also for a node that
    /// was away when it was made, and should the record be lost or replaced by an old one. Asked once for each timeline.
    pub(super) fn promise_what_is_followed(&self, timeline: Option<Timeline>) {
        let Some(timeline) = timeline.filter(|timeline| timeline.0 > 1) else { return };
        if Notes::load(&self.notes_path()).followed_timeline == Some(timeline.0) {
            return;
        }
        let deadline = self.deadline.at_most(QUESTIONS);
        let Some(primary) = self.other_primary(deadline) else { return };
        if primary.history.last().timeline != timeline {
            return;
        }
        let Some(own) = self.identified(timeline, deadline) else { return };
        if !primary.history.last().is_same(&own.last()) {
            let other = primary.primary;
            return log::warn!(
                "this standby's timeline {timeline} is not the one that {other} made under the same number, though it streams from \
                 there; clone it anew"
            );
        }
        if self.instance.timeline_by_hand().is_some_and(|noted| noted.timeline == timeline) {
            self.forget_timeline_by_hand();
        }
        if self.instance.promised_timeline() < Some(timeline) {
            self.promise(timeline, QUESTIONS);
        }
        self.change_notes(|notes| notes.followed_timeline = Some(timeline.0));
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
