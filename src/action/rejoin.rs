//! The way back of an instance that cannot follow the primary.

use std::time::Duration;

use super::Agent;
use super::start::Check;
use super::waiting::WAITING;
use crate::cluster::{Durable, Record};
use crate::instance::rejoin::{Marker, Phase, Rejoining, Task};
use crate::instance::{ControlData, Session};
use crate::ocf::{ExitCode, Failure, Follow};
use crate::policy::condition::Condition;
use crate::policy::follow::address;
use crate::policy::makeshift::Makeshift;
use crate::policy::rejoin::{OwnWal, Remedy, Standing, Trouble, remedy, standing};
use crate::policy::stop::budget;
use crate::sys::{Deadline, Notes, Pace};
use crate::types::{Lsn, NodeName, State, Vote};

/// How long a worker may take until it has its lock.
const WORKER_BEGINS: Duration = Duration::from_secs(3);
/// How long one may take to end.
const WORKER_ENDS: Duration = Duration::from_secs(5);

/// What a start has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WayIn {
    /// Launch the server, as it is configured or not.
    Launch(Option<Makeshift>),
    /// Nothing more: the instance is being rewound or cloned, and joins when that is done.
    UnderWay,
}

/// What a look at the promoted instance has shown.
enum Compared {
    /// There is none.
    NoPrimary,
    /// This instance can follow it.
    CanFollow,
    /// It cannot.
    Trouble(Trouble, Record),
}

impl Agent {
    /// What has to happen before the server of an instance that is down is launched.
    pub(super) fn way_in(&self) -> Result<WayIn, Failure> {
        match self.instance.rejoining()? {
            Rejoining::No => self.way_in_without_marker(),
            // A start looks anew: the directory may have been filled, the parameter changed.
            Rejoining::Waiting(_) => self.end_of_rejoin().and_then(|_| self.way_in_without_marker()),
            // The marker stays until the server answers: its recovery may outlast this action.
            Rejoining::Done(marker) => match self.done_in_vain(&marker)? {
                Some(again) => self.way_in_again(&again),
                None => Ok(WayIn::Launch(None)),
            },
            Rejoining::UnderWay(marker) => self.await_worker(&marker),
            Rejoining::Interrupted(marker) => self.way_in_again(&marker),
        }
    }

    fn way_in_without_marker(&self) -> Result<WayIn, Failure> {
        if self.in_cluster() { self.way_in_of_stopped(None) } else { Ok(WayIn::Launch(None)) }
    }

    /// A directory that is half rewound or cloned is never started.
    pub(super) fn refuse_half_made(&self) -> Result<(), Failure> {
        match self.instance.rejoining()? {
            Rejoining::No | Rejoining::Done(_) => Ok(()),
            Rejoining::Waiting(_) => {
                let data = self.instance.data_directory().display();
                Err(Failure::generic(format!(
                    "{data} is empty and waits for a primary to be cloned from; this node cannot be the primary"
                )))
            }
            Rejoining::UnderWay(marker) | Rejoining::Interrupted(marker) => {
                let (data, why) = (self.instance.data_directory().display(), marker.why);
                Err(Failure::generic(format!("{data} is being rewound or cloned and cannot be started yet: {why}")))
            }
        }
    }

    /// Whether there is no instance, but one on its way, which `monitor` tells to be a standby.
    pub(super) fn is_on_its_way(&self) -> bool {
        use Rejoining::{Interrupted, UnderWay, Waiting};
        matches!(self.instance.rejoining(), Ok(Waiting(_) | UnderWay(_) | Interrupted(_)))
    }

    /// Whether a server that has not answered yet is one that was rewound or cloned and has never answered since. Its
    /// recovery takes as long as it takes, and nobody is helped by another one.
    pub(super) fn recovers_after_rejoin(&self) -> bool {
        matches!(self.instance.rejoining(), Ok(Rejoining::Done(_)))
    }

