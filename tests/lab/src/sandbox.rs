//! One command as root on top of the root image, in namespaces that are thrown away afterwards. The repository is there
//! at its own path, read-only. This is what the agent's tests against a real PostgreSQL run in.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, sethostname};

use crate::cluster::build::refuse_ordinary_users;
use crate::error::{Doing, Error, Result, unexpected};
use crate::node::init::make_run_directories;
use crate::node::{mounts, syslog};
use crate::{image, paths, plan, run};

/// Where the private layer lies while the sandbox is being built; every Linux has the directory.
const STAGE: &str = "/run";
const HOST_NAME: &str = "sandbox";

/// The outer process: new namespaces, PID 1, and its exit code.
pub(crate) fn sandbox(command: &[String]) -> Result<ExitCode> {
    refuse_ordinary_users()?;
    image::ensure(&plan::suite()?)?;
    let apart =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    unshare(apart).doing(|| "make the sandbox's namespaces".to_owned())?;
    let mut init = Command::new(paths::SELF);
    init.arg("sandbox-init").arg("--").args(command);
    let status = init.status().doing(|| "start the sandbox's PID 1".to_owned())?;
    exit_code(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
}

/// PID 1 of the sandbox; with its end everything else in there ends.
pub(crate) fn init(command: &[String]) -> Result<ExitCode> {
    let Some((program, arguments)) = command.split_first() else {
        return unexpected("no command given: lab sandbox -- COMMAND");
    };
    // A test runner that is killed takes its sandbox along.
    set_pdeathsig(Signal::SIGKILL).doing(|| "tie the sandbox to its caller".to_owned())?;
    let directory = std::env::current_dir().doing(|| "find the current directory".to_owned())?;
    build_root(Path::new(program))?;
    sethostname(HOST_NAME).doing(|| format!("set host name '{HOST_NAME}'"))?;
    syslog::listen(Path::new("/var/log/syslog"))?;
    make_run_directories()?;
    run::check(Command::new("ip").args(["link", "set", "lo", "up"]), std::time::Duration::from_secs(5))?;
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env("TMPDIR", "/tmp")
        .current_dir(if directory.exists() { &directory } else { Path::new("/") })
        .spawn()
        .doing(|| format!("run `{program}` in the sandbox"))?;
    let pid = i32::try_from(child.id()).map_err(|_| Error::Unexpected(format!("process id {}", child.id())))?;
    wait_and_reap(Pid::from_raw(pid))
}

fn build_root(program: &Path) -> Result<()> {
    let image = paths::image(&plan::suite()?);
    mounts::make_private()?;
    let stage = Path::new(STAGE);
    mounts::tmpfs(stage, "mode=755")?;
    mounts::overlay(&image, stage)?;
    let root = stage.join("root");
    mounts::system(&root)?;
    for dir in visible(program) {
        mounts::bind_read_only(&dir, &root.join(dir.strip_prefix("/").unwrap_or(&dir)))?;
    }
    mounts::enter(&root)
}

/// The repository, and the program's own directory when cargo's target directory lies elsewhere.
fn visible(program: &Path) -> Vec<PathBuf> {
    let repository = paths::repository();
    let elsewhere = program
        .parent()
        .filter(|dir| program.is_absolute() && dir.is_dir() && !dir.starts_with(&repository))
        .filter(|dir| !["/usr", "/bin", "/sbin"].iter().any(|system| dir.starts_with(system)));
    std::iter::once(repository.clone()).chain(elsewhere.map(Path::to_path_buf)).collect()
}

fn wait_and_reap(child: Pid) -> Result<ExitCode> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => return exit_code(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => return exit_code(128 + signal as i32),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return unexpected(format!("wait for the command: {errno}")),
        }
    }
}

fn exit_code(code: i32) -> Result<ExitCode> {
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
