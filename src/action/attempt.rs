//! A return that was begun and that nobody is at work on: each attempt begins with a look at the cluster as it is now.

use std::time::Duration;

use super::Agent;
use super::rejoin::{WayIn, doing, in_words};
use crate::cluster::Record;
use crate::instance::rejoin::{Marker, Task};
use crate::ocf::{ExitCode, Failure};
use crate::policy::attempt::{self, Attempt, Facts, Progress, Source, fitness, is_in_vain};
use crate::policy::condition::Condition;
use crate::policy::rejoin::{OwnWal, Rejoin, Trouble};
use crate::types::{History, Lsn, Vote};

/// The words of the node attribute while a half rewound or cloned instance has no primary to go on with, and the reason.
const NO_SOURCE: &str = "waiting for a primary to go on with";
const NO_SOURCE_REASON: &str = "the instance is half rewound or cloned, and no other node is promoted to go on from";

impl Agent {
    /// Whatever was planned, the cluster of now decides.
    pub(super) fn way_in_again(&self, marker: &Marker) -> Result<WayIn, Failure> {
        let primary = self.primary_there();
        match attempt::next(&self.facts(marker, primary.as_ref())?) {
            Attempt::Anew if self.in_cluster() => self.way_in_of_stopped(Some(marker)),
            Attempt::Anew => self.end_of_rejoin(),
            Attempt::Wait => {
                log::warn!("{} cannot go on: there is no primary", in_words(marker));
                Ok(WayIn::UnderWay)
            }
            Attempt::Refuse(why) => Err(Failure::generic(why)),
            going @ (Attempt::GoOn | Attempt::Clone) => {
                log::info!("going on with what was interrupted: {}", marker.why);
                self.set_to_work(&self.going_on(&going, marker, primary.as_ref())?)
            }
        }
    }

    /// The marker of a rewind that is done in vain, written as that of one that was interrupted. Nobody is at work, and no server
    /// runs.
    pub(super) fn done_in_vain(&self, done: &Marker) -> Result<Option<Marker>, Failure> {
        let Some((source, end)) = self.is_in_vain(done) else { return Ok(None) };
        // PostgreSQL renames it before it replays the first record (`InitWalRecovery`, and `StartupXLOG` before 15).
        let has_replayed = std::fs::symlink_metadata(self.instance.data_directory().join("backup_label")).is_err();
        let again = done.clone().again(has_replayed.then_some((&source, end)));
        log::warn!(
            "this instance was rewound to {}, which is lost: it needs WAL that the primary does not have, so it is half rewound",
            done.primary
        );
        self.instance.plan_rejoin(again.clone(), self.deadline)?;
        Ok(Some(again))
    }

    /// Whether a rewound instance will never be consistent with the primary that is there: the history of the source that it was
    /// made from, and how far it may have been replayed.
    pub(super) fn is_in_vain(&self, done: &Marker) -> Option<(History, Lsn)> {
        let primary = Some(done).filter(|done| done.task == Task::Rewind).and_then(|_| self.primary_there())?;
        let judged = || {
            let control = self.instance.control_data(self.deadline).map_err(|e| e.to_string())?;
            let Some(needed) = control.min_recovery else { return Ok(None) };
            let end = self.instance.end_by_files(&control, self.deadline)?.map(|found| found.end);
            let history = self.instance.history_of(needed.timeline, control.segment_size, self.deadline);
            let history = history.map_err(|e| e.to_string())?;
            let source = OwnWal { system: control.system, history, end: Some(needed.end) };
            let in_vain = is_in_vain(end, &source, &primary.reference());
            Ok::<_, String>(in_vain.then_some((source.history, end.unwrap_or(needed.end))))
        };
        judged().unwrap_or_else(|why| {
            log::warn!("cannot compare this rewound instance with {}: {why}", primary.primary);
            None
        })
    }

