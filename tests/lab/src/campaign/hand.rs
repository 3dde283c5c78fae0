//! What a person has to do after some faults, as the agents' documentation says. The harness does it when the cluster has had
//! its time, one step after the other, and counts each.
//!
//! | agent | what it demands |
//! |---|---|
//! | pgbaton | a standby that is too far behind is made anew, where `rejoin=rewind` leaves that to a person |
//! | pgsqlms | a fenced primary is rebuilt before its cluster services are started; an instance that ended in its recovery, for whose end the agent waits, is started and stopped by hand |
//! | pgsql | a fresh base backup after a crash, made while the node's cluster services are down; `PGSQL.lock` removed before the old primary can start |
//! | pgsql | the ban that it gives a node with newer data than the new primary's is lifted, after a fresh base backup |
//! | pgsql | cluster services started anew where it goes on forbidding the promotion of an instance that streams |
//! | pgsqlms, pgsql | what has failed too often is cleaned up |

use std::slice;
use std::time::{Duration, Instant};

use super::healing::Healing;
use super::record::Micros;
use crate::cluster::instances;
use crate::cluster::node_shell::COMMAND_LIMIT;
use crate::cluster::state::State;
use crate::error::Result;
use crate::harness::lab::is_reachable;
use crate::harness::{Lab, full_strength};
use crate::profile::Rejoin;

/// How long the cluster may try by itself, before the first step and after each.
const PATIENCE: Duration = Duration::from_secs(25);
const START_LIMIT: Duration = Duration::from_secs(30);
const LOCK_OF_SHELL_AGENT: &str = "/var/lib/postgresql/agent/PGSQL.lock";

/// Says by its exit code whether there was something to do.
const RECOVER: &str = "! pgrep -u postgres -x postgres >/dev/null &&
    LC_ALL=C \"$1/pg_controldata\" \"$2\" | grep --quiet --extended-regexp 'state: +in (crash|archive) recovery' &&
    runuser -u postgres -- \"$1/pg_ctl\" -D \"$2\" -w start </dev/null >/dev/null 2>&1 &&
    runuser -u postgres -- \"$1/pg_ctl\" -D \"$2\" -w -m fast stop";

const CLEANUP: &str = "resource cleaned up";

/// Somebody who waits, and helps when nothing moves.
pub(super) struct Hand<'a> {
    lab: &'a Lab,
    steps: Vec<String>,
    /// What was listed before it was cleaned up.
    failures: Vec<String>,
    last: Instant,
}

impl<'a> Hand<'a> {
    pub(super) fn new(lab: &'a Lab) -> Self {
        Self { lab, steps: Vec::new(), failures: Vec::new(), last: Instant::now() }
    }

    /// What came of it.
    pub(super) fn healing(self, healed_after: Option<Micros>, missing: Option<String>) -> Healing {
        let (manual_steps, failures) = (self.steps, self.failures);
        Healing { healed_after, missing, manual_steps, failures }
    }

    /// Whether the agent leaves work to a person.
    pub(super) fn is_asked_for(&self) -> bool {
        !self.lab.plan.agent_makes_standbys_anew()
    }

    /// Whether work is left to a person now, or was in this round.
    pub(super) fn is_at_work(&self) -> bool {
        self.is_asked_for()
            || !self.steps.is_empty()
            || self.lab.state().is_ok_and(|state| self.awaited(&state).is_some())
    }

    /// The node that waits for a person's decision, by what the agent says of it and the README.
    fn awaited(&self, state: &State) -> Option<String> {
        let is_left = self.lab.plan.profile.rejoin == Rejoin::Rewind;
        full_strength::too_far_behind(state).filter(|_| is_left)
    }

    /// Makes one step if the time has come and there is one to be made.
    pub(super) fn help(&mut self) {
        if self.last.elapsed() < PATIENCE {
            return;
        }
        // A step may end with a cleanup.
        let state = self.lab.state().unwrap_or_default();
        let (listed, step) = match (self.is_asked_for(), self.awaited(&state)) {
            (true, _) => (state.failures, self.step()),
            (false, Some(node)) => (Vec::new(), self.make_anew(&node)),
            (false, None) => return,
        };
        match step {
            Ok(steps) if steps.is_empty() => return,
            Ok(steps) => {
                self.steps.extend(steps);
                self.failures.extend(listed);
            }
            Err(error) => println!("    a step by hand failed: {error}"),
        }
        self.last = Instant::now();
    }

    fn make_anew(&self, node: &str) -> Result<Vec<String>> {
        full_strength::rebuild(self.lab, node)?;
        Ok(vec![format!("{node}: too far behind, rebuilt by pg_basebackup")])
    }

