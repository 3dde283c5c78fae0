//! Inside a node: runs one action of an agent again and again, as Pacemaker would, and tells what it cost.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use nix::sys::ptrace;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, raise};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

use super::trace;
use crate::error::{Doing, Result, unexpected};
use crate::paths;

/// The daemon that runs agents: they inherit its environment.
const EXECUTOR: &str = "pacemaker-execd";

#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Runs that are timed; one before them is not
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// From the begin of one run to the begin of the next
    #[arg(long, default_value_t = 0)]
    pace_ms: u64,
    /// One variable of the agent's environment, on top of the executor's own
    #[arg(long = "set", value_name = "NAME=VALUE")]
    variables: Vec<String>,
    /// Run once more under ptrace, to count programs
    #[arg(long)]
    trace: bool,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StubArgs {
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// What the runs of one action came to.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Runs {
    pub(super) code: i32,
    pub(super) wall_ms: Vec<f64>,
    /// User and system time of the agent and of everything it started and waited for.
    pub(super) cpu_ms: Vec<f64>,
    pub(super) trace: Option<trace::Trace>,
}

/// Prints a [`Runs`] as JSON.
pub(crate) fn measure_agent(args: &AgentArgs) -> Result<()> {
    let environment = environment(&args.variables)?;
    let first = run_once(&args.command, &environment)?;
    let mut runs = Runs { code: first.code, ..Runs::default() };
    for _ in 0..args.runs {
        let begin = Instant::now();
        let run = run_once(&args.command, &environment)?;
        std::thread::sleep(Duration::from_millis(args.pace_ms).saturating_sub(begin.elapsed()));
        if run.code != first.code {
            return unexpected(format!("{} ended with {}, then with {}", args.command.join(" "), first.code, run.code));
        }
        runs.wall_ms.push(milliseconds(run.wall));
        runs.cpu_ms.push(milliseconds(run.cpu));
    }
    if args.trace {
        runs.trace = Some(trace::trace(&args.command, &environment)?);
    }
    println!("{}", serde_json::to_string(&runs).doing(|| "write the result".to_owned())?);
    Ok(())
}

/// Lets its parent trace it, and becomes the agent.
pub(crate) fn become_agent(args: &StubArgs) -> Result<()> {
    let Some((program, arguments)) = args.command.split_first() else {
        return unexpected("no command given");
    };
    ptrace::traceme().doing(|| "ask to be traced".to_owned())?;
    raise(Signal::SIGSTOP).doing(|| "wait for the tracer".to_owned())?;
    Err(Command::new(program).args(arguments).exec()).doing(|| format!("run `{program}`"))
}

struct Run {
    code: i32,
    wall: Duration,
    cpu: Duration,
}

fn run_once(command: &[String], environment: &BTreeMap<String, String>) -> Result<Run> {
    let Some((program, arguments)) = command.split_first() else {
        return unexpected("no command given");
    };
    let cpu_before = cpu_of_children()?;
    let start = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .status()
        .doing(|| format!("run `{program}`"))?;
    let wall = start.elapsed();
    let cpu = cpu_of_children()?.saturating_sub(cpu_before);
    Ok(Run { code: status.code().unwrap_or(-1), wall, cpu })
}

fn cpu_of_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).doing(|| "read the children's times".to_owned())?;
    Ok(duration(usage.user_time()) + duration(usage.system_time()))
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or_default();
    let micros = u64::try_from(time.tv_usec()).unwrap_or_default();
    Duration::from_secs(seconds) + Duration::from_micros(micros)
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn environment(variables: &[String]) -> Result<BTreeMap<String, String>> {
    let mut environment = executors_environment()?;
    for variable in variables {
        match variable.split_once('=') {
            Some((name, value)) => environment.insert(name.to_owned(), value.to_owned()),
            None => return unexpected(format!("'{variable}' is not NAME=VALUE")),
        };
    }
    Ok(environment)
}

fn executors_environment() -> Result<BTreeMap<String, String>> {
    let processes = fs::read_dir("/proc").doing(|| "read /proc".to_owned())?;
    let of_name =
        |dir: &std::path::Path| fs::read_to_string(dir.join("comm")).is_ok_and(|name| name.trim_end() == EXECUTOR);
    let Some(executor) = processes.flatten().map(|entry| entry.path()).find(|dir| of_name(dir)) else {
        return unexpected(format!("{EXECUTOR} does not run"));
    };
    let bytes = fs::read(executor.join("environ")).doing(|| format!("read the environment of {EXECUTOR}"))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The stub of this very program that becomes the agent once it is traced.
pub(super) fn stub(command: &[String], environment: &BTreeMap<String, String>) -> Command {
    let mut stub = Command::new(paths::SELF);
    stub.args(["bench-stub", "--"])
        .args(command)
        .env_clear()
        .envs(environment)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    stub
}
