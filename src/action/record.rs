//! What a primary says of its timeline: to the others, and for the time after it.

use std::path::Path;
use std::time::Duration;

use super::origin::QUESTIONS;
use super::{Agent, failed, finish};
use crate::cluster::{ClusterError, Record};
use crate::instance::{Sending, Session};
use crate::ocf::Failure;
use crate::sys::{Deadline, Notes, Running};
use crate::types::{NodeName, Timeline};

/// The number that a promotion is to use, and the other nodes that keep it.
#[derive(Debug)]
pub(super) struct Reserved {
    timeline: Timeline,
    keepers: Vec<NodeName>,
}

impl Agent {
    /// Publishes the timeline that this primary writes, once after each promotion. A failure is a warning,
    /// and the next monitor tries again.
    pub(super) fn publish_timeline(&self, timeline: Timeline, deadline: Deadline) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        if before.published_timeline == Some(timeline.0) {
            return;
        }
        match self.write_record(timeline, deadline) {
            Ok(()) => Notes { published_timeline: Some(timeline.0), ..before.clone() }.save(&path, &before),
            Err(failure) => {
                self.log_refusal_once(&format!("the record of timeline {timeline} was not written: {failure}"))
            }
        }
    }

    fn write_record(&self, timeline: Timeline, deadline: Deadline) -> Result<(), Failure> {
        let failed = |e: &dyn std::fmt::Display| Failure::generic(e.to_string());
        let control = self.instance.control_data(deadline).map_err(|e| failed(&e))?;
        let history = self.instance.history_of(timeline, control.segment_size, deadline).map_err(|e| failed(&e))?;
        let written = self.cluster.record(deadline).map_err(|e| failed(&e))?;
        let known = written.as_ref().filter(|record| record.system == control.system);
        let history = known.map_or(history.clone(), |record| history.with_ids_of(&record.history));
        let record = Record { system: control.system, primary: self.own_name()?, history };
        let publishing = self.cluster.begin_publishing_primary(Some(&record)).map_err(|e| failed(&e))?;
        if written.as_ref() != Some(&record) {
            log::info!("the record in the cluster configuration: {record}");
            self.cluster.write_record(&record, deadline).map_err(|e| failed(&e))?;
        }
        publishing.finish(deadline).map(drop).map_err(|e| failed(&e))
    }

    /// Withdraws what this node has published as a primary.
    pub(super) fn withdraw(&self) {
        self.finish_withdrawing(self.begin_withdrawing());
    }

    /// Starts withdrawing it, for a caller that has something else to do meanwhile.
    pub(super) fn begin_withdrawing(&self) -> Vec<Running> {
        if !self.in_cluster() {
            return Vec::new();
        }
        let notes = Notes::load(&self.notes_path());
        let started = [
            notes.published_timeline.and_then(|_| self.cluster.begin_publishing_primary(None).ok()),
            notes.published_oldest.and_then(|_| self.cluster.begin_publishing_oldest(None).ok()),
        ];
        started.into_iter().flatten().collect()
    }

    /// Waits shortly until it is withdrawn; that it is not is a warning. An action that is killed before leaves its notes to the
    /// next one.
    pub(super) fn finish_withdrawing(&self, started: Vec<Running>) {
        let shortly = self.deadline.at_most(Duration::from_secs(1));
        for running in started {
            if let Err(error) = running.finish(shortly) {
                log::warn!("cannot withdraw what this node has published as a primary: {error}");
            }
        }
        self.change_notes(|notes| {
            (notes.published_timeline, notes.published_oldest) = (None, None);
            (notes.scores, notes.deep_interval_ms) = (None, None);
            // Who was away from this primary says nothing about the next one.
            notes.missing.clear();
            notes.roster = None;
        });
    }

    /// While a member of the cluster is not connected, it may want to know how far this primary's WAL goes
    /// back.
    pub(super) fn publish_oldest(&self, session: &Session, sending: &Sending, deadline: Deadline) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let oldest = match session.oldest_wal(deadline) {
            Ok(Some(oldest)) if oldest <= sending.end => oldest.to_string(),
            Ok(_) => return,
            Err(error) => return log::debug!("the oldest WAL is not known: {error}"),
        };
        if before.published_oldest.as_deref() == Some(oldest.as_str()) {
            return;
        }
        match finish(self.cluster.begin_publishing_oldest(Some(&oldest)), deadline) {
            Ok(()) => Notes { published_oldest: Some(oldest), ..before.clone() }.save(&path, &before),
            Err(error) => log::warn!("the oldest WAL was not published: {error}"),
        }
    }

    fn announce(&self, timeline: Timeline) -> Result<(), Failure> {
        self.cluster.announce(timeline, self.deadline).map_err(|error| {
            let directory = self.instance.data_directory().parent().unwrap_or(Path::new("/")).display();
            Failure::generic(format!(
                "cannot note that timeline {timeline} is made by the cluster: not beside the data directory, where its owner may \
                 not write, on no other node, since none is there, and not in the cluster configuration: {error}; let the owner \
                 write in {directory}"
            ))
        })
    }

    /// The highest number of a timeline that is known to be used, or about to be.
    pub(super) fn used_timeline(&self) -> Result<Option<Timeline>, ClusterError> {
        let (reserved, durable) = std::thread::scope(|scope| {
            let reserved = scope.spawn(|| self.cluster.reserved(self.deadline));
            let durable = self.cluster.durable(self.deadline);
            (reserved.join().unwrap_or(Ok(None)), durable)
        });
        let durable = durable?;
        let on_record = durable.record.map(|record| record.history.last().timeline);
        // The last outlives the nodes, and a new primary that was lost before it was on record.
        Ok(reserved?.max(durable.announced).max(on_record).max(self.instance.promised_timeline()))
    }

    /// Sees to it that the coming promotion uses a number that no other timeline has.
    ///
    /// PostgreSQL takes the number after the last one that it knows of. A primary that was lost before anybody received
    /// its timeline may have used that number: the two would then look like one. So each promotion reserves its number
    /// on all other nodes that vote (this one's own data will have it), and one that finds numbers reserved has PostgreSQL
    /// skip them: a history file is enough (`findNewestTimeLine` in timeline.c).
    ///
    /// Should all nodes be lost before the new primary's first monitor has written the record, something has to tell its timeline
    /// from one that a person made: this node's file, what is reserved on another node, or else the cluster configuration. A
    /// change of that makes Pacemaker plan anew, so it is the last choice.
    pub(super) fn reserve_timeline(
        &self,
        own: Timeline,
        used: Option<Timeline>,
        voters: &[NodeName],
    ) -> Result<Reserved, Failure> {
        let used = used.unwrap_or(own).max(own);
        let next = Timeline(used.0.saturating_add(1));
        let this = self.own_name()?;
        let keepers: Vec<_> = voters.iter().filter(|node| **node != this).cloned().collect();
        self.keep_number(next, &keepers)?;
        let skipped: Vec<Timeline> = (own.0 + 1..=used.0).map(Timeline).collect();
        if !skipped.is_empty() {
            log::info!("timeline {used} was used by a primary that this instance knows nothing of; skipping to {next}");
        }
        let planted = self.instance.plant_histories(&skipped, self.deadline);
        planted.map_err(|e| Failure::generic(format!("cannot skip the numbers of used timelines: {e}")))?;
        Ok(Reserved { timeline: next, keepers })
    }

    fn keep_number(&self, timeline: Timeline, keepers: &[NodeName]) -> Result<(), Failure> {
        let (promised, reserved) = std::thread::scope(|scope| {
            let promised = scope.spawn(|| self.promise(timeline, QUESTIONS));
            let reserved = self.cluster.reserve(timeline, keepers, self.deadline).map_err(failed);
            (promised.join().unwrap_or(false), reserved)
        });
        reserved?;
        if !promised && keepers.is_empty() { self.announce(timeline) } else { Ok(()) }
    }

    /// After the promotion. PostgreSQL asks its archive, too, which numbers are used (`existsTimeLineHistory` in timeline.c), and
    /// has taken a higher one than was reserved when that has the history of a timeline that was given up. The skipped ones are
    /// planted: who follows asks this server for them, which does not look into the archive for others. When that fails, or the
    /// action is killed before, or the server lets nobody in, the first monitor puts the timeline on record.
    pub(super) fn reserve_what_was_taken(&self, session: Option<&Session>, reserved: &Reserved) {
        let deadline = self.deadline.at_most(Duration::from_secs(2));
        let taken = session.and_then(|session| session.sending(deadline).ok()).map(|sending| sending.timeline);
        let Some(taken) = taken.filter(|taken| *taken > reserved.timeline) else { return };
        let skipped: Vec<Timeline> = (reserved.timeline.0..taken.0).map(Timeline).collect();
        log::warn!("the server has taken timeline {taken}: its archive has the history of {}", reserved.timeline);
        let planted = self.instance.plant_histories(&skipped, deadline).map_err(|e| Failure::generic(e.to_string()));
        if let Err(why) = self.keep_number(taken, &reserved.keepers).and(planted) {
            log::warn!("timeline {taken} is not promised until this primary's first monitor: {why}");
        }
    }
}
