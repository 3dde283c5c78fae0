//! The network between the nodes: a bridge in the power switch's own namespace, one port per node and client.

use std::process::Command;
use std::time::Duration;

use crate::error::{Result, unexpected};
use crate::plan::PREFIX_LENGTH;
use crate::run;

const BRIDGE: &str = "switch0";
const LIMIT: Duration = Duration::from_secs(5);

/// Makes the bridge in the calling process's network namespace.
pub(crate) fn make_bridge() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"])?;
    ip(&["link", "set", BRIDGE, "up"])
}

/// Lays a cable from the switch to the network namespace of the process (or thread) `pid`, where it is called eth0.
pub(crate) fn plug(port: &str, pid: u32) -> Result<()> {
    unplug(port)?;
    let pid = pid.to_string();
    ip(&["link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", &pid])?;
    heal(port)?;
    ip(&["link", "set", port, "up"])
}

/// Takes the cable away, from both ends at once.
pub(crate) fn unplug(port: &str) -> Result<()> {
    match exists(port)? {
        true => ip(&["link", "delete", port]),
        false => Ok(()),
    }
}

/// The switch's port fails: the carrier stays, packets vanish.
pub(crate) fn cut(port: &str) -> Result<()> {
    ip(&["link", "set", port, "nomaster"])
}

pub(crate) fn heal(port: &str) -> Result<()> {
    ip(&["link", "set", port, "master", BRIDGE])
}

pub(crate) fn is_cut(port: &str) -> Result<bool> {
    let output = run::run(Command::new("ip").args(["link", "show", "dev", port]), LIMIT)?;
    Ok(output.code == 0 && !output.stdout.contains(&format!("master {BRIDGE}")))
}

/// Gives the end of the cable in the calling thread's namespace its address.
pub(crate) fn address_eth0(address: &str) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "add", &format!("{address}/{PREFIX_LENGTH}"), "broadcast", "+", "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "up"])
}

fn exists(port: &str) -> Result<bool> {
    Ok(run::run(Command::new("ip").args(["link", "show", "dev", port]), LIMIT)?.code == 0)
}

fn ip(args: &[&str]) -> Result<()> {
    let output = run::run(Command::new("ip").args(args), LIMIT)?;
    match output.code {
        0 => Ok(()),
        _ => unexpected(format!("ip {}: {}", args.join(" "), output.stderr.trim())),
    }
}
