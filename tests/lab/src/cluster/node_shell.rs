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
    check_on_within(node, command, COMMAND_LIMIT)
}

/// [`check_on`] for a command that may take longer than one of Pacemaker's.
pub(crate) fn check_on_within(node: &str, command: &[&str], limit: Duration) -> Result<String> {
    let output = run_on(node, command, limit)?;
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
    sql_on_within(node, statement, COMMAND_LIMIT)
}

/// [`sql_on`] for a statement that may take long.
pub(crate) fn sql_on_within(node: &str, statement: &str, limit: Duration) -> Result<String> {
    let psql = ["runuser", "-u", "postgres", "--", "psql", "-XAtqc", statement];
    check_on_within(node, &psql, limit).map(|text| text.trim_end().to_owned())
}

/// The same program again, as `lab exec`: only a process of its own can enter a node.
fn exec(node: &str, command: &[&str]) -> Command {
    let mut exec = Command::new(paths::SELF);
    exec.args(["exec", node, "--"]).args(command);
    exec
}
