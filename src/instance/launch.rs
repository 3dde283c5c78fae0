//! Starting the server process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::process::{Child, ExitStatus, Stdio};

use super::{Instance, words};
use crate::sys::{IdentityError, Program, ProgramError, detach, open_log_file};

/// Why the server was not started.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// `start_opts` cannot be split into words.
    #[error("parameter start_opts has a quote that is not closed; close it")]
    Options,
    /// The log file cannot be opened.
    #[error("cannot open {file}: {cause}")]
    Log {
        /// The file.
        file: String,
        /// What the system said.
        cause: io::Error,
    },
    /// The program cannot be executed.
    #[error(transparent)]
    Program(#[from] ProgramError),
}

/// A server that was started by this action.
#[derive(Debug)]
pub struct Launched {
    child: Child,
    log: File,
    log_begin: u64,
}

impl Launched {
    /// How the postmaster ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last complaint that the server wrote before its logging collector took over.
    #[must_use]
    pub fn last_words(&mut self) -> String {
        let mut text = Vec::new();
        let _ = self.log.seek(SeekFrom::Start(self.log_begin));
        let _ = (&self.log).take(1 << 20).read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let complaint = |line: &&str| ["FATAL", "PANIC", "ERROR"].iter().any(|word| line.contains(word));
        let line = text.lines().rev().find(complaint).or_else(|| text.lines().next_back());
        line.unwrap_or("it wrote nothing").trim().chars().take(300).collect()
    }
}

impl Instance {
    /// Starts the postmaster in a session of its own, so that it survives the end of the agent's process
    /// group, and returns at once. Its output goes to [`Instance::log_file`], which is root's.
    ///
    /// # Errors
    /// When the program or the log file cannot be used.
    pub fn launch(&self) -> Result<Launched, LaunchError> {
        let owner = self.owner()?;
        let options = words::split(&self.parameters.start_opts).ok_or(LaunchError::Options)?;
        let io = |cause| self.log_error(cause);
        let log = self.open_log().map_err(io)?;
        let log_begin = log.metadata().map_err(io)?.len();
        let program = Program::new(self.program("postgres")).owned_by(&owner);
        let program = program.arg("-D").arg(&self.parameters.pgdata).args(options);
        let mut command = program.command();
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(io)?).stderr(log.try_clone().map_err(io)?);
        // A server is known by its working directory. It goes there by itself some milliseconds later; a `stop` that
        // follows a killed `start` at once would not see it before.
        detach(&mut command, Some(self.data_directory()));
        let child = command.spawn().map_err(|cause| program.not_started(cause))?;
        Ok(Launched { child, log, log_begin })
    }

    pub(super) fn log_error(&self, cause: io::Error) -> LaunchError {
        LaunchError::Log { file: self.log_file.display().to_string(), cause }
    }

    pub(super) fn open_log(&self) -> io::Result<File> {
        open_log_file(&self.log_file)
    }
}
