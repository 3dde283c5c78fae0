//! The switch board: power and cable of every node.

use std::collections::HashMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::serve::log_file;
use crate::cgroup::Group;
use crate::error::{Doing, Result, unexpected};
use crate::net::{self, Leak};
use crate::paths;
use crate::plan::{Node, Plan};
use crate::wait::{self, Seen};

const BOOT_LIMIT: Duration = Duration::from_secs(10);
/// Between a fenced node's power and its first program. Longer than corosync's token and consensus timeouts together
/// (8.1 s): a node that is back before the others have missed it hears of its own fencing, and Pacemaker ends for good.
const SELF_TEST: Duration = Duration::from_millis(8500);

/// What becomes of a node that was fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterFencing {
    Boots,
    BootsWithoutServices,
    StaysOff,
}

#[derive(Debug)]
struct Outlet {
    /// The process that waits for the node's PID 1, while the node has power.
    boot: Option<Child>,
    after_fencing: AfterFencing,
    /// Counts how often it was switched: whoever wants to boot it later can tell whether somebody else was at it.
    switched: u64,
}

#[derive(Debug)]
pub(super) struct Board {
    plan: Plan,
    outlets: HashMap<String, Mutex<Outlet>>,
}

impl Board {
    pub(super) fn new(plan: Plan) -> Self {
        let after_fencing = match plan.agent_takes_crashed_primary_back() {
            true => AfterFencing::Boots,
            false => AfterFencing::BootsWithoutServices,
        };
        let outlet = || Mutex::new(Outlet { boot: None, after_fencing, switched: 0 });
        let outlets = plan.nodes.iter().map(|node| (node.name.clone(), outlet())).collect();
        Self { plan, outlets }
    }

    pub(super) fn list(&self) -> String {
        let names: Vec<_> = self.plan.cluster_nodes().map(|node| node.name.as_str()).collect();
        names.join(" ")
    }

    pub(super) fn status(&self, name: &str) -> Result<String> {
        let mut outlet = self.outlet(name)?;
        Ok(match outlet.has_power() {
            true => "on",
            false => "off",
        }
        .to_owned())
    }

    /// The process id of the node's PID 1, as the machine counts.
    pub(super) fn pid(&self, name: &str) -> Result<u32> {
        match self.outlet(name)?.has_power() {
            true => booted_pid(name),
            false => unexpected(format!("node '{name}' is off")),
        }
    }

    pub(super) fn on(&self, name: &str, services: bool) -> Result<String> {
        let node = self.plan.node(name)?;
        let mut outlet = self.outlet(name)?;
        if !outlet.has_power() {
            outlet.boot = Some(boot(node, services)?);
            outlet.switched += 1;
        }
        Ok("on".to_owned())
    }

    /// Takes the power and answers; the node boots after [`SELF_TEST`], as real machines do. One that the others have
    /// lost already boots at once.
    pub(super) fn reboot(self: &Arc<Self>, name: &str) -> Result<String> {
        let was_on = self.outlet(name)?.has_power();
        self.off(name)?;
        if !was_on {
            return self.on_after_fencing(name);
        }
        let (board, name, switched) = (Arc::clone(self), name.to_owned(), self.outlet(name)?.switched);
        std::thread::spawn(move || {
            std::thread::sleep(SELF_TEST);
            let untouched = board.outlet(&name).is_ok_and(|outlet| outlet.switched == switched);
            let booted = if untouched { board.on_after_fencing(&name).map(drop) } else { Ok(()) };
            if let Err(error) = booted {
                eprintln!("boot of node '{name}' after its fencing: {error}");
            }
        });
        Ok("off, and boots soon".to_owned())
    }

    pub(super) fn on_after_fencing(&self, name: &str) -> Result<String> {
        let after_fencing = self.outlet(name)?.after_fencing;
        match after_fencing {
            AfterFencing::Boots => self.on(name, true),
            AfterFencing::BootsWithoutServices => self.on(name, false),
            AfterFencing::StaysOff => Ok("stays off".to_owned()),
        }
    }

    /// The cable first: otherwise the peers would see connections being closed, which a loss of power never shows.
    pub(super) fn off(&self, name: &str) -> Result<String> {
        let node = self.plan.node(name)?;
        let mut outlet = self.outlet(name)?;
        net::unplug(&node.port())?;
        group(name)?.kill_and_remove()?;
        outlet.switched += 1;
        if let Some(mut boot) = outlet.boot.take() {
            boot.wait().doing(|| format!("wait for the end of node '{name}'"))?;
        }
        Ok("off".to_owned())
    }

