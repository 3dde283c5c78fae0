//! Signals to PostgreSQL's processes.

use std::time::Duration;

use super::{Made, Scene};
use crate::cluster::node_shell::COMMAND_LIMIT;
use crate::error::{Result, unexpected};

/// Those of clients and of the watcher; the question itself is left out.
const BACKENDS: &str = "select pid from pg_stat_activity where backend_type = 'client backend' \
                        and pid <> pg_backend_pid() order by pid";

pub(super) fn kill_postmaster(scene: &Scene<'_>) -> Result<Made> {
    scene.at_once(|node| scene.lab.signal_postmaster(node, "KILL"))
}

pub(super) fn kill_all(scene: &Scene<'_>) -> Result<Made> {
    scene.at_once(|node| scene.lab.signal_server(node, "KILL"))
}

/// One session's process: the server starts all its processes anew.
pub(super) fn kill_backend(scene: &Scene<'_>) -> Result<Made> {
    scene.at_once(|node| {
        let there = scene.lab.sql(node, BACKENDS)?;
        let backends: Vec<&str> = there.lines().collect();
        let count = u64::try_from(backends.len()).unwrap_or_default().max(1);
        let drawn = usize::try_from(scene.fault.choice % count).unwrap_or_default();
        match backends.get(drawn) {
            Some(backend) => scene.lab.run(node, &["kill", "-KILL", backend]).map(drop),
            None => unexpected(format!("{node} has no session of a client")),
        }
    })
}

/// A process that its title tells: `postgres: srv1: startup recovering 000000010000000000000003`. A session that begins has that
/// word at the end of its title.
pub(super) fn kill_titled(scene: &Scene<'_>, title: &str) -> Result<Made> {
    let pattern = format!("^postgres: ([^ ]+: )?{title}");
    scene.at_once(|node| {
        let command = ["pkill", "-KILL", "-u", "postgres", "-f", &pattern];
        match scene.lab.try_run(node, &command, COMMAND_LIMIT)?.code {
            0 => Ok(()),
            _ => unexpected(format!("{node} has no {title} process")),
        }
    })
}

/// The postmaster stands still, and its children go on.
pub(super) fn stop_postmaster(scene: &Scene<'_>) -> Result<Made> {
    let stopped = |node: &str| -> Result<String> {
        let postmaster = scene.lab.postmaster(node)?;
        match postmaster.as_str() {
            "" => unexpected(format!("{node} has no postmaster")),
            _ => Ok(postmaster),
        }
    };
    let postmasters = scene.nodes.iter().map(|node| stopped(node)).collect::<Result<Vec<_>>>()?;
    let of = |node: &str| {
        let place = scene.nodes.iter().position(|there| there == node).unwrap_or_default();
        postmasters[place].as_str()
    };
    let signal = |node: &str, name: &str, limit: Duration| scene.lab.try_run(node, &["kill", name, of(node)], limit);
    scene.lasting(
        |node| match signal(node, "-STOP", COMMAND_LIMIT)?.code {
            0 => Ok(()),
            _ => unexpected(format!("the postmaster of {node} was gone")),
        },
        // The agent has killed it when it is gone.
        |node| signal(node, "-CONT", COMMAND_LIMIT).map(drop),
    )
}