    /// The instance has answered: what its marker stood for is over.
    pub(super) fn forget_rejoin(&self) {
        let Ok(Rejoining::Done(marker)) = self.instance.rejoining() else { return };
        if marker.spare {
            self.change_notes(|notes| notes.cloned_behind = true);
        }
        self.forget_timeline_by_hand();
        if let Err(failure) = self.end_of_rejoin() {
            log::warn!("{failure}");
        }
    }

    /// How long a start waits for what may go on without it.
    pub(super) fn patience(&self) -> Deadline {
        self.deadline.at_most(self.deadline.remaining() * 2 / 3)
    }

    pub(super) fn end_of_rejoin(&self) -> Result<WayIn, Failure> {
        let removed = self.instance.finish_rejoin(self.deadline);
        removed.map_err(|e| Failure::generic(format!("cannot remove the marker of the rejoin: {e}")))?;
        Ok(WayIn::Launch(None))
    }

    /// `monitor` while there is no instance but one on its way: it counts as running, because the node takes
    /// part in the cluster and needs no recovery. `None` when the instance itself is to be looked at.
    pub(super) fn monitor_rejoin(&self) -> Option<Result<ExitCode, Failure>> {
        let rejoining = self.instance.rejoining();
        if matches!(rejoining, Ok(Rejoining::No)) {
            return None;
        }
        if self.instance.is_running() && !is_under_way(&rejoining) {
            return match rejoining {
                Ok(Rejoining::Done(marker)) => self.monitor_recovery(&marker).map(Ok),
                _ => None,
            };
        }
        let probe = self.request.meta.probe;
        match rejoining {
            Err(failure) => Some(Err(failure)).filter(|_| !probe),
            Ok(Rejoining::UnderWay(marker)) => {
                let ended = if probe { None } else { self.end_work_for_lost(&marker) };
                Some(ended.map_or_else(|| Ok(self.tell_of_work(&marker)), |now| self.monitor_interrupted(&now)))
            }
            Ok(_) if probe => None,
            Ok(Rejoining::Waiting(marker)) => Some(self.clone_or_go_on_waiting(&marker)),
            Ok(Rejoining::Interrupted(marker)) => Some(self.monitor_interrupted(&marker)),
            Ok(Rejoining::Done(marker)) => Some(match self.done_in_vain(&marker) {
                Ok(Some(again)) => self.monitor_interrupted(&again),
                Ok(None) => self.rejoin_done(),
                Err(failure) => Err(failure),
            }),
            Ok(Rejoining::No) => None,
        }
    }

    /// A worker may hang for hours on a source that has lost its power.
    fn end_work_for_lost(&self, marker: &Marker) -> Option<Marker> {
        let is_lost = || {
            let promoted = self.cluster.promoted(self.deadline.at_most(Duration::from_secs(5)));
            promoted.is_ok_and(|nodes| nodes.iter().all(|node| node.as_str() != marker.primary))
        };
        if marker.is_untouched() && is_lost() { self.end_untouched_work() } else { None }
    }

    /// Ends a worker that has changed nothing yet: the instance is still what it was, and may be all that is left of the data.
    /// The marker, when nobody is at work any more.
    pub(super) fn end_untouched_work(&self) -> Option<Marker> {
        match self.instance.rejoining() {
            Ok(Rejoining::UnderWay(marker)) if marker.is_untouched() => {}
            _ => return None,
        }
        let ended = self.instance.end_worker(self.deadline.at_most(WORKER_ENDS));
        ended.unwrap_or_else(|failure| log::warn!("{failure}"));
        match self.instance.rejoining() {
            Ok(Rejoining::Interrupted(marker)) => Some(marker),
            _ => None,
        }
    }

    pub(super) fn tell_of_work(&self, marker: &Marker) -> ExitCode {
        self.tell(&condition_of(marker))
    }

