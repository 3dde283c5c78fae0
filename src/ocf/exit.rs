//! Exit codes and reasons.

use std::io::Write;

/// The exit codes of the OCF resource agent API 1.1 that this agent uses.
///
/// `OCF_ERR_CONFIGURED` (6) is missing on purpose: it is fatal on all nodes, and everything that this
/// agent can complain of may differ from node to node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Done; for monitor: running, unpromoted.
    Success = 0,
    /// Failed; Pacemaker may try again here.
    Generic = 1,
    /// A parameter is wrong on this node.
    Arguments = 2,
    /// No such action.
    Unimplemented = 3,
    /// Something that the instance needs is missing on this node.
    NotInstalled = 5,
    /// No server process runs.
    NotRunning = 7,
    /// Running, promoted.
    RunningPromoted = 8,
    /// Promoted and failed.
    FailedPromoted = 9,
    /// Running, unpromoted, and not all is well. Pacemaker takes it for a success.
    Degraded = 190,
    /// Running, promoted, and not all is well. Pacemaker takes it for a success.
    DegradedPromoted = 191,
}

impl ExitCode {
    /// The number for the process's exit status.
    #[must_use]
    pub fn number(self) -> i32 {
        self as i32
    }
}

/// An action's failure. There is none without a reason: one line with the cause, the values and the cure.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Failure {
    code: ExitCode,
    reason: String,
}

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(code: ExitCode, reason: impl Into<String>) -> Self {
        Failure { code, reason: reason.into() }
    }

    /// A failure that Pacemaker may try again on this node.
    pub fn generic(reason: impl Into<String>) -> Self {
        Failure::new(ExitCode::Generic, reason)
    }

    /// The exit code.
    #[must_use]
    pub fn code(&self) -> ExitCode {
        self.code
    }

    /// Writes the reason in the form that Pacemaker reads: the last `ocf-exit-reason:` line on stderr.
    pub fn report(&self) {
        let mut line = String::from("ocf-exit-reason:");
        line.extend(self.reason.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000));
        line.push('\n');
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}
