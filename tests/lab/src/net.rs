//! The network between the nodes: a bridge in the power switch's own namespace, one port per node and client.

use std::process::Command;
use std::time::Duration;

use crate::error::{Result, unexpected};
use crate::plan::PREFIX_LENGTH;
use crate::run;

const BRIDGE: &str = "switch0";
/// Packets that are taken off the wire end here.
const NOWHERE: &str = "nowhere0";
const POSTGRES_PORT: &str = "5432";
const LIMIT: Duration = Duration::from_secs(5);

/// Makes the bridge in the calling process's network namespace.
pub(crate) fn make_bridge() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "add", BRIDGE, "type", "bridge", "forward_delay", "0", "stp_state", "0"])?;
    ip(&["link", "set", BRIDGE, "up"])?;
    // The drop action of `tc` is not in every kernel; this interface takes what is redirected to it.
    ip(&["link", "add", NOWHERE, "type", "veth", "peer", "name", "nowhere1"])?;
    ip(&["link", "set", NOWHERE, "up"])?;
    ip(&["link", "set", "nowhere1", "up"])
}

/// What fails on a cable that is not cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leak {
    /// Nothing that the node sends arrives.
    FromNode,
    /// Nothing that is sent to the node arrives.
    ToNode,
    /// The node as a client of other nodes' PostgreSQL servers: a standby's link to its primary.
    ToServers,
}

impl Leak {
    /// The switch sees what comes from the node as incoming. Each leak has a number of its own, so that two can be there at
    /// once.
    fn filters(self) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
        const ALL: &[&str] = &["protocol", "all", "u32", "match", "u32", "0", "0"];
        const REQUESTS: &[&str] = &[
            "protocol",
            "ip",
            "u32",
            "match",
            "ip",
            "protocol",
            "6",
            "0xff",
            "match",
            "ip",
            "dport",
            POSTGRES_PORT,
            "0xffff",
        ];
        const ANSWERS: &[&str] = &[
            "protocol",
            "ip",
            "u32",
            "match",
            "ip",
            "protocol",
            "6",
            "0xff",
            "match",
            "ip",
            "sport",
            POSTGRES_PORT,
            "0xffff",
        ];
        match self {
            Self::FromNode => &[("ingress", "1", ALL)],
            Self::ToNode => &[("egress", "2", ALL)],
            Self::ToServers => &[("ingress", "3", REQUESTS), ("egress", "4", ANSWERS)],
        }
    }
}

/// From now on these packets vanish.
pub(crate) fn spring(port: &str, leak: Leak) -> Result<()> {
    // It may be there from another leak, and stays.
    let _ = tc(&["qdisc", "add", "dev", port, "clsact"]);
    leak.filters().iter().try_for_each(|(direction, number, what)| {
        let place = ["filter", "add", "dev", port, direction, "pref", number];
        tc(&[&place[..], what, &["action", "mirred", "egress", "redirect", "dev", NOWHERE]].concat())
    })
}

/// Takes all of them back, if there are any.
pub(crate) fn stop_leaks(port: &str) {
    let _ = tc(&["qdisc", "del", "dev", port, "clsact"]);
}

/// Takes [`spring`] back.
pub(crate) fn stop_leak(port: &str, leak: Leak) -> Result<()> {
    leak.filters()
        .iter()
        .try_for_each(|(direction, number, _)| tc(&["filter", "del", "dev", port, direction, "pref", number]))
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
    check("ip", args)
}

fn tc(args: &[&str]) -> Result<()> {
    check("tc", args)
}

fn check(program: &str, args: &[&str]) -> Result<()> {
    let output = run::run(Command::new(program).args(args), LIMIT)?;
    match output.code {
        0 => Ok(()),
        _ => unexpected(format!("{program} {}: {}", args.join(" "), output.stderr.trim())),
    }
}