    fn step(&self) -> Result<Vec<String>> {
        let nodes = self.bring_nodes_back()?;
        if !nodes.is_empty() {
            return Ok(nodes);
        }
        let locks = self.remove_locks()?;
        if !locks.is_empty() {
            return Ok(locks);
        }
        let state = self.lab.state()?;
        let is_clean = state.failures.is_empty() && state.troubled.is_empty();
        let cleaned_in_vain = self.steps.last().is_some_and(|last| last == CLEANUP);
        if cleaned_in_vain && state.promoted.is_empty() {
            let recovered = self.recover_instances()?;
            if !recovered.is_empty() {
                return Ok(recovered);
            }
        }
        // A copy is made from a primary.
        match is_clean || (cleaned_in_vain && state.promoted.len() == 1) {
            true => self.help_a_standby(&state),
            false => self.clean_up(),
        }
    }

    fn help_a_standby(&self, state: &State) -> Result<Vec<String>> {
        if let Some(node) = full_strength::stray_standby(self.lab)? {
            return self.rebuild(&node, state);
        }
        match full_strength::is_promotion_forbidden(self.lab, state) {
            true => self.restart_services(state),
            false => Ok(Vec::new()),
        }
    }

    /// Nodes without power or without cluster services: all at once, as somebody would who finds them so.
    fn bring_nodes_back(&self) -> Result<Vec<String>> {
        let mut steps = Vec::new();
        for node in self.lab.nodes() {
            if !self.lab.has_power(&node)? {
                self.lab.power_on_without_services(&node)?;
                steps.push(format!("{node}: switched on"));
            } else if is_reachable(&node) && !self.lab.runs_services(&node)? {
                steps.push(self.start_services(&node)?);
            }
        }
        Ok(steps)
    }

    /// With a primary elsewhere the node may have been one: then it gets a fresh copy first.
    fn start_services(&self, node: &str) -> Result<String> {
        let is_rebuilt = self.has_primary();
        if is_rebuilt {
            instances::rebuild(&self.lab.plan, node)?;
        }
        self.lab.start_services(node)?;
        Ok(match is_rebuilt {
            true => format!("{node}: rebuilt by pg_basebackup, cluster services started"),
            false => format!("{node}: cluster services started"),
        })
    }

    /// Without quorum Pacemaker goes on showing a primary whose node is lost; and it may run nowhere.
    fn has_primary(&self) -> bool {
        self.lab.state().is_ok_and(|state| matches!(&state.promoted[..], [one] if state.online.contains(one)))
    }

    /// The shell agent leaves it behind on an old primary, and then refuses to start there.
    fn remove_locks(&self) -> Result<Vec<String>> {
        let primary = self.lab.primary().ok();
        let mut steps = Vec::new();
        for node in self.lab.nodes().into_iter().filter(|node| Some(node) != primary.as_ref() && is_reachable(node)) {
            if self.lab.try_run(&node, &["rm", LOCK_OF_SHELL_AGENT], COMMAND_LIMIT)?.code == 0 {
                steps.push(format!("{node}: PGSQL.lock removed"));
            }
        }
        if !steps.is_empty() {
            steps.extend(self.clean_up()?);
        }
        Ok(steps)
    }

    fn recover_instances(&self) -> Result<Vec<String>> {
        let plan = &self.lab.plan;
        let (bindir, pgdata) = (plan.bindir().display().to_string(), plan.pgdata().display().to_string());
        let mut steps = Vec::new();
        for node in self.lab.nodes().into_iter().filter(|node| is_reachable(node)) {
            let recover = ["bash", "-c", RECOVER, "recover", &bindir, &pgdata];
            if self.lab.try_run(&node, &recover, START_LIMIT)?.code == 0 {
                steps.push(format!("{node}: instance started and stopped by hand"));
            }
        }
        Ok(steps)
    }

    /// A node that is banned for its newer data may come back when it has the primary's.
    fn rebuild(&self, node: &str, state: &State) -> Result<Vec<String>> {
        full_strength::rebuild(self.lab, node)?;
        let mut steps = vec![format!("{node}: rebuilt by pg_basebackup")];
        if state.bans.iter().any(|ban| ban.ends_with(&format!("-on-{node}"))) {
            self.lab.lift_agents_bans()?;
            steps.push(format!("{node}: ban lifted"));
        }
        Ok(steps)
    }

    /// The scores that an agent gave a node go with the node's cluster services. A node whose score was lost is the first; no
    /// node twice before the others.
    fn restart_services(&self, state: &State) -> Result<Vec<String>> {
        let step = |node: &String| format!("{node}: cluster services started anew");
        let restarts = |node: &String| self.steps.iter().filter(|made| **made == step(node)).count();
        let first = state.unpromoted.iter().min_by_key(|node| (restarts(node), state.scores.contains_key(*node)));
        let Some(node) = first else { return Ok(Vec::new()) };
        self.lab.stop_services(slice::from_ref(node))?;
        self.lab.start_services(node)?;
        Ok(vec![step(node)])
    }

    fn clean_up(&self) -> Result<Vec<String>> {
        self.lab.clean_up_failures()?;
        Ok(vec![CLEANUP.to_owned()])
    }
}
