//! Running other programs: never through a shell, always with a bound.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};

use super::{Deadline, Owner};

/// A program to run, with its arguments.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    owner: Option<Owner>,
    variables: Vec<(String, String)>,
}

/// What a program said and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Why there is no output to look at.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The program is not there or cannot be executed.
    #[error("cannot run {program}: {cause}")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        cause: io::Error,
    },
    /// It did not end in time and was killed.
    #[error("{0} did not answer in time and was ended")]
    Timeout(String),
    /// It ended with a failure.
    #[error("{program} failed ({status}): {message}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The last line that it wrote to stderr.
        message: String,
    },
}

impl Program {
    /// The program at `path`; a bare name is looked up in the agent's `PATH`.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Program { path: path.as_ref().to_owned(), arguments: Vec::new(), owner: None, variables: Vec::new() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Runs it as the instance's owner with a clean environment.
    #[must_use]
    pub fn owned_by(mut self, owner: &Owner) -> Self {
        self.owner = Some(owner.clone());
        self
    }

    /// Adds a variable to its environment, where nobody but the owner and root can read it.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// The command with its privileges, ready for standard input and output to be set.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        match &self.owner {
            Some(owner) => {
                owner.applied_to(&mut command);
            }
            None => forget_request(command.env("LC_ALL", "C")),
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the program without waiting for its end.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self) -> Result<Running, ProgramError> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|cause| self.not_started(cause))?;
        Ok(Running::watch(self.to_string(), child, collect))
    }

    /// Runs the program to its end, whatever the end is.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended at the deadline.
    pub fn output(&self, deadline: Deadline) -> Result<Output, ProgramError> {
        self.spawn()?.wait(deadline)
    }

    /// Runs the program to its end, or until a line of its standard error has these words: it is killed then. Its
    /// standard output is thrown away.
    ///
    /// # Errors
    /// As [`Program::output`].
    pub fn output_until(&self, words: &'static str, deadline: Deadline) -> Result<Output, ProgramError> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|cause| self.not_started(cause))?;
        Running::watch(self.to_string(), child, move |child| collect_until(child, words)).wait(deadline)
    }

    /// Runs the program and returns its standard output.
    ///
    /// # Errors
    /// As [`Program::output`], and when the program fails.
    pub fn run(&self, deadline: Deadline) -> Result<String, ProgramError> {
        self.spawn()?.finish(deadline)
    }

    /// Runs the program to its end, whatever the end is, and returns the last line that it printed: for
    /// output of any length.
    ///
    /// # Errors
    /// When it cannot be started, or has not ended at the deadline.
    pub fn last_line(&self, deadline: Deadline) -> Result<String, ProgramError> {
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(|cause| self.not_started(cause))?;
        let (pid, stdout) = (child.id(), child.stdout.take());
        let (sender, end) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = stdout.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok));
            let last = lines.filter(|line| !line.trim().is_empty()).last();
            let _ = child.wait();
            sender.send(last.unwrap_or_default())
        });
        end.recv_timeout(deadline.remaining()).map_err(|_| {
            kill(pid);
            ProgramError::Timeout(self.to_string())
        })
    }

    pub(crate) fn not_started(&self, cause: io::Error) -> ProgramError {
        ProgramError::Start { program: self.to_string(), cause }
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

/// A program that was started.
#[derive(Debug)]
pub struct Running {
    program: String,
    pid: u32,
    end: Receiver<io::Result<Output>>,
}

impl Running {
    fn watch(
        program: String,
        child: Child,
        collect: impl FnOnce(Child) -> io::Result<Output> + Send + 'static,
    ) -> Self {
        let pid = child.id();
        let (sender, end) = mpsc::channel();
        std::thread::spawn(move || sender.send(collect(child)));
        Running { program, pid, end }
    }

    /// Waits for the end of the program.
    ///
    /// # Errors
    /// When it has not ended at the deadline; it is killed then.
    pub fn wait(self, deadline: Deadline) -> Result<Output, ProgramError> {
        match self.end.recv_timeout(deadline.remaining()) {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(cause)) => Err(ProgramError::Start { program: self.program, cause }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                kill(self.pid);
                Err(ProgramError::Timeout(self.program))
            }
        }
    }

    /// Waits for the end of the program and returns its standard output.
    ///
    /// # Errors
    /// As [`Running::wait`], and when the program fails.
    pub fn finish(self, deadline: Deadline) -> Result<String, ProgramError> {
        let program = self.program.clone();
        let output = self.wait(deadline)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        let message = last_line(&output.stderr);
        Err(ProgramError::Failed { program, status: output.status, message })
    }
}

