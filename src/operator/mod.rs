//! Commands for people.

use clap::{Parser, Subcommand};

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "pgbaton",
    version,
    about = "PostgreSQL high availability under Pacemaker",
    arg_required_else_help = true
)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an action of the resource agent, as Pacemaker does
    Ocf {
        /// start, stop, monitor, promote, demote, notify, validate-all, meta-data or methods
        action: String,
    },
    /// End the return of an instance that is half rewound or cloned; destroys nothing
    Abandon {
        /// The data directory; the resource must be stopped on this node
        data: std::path::PathBuf,
    },
    /// Rewind or clone an instance, as the agent has planned it
    #[command(hide = true)]
    Rejoin {
        /// The number that the marker names
        ticket: u64,
    },
}
