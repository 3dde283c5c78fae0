//! Starting the server process.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use super::files::read_small;
use super::{Instance, words};
use crate::policy::makeshift::Makeshift;
use crate::sys::{Deadline, IdentityError, Program, ProgramError, cut_log_file, detach, open_log_file};

/// How long the logging collector's file may take to be read, and how much of its end is.
const READING: Duration = Duration::from_secs(1);
const LAST_BYTES: u64 = 64 << 10;

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
    /// The file of the logging collector of the server before, and its length.
    collected: Option<(String, u64)>,
}

impl Launched {
    /// How the postmaster ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What the server wrote before its logging collector took over.
    fn words(&self) -> String {
        let mut text = Vec::new();
        let _ = (&self.log).seek(SeekFrom::Start(self.log_begin));
        let _ = (&self.log).take(1 << 20).read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The last one, but for what clients are told meanwhile.
fn complaint(text: &str) -> Option<&str> {
    let is_one = |line: &&str| ["FATAL", "PANIC", "ERROR"].iter().any(|word| line.contains(word));
    text.lines().rev().filter(is_one).find(|line| !line.contains("the database system is"))
}

/// How a process ended that did not say why.
fn last_end(text: &str) -> Option<&str> {
    let is_one =
        |line: &&str| ["was terminated by signal", "exited with exit code"].iter().any(|end| line.contains(end));
    text.lines().rev().find(is_one)
}

/// The file that the logging collector writes to, and its length (`current_logfiles`: a line has the destination and the path;
/// a server removes it when it starts).
fn collector_file(data: &Path) -> io::Result<(String, u64)> {
    let files = read_small(&data.join("current_logfiles"))?;
    let name = files.lines().find_map(|line| line.strip_prefix("stderr ")).ok_or(io::ErrorKind::NotFound)?;
    Ok((name.to_owned(), fs::metadata(data.join(name))?.len()))
}

/// The end of what the logging collector has written since `before`: it may go on with the file of the server before.
fn collected(data: &Path, before: Option<(String, u64)>) -> io::Result<String> {
    let (name, length) = collector_file(data)?;
    let begin = before.filter(|(old, _)| *old == name).map_or(0, |(_, begin)| begin);
    let mut file = File::open(data.join(name))?;
    file.seek(SeekFrom::Start(begin.max(length.saturating_sub(LAST_BYTES))))?;
    let mut text = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

impl Instance {
    /// Starts the postmaster in a session of its own, so that it survives the end of the agent's process
    /// group, and returns at once. Its output goes to [`Instance::log_file`], which is root's.
    ///
    /// # Errors
    /// When the program or the log file cannot be used.
    pub fn launch(&self, makeshift: Option<Makeshift>) -> Result<Launched, LaunchError> {
        let owner = self.owner()?;
        let options = words::split(&self.parameters.start_opts).ok_or(LaunchError::Options)?;
        let io = |cause| self.log_error(cause);
        let log = self.open_log().map_err(io)?;
        let log_begin = log.metadata().map_err(io)?.len();
        let data = self.data_directory().to_owned();
        let collected = self.as_owner(move || collector_file(&data), Deadline::after(READING)).ok();
        let program = Program::new(self.program("postgres")).owned_by(&owner);
        let program = program.arg("-D").arg(&self.parameters.pgdata).args(options);
        let program = program.args(makeshift.map(Makeshift::options).unwrap_or_default());
        let mut command = program.command();
        command.stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(io)?).stderr(log.try_clone().map_err(io)?);
        // A server is known by its working directory. It goes there by itself some milliseconds later; a `stop` that
        // follows a killed `start` at once would not see it before.
        detach(&mut command, Some(self.data_directory()));
        let child = command.spawn().map_err(|cause| program.not_started(cause))?;
        Ok(Launched { child, log, log_begin, collected })
    }

    /// The last complaint of a server that has ended, wherever it wrote it.
    #[must_use]
    pub fn last_words(&self, server: &Launched) -> String {
        let own = server.words();
        let (data, before) = (self.data_directory().to_owned(), server.collected.clone());
        let collected =
            || self.as_owner(move || collected(&data, before), Deadline::after(READING)).unwrap_or_default();
        let later = if complaint(&own).is_none() { collected() } else { String::new() };
        let line = complaint(&own).or_else(|| complaint(&later)).or_else(|| last_end(&later));
        let line = line.or_else(|| own.lines().next_back()).unwrap_or("it wrote nothing");
        line.trim().chars().take(300).collect()
    }

    pub(super) fn log_error(&self, cause: io::Error) -> LaunchError {
        LaunchError::Log { file: self.log_file.display().to_string(), cause }
    }

    /// Keeps the server's output short, by whoever it is written: the owner has the file open.
    pub fn cut_log(&self) {
        let _ = cut_log_file(&self.log_file);
    }

    pub(super) fn open_log(&self) -> io::Result<File> {
        open_log_file(&self.log_file)
    }
}
