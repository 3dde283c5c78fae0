//! What makes a standby of the instance?
//!
//! | the instance is | step |
//! |---|---|
//! | primary | stop it fast, then start it as a standby |
//! | standby | done |
//! | standby that was told to promote and has not done it: it may at any moment | as a primary; by force where it hangs |
//! | recovering as a standby | done: it is one, and on its way |
//! | recovering as a primary, another node has what it has | stop it by force, then start it as a standby |
//! | recovering as a primary, nobody else is known to have that | let it recover, then as found |
//! | the same, and most of the time is over | stop it by force, then start it as a standby, which may go on after this action |
//! | stopped or crashed | gone: answer at once, Pacemaker's `stop` and `start` follow |
//! | dead postmaster, server processes left | end them, then gone |
//! | alive and silent | stop it with escalation, then gone |
//! | stopping | wait, then as found |
//! | missing | refuse, not on this node |

use std::time::Duration;

use crate::types::{Role, State};

/// Whether the server was told to leave recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// Not that anybody knows of.
    None,
    /// It was, and may do so at any moment.
    Ordered,
    /// It was, and its startup process got nowhere.
    Hangs,
}

/// How a server is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Fast, within its time.
    Fast,
    /// At once: a fast shutdown would wait for what hangs, or for a recovery.
    Force,
}

/// The next step of `demote`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is a standby.
    Done,
    /// There is nothing to demote.
    Gone,
    /// Stop the primary, or what may become one, then start it as a standby.
    Restart(Manner),
    /// It recovers as a primary: [`recovering`] tells for how long that is waited for.
    Recovering,
    /// End server processes without a postmaster; nothing is left to demote then.
    EndOrphans,
    /// Stop the server, in the end by force; nothing is left to demote then.
    StopSilent,
    /// Look again in a moment.
    Wait,
    /// Something is missing on this node.
    RefuseAbsent(String),
}

/// The step that follows from the state, from whether `standby.signal` is there, and from what was ordered.
#[must_use]
pub fn next(state: &State, is_standby: bool, promotion: Promotion) -> Step {
    match state {
        State::Absent(what) => Step::RefuseAbsent(what.clone()),
        State::Stopped => Step::Gone,
        State::Orphaned { .. } => Step::EndOrphans,
        State::Starting if is_standby => standby(promotion),
        State::Starting => Step::Recovering,
        State::Stopping => Step::Wait,
        State::Silent { .. } => Step::StopSilent,
        State::Running(Role::Standby) | State::Restricted { role: Role::Standby, .. } => standby(promotion),
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Step::Restart(Manner::Fast),
    }
}

fn standby(promotion: Promotion) -> Step {
    match promotion {
        Promotion::None => Step::Done,
        Promotion::Ordered => Step::Restart(Manner::Fast),
        Promotion::Hangs => Step::Restart(Manner::Force),
    }
}

/// The step for a primary that recovers, when so much of the demotion's time is left.
#[must_use]
pub fn recovering(is_elsewhere: bool, left: Duration, time: Duration) -> Step {
    match is_elsewhere || left < time * 4 / 10 {
        true => Step::Restart(Manner::Force),
        false => Step::Wait,
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
        let next = |state: &State| next(state, false, Promotion::None);
        let restricted = |role| State::Restricted { role, why: "too many clients".to_owned() };
        assert_eq!(next(&State::Absent("x".to_owned())), Step::RefuseAbsent("x".to_owned()));
        assert_eq!(next(&State::Stopped), Step::Gone);
        assert_eq!(next(&State::Orphaned { was: Role::Primary }), Step::EndOrphans);
        assert_eq!(next(&State::Starting), Step::Recovering);
        assert_eq!(next(&State::Stopping), Step::Wait);
        assert_eq!(next(&State::Silent { was: Role::Primary, why: String::new() }), Step::StopSilent);
        assert_eq!(next(&State::Running(Role::Standby)), Step::Done);
        assert_eq!(next(&State::Running(Role::Primary)), Step::Restart(Manner::Fast));
        assert_eq!(next(&restricted(Role::Standby)), Step::Done);
        assert_eq!(next(&restricted(Role::Primary)), Step::Restart(Manner::Fast));
    }

    #[test]
    fn gone_is_claimed_as_demoted_only_where_a_stop_follows_or_nothing_is_known() {
        assert!(gone_counts_as_demoted(Some(true)));
        assert!(!gone_counts_as_demoted(Some(false)));
        assert!(gone_counts_as_demoted(None));
    }

    #[test]
    fn a_standby_is_done_unless_it_was_told_to_promote() {
        let restricted = State::Restricted { role: Role::Standby, why: "too many clients".to_owned() };
        for state in [State::Running(Role::Standby), restricted, State::Starting] {
            assert_eq!(next(&state, true, Promotion::None), Step::Done, "{state:?}");
            assert_eq!(next(&state, true, Promotion::Ordered), Step::Restart(Manner::Fast), "{state:?}");
            assert_eq!(next(&state, true, Promotion::Hangs), Step::Restart(Manner::Force), "{state:?}");
        }
        // The promotion has removed the file and is not over.
        assert_eq!(next(&State::Running(Role::Standby), false, Promotion::Ordered), Step::Restart(Manner::Fast));
    }

    #[test]
    fn a_recovery_is_waited_for_where_nobody_else_has_the_data_and_time_is_left() {
        let (time, s) = (Duration::from_secs(100), Duration::from_secs);
        assert_eq!(recovering(true, s(100), time), Step::Restart(Manner::Force));
        assert_eq!(recovering(false, s(100), time), Step::Wait);
        assert_eq!(recovering(false, s(40), time), Step::Wait);
        assert_eq!(recovering(false, s(39), time), Step::Restart(Manner::Force));
    }
}
