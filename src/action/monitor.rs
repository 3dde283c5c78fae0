//! `monitor`: what the instance is. On the primary it also keeps the promotion scores right.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Agent, Outcome};
use crate::cluster::ClusterError;
use crate::instance::{Receiver, Session};
use crate::ocf::{ExitCode, Failure};
use crate::policy::monitor::{Answer, answer};
use crate::policy::score::{Connected, View, plan};
use crate::sys::{Deadline, Notes, Pace, ms_since_boot};
use crate::types::{NodeName, Role, State};

/// How long a state that will change by itself is looked at. Notifications wait behind a monitor.
const PATIENCE: Duration = Duration::from_secs(5);

impl Agent {
    pub(super) fn monitor(&self) -> Outcome {
        if let Some(answer) = self.monitor_rejoin() {
            return answer;
        }
        let patience = self.deadline.at_most(PATIENCE);
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            let found = self.instance.observe(self.deadline);
            let failure = match answer(&found.state, self.request.meta.probe) {
                Answer::Running(role) => return Ok(self.running(role, found.session.as_ref())),
                Answer::RunningWithWarning(role, why) => {
                    log::warn!("the server is alive and refuses the agent: {why}; it is a {role} by its files");
                    return Ok(self.running(role, None));
                }
                Answer::NotRunning => return Ok(ExitCode::NotRunning),
                Answer::LookAgain(why) => Failure::generic(why),
                // A connection that broke may be a backend's crash, from which the server recovers.
                Answer::Failed(code, why) if matches!(found.state, State::Silent { .. }) => Failure::new(code, why),
                Answer::Failed(code, why) => return Err(Failure::new(code, why)),
            };
            if !pace.step(patience) {
                return Err(failure);
            }
        }
    }

    fn running(&self, role: Role, session: Option<&Session>) -> ExitCode {
        if self.in_cluster() && !self.request.meta.probe {
            match (role, session) {
                (Role::Primary, Some(session)) => self.judge_standbys(session),
                (Role::Standby, session) => {
                    self.stand_again();
                    if let Some(session) = session {
                        self.follow_unless_streaming(session);
                        self.watch_standby(session);
                    }
                }
                (Role::Primary, None) => {}
            }
            if let Some(session) = session {
                self.keep_slots(role, session);
            }
        } else {
            self.forget_what_was_published();
        }
        match role {
            Role::Primary => ExitCode::RunningPromoted,
            Role::Standby => ExitCode::Success,
        }
    }

    /// Keeps the scores right. A failure is a warning: a primary that serves is not failed.
    fn judge_standbys(&self, session: &Session) {
        let deadline = self.deadline.at_most(Duration::from_secs(4));
        if let Err(reason) = self.update_scores(session, deadline) {
            log::warn!("the promotion scores were not updated: {reason}");
        }
    }

    fn update_scores(&self, session: &Session, deadline: Deadline) -> Result<(), Failure> {
        let failed = |e: ClusterError| Failure::generic(e.to_string());
        let (path, own) = (self.notes_path(), self.own_name()?);
        let before = Notes::load(&path);
        let sending = session.sending(deadline).map_err(|e| Failure::generic(e.to_string()))?;
        let scores = self.cluster.scores(deadline).map_err(failed)?;
        let known = scores.keys().chain([&own]).cloned().collect();
        let mut notes = Notes { undecided_since_ms: None, picked: None, candidate: false, ..before.clone() };
        let connected = self.cluster_nodes_among(&sending.receivers, known, &mut notes, deadline)?;
        let now = ms_since_boot();
        let away = |since: &u64| Duration::from_millis(now.saturating_sub(*since));
        let missing_for = before.missing.iter().filter_map(|(name, since)| Some((name.parse().ok()?, away(since))));
        let missing_for = missing_for.collect();
        let maxlag = self.request.parameters.maxlag().unwrap_or_else(|failure| {
            log::warn!("{failure}; judging without a limit");
            None
        });
        let view = View {
            own: &own,
            end: sending.end,
            connected: &connected,
            scores: &scores,
            missing_for: &missing_for,
            maxlag,
        };
        let plan = plan(&view);
        let since = |node: &NodeName| before.missing.get(node.as_str()).copied().unwrap_or(now);
        notes.missing = plan.missing.iter().map(|node| (node.to_string(), since(node))).collect();
        notes.save(&path, &before);
        for (node, score) in &plan.changes {
            log::info!("promotion score of {node}: {score}");
        }
        let changes: Vec<_> = plan.changes.into_iter().map(|(node, score)| (node, Some(score))).collect();
        let written = self.cluster.set_scores(&changes, deadline).map_err(failed);
        self.publish_timeline(sending.timeline, deadline);
        let others = scores.keys().filter(|node| **node != own);
        let missing = others.filter(|node| !connected.iter().any(|standby| standby.name == **node)).count();
        // Who is not connected may have to be mended.
        if missing > 0 {
            self.publish_oldest(session, &sending, deadline);
            self.show_timeline_in_control_file(session);
        }
        self.show(if missing > 0 && connected.is_empty() { "alone" } else { "primary" });
        written
    }

    /// The receivers that are cluster nodes. Nodes with a score are known without asking; the others
    /// are looked up once, and those that are no nodes are noted so that neither the question nor the
    /// log line is repeated.
    fn cluster_nodes_among(
        &self,
        receivers: &[Receiver],
        mut known: BTreeSet<NodeName>,
        notes: &mut Notes,
        deadline: Deadline,
    ) -> Result<Vec<Connected>, Failure> {
        let is_known = |name: &str, known: &BTreeSet<NodeName>| name.parse().is_ok_and(|node| known.contains(&node));
        notes.ignored.retain(|name| receivers.iter().any(|receiver| receiver.name == *name));
        let is_new =
            |receiver: &&Receiver| !is_known(&receiver.name, &known) && !notes.ignored.contains(&receiver.name);
        if receivers.iter().any(|receiver| is_new(&receiver)) {
            let nodes = self.cluster.nodes(deadline).map_err(|e| Failure::generic(e.to_string()))?;
            known.extend(nodes);
        }
        for receiver in receivers {
            if !is_known(&receiver.name, &known) && !notes.ignored.contains(&receiver.name) {
                log::info!("ignoring the WAL receiver '{}': its application_name is no node's name", receiver.name);
                notes.ignored.push(receiver.name.clone());
            }
        }
        let connected = |receiver: &Receiver| {
            let name = receiver.name.parse().ok().filter(|node| known.contains(node))?;
            Some(Connected { name, state: receiver.state.clone(), flushed: receiver.flushed })
        };
        Ok(receivers.iter().filter_map(connected).collect())
    }
}
