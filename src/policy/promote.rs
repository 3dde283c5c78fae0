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
//!
//! While it recovers, or has been told to promote and has not done it:
//!
//! | the startup process | step |
//! |---|---|
//! | works | wait |
//! | gets nowhere (see [`super::progress`]), and nobody else voted for as much WAL | wait; the caller's deadline ends that |
//! | the same, and it is suspended by a signal or a debugger, or the receiver is, for whose end it waits | give up: a new start helps, and its WAL is on disk |
//! | gets nowhere, and another node has as much and may be promoted | give up in favour of that one |
//! | is in the last segment for longer than [`start::RECOVERY`], and still lets nobody in | hold the election, then promote |
//!
//! The last is a standby that does not know which rows are visible before it has seen the end of a transaction with more than 64
//! subtransactions (`STANDBY_SNAPSHOT_PENDING` in PostgreSQL's procarray.c). Without a primary that end never comes.

use std::time::Duration;

use super::progress::STALLED;
use super::start;
use crate::types::{NodeName, Position, Role, State, Vote};

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

/// Whether a standby is in the last segment of its WAL, by the vote that its files give.
#[must_use]
pub fn is_done(vote: &Vote) -> bool {
    vote.reach().is_some_and(|reach| reach.to_replay == 0)
}

/// The nodes that may take the candidate's place: by their votes they have what it has, and nothing speaks against them.
#[must_use]
pub fn stand_ins(own: Position, votes: &[(NodeName, Vote)]) -> Vec<NodeName> {
    let may = |vote: &Vote| vote.reach().is_some_and(|reach| reach.position >= own && reach.unfit.is_none());
    votes.iter().filter(|(_, vote)| may(vote)).map(|(node, _)| node.clone()).collect()
}

/// What becomes of a candidate that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prospect<'a> {
    /// It may get there.
    Waits,
    /// It gives up in favour of this one.
    Yields(&'a NodeName),
    /// It gives up to be started anew.
    StartsAnew,
}

/// Decides, by how long its startup process has done nothing, and whether that or the receiver is suspended.
#[must_use]
pub fn prospect(idle: Duration, stand_ins: &[NodeName], is_suspended: bool) -> Prospect<'_> {
    match stand_ins.iter().min() {
        _ if idle < STALLED => Prospect::Waits,
        Some(other) => Prospect::Yields(other),
        None if is_suspended => Prospect::StartsAnew,
        None => Prospect::Waits,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Lsn, Reach, Timeline};

    fn at(end: u64) -> Position {
        Position { timeline: Timeline(1), end: Lsn(end) }
    }

    #[test]
    fn who_has_as_much_and_may_be_promoted_stands_in() {
        let node = |name: &str| name.parse::<NodeName>().unwrap();
        let unfit = Reach { unfit: Some("a rule".to_owned()), ..Reach::from(at(200)) };
        let votes = [
            (node("behind"), Vote::At(at(99).into())),
            (node("unfit"), Vote::At(unfit)),
            (node("unknown"), Vote::Unknown { why: String::new(), at_least: Some(at(300)) }),
            (node("silent"), Vote::Silent),
            (node("void"), Vote::Void),
            (node("same"), Vote::At(at(100).into())),
            (node("more"), Vote::At(at(101).into())),
        ];
        assert_eq!(stand_ins(at(100), &votes), [node("same"), node("more")]);
    }

    #[test]
    fn a_standby_is_done_when_nothing_is_left_to_replay() {
        let replays = |to_replay| Vote::At(Reach { to_replay, ..at(100).into() });
        assert!(is_done(&replays(0)) && !is_done(&replays(1)) && !is_done(&Vote::Silent));
        assert!(!is_done(&Vote::Unknown { why: String::new(), at_least: Some(at(100)) }));
    }

    #[test]
    fn a_candidate_gives_up_only_when_it_gets_nowhere_and_another_one_can() {
        let (short, nodes) = (STALLED - Duration::from_millis(1), ["b", "a"].map(|name| name.parse().unwrap()));
        let hour = Duration::from_secs(3600);
        for (idle, others, is_suspended, expected) in [
            (STALLED, &nodes[..], false, Prospect::Yields(&nodes[1])),
            (STALLED, &nodes, true, Prospect::Yields(&nodes[1])),
            (short, &nodes, true, Prospect::Waits),
            (hour, &[], false, Prospect::Waits),
            (STALLED, &[], true, Prospect::StartsAnew),
            (short, &[], true, Prospect::Waits),
        ] {
            assert_eq!(prospect(idle, others, is_suspended), expected, "{idle:?} {others:?} {is_suspended}");
        }
    }

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