    pub(super) fn rejoin_done(&self) -> Result<ExitCode, Failure> {
        self.become_standby(Check::Nothing).map(|()| ExitCode::Success)
    }

    /// Of a server that was rewound or cloned. `None` when it is to be looked at as any other.
    fn monitor_recovery(&self, marker: &Marker) -> Option<ExitCode> {
        match self.state() {
            State::Starting if self.request.meta.probe => Some(ExitCode::Success),
            State::Starting => {
                let mending = self.mend_recovering(marker).unwrap_or_else(|failure| {
                    log::warn!("this instance recovers: {failure}");
                    None
                });
                Some(self.tell(&mending.unwrap_or_else(recovering)))
            }
            State::Running(_) | State::Restricted { .. } => {
                self.forget_rejoin();
                None
            }
            State::Absent(_) | State::Stopped | State::Orphaned { .. } | State::Stopping | State::Silent { .. } => None,
        }
    }

    /// Has an instance mended that cannot follow, if the parameter allows it.
    pub(super) fn mend(&self, trouble: &Trouble, primary: &Record, old: Option<&Marker>) -> Result<WayIn, Failure> {
        let marker = self.plan_mending(trouble, primary, old)?;
        self.set_to_work(&marker)
    }

    /// `old` is the marker of an earlier attempt that has changed nothing: what it found out, and how often it failed; or of a
    /// return that is done and not over: what it has kept is not forgotten.
    pub(super) fn plan_mending(
        &self,
        trouble: &Trouble,
        primary: &Record,
        old: Option<&Marker>,
    ) -> Result<Marker, Failure> {
        let rejoin = self.request.parameters.rejoin()?;
        let (kept_before, was_done) =
            (old.and_then(Marker::first_kept), old.is_some_and(|old| old.phase == Phase::Done));
        let restored = old.is_some_and(|old| was_done || old.restored);
        let old = old.filter(|_| !was_done);
        let hopeless = old.map(|old| self.facts(old, Some(primary))).transpose()?.and_then(|facts| facts.hopeless);
        let trouble = &match (trouble, hopeless) {
            (Trouble::Diverged(at, Ok(())), Some(why)) => Trouble::Diverged(*at, Err(why)),
            (trouble, _) => trouble.clone(),
        };
        let task = match remedy(trouble, rejoin) {
            Remedy::Refuse(why) => {
                let code = if *trouble == Trouble::Empty { ExitCode::NotInstalled } else { ExitCode::Generic };
                return Err(Failure::new(code, format!("this instance cannot follow {}: {why}", primary.primary)));
            }
            Remedy::Rewind => Task::Rewind,
            Remedy::Clone => Task::Clone,
        };
        let new = Marker {
            failures: old.map_or(0, |old| old.failures),
            last_failure: old.and_then(|old| old.last_failure.clone()),
            kept_before: kept_before.cloned(),
            restored,
            ..self.new_marker(task, trouble)?
        };
        let saved = old.is_some_and(|old| old.phase == Phase::Saved && task == Task::Rewind);
        let new = if saved { Marker { phase: Phase::Saved, ..new } } else { new };
        let marker = self.aimed_at(primary, new)?;
        log::warn!("this instance cannot follow {}: {}; {}", marker.primary, marker.why, doing(task));
        self.instance.plan_rejoin(marker.clone(), self.deadline)?;
        Ok(marker)
    }

    /// A marker without a primary.
    pub(super) fn new_marker(&self, task: Task, trouble: &Trouble) -> Result<Marker, Failure> {
        Ok(Marker {
            version: 0,
            ticket: 0,
            task,
            phase: Phase::Waiting,
            may_clone: self.request.parameters.rejoin()? == crate::policy::rejoin::Rejoin::Clone,
            why: trouble.to_string(),
            node: self.own_name()?.to_string(),
            primary: String::new(),
            timeline: 0,
            host: None,
            keep: self.request.parameters.keep_aside()?,
            kept: None,
            outside: Default::default(),
            kept_before: None,
            was_empty: *trouble == Trouble::Empty,
            nursery: String::new(),
            whole: false,
            filled: String::new(),
            system: String::new(),
            own: None,
            fork: None,
            redo: None,
            touched: false,
            replayed: None,
            restored: false,
            spare: matches!(trouble, Trouble::TooFarBehind { .. }),
            hopeless: None,
            percent: None,
            failures: 0,
            last_failure: None,
        })
    }

