//! What makes a standby of the instance?
//!
//! | the instance is | step |
//! |---|---|
//! | primary | stop it fast, then start it as a standby |
//! | standby | done |
//! | stopped or crashed | gone: answer at once, Pacemaker's `stop` and `start` follow |
//! | dead postmaster, server processes left | end them, then gone |
//! | alive and silent | stop it with escalation, then gone |
//! | starting, stopping | wait, then as found |
//! | missing | refuse, not on this node |

use crate::types::{Role, State};

/// The next step of `demote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is a standby.
    Done,
    /// There is nothing to demote.
    Gone,
    /// Stop the primary, then start it as a standby.
    Restart,
    /// End server processes without a postmaster; nothing is left to demote then.
    EndOrphans,
    /// Stop the server, in the end by force; nothing is left to demote then.
    StopSilent,
    /// Look again in a moment.
    Wait,
    /// Something is missing on this node.
    RefuseAbsent(String),
}

/// The step that follows from the state.
#[must_use]
pub fn next(state: &State) -> Step {
    match state {
        State::Absent(what) => Step::RefuseAbsent(what.clone()),
        State::Stopped => Step::Gone,
        State::Orphaned { .. } => Step::EndOrphans,
        State::Starting | State::Stopping => Step::Wait,
        State::Silent { .. } => Step::StopSilent,
        State::Running(Role::Standby) | State::Restricted { role: Role::Standby, .. } => Step::Done,
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Step::Restart,
    }
}

/// Whether `demote` may answer 0 for an instance that is gone.
///
/// Pacemaker demotes a failed promoted instance even when its monitor answered 7, and counts a demote
/// answering 7 as one more failure (tried, 2.1.5). When a stop of this node is planned in the same
/// transition, 0 is harmless; when the transition is known to have none, 0 would claim a standby that
/// is not there. Where the notification before the demotion did not come through, the recovery of a failed
/// instance is the likely case.
#[must_use]
pub fn gone_counts_as_demoted(stop_planned: Option<bool>) -> bool {
    stop_planned.unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_step() {
        let restricted = |role| State::Restricted { role, why: "too many clients".to_owned() };
        assert_eq!(next(&State::Absent("x".to_owned())), Step::RefuseAbsent("x".to_owned()));
        assert_eq!(next(&State::Stopped), Step::Gone);
        assert_eq!(next(&State::Orphaned { was: Role::Primary }), Step::EndOrphans);
        assert_eq!(next(&State::Starting), Step::Wait);
        assert_eq!(next(&State::Stopping), Step::Wait);
        assert_eq!(next(&State::Silent { was: Role::Primary, why: String::new() }), Step::StopSilent);
        assert_eq!(next(&State::Running(Role::Standby)), Step::Done);
        assert_eq!(next(&State::Running(Role::Primary)), Step::Restart);
        assert_eq!(next(&restricted(Role::Standby)), Step::Done);
        assert_eq!(next(&restricted(Role::Primary)), Step::Restart);
    }

    #[test]
    fn gone_is_claimed_as_demoted_only_where_a_stop_follows_or_nothing_is_known() {
        assert!(gone_counts_as_demoted(Some(true)));
        assert!(!gone_counts_as_demoted(Some(false)));
        assert!(gone_counts_as_demoted(None));
    }
}
