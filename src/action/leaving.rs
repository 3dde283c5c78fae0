//! What a stopped instance leaves on record. Nothing here may fail a stop or a demotion: each step is bounded and warns.

use std::time::Duration;

use super::{Agent, finish};
use crate::cluster::{ClusterError, Durable, Paper};
use crate::instance::{ControlData, Ending};
use crate::policy::election::Vote;
use crate::policy::leaving::{Facts, Left, is_overtaken, is_permanent, last_before, left};
use crate::sys::{Notes, Running};
use crate::types::{NodeName, Position, Role, Score, Timeline};

/// The last position of a primary, while the attribute daemon takes it.
pub(super) type Leaving = (Position, Running);

/// How long each step of it may take.
const STEP: Duration = Duration::from_secs(1);

/// How long the end of the WAL is looked for on disk, at least. A disk that made the server crash may be slow, and what is not
/// found is not on record: so all of the time, but for [`REST`].
const LOOK: Duration = Duration::from_secs(2);

/// What the steps after it need.
const REST: Duration = Duration::from_secs(6);

/// How a stop found the instance, and how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By this stop, cleanly.
    Fast,
    /// By this stop, by force.
    Forced,
    /// It was down.
    Before,
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Ended {
        match ending {
            Ending::Fast => Ended::Fast,
            Ending::Forced => Ended::Forced,
        }
    }
}

impl Agent {
    /// Leaves what the others have to know of this instance, which was stopped. `restarts`: the same transition starts it
    /// again, and may promote it or another one, so that nothing may make Pacemaker plan anew.
    pub(super) fn leave_behind(&self, ended: Ended, restarts: bool) {
        let control = self.control_of_stopped(ended);
        if !self.in_cluster() {
            return;
        }
        let Some(own) = self.own_name().map_err(|e| log::warn!("{e}; nothing is left on record")).ok() else { return };
        let left = control.as_ref().and_then(|control| self.left_by(ended, control, &own, restarts));
        let excluding = if restarts { None } else { self.begin_excluding_nobody(&own) };
        match left {
            Some((at, true)) => self.leave_permanently(&own, at),
            Some((at, false)) => self.finish_leaving(self.begin_leaving(at)),
            None => {}
        }
        if let Some(Err(error)) = excluding.map(|running| running.finish(self.deadline.at_most(STEP))) {
            log::warn!("this stopped node keeps its promotion score: {error}");
        }
    }

    fn control_of_stopped(&self, ended: Ended) -> Option<ControlData> {
        let control = self.instance.control_data(self.deadline.at_most(STEP));
        let control = match control {
            Err(_) if ended == Ended::Before => return None,
            Err(error) => {
                log::warn!("{error}; the last position is not known");
                return None;
            }
            Ok(control) => control,
        };
        match ended {
            Ended::Fast => log::info!("stopped, the control file says '{}'", control.state),
            Ended::Forced => log::warn!(
                "stopped by force, not cleanly: the control file says '{}'; the next start recovers from the WAL",
                control.state
            ),
            Ended::Before => {}
        }
        Some(control)
    }

    /// What is left, and whether that is permanent.
    fn left_by(&self, ended: Ended, control: &ControlData, own: &NodeName, restarts: bool) -> Option<(Position, bool)> {
        let (role, checkpoint) = (control.role(), control.left_by_primary());
        // What a person's own primary wrote binds nobody.
        if role == Role::Primary && self.was_promoted_by_hand() {
            return None;
        }
        // The end of a switchover, which clients wait for, asks nothing.
        let asks = ended != Ended::Fast || checkpoint.is_none();
        let (told, durable) = if asks { self.told_and_on_record(own) } else { Default::default() };
        let is_foreign = durable.record.as_ref().is_some_and(|record| record.system != control.system);
        let is_void = is_foreign || (ended == Ended::Before && self.holds_nothing());
        let primary_elsewhere = role == Role::Standby && self.is_primary_elsewhere(own);
        let facts = Facts { role, checkpoint, told, primary_elsewhere, is_void };
        let position = match left(&facts) {
            Left::Nothing => return None,
            Left::At(position) => position,
            Left::EndOfWal(at_least) => {
                let end = self.end_of_stopped(control, &durable);
                at_least.map_or(end, |at_least| at_least.max(end))
            }
        };
        if durable.is_given_up(own, position) {
            log::info!("nothing is left on record: the WAL that this node has, up to {position}, was given up");
            return None;
        }
        Some((position, is_permanent(&facts, restarts)))
    }

    /// What is on record is nothing where the cluster does not answer.
    fn told_and_on_record(&self, own: &NodeName) -> (Option<Position>, Durable) {
        std::thread::scope(|scope| {
            let durable = scope.spawn(|| self.cluster.durable(self.deadline.at_most(STEP)));
            (self.told(own), durable.join().ok().and_then(Result::ok).unwrap_or_default())
        })
    }

    pub(super) fn was_promoted_by_hand(&self) -> bool {
        Notes::load(&self.notes_path()).by_hand
    }

    /// What this node has published of its position since the last promotion.
    fn told(&self, own: &NodeName) -> Option<Position> {
        let papers = self.cluster.papers(self.deadline.at_most(STEP));
        let papers = papers.map_err(|e| log::warn!("cannot see what this node has told of its position: {e}")).ok()?;
        papers.into_iter().find(|(node, _)| node == own).and_then(|(_, paper)| match paper {
            Paper::Left(position) => Some(position),
            Paper::Vote(_, Vote::At(reach)) => Some(last_before(reach.position)),
            Paper::Vote(_, Vote::Fork(until)) => Some(last_before(until)),
            Paper::Vote(..) => None,
        })
    }