    /// The marker with this primary as the source.
    pub(super) fn aimed_at(&self, primary: &Record, marker: Marker) -> Result<Marker, Failure> {
        let phase = if marker.phase == Phase::Waiting { Phase::Planned } else { marker.phase };
        Ok(Marker {
            phase,
            primary: primary.primary.to_string(),
            timeline: primary.history.last().timeline.0,
            system: primary.system.to_string(),
            host: self.host_to_follow(&primary.primary)?,
            ..marker
        })
    }

    /// The primary's address where standbys follow the promoted node, and not whom `primary_conninfo` names.
    fn host_to_follow(&self, primary: &NodeName) -> Result<Option<String>, Failure> {
        if self.request.parameters.follow()? == Follow::Conninfo {
            return Ok(None);
        }
        let addresses = self.cluster.addresses(self.deadline).map_err(|e| Failure::generic(e.to_string()))?;
        Ok(Some(address(primary, &addresses.of_nodes).to_owned()))
    }

    pub(super) fn start_worker(&self, marker: &Marker) -> Result<(), Failure> {
        let ticket = self.instance.new_ticket(marker, self.deadline)?;
        let started = self.instance.start_worker(&self.request.resource, ticket);
        started.map_err(|e| Failure::generic(format!("cannot start the rejoin: {e}")))
    }

    pub(super) fn set_to_work(&self, marker: &Marker) -> Result<WayIn, Failure> {
        self.start_worker(marker)?;
        let begins = self.deadline.at_most(WORKER_BEGINS);
        let mut pace = Pace::up_to(Duration::from_millis(50));
        while matches!(self.instance.rejoining()?, Rejoining::Interrupted(now) if now.failures == marker.failures) {
            if !pace.step(begins) {
                break;
            }
        }
        self.await_worker(marker)
    }

