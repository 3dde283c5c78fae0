//! The cluster that one agent is measured in: built, brought to full strength before each round, built anew when that fails.

use std::path::Path;
use std::time::Duration;

use super::contender::Contender;
use super::cost;
use crate::cluster::build::{self, Wish};
use crate::cluster::node_shell::{check_on, run_on, sql_on};
use crate::cluster::state::State;
use crate::error::Result;
use crate::harness::Lab;
use crate::wait::{self, Seen};

/// From a definition that was just run to full strength.
const FIRST_LIMIT: Duration = Duration::from_secs(90);
/// How long a used cluster may take to recover before it is built anew.
const PATIENCE: Duration = Duration::from_secs(25);
const COMMAND_LIMIT: Duration = Duration::from_secs(20);
const LOCK_OF_SHELL_AGENT: &str = "/var/lib/postgresql/agent/PGSQL.lock";

#[derive(Debug)]
pub(super) struct Stage {
    pub(super) contender: Contender,
    wish: Wish,
    lab: Option<Lab>,
}

impl Stage {
    pub(super) fn new(contender: Contender, install: Option<&Path>) -> Result<Self> {
        Ok(Self { contender, wish: contender.wish(install)?, lab: None })
    }

    /// The lab at full strength: the one that is up when it recovers in time, else a new one.
    pub(super) fn lab(&mut self) -> Result<Lab> {
        if let Some(lab) = self.lab.take().filter(|lab| self.mend(lab).is_ok()) {
            self.lab = Some(lab.clone());
            return Ok(lab);
        }
        build::up(&self.wish)?;
        let lab = Lab::attach()?;
        self.wait_until_ready(&lab, FIRST_LIMIT)?;
        self.lab = Some(lab.clone());
        Ok(lab)
    }

    /// The next round begins with a new cluster.
    pub(super) fn spoil(&mut self) {
        self.lab = None;
    }

    /// What an administrator would do after the round before.
    fn mend(&self, lab: &Lab) -> Result<()> {
        for node in lab.nodes() {
            // Given power after fencing or by hand, as the agent's users do it.
            lab.power_on(&node)?;
        }
        build::wait_until_all_online(&lab.plan)?;
        if self.contender == Contender::Shell {
            self.remove_lock_of_shell_agent(lab)?;
        }
        lab.clear_moves()?;
        lab.run_somewhere(&["crm_resource", "--cleanup"])?;
        self.wait_until_ready(lab, PATIENCE)
    }

    /// What a hand has to do before a cluster that was shut down in order can come up again.
    pub(super) fn clear_up_after_shutdown(&self, lab: &Lab) -> Result<()> {
        if self.contender == Contender::Shell {
            for node in lab.nodes() {
                check_on(&node, &["rm", "--force", LOCK_OF_SHELL_AGENT])?;
            }
        }
        Ok(())
    }

    /// The agent leaves it behind on the old primary, and then refuses to start there.
    fn remove_lock_of_shell_agent(&self, lab: &Lab) -> Result<()> {
        let primary = lab.wait_for_primary()?;
        for node in lab.nodes().iter().filter(|node| **node != primary) {
            check_on(node, &["rm", "--force", LOCK_OF_SHELL_AGENT])?;
        }
        Ok(())
    }

    fn wait_until_ready(&self, lab: &Lab, limit: Duration) -> Result<()> {
        wait::until("full strength", limit, || {
            let state = lab.state()?;
            if let Some(missing) = missing_instances(lab, &state)? {
                return Ok(Seen::NotYet(missing));
            }
            let primary = &state.promoted[0];
            let wanted = self.contender.promotable_standbys(state.unpromoted.len());
            if promotable(&state) < wanted {
                if self.contender == Contender::Paf {
                    cost::run_monitor(lab, self.contender, primary)?;
                }
                return Ok(Seen::NotYet(format!("scores {:?}", state.scores)));
            }
            Ok(match is_idle(primary)? {
                true => Seen::Yes(()),
                false => Seen::NotYet("the controller is at work".to_owned()),
            })
        })
    }
}

/// Waits until Pacemaker has nothing more to do.
pub(super) fn wait_until_idle(node: &str) -> Result<()> {
    wait::until_true("idle controller", PATIENCE, || is_idle(node))
}

fn is_idle(node: &str) -> Result<bool> {
    let controller = check_on(node, &["crmadmin", "--quiet", "--dc_lookup"])?;
    let controller = controller.split_whitespace().last().unwrap_or_default().to_owned();
    Ok(run_on(node, &["crmadmin", "--quiet", "--status", &controller], COMMAND_LIMIT)?.stdout.contains("S_IDLE"))
}

fn missing_instances(lab: &Lab, state: &State) -> Result<Option<String>> {
    let count = lab.nodes().len();
    let whole = state.quorum
        && state.online.len() == count
        && state.promoted.len() == 1
        && state.unpromoted.len() == count - 1
        && state.address.as_ref() == state.promoted.first();
    if !whole {
        return Ok(Some(format!("{state:?}")));
    }
    let streaming = "select application_name from pg_stat_replication where state = 'streaming'";
    let streaming = sql_on(&state.promoted[0], streaming)?;
    let stray = state.unpromoted.iter().find(|standby| !streaming.lines().any(|name| name == *standby));
    Ok(stray.map(|standby| format!("{standby} does not stream")))
}

fn promotable(state: &State) -> usize {
    state.unpromoted.iter().filter(|standby| state.scores.get(*standby).is_some_and(|score| *score > 0)).count()
}

/// The standby that Pacemaker would promote.
pub(super) fn best_standby(lab: &Lab) -> Result<String> {
    let state = lab.state()?;
    let best = state.unpromoted.iter().max_by_key(|standby| state.scores.get(*standby));
    match best {
        Some(standby) => Ok(standby.clone()),
        None => crate::error::unexpected("no standby is there"),
    }
}