    /// Not knowing is as good as there being none: what is left for good then holds up nothing, since a primary has more.
    fn is_primary_elsewhere(&self, own: &NodeName) -> bool {
        let primaries = self.cluster.primaries(self.deadline.at_most(STEP));
        primaries.is_ok_and(|primaries| primaries.iter().any(|record| record.primary != *own))
    }

    /// At least the last checkpoint, where the end of the WAL cannot be found in time.
    fn end_of_stopped(&self, control: &ControlData, durable: &Durable) -> Position {
        let checkpoint = Position { timeline: control.timeline, end: control.checkpoint };
        let time = self.deadline.remaining().saturating_sub(REST).max(LOOK);
        let found = self.instance.reach_by_files(self.deadline.at_most(time));
        // What is on a timeline that a person made counts up to where that forked off.
        if let Vote::Fork(until) = self.in_line(found.clone(), durable) {
            return last_before(until);
        }
        if let Vote::Unknown { why, .. } | Vote::Incomplete { why, .. } = &found {
            log::warn!("the end of this instance's WAL is not known: {why}; leaving on record what it has at least");
        }
        found.at_least().map_or(checkpoint, |end| last_before(end).max(checkpoint))
    }

    /// For a demotion: what a primary that was stopped cleanly has written last.
    pub(super) fn leave_checkpoint(&self, ending: Ending) -> Option<Leaving> {
        let control = self.control_of_stopped(ending.into())?;
        let position = control.left_by_primary().filter(|_| self.in_cluster() && !self.was_promoted_by_hand())?;
        self.begin_leaving(position)
    }

    fn begin_leaving(&self, position: Position) -> Option<Leaving> {
        let publishing = self.cluster.begin_publishing(Some(&Paper::Left(position)));
        let publishing = publishing.map_err(|e| log::warn!("cannot leave the last position {position}: {e}")).ok()?;
        Some((position, publishing))
    }

    /// The permanent attribute takes the place of the private one, so that one command is enough to give it up.
    fn leave_permanently(&self, own: &NodeName, at: Position) {
        match finish(self.cluster.begin_leaving(own, Some(at)), self.deadline.at_most(2 * STEP)) {
            Ok(()) => {
                log::info!("left on record: this node has WAL up to {at}");
                let _ = finish(self.cluster.begin_publishing(None), self.deadline.at_most(STEP));
            }
            Err(error) => {
                log::warn!("cannot put on record that this node has WAL up to {at}: {error}");
                self.finish_leaving(self.begin_leaving(at));
            }
        }
    }

    /// The score of a primary that is stopped for good would look to others like a primary. Some score is left: it tells that
    /// the node has an instance.
    fn begin_excluding_nobody(&self, own: &NodeName) -> Option<Running> {
        let scores = self.cluster.scores(self.deadline.at_most(STEP)).ok()?;
        scores.get(own).filter(|score| **score >= Score::PRIMARY)?;
        let writing = self.cluster.begin_setting_score(own, Score::NEVER);
        writing.map_err(|e| log::warn!("this stopped node keeps its promotion score: {e}")).ok()
    }

    /// For a monitor of a standby that streams, or of the cluster's primary: takes back what this node left when it was stopped,
    /// once it is overtaken. Whether nothing is left on record.
    pub(super) fn withdraw_left(&self, role: Role, timeline: Option<Timeline>) -> Result<bool, String> {
        let (own, shortly) = (self.own_name().map_err(|e| e.to_string())?, self.deadline.at_most(3 * STEP));
        let failed = |e: ClusterError| e.to_string();
        let (papers, durable) = std::thread::scope(|scope| {
            let durable = scope.spawn(|| self.cluster.durable(shortly));
            (self.cluster.papers(shortly), durable.join().unwrap_or(Err(ClusterError::Output("cibadmin"))))
        });
        let (papers, durable) = (papers.map_err(failed)?, durable.map_err(failed)?);
        let is_private = papers.iter().any(|(node, paper)| *node == own && matches!(paper, Paper::Left(_)));
        if !is_private && !durable.tells_of(&own) {
            return Ok(true);
        }
        let there = self.cluster.primaries(shortly).map_err(failed)?;
        let there: Vec<_> =
            there.iter().map(|record| (record.primary.clone(), record.history.last().timeline)).collect();
        let on_record = durable.record.as_ref().map(|record| (&record.primary, record.history.last().timeline));
        if !timeline.is_some_and(|timeline| is_overtaken((&own, role, timeline), on_record, &there)) {
            return Ok(false);
        }
        if is_private {
            finish(self.cluster.begin_publishing(None), shortly)?;
        }
        if durable.tells_of(&own) {
            finish(self.cluster.begin_leaving(&own, None), shortly)?;
        }
        Ok(true)
    }

    /// Waits shortly until the position is published; that it is not is a warning.
    pub(super) fn finish_leaving(&self, leaving: Option<Leaving>) {
        let Some((position, publishing)) = leaving else { return };
        if let Err(error) = publishing.finish(self.deadline.at_most(STEP)) {
            log::warn!("cannot leave the last position {position} as an attribute: {error}");
        }
    }
}
