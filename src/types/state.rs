//! What an instance was found to be.

use std::fmt;

/// The side of replication that an instance is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery.
    Standby,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Primary => "primary",
            Role::Standby => "standby",
        })
    }
}

/// What the local instance is at the moment of looking. Every policy is a `match` on this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The data directory or the server's programs are not on this node, and no server process
    /// runs. The text says what is missing.
    Absent(String),
    /// No server process: cleanly stopped, crashed, or never started since a backup. They are one
    /// state, because a start with `standby.signal` is right for each of them.
    Stopped,
    /// The postmaster is dead and server processes of this data directory are left.
    Orphaned {
        /// What the instance was by its files.
        was: Role,
    },
    /// The server runs and does not take connections yet: starting, or recovering from a crash.
    Starting,
    /// The server is shutting down.
    Stopping,
    /// The server answered a query.
    Running(Role),
    /// The server is alive and refuses the agent: too many clients, a missing role or database.
    Restricted {
        /// The role by its files.
        role: Role,
        /// The server's own words.
        why: String,
    },
    /// The postmaster is alive and does not answer in time.
    Silent {
        /// What the instance was by its files.
        was: Role,
        /// What was tried and how it failed.
        why: String,
    },
}
