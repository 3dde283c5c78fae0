//! The lab as a scenario sees it: who is primary, what can be broken, what can be waited for.

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::client::Client;
use super::history::History;
use crate::cluster::node_shell::{COMMAND_LIMIT, check_on, check_on_within, run_on, sql_on, sql_on_within};
use crate::cluster::state::{RESOURCE, State};
use crate::error::{Doing, Error, Result, unexpected};
use crate::node::clock;
use crate::paths;
use crate::plan::Plan;
use crate::run::Output;
use crate::switch;
use crate::wait::{self, Seen};

/// Longer than any failover, with fencing, timeouts of actions and a restart of the node in it.
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
const SERVICES_STOP_LIMIT: Duration = Duration::from_secs(60);
const SERVICES_START_LIMIT: Duration = Duration::from_secs(30);
/// What the unit files start. Their output would keep the caller waiting.
const START_SERVICES: &str = "corosync && until corosync-cmapctl totem.cluster_name >/dev/null 2>&1; do sleep 0.1; done
    PCMK_logfile=/var/log/pacemaker/pacemaker.log setsid pacemakerd </dev/null >/dev/null 2>&1 &";
/// The clone that the commands for people speak of.
pub(crate) const CLONE: &str = "pgsql-clone";

/// A handle to the one lab that is up; a clone of it speaks of the same lab.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub plan: Plan,
    notes: Arc<Mutex<Notes>>,
}

/// What the harness keeps about the scenario that runs.
#[derive(Debug, Default)]
struct Notes {
    outages: Vec<Duration>,
    histories: Vec<Arc<Mutex<History>>>,
    /// What else is worth a line of the verdict.
    remarks: Vec<String>,
}

impl Lab {
    /// The lab that is up.
    pub(crate) fn attach() -> Result<Self> {
        Ok(Self { plan: Plan::load()?, notes: Arc::default() })
    }

    // --- looking ---------------------------------------------------------------------------------------------------

    pub(crate) fn nodes(&self) -> Vec<String> {
        self.plan.cluster_nodes().map(|node| node.name.clone()).collect()
    }

    /// The cluster as a node sees it that has power, a network and quorum; failing that, one without quorum.
    pub(crate) fn state(&self) -> Result<State> {
        let mut without_quorum = unexpected("no node that has power and a network answers");
        for node in self.nodes().iter().filter(|node| is_reachable(node)) {
            match State::seen_by(node) {
                Ok(state) if state.quorum => return Ok(state),
                Ok(state) => without_quorum = Ok(state),
                Err(error) if without_quorum.is_err() => without_quorum = Err(error),
                Err(_) => {}
            }
        }
        without_quorum
    }

    pub(crate) fn state_seen_by(&self, node: &str) -> Result<State> {
        State::seen_by(node)
    }

    /// The one promoted node of this moment.
    pub(crate) fn primary(&self) -> Result<String> {
        let state = self.state()?;
        match &state.promoted[..] {
            [one] => Ok(one.clone()),
            others => unexpected(format!("one primary expected, Pacemaker shows {others:?}")),
        }
    }

    pub(crate) fn standbys(&self) -> Result<Vec<String>> {
        Ok(self.state()?.unpromoted)
    }

    pub(crate) fn a_standby(&self) -> Result<String> {
        match self.standbys()?.into_iter().next() {
            Some(standby) => Ok(standby),
            None => unexpected("no standby is there"),
        }
    }

    /// One statement as the superuser on that node; columns are parted by `|`.
    pub(crate) fn sql(&self, node: &str, statement: &str) -> Result<String> {
        sql_on(node, statement)
    }

    /// [`Self::sql`] for a statement that may take long.
    pub(crate) fn sql_within(&self, node: &str, statement: &str, limit: Duration) -> Result<String> {
        sql_on_within(node, statement, limit)
    }