    /// Waits for the worker as long as this action may, some of it left for the start of the server.
    fn await_worker(&self, marker: &Marker) -> Result<WayIn, Failure> {
        let patience = self.patience();
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            match self.instance.rejoining()? {
                Rejoining::Done(_) | Rejoining::No => return Ok(WayIn::Launch(None)),
                Rejoining::Waiting(_) => return Ok(WayIn::UnderWay),
                Rejoining::UnderWay(_) if pace.step(patience) => {}
                Rejoining::UnderWay(now) => {
                    log::info!("{} goes on in the background; the instance joins when it is done", in_words(&now));
                    return Ok(WayIn::UnderWay);
                }
                Rejoining::Interrupted(now) => {
                    let why = now.last_failure.unwrap_or_else(|| marker.why.clone());
                    log::warn!("{} has failed and is tried again: {why}", doing(now.task));
                    return Ok(WayIn::UnderWay);
                }
            }
        }
    }

    /// `old` is the marker of an attempt that has changed nothing.
    pub(super) fn way_in_of_stopped(&self, old: Option<&Marker>) -> Result<WayIn, Failure> {
        if self.may_wait_for_primary()? {
            return self.clone_or_wait();
        }
        let makeshift = match self.compare_with_primary(old)? {
            Compared::Trouble(trouble, primary) => return self.mend(&trouble, &primary, old),
            Compared::NoPrimary => self.makeshift_without_primary(),
            Compared::CanFollow => None,
        };
        if old.is_some() {
            log::info!("nothing keeps this instance from being started any more; what was planned is forgotten");
            self.end_of_rejoin()?;
        }
        Ok(WayIn::Launch(makeshift))
    }

    /// What keeps this instance, which is down, from following the promoted one.
    fn compare_with_primary(&self, old: Option<&Marker>) -> Result<Compared, Failure> {
        let primary = self.other_primary(self.deadline.at_most(Duration::from_secs(5)));
        let Some(primary) = primary else { return Ok(Compared::NoPrimary) };
        let trouble = match old {
            Some(old) => self.trouble_again(old, &primary),
            None => self.trouble_of_stopped(&primary),
        };
        match trouble {
            Some(trouble) if self.is_promoted_there(&primary.primary)? => Ok(Compared::Trouble(trouble, primary)),
            Some(_) => Ok(Compared::NoPrimary),
            None => Ok(Compared::CanFollow),
        }
    }

    /// What was published may be old: nothing is overwritten for a primary that the cluster does not have.
    pub(super) fn is_promoted_there(&self, node: &NodeName) -> Result<bool, Failure> {
        let promoted = self.cluster.promoted(self.deadline.at_most(Duration::from_secs(5)));
        promoted.map(|nodes| nodes.contains(node)).map_err(|e| Failure::generic(e.to_string()))
    }

    /// What is on record. Unknown is `None`.
    pub(super) fn durable(&self) -> Option<Durable> {
        let durable = self.cluster.durable(self.deadline.at_most(Duration::from_secs(5)));
        durable.map_err(|error| log::warn!("what is on record in the cluster configuration is not known: {error}")).ok()
    }

    /// Why this instance must not stand for election, if it belongs to another cluster than the last primary. One that
    /// has diverged from that primary may be all that is left of the data: the election compares it with the others.
    pub(super) fn complaint_of_foreign(&self, last: &Record) -> Option<Failure> {
        let ours = self.instance.control_data(self.deadline.at_most(Duration::from_secs(5))).ok()?.system;
        let foreign = Trouble::Foreign { ours, theirs: last.system };
        let cure = self.cluster.way_to_remove_record();
        (ours != last.system).then(|| {
            Failure::generic(format!(
                "{foreign}; correct pgdata or datadir, or, if this is the right one, forget the last primary: {cure}"
            ))
        })
    }

    /// What keeps an instance that is down from following this primary. That it cannot be found out is no
    /// trouble: the server itself follows or does not.
    pub(super) fn trouble_of_stopped(&self, primary: &Record) -> Option<Trouble> {
        if self.instance.has_empty_directory() {
            return Some(Trouble::Empty);
        }
        if self.instance.missing().is_some() {
            return None;
        }
        self.compare_stopped(primary).unwrap_or_else(|why| {
            log::warn!("cannot compare this instance with {}: {why}", primary.primary);
            None
        })
    }

    fn compare_stopped(&self, primary: &Record) -> Result<Option<Trouble>, String> {
        let control = self.instance.control_data(self.deadline).map_err(|e| e.to_string())?;
        let own = self.instance.own_wal(&control, self.deadline).map_err(|e| e.to_string())?;
        let mut found = standing(&own, &primary.reference());
        if found == Standing::NeedsEnd {
            let mut own = self.instance.whole_wal(&control, self.deadline)?;
            // Its files hold changes up to there, whatever became of that WAL.
            own.end = own.end.max(control.min_recovery.map(|needed| needed.end));
            found = standing(&own, &primary.reference());
        }
        Ok(trouble(found, &control))
    }

    /// The promoted instance of another node, by what it has published of itself. Of several, the youngest.
    pub(super) fn other_primary(&self, deadline: Deadline) -> Option<Record> {
        let own = self.own_name().ok()?;
        let records = self.cluster.primaries(deadline);
        let records = records.map_err(|e| log::warn!("cannot see who is the primary: {e}")).ok()?;
        let others = records.into_iter().filter(|record| record.primary != own);
        others.max_by_key(|record| record.history.last().timeline)
    }

    /// What keeps this running standby, which does not stream, from following; it is mended, or the reason
    /// why not is returned.
    pub(super) fn mend_running(&self, session: &Session) -> Result<Option<Condition>, Failure> {
        let deadline = self.deadline.at_most(Duration::from_secs(5));
        let Some(primary) = self.other_primary(deadline) else { return Ok(None) };
        let trouble = self.trouble_of_running(session, &primary, deadline)?;
        if matches!(trouble, None | Some(Trouble::TooFarBehind { .. })) {
            if let Some(condition) = self.end_makeshift(&primary, trouble.is_some())? {
                return Ok(Some(condition));
            }
        }
        let Some(trouble) = trouble else { return self.leave_hanging_archive(&primary) };
        if let Some(condition) = self.catching_up_from_archive(&trouble, session, deadline) {
            return Ok(Some(condition));
        }
        if self.is_promoted_there(&primary.primary)? {
            self.mend_or_refuse(&trouble, &primary, None).map(Some)
        } else {
            Ok(None)
        }
    }

    /// The server of a rewound or cloned instance waits for ever for WAL that the primary has removed before it was sent, or
    /// that it never had.
    fn mend_recovering(&self, marker: &Marker) -> Result<Option<Condition>, Failure> {
        if self.note_stream(false) < 2 {
            return Ok(None);
        }
        if self.is_in_vain(marker).is_some() {
            self.end_for_mending()?;
            return Ok(Some(condition_of(marker)));
        }
        let deadline = self.deadline.at_most(Duration::from_secs(5));
        let Vote::At(reach) = self.instance.reach_by_files(deadline) else { return Ok(None) };
        let Some(trouble) = self.too_far_behind(reach.position.end, deadline)? else { return Ok(None) };
        // An archive may have it.
        let settings = self.instance.settings(&["restore_command"], deadline).unwrap_or_default();
        if settings.get("restore_command").is_some_and(|command| !command.is_empty()) {
            return Ok(None);
        }
        self.primary_there().map(|primary| self.mend_or_refuse(&trouble, &primary, Some(marker))).transpose()
    }

    /// Has an instance mended whose server runs, or says why not.
    fn mend_or_refuse(&self, trouble: &Trouble, primary: &Record, done: Option<&Marker>) -> Result<Condition, Failure> {
        let was_cloned = done.is_some_and(|done| done.spare) || Notes::load(&self.notes_path()).cloned_behind;
        let planned = match was_cloned && matches!(trouble, Trouble::TooFarBehind { .. }) {
            true => Err(Failure::generic(cloned_in_vain(trouble, primary))),
            false => self.plan_mending(trouble, primary, done),
        };
        match planned {
            Err(refused) => {
                self.log_refusal_once(&refused.to_string());
                Ok(Condition::standby(state_of(trouble), Some(refused.to_string())))
            }
            Ok(marker) => {
                self.end_for_mending()?;
                self.start_worker(&marker)?;
                Ok(condition_of(&marker))
            }
        }
    }

    /// Ends the server in a monitor, which has to do more after that.
    pub(super) fn end_for_mending(&self) -> Result<(), Failure> {
        let ended = self.instance.end(budget(self.deadline.remaining() / 2), &|| false);
        ended.map(drop).map_err(|e| Failure::generic(e.to_string()))
    }

    fn trouble_of_running(
        &self,
        session: &Session,
        primary: &Record,
        deadline: Deadline,
    ) -> Result<Option<Trouble>, Failure> {
        let failed =
            |why: String| Failure::generic(format!("cannot compare this instance with {}: {why}", primary.primary));
        let Ok(Vote::At(reach)) = self.instance.position(session, deadline) else { return Ok(None) };
        let position = reach.position;
        let control = self.instance.control_data(deadline).map_err(|e| failed(e.to_string()))?;
        let history = self.instance.history_of(position.timeline, control.segment_size, deadline);
        let history = history.map_err(|e| failed(e.to_string()))?;
        let own = OwnWal { system: control.system, history, end: Some(position.end) };
        match trouble(standing(&own, &primary.reference()), &control) {
            Some(found) => Ok(Some(found)),
            None => self.too_far_behind(position.end, deadline),
        }
    }

    /// The primary publishes its oldest WAL while a member of the cluster is not connected.
    pub(super) fn too_far_behind(&self, end: Lsn, deadline: Deadline) -> Result<Option<Trouble>, Failure> {
        let oldest = self.cluster.oldest_wal(deadline).map_err(|e| Failure::generic(e.to_string()))?;
        Ok(oldest.filter(|oldest| end < *oldest).map(|oldest| Trouble::TooFarBehind { end, oldest }))
    }

    pub(super) fn log_refusal_once(&self, why: &str) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        if before.refused.as_deref() != Some(why) {
            log::warn!("{why}");
            Notes { refused: Some(why.to_owned()), ..before.clone() }.save(&path, &before);
        }
    }
}

