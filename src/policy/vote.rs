//! Where does the vote of an instance come from that gives no connection?
//!
//! | the instance | its vote |
//! |---|---|
//! | is a primary | that |
//! | has no data directory | none |
//! | is a standby that refuses | over a replication connection, and from its files |
//! | is down, or a standby that starts, stops, or does not answer | from its files |
//! | would take writes by itself, or its processes may: starting without `standby.signal`, or orphaned | its files say what it has at least |

use crate::types::{Role, State};

/// Where the vote comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It takes writes.
    Primary,
    /// It cannot tell, and why.
    Nothing(&'static str),
    /// A replication connection, else its files.
    Replication,
    /// Its files.
    Files,
    /// Its files, and more may come, for this reason.
    AtLeastFiles(&'static str),
}

/// Decides; `signal` is whether `standby.signal` is there.
#[must_use]
pub fn source(state: &State, signal: bool) -> Source {
    let unless_standby = |why| if signal { Source::Files } else { Source::AtLeastFiles(why) };
    match state {
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Source::Primary,
        State::Restricted { role: Role::Standby, .. } => Source::Replication,
        State::Running(Role::Standby) | State::Stopped => Source::Files,
        State::Absent(_) => Source::Nothing("it has no data directory"),
        State::Orphaned { .. } => Source::AtLeastFiles("processes of its dead server are left"),
        State::Starting => unless_standby("its instance recovers and may become a primary by itself"),
        State::Stopping => unless_standby("its instance is shutting down, and was no standby"),
        State::Silent { .. } => unless_standby("its instance does not answer, and was no standby"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_source() {
        let why = String::new;
        let restricted = |role| State::Restricted { role, why: why() };
        let silent = || State::Silent { was: Role::Standby, why: why() };
        for state in [State::Starting, State::Stopping, silent()] {
            assert_eq!(source(&state, true), Source::Files, "{state:?}");
            assert!(matches!(source(&state, false), Source::AtLeastFiles(_)), "{state:?}");
        }
        for signal in [false, true] {
            let source = |state: &State| source(state, signal);
            assert_eq!(source(&State::Stopped), Source::Files);
            assert_eq!(source(&State::Running(Role::Standby)), Source::Files);
            assert_eq!(source(&restricted(Role::Standby)), Source::Replication);
            assert_eq!(source(&restricted(Role::Primary)), Source::Primary);
            assert_eq!(source(&State::Running(Role::Primary)), Source::Primary);
            assert!(matches!(source(&State::Orphaned { was: Role::Standby }), Source::AtLeastFiles(_)));
            assert!(matches!(source(&State::Absent(why())), Source::Nothing(_)));
        }
    }
}
