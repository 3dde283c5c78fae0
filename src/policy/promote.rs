//! What makes a primary of the instance?
//!
//! | the instance is | step |
//! |---|---|
//! | primary | done |
//! | standby | hold the election, then promote |
//! | stopped or crashed | start it as a standby, then as standby |
//! | dead postmaster, server processes left | end them, then start |
//! | starting, stopping, silent | wait; the caller's deadline ends that |
//! | missing | refuse, not on this node |

use super::start;
use crate::types::{Role, State};

/// The next step of `promote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It takes writes.
    Done,
    /// Ask the election, then promote.
    Elect,
    /// It is no standby yet: first what `start` would do.
    Start(start::Step),
}

/// The step that follows from the state.
#[must_use]
pub fn next(state: &State) -> Step {
    match state {
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Step::Done,
        State::Running(Role::Standby) | State::Restricted { role: Role::Standby, .. } => Step::Elect,
        other => Step::Start(start::next(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_step() {
        let restricted = |role| State::Restricted { role, why: "too many clients".to_owned() };
        let silent = State::Silent { was: Role::Standby, why: String::new() };
        assert_eq!(next(&State::Running(Role::Primary)), Step::Done);
        assert_eq!(next(&restricted(Role::Primary)), Step::Done);
        assert_eq!(next(&State::Running(Role::Standby)), Step::Elect);
        assert_eq!(next(&restricted(Role::Standby)), Step::Elect);
        assert_eq!(next(&State::Stopped), Step::Start(start::Step::Launch));
        assert_eq!(next(&State::Orphaned { was: Role::Primary }), Step::Start(start::Step::EndOrphans));
        for state in [State::Starting, State::Stopping, silent] {
            assert!(matches!(next(&state), Step::Start(start::Step::Wait(_))), "{state:?}");
        }
        let absent = State::Absent("x".to_owned());
        assert_eq!(next(&absent), Step::Start(start::Step::RefuseAbsent("x".to_owned())));
    }
}
