//! Whether this node stands for election: at its start, and again when what stood against it is gone.

use std::time::Duration;

use super::{Agent, failed, finish};
use crate::cluster::{ClusterError, Durable};
use crate::ocf::Failure;
use crate::policy::candidacy::{
    Lacks, Objection, OnRecord, may_fetch, may_have_been_passed_over, objection, score_at_start, stands_again,
};
use crate::policy::follow::FIRST_RELOADABLE_VERSION;
use crate::policy::patience::{Noted, may_stand_again};
use crate::sys::{Deadline, Notes, ms_since_boot, utc_now};
use crate::types::{NodeName, Role, Score, Timeline};

/// How long all questions of one decision may take.
const QUESTIONS: Duration = Duration::from_secs(8);

impl Agent {
    /// What is on record, and not who witnessed what, which costs a program.
    pub(super) fn on_record(durable: &Durable) -> OnRecord {
        let last = durable.record.as_ref().map(|last| (last.primary.clone(), last.history.last().timeline));
        OnRecord { lacks: durable.lacks.clone(), last, witnessed: Default::default() }
    }

    /// The same with the witnesses, where one of these timelines is older than the last primary's.
    pub(super) fn on_record_for(
        &self,
        durable: &Durable,
        mut timelines: impl Iterator<Item = Timeline>,
    ) -> Result<OnRecord, ClusterError> {
        let mut on_record = Self::on_record(durable);
        let last = on_record.last.as_ref().map(|(_, timeline)| *timeline);
        if timelines.any(|timeline| Some(timeline) < last) {
            on_record.witnessed = self.cluster.witnessed(self.deadline)?;
        }
        Ok(on_record)
    }

    /// For `start`. A failure is a warning: the instance runs.
    pub(super) fn stand_if_nobody_is_promoted(&self, has_instance: bool, durable: Option<&Durable>) {
        if let Err(error) = self.update_own_score(has_instance, durable, self.deadline.at_most(QUESTIONS)) {
            log::warn!("cannot set this node's promotion score: {error}; a primary's monitor will set it");
        }
    }

    fn update_own_score(
        &self,
        has_instance: bool,
        durable: Option<&Durable>,
        deadline: Deadline,
    ) -> Result<(), Failure> {
        let own = self.own_name()?;
        let scores = self.cluster.scores(deadline).map_err(failed)?;
        // The score of a primary may be left of one that is stopped.
        let high: Vec<_> = scores.iter().filter(|(node, score)| **node != own && **score >= Score::PRIMARY).collect();
        let promoted = if high.is_empty() { Ok(Vec::new()) } else { self.cluster.promoted(deadline) };
        let elsewhere = promoted.as_ref().map_or(true, |nodes| high.iter().any(|(node, _)| nodes.contains(node)));
        let mut may_stand = has_instance && !elsewhere;
        // What is not known now may speak against this node: a monitor asks again, and this one is not noted to have been here.
        if durable.is_none() {
            may_stand = false;
        }
        if let Some(durable) = durable.filter(|_| may_stand) {
            if let Some(found) = self.what_speaks_against(&own, durable, deadline)? {
                log::warn!("{}", self.objection_in_words(&own, &found));
                may_stand = false;
            }
        }
        let noted = durable.map_or(Ok(()), |_| self.cluster.note_here(deadline).map_err(failed));
        let wanted = score_at_start(scores.get(&own).copied(), may_stand).map(|score| (own, Some(score)));
        self.cluster.set_scores(wanted.as_slice(), deadline).map_err(failed).and(noted)
    }

    /// A node that follows, or serves as the cluster's primary, has not just come back, whoever started its instance: this agent,
    /// an earlier version, or Pacemaker before it was started anew. What it left when it was stopped is withdrawn. Told once, and
    /// again when it may be lost.
    pub(super) fn note_here(&self, role: Role, timeline: Option<Timeline>) {
        if Notes::load(&self.notes_path()).here {
            return;
        }
        if let Err(error) = self.cluster.note_here(self.deadline.at_most(QUESTIONS / 4)) {
            return log::warn!("cannot note that this node has been in the cluster since before now: {error}");
        }
        match self.withdraw_left(role, timeline) {
            Ok(true) => self.change_notes(|notes| notes.here = true),
            Ok(false) => {}
            Err(error) => log::warn!("cannot withdraw the position that this node left when it stopped: {error}"),
        }
    }

    /// What speaks against this node. One that has just come back and may have been passed over is struck off, by
    /// itself, before anything else.
    fn what_speaks_against(
        &self,
        own: &NodeName,
        durable: &Durable,
        deadline: Deadline,
    ) -> Result<Option<Objection>, Failure> {
        let timeline = self.own_timeline(deadline);
        let mut on_record = self.on_record_for(durable, timeline.into_iter()).map_err(failed)?;
        if !on_record.lacks.contains_key(own) && self.may_have_been_passed_over(own, durable, &on_record, deadline)? {
            let lacks = self.strike_itself_off(own, &on_record, deadline)?;
            on_record.lacks.insert(own.clone(), lacks);
        }
        let made_by_hand = || {
            let until = timeline.and_then(|timeline| self.fork_of(timeline, durable))?;
            Some(Objection::MadeByHand { until })
        };
        Ok(objection(own, timeline, &on_record).or_else(made_by_hand))
    }

