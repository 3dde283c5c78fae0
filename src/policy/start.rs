//! What brings an instance up as a standby?
//!
//! | the instance is | step |
//! |---|---|
//! | stopped, crashed, never started | launch it with `standby.signal`; PostgreSQL itself recovers |
//! | dead postmaster, server processes left | end them, they hold shared memory and may still commit |
//! | starting, stopping, silent | wait; the caller's deadline ends that |
//! | standby | done |
//! | primary | refuse: only `demote` makes a standby of it |
//! | missing | refuse, not on this node |
//!
//! Nobody else is promoted while a start is under way, and no failure elsewhere is acted upon (Pacemaker orders promotions
//! behind all starts, and plans anew only when its actions in flight have ended). So a recovery is not waited for to its end:
//!
//! | it recovers | step |
//! |---|---|
//! | for less than [`RECOVERY`] | wait |
//! | for longer, and gets somewhere (see [`super::progress`]) | done: it is a standby on its way, monitor tells |
//! | for longer, and gets nowhere | wait; the caller's deadline ends that |

use std::time::Duration;

use crate::types::{Role, State};

/// The next step of `start`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It runs as a standby.
    Done,
    /// Make `standby.signal` and start the server.
    Launch,
    /// End server processes without a postmaster.
    EndOrphans,
    /// Look again in a moment. The text says what is waited for.
    Wait(String),
    /// The instance is a primary.
    RefusePrimary,
    /// Something is missing on this node.
    RefuseAbsent(String),
}

/// The step that follows from the state.
#[must_use]
pub fn next(state: &State) -> Step {
    match state {
        State::Absent(what) => Step::RefuseAbsent(what.clone()),
        State::Stopped => Step::Launch,
        State::Orphaned { .. } => Step::EndOrphans,
        State::Starting => Step::Wait("the server is still starting or recovering".to_owned()),
        State::Stopping => Step::Wait("the server is still shutting down".to_owned()),
        State::Silent { why, .. } => Step::Wait(format!("the server is alive and does not answer: {why}")),
        State::Running(Role::Standby) | State::Restricted { role: Role::Standby, .. } => Step::Done,
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Step::RefusePrimary,
    }
}

/// How long a recovery is waited for. What an ordinary start has to replay takes less.
pub const RECOVERY: Duration = Duration::from_secs(5);

/// A recovery that has done nothing for so long is not left to itself yet.
const AT_WORK: Duration = Duration::from_secs(2);

/// Whether a server that recovers, and has done nothing for `idle`, is left to itself after `waited`, of the `time` that the
/// action had for it.
#[must_use]
pub fn goes_on_by_itself(waited: Duration, time: Duration, idle: Duration) -> bool {
    waited >= RECOVERY.min(time / 2) && idle < AT_WORK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_that_gets_somewhere_is_left_to_itself() {
        let s = Duration::from_secs;
        for (waited, time, idle, on_its_way) in [
            (s(5), s(60), s(0), true),
            (s(5), s(60), s(2), false),
            (s(4), s(60), s(0), false),
            (s(50), s(60), s(50), false),
            (s(51), s(60), s(1), true),
            (s(1), s(2), s(0), true),
        ] {
            assert_eq!(goes_on_by_itself(waited, time, idle), on_its_way, "{waited:?} {time:?} {idle:?}");
        }
    }

    #[test]
    fn every_state_has_its_step() {
        let restricted = |role| State::Restricted { role, why: "too many clients".to_owned() };
        let wait = |state: &State| matches!(next(state), Step::Wait(_));
        assert_eq!(next(&State::Absent("x".to_owned())), Step::RefuseAbsent("x".to_owned()));
        assert_eq!(next(&State::Stopped), Step::Launch);
        assert_eq!(next(&State::Orphaned { was: Role::Primary }), Step::EndOrphans);
        assert!(wait(&State::Starting));
        assert!(wait(&State::Stopping));
        assert!(wait(&State::Silent { was: Role::Standby, why: String::new() }));
        assert_eq!(next(&State::Running(Role::Standby)), Step::Done);
        assert_eq!(next(&State::Running(Role::Primary)), Step::RefusePrimary);
        assert_eq!(next(&restricted(Role::Standby)), Step::Done);
        assert_eq!(next(&restricted(Role::Primary)), Step::RefusePrimary);
    }
}