    /// What is known before another attempt.
    pub(super) fn facts(&self, marker: &Marker, primary: Option<&Record>) -> Result<Facts, Failure> {
        let progress = match marker.task {
            _ if marker.is_untouched() => Progress::Untouched,
            Task::Clone if marker.whole => Progress::Copied,
            Task::Rewind => Progress::HalfRewound,
            Task::Clone => Progress::HalfCloned,
        };
        let same = primary.is_some_and(|primary| {
            primary.primary.as_str() == marker.primary && primary.history.last().timeline.0 == marker.timeline
        });
        let source = match (primary, marker.first_fork()) {
            (None, _) => Source::Nobody,
            (Some(primary), Some((history, fork))) if progress == Progress::HalfRewound => {
                let system = self.instance.control_data(self.deadline).map_or(primary.system, |control| control.system);
                let wal = |history, end| OwnWal { system, history, end: Some(end) };
                match marker.replayed() {
                    Err(()) => Source::Unfit("what its server has replayed is not understood".to_owned()),
                    Ok(replayed) => {
                        let replayed = replayed.map(|(history, end)| wal(history, end));
                        fitness(&wal(history, Lsn(u64::MAX)), fork, replayed.as_ref(), &primary.reference())
                    }
                }
            }
            // What an older agent has begun goes on with its own source only.
            (Some(_), None) if progress == Progress::HalfRewound && !same => {
                Source::Unfit("an older version of the agent has begun it, with another primary".to_owned())
            }
            (Some(_), _) => Source::Fit,
        };
        let hopeless = marker.hopeless.clone().filter(|_| same);
        Ok(Facts { progress, source, rejoin: self.request.parameters.rejoin()?, hopeless })
    }

    /// The marker for the next attempt, with the parameters as they are now.
    fn going_on(&self, attempt: &Attempt, marker: &Marker, primary: Option<&Record>) -> Result<Marker, Failure> {
        let rejoin = self.request.parameters.rejoin()?;
        let marker = Marker {
            may_clone: rejoin == Rejoin::Clone,
            keep: self.request.parameters.keep_aside()?,
            hopeless: None,
            ..marker.clone()
        };
        let marker = match attempt {
            Attempt::Clone => marker.clone_instead(),
            _ => marker,
        };
        let Some(primary) = primary else { return Ok(marker) };
        let was = marker.primary.clone();
        let aimed = self.aimed_at(primary, marker)?;
        if aimed.primary != was {
            log::info!("{} from {} now, and no longer from {was}", doing(aimed.task), aimed.primary);
        }
        Ok(aimed)
    }

    /// Another attempt when it is due. An untouched instance without a primary waits for nothing: it takes part in the
    /// election of one.
    pub(super) fn monitor_interrupted(&self, marker: &Marker) -> Result<ExitCode, Failure> {
        let primary = self.primary_there();
        let is_due = self.instance.rejoin_is_due(marker) || (marker.is_untouched() && primary.is_none());
        if !is_due {
            return Ok(self.tell_of_work(marker));
        }
        let next = match attempt::next(&self.facts(marker, primary.as_ref())?) {
            Attempt::Wait => return Ok(self.tell(&Condition::standby(NO_SOURCE, Some(NO_SOURCE_REASON.to_owned())))),
            Attempt::Refuse(why) => Err(Failure::generic(why)),
            going @ (Attempt::GoOn | Attempt::Clone) => self.going_on(&going, marker, primary.as_ref()),
            Attempt::Anew => match primary.and_then(|primary| Some((self.trouble_again(marker, &primary)?, primary))) {
                None => return self.rejoin_done(),
                Some((trouble, primary)) => self.plan_mending(&trouble, &primary, Some(marker)),
            },
        };
        match next {
            Ok(marker) => self.start_worker(&marker).map(|()| self.tell_of_work(&marker)),
            Err(refused) => self.note_refusal(marker, &refused.to_string()),
        }
    }

    /// What still keeps this instance from following. That it is too far behind is not seen in its own files alone.
    pub(super) fn trouble_again(&self, old: &Marker, primary: &Record) -> Option<Trouble> {
        let deadline = self.deadline.at_most(Duration::from_secs(5));
        let behind = || {
            let Vote::At(reach) = self.instance.reach_by_files(deadline) else { return None };
            self.too_far_behind(reach.position.end, deadline).ok().flatten()
        };
        let trouble = self.trouble_of_stopped(primary);
        trouble.or_else(|| if old.task == Task::Clone { behind() } else { None })
    }

    /// What is refused is looked at again, the later the more often it was.
    fn note_refusal(&self, marker: &Marker, why: &str) -> Result<ExitCode, Failure> {
        self.log_refusal_once(why);
        let (failures, last_failure) = (marker.failures.saturating_add(1), Some(why.to_owned()));
        let marker = Marker { failures, last_failure, ..marker.clone() };
        self.instance.plan_rejoin(marker.clone(), self.deadline)?;
        Ok(self.tell_of_work(&marker))
    }
}
