//! Calls of the agent as Pacemaker makes them: a process group of its own, killed as a whole at the timeout.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// A call that is being put together.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    action: String,
    timeout: Duration,
    variables: BTreeMap<String, String>,
}

impl Call {
    pub(crate) fn new(action: &str) -> Call {
        let call = Call { action: action.to_owned(), timeout: Duration::ZERO, variables: BTreeMap::new() };
        let interval = if action == "monitor" { "10000" } else { "0" };
        call.variable("OCF_ROOT", "/usr/lib/ocf").meta("interval", interval).timeout(20_000)
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Call {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn parameter(self, name: &str, value: &str) -> Call {
        self.variable(&format!("OCF_RESKEY_{name}"), value)
    }

    pub(crate) fn meta(self, name: &str, value: &str) -> Call {
        self.variable(&format!("OCF_RESKEY_CRM_meta_{name}"), value)
    }

    /// The action's timeout in milliseconds. The agent has to answer before it.
    pub(crate) fn timeout(mut self, ms: u64) -> Call {
        self.timeout = Duration::from_millis(ms);
        self.meta("timeout", &ms.to_string())
    }

    /// Without the variables of a clone, as ocf-tester and pcs call an agent.
    pub(crate) fn outside_of_a_cluster(mut self) -> Call {
        for name in ["promotable", "promoted_max", "notify", "on_node"] {
            self.variables.remove(&format!("OCF_RESKEY_CRM_meta_{name}"));
        }
        self
    }

    /// The command line and environment, ready to be started.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgbaton"));
        command.args(["ocf", &self.action]).env_clear().envs(&self.variables).current_dir("/").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn spawn(&self) -> Flight {
        let begin = Instant::now();
        let mut child = self.command().spawn().unwrap();
        let (stdout, stderr) = (drain(child.stdout.take()), drain(child.stderr.take()));
        Flight { call: self.clone(), begin, child, stdout, stderr }
    }

    pub(crate) fn run(&self) -> Answer {
        self.spawn().finish()
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.unwrap().read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Flight {
    call: Call,
    begin: Instant,
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
}

impl Flight {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What Pacemaker does to an action that is cancelled or too slow.
    pub(crate) fn kill(mut self) {
        self.kill_group();
    }

    fn kill_group(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = killpg(group, Signal::SIGKILL);
        self.child.wait().unwrap();
    }

    /// Waits for the answer, which has to be there before the timeout.
    pub(crate) fn finish(mut self) -> Answer {
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.begin.elapsed() > self.call.timeout {
                self.kill_group();
                panic!("{} did not answer within its timeout of {:?}", self.call.action, self.call.timeout);
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let elapsed = self.begin.elapsed();
        let pid = self.child.id();
        let (stdout, stderr) = (self.stdout.join().unwrap(), self.stderr.join().unwrap());
        let code = status.code().unwrap_or_else(|| panic!("{} was ended by a signal: {status}", self.call.action));
        let log = log_of(pid, &stderr);
        let answer = Answer { action: self.call.action, code, stdout, stderr, log, elapsed };
        answer.assert_reason_when_failed();
        answer
    }
}

/// What the agent answered.
#[derive(Debug)]
pub(crate) struct Answer {
    action: String,
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What this very call has logged.
    pub(crate) log: Vec<String>,
    pub(crate) elapsed: Duration,
}

const REASON: &str = "ocf-exit-reason:";

impl Answer {
    /// The exit reason, empty when there is none.
    pub(crate) fn reason(&self) -> &str {
        self.stderr.lines().find_map(|line| line.strip_prefix(REASON)).unwrap_or_default()
    }

    pub(crate) fn logged(&self, text: &str) -> usize {
        self.log.iter().filter(|line| line.contains(text)).count()
    }

    fn has_failed(&self) -> bool {
        !(self.code == 0 || self.action == "monitor" && [7, 8].contains(&self.code))
    }

    /// One reason, last on stderr, when the action failed and only then.
    fn assert_reason_when_failed(&self) {
        let reasons = self.stderr.matches(REASON).count();
        assert_eq!(reasons, usize::from(self.has_failed()), "{self:?}");
        let last = self.stderr.lines().next_back().unwrap_or_default();
        assert!(reasons == 0 || last.starts_with(REASON) && last.len() > REASON.len() + 10, "{self:?}");
    }

    /// Asserts the exit code, with everything that was said in the message.
    pub(crate) fn expect_code(self, code: i32) -> Answer {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    pub(crate) fn expect_reason(self, part: &str) -> Answer {
        assert!(self.reason().contains(part), "no '{part}' in the reason: {self:#?}");
        self
    }
}

const SYSLOG_SOCKET: &str = "/dev/log";
const SYSLOG: &str = "/var/log/syslog";
static MARKS: AtomicUsize = AtomicUsize::new(0);

/// The lines of one process. Without a syslog daemon the agent logs to stderr. With one, a mark that is sent after
/// the process's end comes after its lines.
fn log_of(pid: u32, stderr: &str) -> Vec<String> {
    let tag = format!("[{pid}]: ");
    let Ok(socket) = UnixDatagram::unbound() else { return Vec::new() };
    let mark = format!("mark-{}-{}", std::process::id(), MARKS.fetch_add(1, Ordering::Relaxed));
    if socket.send_to(format!("<30>test: {mark}").as_bytes(), SYSLOG_SOCKET).is_err() {
        return stderr.lines().filter(|line| !line.starts_with(REASON)).map(str::to_owned).collect();
    }
    let mut text = String::new();
    super::wait_until("the mark in the syslog", || {
        text = String::from_utf8_lossy(&std::fs::read(SYSLOG).unwrap_or_default()).into_owned();
        text.contains(&mark)
    });
    text.lines().filter(|line| line.contains(&tag) && line.contains("pgbaton(")).map(str::to_owned).collect()
}
