//! What does Pacemaker have to know?
//!
//! | the instance is | answer |
//! |---|---|
//! | standby | 0 |
//! | primary | 8 |
//! | refuses the agent (too many clients, ...) | 0 or 8 by its files, with a warning: it is alive |
//! | stopped or crashed | 7 |
//! | dead postmaster, server processes left | 1, as a primary 9: never 7, they may still write |
//! | starting, stopping | look again for a little while, then 1, or as below |
//! | alive and silent | 1, as a primary 9 |
//! | missing | 7 to a probe, else 5 |
//!
//! A standby that answers, and whose receiver or startup process is suspended by a signal or a debugger, gets nothing and shows none of
//! it. When that was so for [`SUSPENDED`], the answer is 1: a new start helps, and loses nothing.
//!
//! A server that is still starting or recovering after that while, however long it takes:
//!
//! | it recovers | answer |
//! |---|---|
//! | as a standby, gets somewhere or did within [`STANDSTILL`] | 0, it is on its way |
//! | as a primary, after the crash of a process, and another node has what it has | 9: that one is promoted sooner |
//! | as a primary, nobody else is known to have that, gets somewhere or did within [`STANDSTILL`] | 8: a failure would begin the same recovery again |
//! | got nowhere for longer, or its startup process is suspended | 1, as a primary 9: a new start may help |

use std::time::Duration;

use crate::ocf::ExitCode;
use crate::types::{Role, State};

/// What `monitor` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs in this role.
    Running(Role),
    /// It runs in this role and something is worth a warning.
    RunningWithWarning(Role, String),
    /// No server process runs.
    NotRunning,
    /// The state will change by itself: look again for a little while, then fail with the text.
    LookAgain(String),
    /// It failed.
    Failed(ExitCode, String),
}

/// The answer that follows from the state.
#[must_use]
pub fn answer(state: &State, probe: bool) -> Answer {
    match state {
        State::Running(role) => Answer::Running(*role),
        State::Restricted { role, why } => Answer::RunningWithWarning(*role, why.clone()),
        State::Stopped => Answer::NotRunning,
        State::Absent(_) if probe => Answer::NotRunning,
        State::Absent(what) => Answer::Failed(ExitCode::NotInstalled, what.clone()),
        State::Starting => {
            Answer::LookAgain("the server is starting or recovering and takes no connections".to_owned())
        }
        State::Stopping => Answer::LookAgain("the server is shutting down".to_owned()),
        State::Orphaned { was } => {
            let reason = "the postmaster is dead and server processes of the data directory still run; stop ends them";
            Answer::Failed(failed(*was), reason.to_owned())
        }
        State::Silent { was, why } => {
            let reason = format!("the server is alive and does not answer: {why}; was {was}");
            Answer::Failed(failed(*was), reason)
        }
    }
}

/// How long the receiver or the startup process of a standby may be suspended: a debugger that looks at it is soon done.
pub const SUSPENDED: Duration = Duration::from_secs(5);

/// How long a recovery may do nothing: a command that fetches a file from an archive may take long.
pub const STANDSTILL: Duration = Duration::from_secs(60);

/// What is known of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// What the instance is when it is over.
    pub role: Role,
    /// For how long nothing was done.
    pub idle: Duration,
    /// Whether its startup process is suspended.
    pub is_suspended: bool,
    /// Whether another node has what this primary has.
    pub is_elsewhere: bool,
}

/// The answer for a server that has been recovering for longer than a moment.
#[must_use]
pub fn recovering(recovery: &Recovery) -> Answer {
    let failure =
        |why: &str| Answer::Failed(failed(recovery.role), format!("the server is starting or recovering: {why}"));
    match recovery {
        Recovery { is_suspended: true, .. } => failure("its startup process is suspended by a signal or a debugger"),
        Recovery { idle, .. } if *idle >= STANDSTILL => failure("and has done nothing for a minute"),
        Recovery { role: Role::Primary, is_elsewhere: true, .. } => {
            failure("another node has what it has, and takes over")
        }
        Recovery { role, .. } => {
            Answer::RunningWithWarning(*role, "it recovers and takes no connections yet".to_owned())
        }
    }
}

fn failed(was: Role) -> ExitCode {
    match was {
        Role::Primary => ExitCode::FailedPromoted,
        Role::Standby => ExitCode::Generic,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(state: &State, probe: bool) -> Option<ExitCode> {
        match answer(state, probe) {
            Answer::Running(Role::Standby) | Answer::RunningWithWarning(Role::Standby, _) => Some(ExitCode::Success),
            Answer::Running(Role::Primary) | Answer::RunningWithWarning(Role::Primary, _) => {
                Some(ExitCode::RunningPromoted)
            }
            Answer::NotRunning => Some(ExitCode::NotRunning),
            Answer::LookAgain(_) => None,
            Answer::Failed(code, _) => Some(code),
        }
    }

    #[test]
    fn a_recovery_is_a_failure_only_where_something_better_can_be_done() {
        let s = Duration::from_secs;
        let code = |role, idle, is_suspended, is_elsewhere| match recovering(&Recovery {
            role,
            idle,
            is_suspended,
            is_elsewhere,
        }) {
            Answer::RunningWithWarning(role, _) => Ok(role),
            Answer::Failed(code, _) => Err(code),
            other => panic!("{other:?}"),
        };
        for is_elsewhere in [false, true] {
            assert_eq!(code(Role::Standby, s(59), false, is_elsewhere), Ok(Role::Standby));
            assert_eq!(code(Role::Standby, s(60), false, is_elsewhere), Err(ExitCode::Generic));
            assert_eq!(code(Role::Standby, s(0), true, is_elsewhere), Err(ExitCode::Generic));
            assert_eq!(code(Role::Primary, s(60), false, is_elsewhere), Err(ExitCode::FailedPromoted));
            assert_eq!(code(Role::Primary, s(0), true, is_elsewhere), Err(ExitCode::FailedPromoted));
        }
        assert_eq!(code(Role::Primary, s(59), false, false), Ok(Role::Primary));
        assert_eq!(code(Role::Primary, s(0), false, true), Err(ExitCode::FailedPromoted));
    }

    #[test]
    fn every_state_has_its_code() {
        let restricted = |role| State::Restricted { role, why: "too many clients".to_owned() };
        let silent = |was| State::Silent { was, why: String::new() };
        for probe in [false, true] {
            assert_eq!(code(&State::Running(Role::Standby), probe), Some(ExitCode::Success));
            assert_eq!(code(&State::Running(Role::Primary), probe), Some(ExitCode::RunningPromoted));
            assert_eq!(code(&restricted(Role::Standby), probe), Some(ExitCode::Success));
            assert_eq!(code(&restricted(Role::Primary), probe), Some(ExitCode::RunningPromoted));
            assert_eq!(code(&State::Stopped, probe), Some(ExitCode::NotRunning));
            assert_eq!(code(&State::Orphaned { was: Role::Standby }, probe), Some(ExitCode::Generic));
            assert_eq!(code(&State::Orphaned { was: Role::Primary }, probe), Some(ExitCode::FailedPromoted));
            assert_eq!(code(&silent(Role::Standby), probe), Some(ExitCode::Generic));
            assert_eq!(code(&silent(Role::Primary), probe), Some(ExitCode::FailedPromoted));
            assert_eq!(code(&State::Starting, probe), None);
            assert_eq!(code(&State::Stopping, probe), None);
        }
        assert_eq!(code(&State::Absent(String::new()), true), Some(ExitCode::NotRunning));
        assert_eq!(code(&State::Absent(String::new()), false), Some(ExitCode::NotInstalled));
    }
}
