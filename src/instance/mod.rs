//! The local PostgreSQL: facts read from it, orders given to it. It knows nothing of the cluster.

mod address;
mod as_owner;
mod control;
mod crc32c;
mod detour;
mod files;
mod first_segment;
mod first_words;
mod following;
mod launch;
mod login;
mod makeshift;
mod observe;
mod pidfile;
mod planted;
mod position;
mod processes;
mod progress;
mod promise;
mod reach;
pub mod rejoin;
mod replication;
mod session;
mod settings;
mod shutdown;
mod signal_file;
mod slots;
mod standbys;
mod upstream;
mod volume;
mod wal;
mod wal_end;
mod wal_page;
mod wal_records;
mod words;

use std::path::{Path, PathBuf};

pub use as_owner::AsOwnerError;
pub use control::{ControlData, ControlError};
pub use detour::{Detour, DetourError};
pub use following::Following;
pub use launch::{LaunchError, Launched};
pub use observe::Observation;
pub use pidfile::{PidFile, PostmasterStatus};
pub use planted::Archiving;
pub use progress::Watch;
pub use session::{Session, SqlError};
pub use settings::SettingsError;
pub use shutdown::{EndError, Ending};
pub use signal_file::SignalFileError;
pub use slots::SlotFacts;
pub use standbys::{Receiver, Sending};
pub use upstream::Upstream;
pub use wal::WalError;

use crate::ocf::{Failure, Parameters};
use crate::sys::{Deadline, IdentityError, Owner, Program};

/// The instance as the parameters describe it.
#[derive(Clone, Debug)]
pub struct Instance {
    parameters: Parameters,
    log_file: PathBuf,
}

impl Instance {
    /// The instance of this resource. Nothing is looked at yet.
    #[must_use]
    pub fn new(parameters: &Parameters, resource: &str) -> Self {
        let log_file = Path::new("/var/log/pgbaton").join(format!("{resource}.log"));
        Instance { parameters: parameters.clone(), log_file }
    }

    /// The data directory.
    #[must_use]
    pub fn data_directory(&self) -> &Path {
        self.parameters.data_directory()
    }

    /// Where the server's output goes until its logging collector runs.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log_file
    }

    /// The user that owns the instance according to `system_user`.
    ///
    /// # Errors
    /// When there is no such user.
    pub fn configured_owner(&self) -> Result<Owner, IdentityError> {
        Owner::lookup(&self.parameters.system_user)
    }

    /// The user that owns the instance: the configured one, or if there is none by that name the data
    /// directory's owner, so that a slip in the parameter does not make a healthy server look dead.
    ///
    /// # Errors
    /// When neither is a user.
    pub fn owner(&self) -> Result<Owner, IdentityError> {
        self.configured_owner().or_else(|error| Owner::of_path(self.data_directory()).ok_or(error))
    }

    /// The major version of the data directory, as `PG_VERSION` says it.
    #[must_use]
    pub fn version(&self) -> String {
        let text = files::read_small(&self.data_directory().join("PG_VERSION"));
        text.unwrap_or_default().trim().to_owned()
    }

    /// The number of the major version, when `PG_VERSION` says one.
    #[must_use]
    pub fn major_version(&self) -> Option<u32> {
        self.version().split('.').next()?.parse().ok()
    }

    /// The path of one of PostgreSQL's programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.parameters.bindir.join(name)
    }

    /// Whether the data directory is there to be filled: empty, or not made yet in a directory that is there.
    #[must_use]
    pub fn has_empty_directory(&self) -> bool {
        let data = self.data_directory();
        match std::fs::read_dir(data) {
            Ok(_) => !rejoin::nursery::is_in_use(data),
            Err(_) => !data.exists() && data.parent().is_some_and(Path::is_dir),
        }
    }

    /// What is missing on this node, if anything: the data directory, or a program.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        let data = self.data_directory();
        if !data.join("PG_VERSION").is_file() {
            if rejoin::was_abandoned(data) {
                return Some(format!(
                    "{} is half rewound or cloned, and its return was ended by 'pgbaton abandon'; put a copy of the database \
                     there, or empty the directory and set rejoin=clone",
                    data.display()
                ));
            }
            let data = data.display();
            return Some(format!(
                "{data} is not a data directory: it has no PG_VERSION; mount it, or correct pgdata or datadir"
            ));
        }
        let programs = ["postgres", "pg_ctl", "pg_controldata"];
        let missing = programs.iter().map(|name| self.program(name)).find(|path| !path.is_file())?;
        Some(format!("{} is missing; install PostgreSQL's server, or correct bindir", missing.display()))
    }

    /// Whether any server process of the data directory is alive.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.processes().all().is_empty()
    }

    /// Tells the server to leave recovery, and does not wait for that.
    ///
    /// # Errors
    /// When `pg_ctl` cannot be run or refuses.
    pub fn promote(&self, deadline: Deadline) -> Result<(), Failure> {
        let owner = self.owner().map_err(|e| Failure::generic(e.to_string()))?;
        let program = Program::new(self.program("pg_ctl")).owned_by(&owner);
        let program = program.args(["promote", "--no-wait", "--silent", "-D"]).arg(self.data_directory());
        program.run(deadline).map(drop).map_err(|e| Failure::generic(format!("cannot promote: {e}")))
    }
}
