//! `notify`: the election before a promotion, what eases a demotion, whom to follow afterwards.

use std::time::Duration;

use super::{Agent, Outcome};
use crate::instance::Session;
use crate::ocf::{ExitCode, Moment, Operation};
use crate::policy::progress::STALLED;
use crate::sys::{Notes, Pace};
use crate::types::{NodeName, Role, State};

/// How long a checkpoint before a demotion may take. The server goes on with it afterwards.
const CHECKPOINT: Duration = Duration::from_secs(30);

/// How long a recovery from the crash of a server process is waited for before a demotion.
const RECOVERY: Duration = Duration::from_secs(3);

/// How long a successor that does not stream is waited for: more than PostgreSQL's `wal_retrieve_retry_interval` of 5 s, after
/// which a standby that has lost its connection tries again.
const RECONNECTION: Duration = Duration::from_secs(7);

impl Agent {
    /// Pacemaker ignores a notification's failure, so there is none: what went wrong is in the log, and
    /// `promote` is the guard.
    pub(super) fn notify(&self) -> Outcome {
        let event = self.request.notification.event;
        if let Some((Moment::Post, operation)) = event {
            self.change_notes(|notes| outdate(notes, operation));
        }
        match event {
            Some((Moment::Pre, Operation::Promote)) => self.hold_election(),
            Some((Moment::Post, Operation::Promote)) => std::thread::scope(|scope| {
                scope.spawn(|| self.promise_what_is_reserved());
                self.follow_after_promotion();
            }),
            Some((Moment::Pre, Operation::Demote)) => self.prepare_demotion(),
            Some((Moment::Post, Operation::Start)) => self.follow_after_start(),
            Some((Moment::Pre, Operation::Start)) => self.checkpoint_before_a_rewind(),
            Some((Moment::Pre, Operation::Stop)) => self.prepare_stop(),
            Some((Moment::Post, Operation::Demote | Operation::Stop)) | None => {}
        }
        Ok(ExitCode::Success)
    }

    pub(super) fn change_notes(&self, change: impl FnOnce(&mut Notes)) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let mut notes = before.clone();
        change(&mut notes);
        notes.save(&path, &before);
    }

    /// A stop that is the first half of a recovery, or of a restart, is told from one for good.
    fn prepare_stop(&self) {
        let Ok(own) = self.own_name() else { return };
        let planned = &self.request.notification;
        if planned.stop.contains(&own) {
            self.change_notes(|notes| notes.start_planned = Some(planned.start.contains(&own)));
        }
    }

    /// An instance that is about to start may have to be rewound.
    fn checkpoint_before_a_rewind(&self) {
        let found = self.instance.observe(self.deadline.at_most(Duration::from_secs(2)));
        if let (State::Running(Role::Primary), Some(session)) = (found.state, found.session) {
            self.show_timeline_in_control_file(&session);
        }
    }

    /// A rewind has to wait until its source's control file shows the timeline that the source writes. By itself the
    /// server takes minutes for the checkpoint that follows a promotion. It goes on with one when nobody waits for it
    /// any more, and the connection that asked is of no use then: it has one of its own.
    pub(super) fn show_timeline_in_control_file(&self, session: &Session) {
        match session.control_file_lags(self.deadline.at_most(Duration::from_secs(1))) {
            Ok(true) => {
                let shortly = self.deadline.at_most(Duration::from_millis(200));
                let own = self.instance.connect(shortly);
                drop(own.and_then(|own| own.checkpoint(shortly)));
            }
            Ok(false) => {}
            Err(error) => log::warn!("cannot see whether the control file shows the present timeline: {error}"),
        }
    }

    /// What is better done while the primary still serves: a checkpoint makes that of its shutdown short, and a clean shutdown
    /// hands its WAL over to those only who are connected then.
    fn prepare_demotion(&self) {
        let Ok(own) = self.own_name() else { return };
        if !self.request.notification.demote.contains(&own) {
            return;
        }
        let stop_planned = self.request.notification.stop.contains(&own);
        self.change_notes(|notes| notes.stop_planned = Some(stop_planned));
        let in_service = self.has_been_in_service();
        let serving = self.await_serving();
        // A server that refuses the agent serves as well.
        let serves = serving.is_some() || matches!(self.state(), State::Restricted { role: Role::Primary, .. });
        if serves && in_service && !stop_planned && self.is_the_only_primary(&own) && self.restores_lost_score(&own) {
            return;
        }
        let Some(session) = serving else { return };
        let deadline = self.deadline.at_most(CHECKPOINT);
        let checkpointing = self.instance.connect(deadline);
        let mut watch = self.instance.watch_checkpointer();
        let checkpointing =
            checkpointing.and_then(|session| session.checkpoint_while(|| watch.idle_for() < STALLED, deadline));
        if let Err(error) = checkpointing {
            log::warn!("no checkpoint before the demotion: {error}; the shutdown may take longer");
        }
        let successor = self.request.notification.promote.iter().find(|node| **node != own);
        if let Some(successor) = successor.filter(|_| in_service) {
            self.await_connection_of(successor, &session);
        }
    }

    /// As far as Pacemaker knows. Of several, the scores as they are say who stays.
    fn is_the_only_primary(&self, own: &NodeName) -> bool {
        matches!(&self.request.notification.promoted[..], [one] if one == own)
    }

    /// Whether this primary's own monitor has looked after it since its promotion. After a promotion that failed Pacemaker
    /// demotes an instance to which the address never moved, and to which nobody can connect.
    fn has_been_in_service(&self) -> bool {
        Notes::load(&self.notes_path()).published_timeline.is_some()
    }

    /// A primary that recovers from the crash of one of its processes serves again in a moment.
    fn await_serving(&self) -> Option<Session> {
        let deadline = self.deadline.at_most(RECOVERY);
        let mut pace = Pace::up_to(Duration::from_millis(50));
        loop {
            let found = self.instance.observe(deadline);
            match (found.state, found.session) {
                (State::Running(Role::Primary), Some(session)) => return Some(session),
                (State::Starting, _) if pace.step(deadline) => {}
                _ => return None,
            }
        }
    }

    /// Waits until the node that is to be promoted receives WAL, if it did not already.
    fn await_connection_of(&self, successor: &NodeName, session: &Session) {
        let deadline = self.deadline.at_most(RECONNECTION);
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            let problem = match session.sending(deadline) {
                Ok(sending) if sending.receivers.iter().any(|receiver| receiver.is_fed(successor)) => return,
                Ok(_) if pace.step(deadline) => continue,
                Ok(_) => "it does not stream".to_owned(),
                Err(error) => error.to_string(),
            };
            return log::warn!("what {successor} has not received may stay on this node: {problem}");
        }
    }
}

/// Takes out of the notes what does not hold any more after this was done somewhere in the cluster.
fn outdate(notes: &mut Notes, done: Operation) {
    notes.unlist_degraded_anew();
    if done != Operation::Demote {
        notes.slots.forget_the_cluster();
    }
    match done {
        Operation::Promote => {
            notes.forget_election();
            notes.roster = None;
        }
        // A receiver that was a stranger may be a node now.
        Operation::Start => notes.ignored.clear(),
        Operation::Demote => notes.stop_planned = None,
        Operation::Stop => {}
    }
}