/// The condition of an instance whose recovery goes on by itself.
fn recovering() -> Condition {
    let reason = "the instance recovers after it was rewound or cloned, and streams when that is done";
    Condition::standby("recovering", Some(reason.to_owned()))
}

fn is_under_way(rejoining: &Result<Rejoining, Failure>) -> bool {
    matches!(rejoining, Ok(Rejoining::UnderWay(_)))
}

/// Another copy would fare no better than this one.
fn cloned_in_vain(trouble: &Trouble, primary: &Record) -> String {
    let primary = &primary.primary;
    format!(
        "this instance was cloned, and cannot follow {primary} again: {trouble}; have {primary} keep more WAL (wal_keep_size, or \
         slots with max_slot_wal_keep_size), then restart the resource on this node to have it cloned once more"
    )
}

fn trouble(standing: Standing, control: &ControlData) -> Option<Trouble> {
    match standing {
        Standing::CanFollow | Standing::NeedsEnd => None,
        Standing::Diverged(divergence) => Some(Trouble::Diverged(divergence, control.rewindable())),
        Standing::Foreign { ours, theirs } => Some(Trouble::Foreign { ours, theirs }),
    }
}

pub(super) fn doing(task: Task) -> &'static str {
    match task {
        Task::Rewind => "rewinding",
        Task::Clone => "cloning",
    }
}

