//! Pacemaker's own processes.

use super::{Made, Scene};
use crate::cluster::node_shell::COMMAND_LIMIT;
use crate::error::{Result, unexpected};

/// By the whole command line: the kernel keeps 15 characters of a name.
pub(super) fn kill(scene: &Scene<'_>, daemon: &str) -> Result<Made> {
    let pattern = format!("/{daemon}$");
    scene.at_once(|node| match scene.lab.try_run(node, &["pkill", "-KILL", "-f", &pattern], COMMAND_LIMIT)?.code {
        0 => Ok(()),
        _ => unexpected(format!("{node} runs no {daemon}")),
    })
}
