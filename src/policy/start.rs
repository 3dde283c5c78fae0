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

#[cfg(test)]
mod tests {
    use super::*;

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