/// The few words of the node attribute.
pub(super) fn in_words(marker: &Marker) -> String {
    match (marker.task, marker.percent, marker.failures) {
        _ if marker.phase == Phase::Waiting => WAITING.to_owned(),
        (task, _, failures) if failures > 1 || marker.hopeless.is_some() => format!("{} fails", doing(task)),
        (Task::Clone, Some(percent), _) => format!("cloning {percent} %"),
        (task, _, _) => doing(task).to_owned(),
    }
}

fn condition_of(marker: &Marker) -> Condition {
    let failure = || marker.last_failure.as_deref().unwrap_or("the system log says why");
    let reason = match (marker.task, marker.failures > 1 || marker.hopeless.is_some()) {
        _ if marker.phase == Phase::Waiting => {
            "the data directory is empty and waits for a primary to be cloned from".to_owned()
        }
        (Task::Rewind, true) => format!("the instance cannot be rewound: {}", failure()),
        (Task::Clone, true) => format!("the instance cannot be cloned: {}", failure()),
        (Task::Rewind, false) => "the instance is being rewound and streams when that is done".to_owned(),
        (Task::Clone, false) => "the instance is being cloned and streams when that is done".to_owned(),
    };
    Condition::standby(in_words(marker), Some(reason))
}

fn state_of(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Diverged(divergence, _) => format!("diverged at {}", divergence.fork),
        Trouble::TooFarBehind { .. } => "too far behind".to_owned(),
        Trouble::Empty => "empty".to_owned(),
        Trouble::Foreign { .. } => "another cluster".to_owned(),
    }
}