    /// What the node's programs have sent to syslog, the agent among them.
    pub(crate) fn syslog(&self, node: &str) -> Result<String> {
        let path = paths::upper(node).join("var/log/syslog");
        let text = fs::read(&path).doing(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// A command on that node, which has to end with 0.
    pub(crate) fn run(&self, node: &str, command: &[&str]) -> Result<String> {
        check_on(node, command)
    }

    /// A command on that node, whatever it ends with.
    pub(crate) fn try_run(&self, node: &str, command: &[&str], limit: Duration) -> Result<Output> {
        run_on(node, command, limit)
    }

    /// A command on whichever node of the cluster can be reached. Members come first: a node that has just booted takes a
    /// change of the configuration and loses it when it joins.
    pub(crate) fn run_somewhere(&self, command: &[&str]) -> Result<String> {
        self.run_somewhere_within(command, COMMAND_LIMIT)
    }

    pub(crate) fn run_somewhere_within(&self, command: &[&str], limit: Duration) -> Result<String> {
        let mut last = unexpected("no node has power and a network");
        let members = self.state().map(|state| state.online).unwrap_or_default();
        let (first, then): (Vec<_>, Vec<_>) = self.nodes().into_iter().partition(|node| members.contains(node));
        for node in first.iter().chain(&then).filter(|node| is_reachable(node)) {
            last = check_on_within(node, command, limit);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// How often the node has each row of the client.
    pub(crate) fn rows_of_client(&self, node: &str, client: i32) -> Result<HashMap<i64, u64>> {
        let text = sql_on(node, &format!("select n, count(*) from lab.rows where client = {client} group by n"))?;
        let row = |line: &str| {
            let (n, count) = line.split_once('|')?;
            Some((n.parse().ok()?, count.parse().ok()?))
        };
        let rows = text.lines().map(|line| row(line).ok_or_else(|| Error::Unexpected(format!("no row: '{line}'"))));
        rows.collect()
    }

    // --- waiting ---------------------------------------------------------------------------------------------------

    /// Waits until Pacemaker's view is as wanted.
    pub(crate) fn wait_until(&self, what: &str, limit: Duration, wanted: impl Fn(&State) -> bool) -> Result<State> {
        wait::until(what, limit, || {
            let state = self.state()?;
            Ok(match wanted(&state) {
                true => Seen::Yes(state),
                false => Seen::NotYet(brief(&state)),
            })
        })
    }

    /// Waits until one node is promoted and its server takes writes.
    pub(crate) fn wait_for_primary(&self) -> Result<String> {
        self.wait_for_a_primary("a primary", |_| true)
    }

    pub(crate) fn wait_for_primary_on(&self, node: &str) -> Result<String> {
        self.wait_for_a_primary(&format!("primary on {node}"), |primary| primary == node)
    }

    pub(crate) fn wait_for_another_primary(&self, old: &str) -> Result<String> {
        self.wait_for_a_primary(&format!("a primary other than {old}"), |primary| primary != old)
    }

    fn wait_for_a_primary(&self, what: &str, wanted: impl Fn(&str) -> bool) -> Result<String> {
        wait::until(what, RECOVERY_LIMIT, || {
            let state = self.state()?;
            match &state.promoted[..] {
                [one] if wanted(one) && self.takes_writes(one)? => Ok(Seen::Yes(one.clone())),
                _ => Ok(Seen::NotYet(brief(&state))),
            }
        })
    }

    fn takes_writes(&self, node: &str) -> Result<bool> {
        Ok(sql_on(node, "select pg_is_in_recovery()")? == "f")
    }

    // --- breaking --------------------------------------------------------------------------------------------------

    /// Takes a node's power. The cluster's fencing gives it back, unless [`Self::stays_off_after_fencing`] was said.
    pub(crate) fn power_off(&self, node: &str) -> Result<()> {
        switch::order(&format!("off {node}")).map(drop)
    }

    pub(crate) fn power_on(&self, node: &str) -> Result<()> {
        switch::order(&format!("on {node}")).map(drop)
    }

    /// Boots the node without corosync and Pacemaker.
    pub(crate) fn power_on_without_services(&self, node: &str) -> Result<()> {
        switch::order(&format!("on-without-services {node}")).map(drop)
    }

    /// From now on this node stays off when it is fenced.
    pub(crate) fn stays_off_after_fencing(&self, node: &str) -> Result<()> {
        switch::order(&format!("after-fencing {node} stays-off")).map(drop)
    }

    /// Takes [`Self::stays_off_after_fencing`] back.
    pub(crate) fn boots_after_fencing(&self, node: &str) -> Result<()> {
        switch::order(&format!("after-fencing {node} boots")).map(drop)
    }

    pub(crate) fn cut(&self, node: &str) -> Result<()> {
        switch::order(&format!("cut {node}")).map(drop)
    }

    pub(crate) fn heal(&self, node: &str) -> Result<()> {
        switch::order(&format!("heal {node}")).map(drop)
    }

    /// Packets of one kind vanish on the node's cable: `from-node`, `to-node`, or `to-servers`, where the node is a client of
    /// another node's PostgreSQL.
    pub(crate) fn leak(&self, node: &str, word: &str) -> Result<()> {
        switch::order(&format!("leak {node} {word}")).map(drop)
    }

    pub(super) fn stop_leaks(&self, node: &str) -> Result<()> {
        switch::order(&format!("stop-leaks {node}")).map(drop)
    }

    pub(crate) fn stop_leak(&self, node: &str, word: &str) -> Result<()> {
        switch::order(&format!("stop-leak {node} {word}")).map(drop)
    }

    pub(crate) fn freeze(&self, node: &str) -> Result<()> {
        switch::group(node)?.freeze()
    }

    pub(crate) fn thaw(&self, node: &str) -> Result<()> {
        switch::group(node)?.thaw()
    }

    /// The node's time of day is off by so many seconds from now on, until it is set right with 0.
    pub(crate) fn set_clock(&self, node: &str, seconds: i64) -> Result<()> {
        clock::set(node, seconds)
    }

    pub(crate) fn has_power(&self, node: &str) -> Result<bool> {
        Ok(switch::order(&format!("status {node}"))? == "on")
    }

    /// A signal (KILL, STOP, CONT) to all of the node's PostgreSQL processes at once.
    pub(crate) fn signal_server(&self, node: &str, signal: &str) -> Result<()> {
        check_on(node, &["pkill", &format!("-{signal}"), "-u", "postgres", "-x", "postgres"]).map(drop)
    }

    /// A signal to the one process of the server that does this work: `checkpointer`, `startup`.
    pub(crate) fn signal_process(&self, node: &str, work: &str, signal: &str) -> Result<()> {
        let title = format!("^postgres: (.*: )?{work}");
        check_on(node, &["pkill", &format!("-{signal}"), "-u", "postgres", "-f", &title]).map(drop)
    }

    /// A signal to the postmaster alone.
    pub(crate) fn signal_postmaster(&self, node: &str, signal: &str) -> Result<()> {
        check_on(node, &["kill", &format!("-{signal}"), &self.postmaster(node)?]).map(drop)
    }

    /// The postmaster's process id on its node.
    pub(crate) fn postmaster(&self, node: &str) -> Result<String> {
        let file = self.plan.pgdata().join("postmaster.pid");
        let text = check_on(node, &["cat", &file.display().to_string()])?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    /// Stops Pacemaker (with the resources) and corosync on the nodes, all at the same time, as an administrator would.
    pub(crate) fn stop_services(&self, nodes: &[String]) -> Result<()> {
        for node in nodes {
            check_on(node, &["pkill", "-TERM", "-x", "pacemakerd"])?;
        }
        for node in nodes {
            wait::until_true(&format!("end of Pacemaker on {node}"), SERVICES_STOP_LIMIT, || {
                Ok(!self.runs_services(node)?)
            })?;
            run_on(node, &["pkill", "-TERM", "-x", "corosync-qdevic|corosync"], SERVICES_STOP_LIMIT)?;
        }
        nodes.iter().try_for_each(|node| {
            wait::until_true(&format!("end of corosync on {node}"), SERVICES_STOP_LIMIT, || {
                Ok(run_on(node, &["pgrep", "-x", "corosync-qdevic|corosync"], COMMAND_LIMIT)?.code != 0)
            })
        })?;
        Ok(())
    }

    /// Starts corosync and Pacemaker on a node that runs neither.
    pub(crate) fn start_services(&self, node: &str) -> Result<()> {
        self.try_run(node, &["bash", "-c", START_SERVICES], SERVICES_START_LIMIT).map(drop)
    }

    pub(crate) fn runs_services(&self, node: &str) -> Result<bool> {
        let output = run_on(node, &["pgrep", "-x", "pacemakerd"], SERVICES_STOP_LIMIT)?;
        Ok(output.code == 0)
    }

    // --- operating -------------------------------------------------------------------------------------------------

    /// Asks Pacemaker to make that node the primary, waits until it is, and takes the request back.
    pub(crate) fn switch_over_to(&self, node: &str) -> Result<()> {
        self.ask_for_switchover_to(node)?;
        self.wait_for_primary_on(node)?;
        self.clear_moves()
    }

    /// Only the request: what becomes of it is the scenario's story.
    pub(crate) fn ask_for_switchover_to(&self, node: &str) -> Result<()> {
        self.run_somewhere(&["crm_resource", "--resource", CLONE, "--move", "--promoted", "--node", node]).map(drop)
    }

    /// Removes the constraints that moves and bans leave behind.
    pub(crate) fn clear_moves(&self) -> Result<()> {
        self.run_somewhere(&["crm_resource", "--resource", CLONE, "--clear"]).map(drop)
    }

    /// Removes the bans that the shell agent itself sets, on the instances instead of their clone.
    pub(crate) fn lift_agents_bans(&self) -> Result<()> {
        self.run_somewhere(&["crm_resource", "--resource", RESOURCE, "--clear"]).map(drop)
    }

    /// Forgets the failed actions that are listed; what they kept from running may run again.
    pub(crate) fn clean_up_failures(&self) -> Result<()> {
        self.run_somewhere(&["crm_resource", "--cleanup"]).map(drop)
    }

    /// Pacemaker's standby mode: the node keeps its membership and loses its resources.
    pub(crate) fn standby_mode(&self, node: &str, on: bool) -> Result<()> {
        let value: &[&str] = if on { &["--update", "on"] } else { &["--delete"] };
        let ask = ["crm_attribute", "--type", "nodes", "--node", node, "--name", "standby"];
        self.run_somewhere(&[&ask[..], value].concat()).map(drop)
    }

    /// Settings of PostgreSQL on one node, for this scenario only (reloaded, not restarted).
    pub(crate) fn configure(&self, node: &str, settings: &str) -> Result<()> {
        let script = format!("printf '%s\\n' \"$1\" > {SCENARIO_CONF}");
        check_on(node, &["bash", "-c", &script, "configure", settings])?;
        self.reload(node)
    }

    /// From now on, in this scenario, a server keeps more WAL than any scenario writes. By default it keeps what it needs itself.
    pub(crate) fn keep_much_wal(&self) -> Result<()> {
        self.nodes().iter().try_for_each(|node| {
            let script = format!("printf '%s\\n' \"$1\" > {WAL_CONF}");
            check_on(node, &["bash", "-c", &script, "keep-wal", KEEP_MUCH_WAL])?;
            self.reload(node)
        })
    }

    pub(super) fn reload(&self, node: &str) -> Result<()> {
        sql_on(node, "select pg_reload_conf()").map(drop)
    }

    /// From now on a commit waits for one standby: with this nothing acknowledged may be lost, whatever dies.
    pub(crate) fn use_synchronous_commit(&self) -> Result<()> {
        for node in self.nodes() {
            let others: Vec<_> = self.nodes().into_iter().filter(|other| *other != node).collect();
            let list = others.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
            self.configure(&node, &format!("synchronous_standby_names = 'ANY 1 ({list})'"))?;
        }
        let primary = self.primary()?;
        wait::until_true("a synchronous standby", RECOVERY_LIMIT, || {
            let count = sql_on(&primary, "select count(*) from pg_stat_replication where sync_state = 'quorum'")?;
            Ok(count != "0")
        })
    }

    // --- clients ---------------------------------------------------------------------------------------------------

    /// A client that writes wherever the primary is; its first row has been acknowledged.
    pub(crate) fn writing_client(&self) -> Result<Client> {
        let client = Client::start(self)?;
        client.wait_for_first_row()?;
        Ok(client)
    }

    pub(super) fn remember(&self, history: &Arc<Mutex<History>>) {
        self.notes().histories.push(Arc::clone(history));
    }

    pub(super) fn note_outage(&self, outage: Duration) {
        self.notes().outages.push(outage);
    }

    /// The longest outage that a client of this scenario has seen.
    pub(crate) fn worst_outage(&self) -> Option<Duration> {
        self.notes().outages.iter().max().copied()
    }

    /// Says something that was measured, in the verdict.
    pub(crate) fn remark(&self, text: String) {
        self.notes().remarks.push(text);
    }

    pub(crate) fn remarks(&self) -> Vec<String> {
        self.notes().remarks.clone()
    }

    pub(super) fn histories(&self) -> Vec<String> {
        let histories = self.notes().histories.clone();
        histories.iter().map(|history| history.lock().unwrap_or_else(PoisonError::into_inner).text()).collect()
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings that a scenario makes; included by each node's own file.
pub(super) const SCENARIO_CONF: &str = "/etc/postgresql/scenario.conf";
/// How much WAL a server keeps, when a scenario says so; [`SCENARIO_CONF`] wins.
const WAL_CONF: &str = "/etc/postgresql/wal.conf";
const KEEP_MUCH_WAL: &str = "wal_keep_size = '512MB'";
/// Both.
pub(super) const SCENARIOS_FILES: [&str; 2] = [SCENARIO_CONF, WAL_CONF];

/// A node without power, frozen or cut cannot be asked, or tells stories of its own.
pub(crate) fn is_reachable(node: &str) -> bool {
    let answers = |question: &str, wanted: &str| {
        switch::order(&format!("{question} {node}")).is_ok_and(|answer| answer == wanted)
    };
    answers("status", "on") && answers("is-cut", "false") && !switch::group(node).is_ok_and(|group| group.is_frozen())
}

pub(super) fn brief(state: &State) -> String {
    format!(
        "online {:?}, in standby mode {:?}, promoted {:?}, unpromoted {:?}, address {:?}, scores {:?}, \
         says {:?}, failures {:?}, troubled {:?}, moves {:?}",
        state.online,
        state.standby_mode,
        state.promoted,
        state.unpromoted,
        state.address,
        state.scores,
        state.words,
        state.failures,
        state.troubled,
        state.bans
    )
}