    pub(super) fn own_timeline(&self, deadline: Deadline) -> Option<Timeline> {
        let control = self.instance.control_data(deadline).map_err(|e| log::warn!("{e}")).ok()?;
        Some(self.instance.youngest_timeline(&control))
    }

    fn may_have_been_passed_over(
        &self,
        own: &NodeName,
        durable: &Durable,
        on_record: &OnRecord,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        // Most often it is not so, whoever is present.
        let alone = std::slice::from_ref(own);
        if !may_have_been_passed_over(own, &durable.nodes, alone, on_record)
            || self.cluster.was_here(own, deadline).map_err(failed)?
        {
            return Ok(false);
        }
        let present = self.cluster.present(deadline).map_err(failed)?;
        Ok(may_have_been_passed_over(own, &durable.nodes, &present, on_record))
    }

    fn strike_itself_off(&self, own: &NodeName, on_record: &OnRecord, deadline: Deadline) -> Result<Lacks, Failure> {
        let last = on_record.last.as_ref().map_or(own, |(primary, _)| primary);
        let why = match last == own {
            true => format!("{own} came back alone, and another node may have been the primary meanwhile"),
            false => {
                format!("{own} came back without {last}, the last primary that it knows, which may have gone on alone")
            }
        };
        let lacks = Lacks { from: None, since: utc_now(), why };
        finish(self.cluster.begin_striking_off(own, Some(&lacks)), deadline).map_err(Failure::generic)?;
        Ok(lacks)
    }

    /// The reason, and what a person may do.
    pub(super) fn objection_in_words(&self, node: &NodeName, found: &Objection) -> String {
        match found {
            Objection::StruckOff(lacks) => format!(
                "{node} is not promoted: {lacks}; start the node that has it, or give it up with: {}",
                self.cluster.way_to_take_back(node)
            ),
            Objection::LacksTimeline { ours, theirs, primary } => format!(
                "{node} is not promoted: it is on timeline {ours}, and {primary} was the primary on timeline {theirs} while {node} \
                 was away; start {primary} again, or give its data up with: {}",
                self.cluster.way_to_remove_record()
            ),
            Objection::MadeByHand { until } => format!(
                "{node} is not promoted: it left the cluster's timelines at {until} for one that no promotion by Pacemaker made; if \
                 that is the one to keep, forget the last primary: {}",
                self.cluster.way_to_remove_record()
            ),
        }
    }

    /// A candidate that an election excluded stands again at its next monitor: what stood against it may
    /// be gone, and if it is not, the next election says so again.
    pub(super) fn stand_again(&self) {
        if !Notes::load(&self.notes_path()).candidate || !self.may_stand_again() {
            return;
        }
        self.stand_if_possible();
        self.change_notes(|notes| notes.candidate = false);
    }

    /// Stands for election if nobody is promoted and nothing speaks against this node, which does not stream. Returns what
    /// does.
    pub(super) fn stand_if_possible(&self) -> Option<String> {
        match self.try_to_stand(self.deadline.at_most(QUESTIONS / 2)) {
            Ok(objection) => {
                objection.iter().for_each(|why| self.log_refusal_once(why));
                objection
            }
            Err(failure) => {
                log::warn!("this node cannot stand for election again: {failure}");
                None
            }
        }
    }

    fn may_stand_again(&self) -> bool {
        let notes = Notes::load(&self.notes_path());
        let noted = Noted { since: notes.undecided_since_ms, seen: notes.undecided_seen_ms };
        may_stand_again(noted, ms_since_boot())
    }

    fn try_to_stand(&self, deadline: Deadline) -> Result<Option<String>, Failure> {
        let own = self.own_name()?;
        let scores = self.cluster.scores(deadline).map_err(failed)?;
        let now = scores.get(&own).copied();
        if !stands_again(now, false, false) || !self.may_stand_again() {
            return Ok(None);
        }
        let promoted = self.cluster.promoted(deadline).map_err(failed)?;
        if promoted.iter().any(|node| *node != own) {
            return Ok(None);
        }
        let durable = self.cluster.durable(deadline).map_err(failed)?;
        let found = self.what_speaks_against(&own, &durable, deadline)?;
        let against = match &found {
            Some(found) if !self.may_fetch(&own, found, &durable, deadline)? => {
                Some(self.objection_in_words(&own, found))
            }
            _ => None,
        };
        if stands_again(now, false, against.is_some()) {
            let why = match found {
                None => "nothing on record speaks against this node",
                Some(_) => "this node can fetch what it lacks from the last one, which runs as a standby",
            };
            log::info!("standing for election again: there is no primary, and {why}");
            self.cluster.set_scores(&[(own, Some(Score::CANDIDATE))], deadline).map_err(failed)?;
        }
        Ok(against)
    }

    /// Whether this node can fetch what it lacks from the last primary: see [`may_fetch`].
    fn may_fetch(
        &self,
        own: &NodeName,
        found: &Objection,
        durable: &Durable,
        deadline: Deadline,
    ) -> Result<bool, Failure> {
        if self.instance.major_version().is_none_or(|major| major < FIRST_RELOADABLE_VERSION) {
            return Ok(false);
        }
        let standbys = self.cluster.standbys(deadline).map_err(failed)?;
        let has_diverged = || durable.record.as_ref().is_none_or(|last| self.trouble_of_stopped(last).is_some());
        Ok(may_fetch(own, found, &Self::on_record(durable), &standbys) && !has_diverged())
    }
}