/// The cluster's tools take `OCF_RESKEY_CRM_meta_on_node` for the node that is meant, even where all
/// nodes are asked for (tried: `attrd_updater -Q -A` of 2.1.5 then prints one), so they are not told.
fn forget_request(command: &mut Command) {
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("OCF_RESKEY_")) {
        command.env_remove(name);
    }
}

/// Reads both pipes to their end, then reaps the child.
fn collect(mut child: Child) -> io::Result<Output> {
    let stderr = child.stderr.take();
    let errors = std::thread::spawn(move || read_all(stderr));
    let stdout = read_all(child.stdout.take());
    let stderr = errors.join().unwrap_or_default();
    Ok(Output { status: child.wait()?, stdout, stderr })
}

/// Reads standard error to its end or to these words, which end the child, then reaps it.
fn collect_until(mut child: Child, words: &str) -> io::Result<Output> {
    let mut stderr = String::new();
    let lines = child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n'));
    for line in lines.map_while(Result::ok) {
        stderr.push_str(&String::from_utf8_lossy(&line));
        stderr.push('\n');
        if stderr.contains(words) {
            child.kill()?;
            break;
        }
    }
    Ok(Output { status: child.wait()?, stdout: String::new(), stderr })
}

/// What can be read; a program's output is text for people and parsers that refuse nonsense.
fn read_all(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The child is reaped only after its end was received, so until then its id cannot be another's.
fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
    line.trim().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    #[test]
    fn output_and_failure_are_told_apart() {
        assert_eq!(Program::new("echo").arg("$(id)").run(soon()).unwrap(), "$(id)\n");
        let error = Program::new("ls").arg("/does/not/exist").run(soon()).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
        assert!(matches!(Program::new("/does/not/exist").run(soon()), Err(ProgramError::Start { .. })));
    }

    #[test]
    fn a_program_that_hangs_is_ended_in_time() {
        let begin = Instant::now();
        let end = Program::new("sleep").arg("60").output(Deadline::after(Duration::from_millis(50)));
        assert!(matches!(end, Err(ProgramError::Timeout(_))));
        assert!(begin.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_program_is_ended_when_it_has_said_what_is_looked_for() {
        let said = |script: &str| Program::new("sh").args(["-c", script]).output_until("at ", soon()).unwrap();
        let ended = said("echo first >&2; echo fork at 5 >&2; exec sleep 60");
        assert_eq!((ended.stderr.as_str(), ended.status.code()), ("first\nfork at 5\n", None));
        let other = said("echo first >&2; echo second; exit 3");
        assert_eq!((other.stderr.as_str(), other.status.code()), ("first\n", Some(3)));
        let hung = Program::new("sleep").arg("60").output_until("at ", Deadline::after(Duration::from_millis(50)));
        assert!(matches!(hung, Err(ProgramError::Timeout(_))));
    }

    #[test]
    fn the_last_line_of_much_output() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done; echo; exit 1";
        assert_eq!(Program::new("sh").args(["-c", script]).last_line(soon()).unwrap(), "line 2999");
        assert_eq!(Program::new("true").last_line(soon()).unwrap(), "");
        let hung = Program::new("sleep").arg("60").last_line(Deadline::after(Duration::from_millis(50)));
        assert!(matches!(hung, Err(ProgramError::Timeout(_))));
    }

    #[test]
    fn a_variable_is_given_to_the_program() {
        assert_eq!(Program::new("sh").args(["-c", "echo $PGX"]).variable("PGX", "a b").run(soon()).unwrap(), "a b\n");
    }

    #[test]
    fn much_output_on_both_pipes_does_not_block() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789; \
                      echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done";
        let output = Program::new("sh").args(["-c", script]).output(soon()).unwrap();
        assert_eq!((output.stdout.lines().count(), output.stderr.lines().count()), (3000, 3000));
    }
}