    pub(super) fn cut(&self, name: &str) -> Result<String> {
        net::cut(&self.plan.node(name)?.port()).map(|()| "cut".to_owned())
    }

    pub(super) fn heal(&self, name: &str) -> Result<String> {
        net::heal(&self.plan.node(name)?.port()).map(|()| "healed".to_owned())
    }

    pub(super) fn leak(&self, name: &str, word: &str) -> Result<String> {
        net::spring(&self.plan.node(name)?.port(), leak_named(word)?).map(|()| "leaks".to_owned())
    }

    pub(super) fn stop_leak(&self, name: &str, word: &str) -> Result<String> {
        net::stop_leak(&self.plan.node(name)?.port(), leak_named(word)?).map(|()| "stopped".to_owned())
    }

    pub(super) fn stop_leaks(&self, name: &str) -> Result<String> {
        net::stop_leaks(&self.plan.node(name)?.port());
        Ok("stopped".to_owned())
    }

    pub(super) fn is_cut(&self, name: &str) -> Result<bool> {
        net::is_cut(&self.plan.node(name)?.port())
    }

    pub(super) fn set_after_fencing(&self, name: &str, word: &str) -> Result<String> {
        self.outlet(name)?.after_fencing = match word {
            "boots" => AfterFencing::Boots,
            "boots-without-services" => AfterFencing::BootsWithoutServices,
            "stays-off" => AfterFencing::StaysOff,
            _ => return unexpected(format!("'{word}' is not one of boots, boots-without-services, stays-off")),
        };
        Ok(word.to_owned())
    }

    pub(super) fn plug_client(&self, port: &str, pid: &str) -> Result<String> {
        let Ok(pid) = pid.parse() else {
            return unexpected(format!("'{pid}' is no process id"));
        };
        net::plug(port, pid).map(|()| "plugged".to_owned())
    }

    fn outlet(&self, name: &str) -> Result<MutexGuard<'_, Outlet>> {
        match self.outlets.get(name) {
            // A caller that panicked left the outlet as it is: the next look finds out how that is.
            Some(outlet) => Ok(outlet.lock().unwrap_or_else(PoisonError::into_inner)),
            None => unexpected(format!("no node '{name}'; there are {}", self.plan.names())),
        }
    }
}

impl Outlet {
    fn has_power(&mut self) -> bool {
        match &mut self.boot {
            Some(boot) => matches!(boot.try_wait(), Ok(None)),
            None => false,
        }
    }
}

fn leak_named(word: &str) -> Result<Leak> {
    match word {
        "from-node" => Ok(Leak::FromNode),
        "to-node" => Ok(Leak::ToNode),
        "to-servers" => Ok(Leak::ToServers),
        _ => unexpected(format!("'{word}' is not one of from-node, to-node, to-servers")),
    }
}

pub(crate) fn group(node: &str) -> Result<Group> {
    Group::named(&format!("node-{node}"))
}

/// Starts the node and lays its cable; the node itself waits for that.
fn boot(node: &Node, services: bool) -> Result<Child> {
    // A node that ended by itself (Pacemaker's panic) may have left processes and a cable behind.
    net::unplug(&node.port())?;
    group(&node.name)?.kill_and_remove()?;
    let pid_file = paths::node(&node.name).join("pid");
    let _ = fs::remove_file(&pid_file);
    let services = if services { "--services" } else { "--no-services" };
    let child = Command::new(paths::SELF)
        .args(["node-boot", &node.name, services])
        .stdin(Stdio::null())
        .stdout(log_file()?)
        .stderr(log_file()?)
        .spawn()
        .doing(|| format!("start node '{}'", node.name))?;
    let pid = wait::until("boot of the node", BOOT_LIMIT, || booted_pid(&node.name).map(Seen::Yes))?;
    net::plug(&node.port(), pid)?;
    Ok(child)
}

fn booted_pid(name: &str) -> Result<u32> {
    let path = paths::node(name).join("pid");
    let text = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
    match text.strip_suffix('\n').map(str::parse) {
        Some(Ok(pid)) => Ok(pid),
        _ => unexpected(format!("{} holds '{text}'", path.display())),
    }
}
