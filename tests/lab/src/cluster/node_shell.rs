//! Programs and SQL on a node, from outside, with a bound on the time.

use std::process::Command;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::paths;
use crate::run::{self, Output};

/// More than any command of Pacemaker's needs on a healthy node.
pub(crate) const COMMAND_LIMIT: Duration = Duration::from_secs(20);

/// Runs a command on a node, whatever it ends with.
pub(crate) fn run_on(node: &str, command: &[&str], limit: Duration) -> Result<Output> {
    run::run(&mut exec(node, command), limit)
}

/// Runs a command on a node, which has to end with 0; gives back what it printed.
pub(crate) fn check_on(node: &str, command: &[&str]) -> Result<String> {
    let output = run_on(node, command, COMMAND_LIMIT)?;
    match output.code {
        0 => Ok(output.stdout),
        code => Err(Error::Program {
            command: format!("{} (on {node})", command.join(" ")),
            code: code.to_string(),
            said: format!("{} {}", output.stdout.trim(), output.stderr.trim()),
        }),
    }
}

/// One statement as the superuser over the node's Unix socket; columns are parted by `|`.
pub(crate) fn sql_on(node: &str, statement: &str) -> Result<String> {
    let psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", statement];
    check_on(node, &psql).map(|text| text.trim_end().to_owned())
}

/// The same program again, as `lab exec`: only a process of its own can enter a node.
fn exec(node: &str, command: &[&str]) -> Command {
    let mut exec = Command::new(paths::SELF);
    exec.args(["exec", node, "--"]).args(command);
    exec
}
