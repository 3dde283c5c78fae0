//! The promotion scores, which the primary's monitor keeps right.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::elsewhere::names_of_close;
use super::strike::{Look, away_for};
use super::{Agent, failed};
use crate::cluster::ClusterError;
use crate::instance::{Receiver, Sending, Session};
use crate::ocf::Failure;
use crate::policy::condition::Condition;
use crate::policy::score::{Connected, Plan, View, plan};
use crate::policy::strike;
use crate::sys::{Deadline, Notes, Pace, ScoreMemory, ms_since_boot};
use crate::types::{Gather, NodeName, Position, Score};

/// The share of a monitor that the scores may take.
const TIME: Duration = Duration::from_secs(4);

/// How long the attribute daemon may take to answer whether a score is lost, while a demotion waits.
const RESTORATION: Duration = Duration::from_secs(3);

/// How long standbys may take to find a new primary: they try every 5 s (`wal_retrieve_retry_interval`). Until then no checkpoint
/// is asked for. With PostgreSQL's default `wal_keep_size` it removes the WAL that they need next, if much is written.
const RECONNECTION: Duration = Duration::from_secs(12);

type Scores = BTreeMap<NodeName, Score>;

/// A look at the standbys.
struct Judgement {
    scores: Scores,
    connected: Vec<Connected>,
    maxlag: Option<u64>,
    away_for: BTreeMap<NodeName, Duration>,
    strikes: strike::Plan,
    plan: Plan,
}

impl Judgement {
    fn has_nothing_to_do(&self) -> bool {
        self.plan == Plan::default() && self.strikes.strike.is_empty() && self.strikes.take_back.is_empty()
    }
}

impl Agent {
    /// Keeps the scores right. A failure is a warning: a primary that serves is not failed.
    /// Tells how many standbys follow, when that is known.
    pub(super) fn judge_standbys(&self, session: &Session) -> Option<Condition> {
        let updated = self.update_scores(session, self.deadline.at_most(TIME));
        updated.map_err(|reason| log::warn!("the promotion scores were not updated: {reason}")).ok()
    }

    fn update_scores(&self, session: &Session, deadline: Deadline) -> Result<Condition, Failure> {
        let (path, own) = (self.notes_path(), self.own_name()?);
        let before = Notes::load(&path);
        let sending = session.sending(deadline).map_err(|e| Failure::generic(e.to_string()))?;
        let mut notes = before.clone();
        notes.forget_election();
        self.refresh_roster(&own, Some(sending.timeline), &mut notes, deadline);
        let Judgement { scores, connected, maxlag, away_for, strikes, plan } =
            self.look_at(&own, &sending, &mut notes, deadline)?;
        notes.scores = notes.scores.filter(|_| plan.changes.is_empty());
        notes.close = names_of_close(&connected, sending.end);
        notes.promotion = None;
        notes.unseen = tell_of_hidden(&connected, before.unseen);
        // On record before the score tells: a node that is struck off must not look like one that only was away.
        let (own_name, away_for) = (&own, &away_for);
        let at = Some(position_of(&sending));
        let look = Look { own: own_name, at, connected: &connected, scores: &scores, maxlag, away_for };
        self.write_strikes(&look, strikes, &mut notes, deadline);
        notes.save(&path, &before);
        let written = self.write_scores(plan, deadline);
        self.publish_timeline(sending.timeline, deadline);
        let others: Vec<_> = scores.keys().filter(|node| **node != own).collect();
        let is_there = |node: &&NodeName, wanted: fn(&str) -> bool| {
            connected.iter().any(|standby| standby.name == **node && wanted(&standby.state))
        };
        // Who is not connected may have to be mended.
        if !others.iter().all(|node| is_there(node, |_| true)) {
            self.publish_oldest(session, &sending, deadline);
            if away_for.values().any(|away| *away >= RECONNECTION) {
                self.show_timeline_in_control_file(session);
            }
        }
        // A state that the role may not see counts as good.
        let streaming = others.iter().filter(|node| is_there(node, |state| matches!(state, "streaming" | ""))).count();
        written.map(|()| Condition::of_primary(streaming, others.len()))
    }

    /// Judges by the scores that an earlier monitor has read, and asks the cluster for them when those are old, or when
    /// there is something to do.
    fn look_at(
        &self,
        own: &NodeName,
        sending: &Sending,
        notes: &mut Notes,
        deadline: Deadline,
    ) -> Result<Judgement, Failure> {
        let senders = senders(sending);
        if let Some(scores) = notes.scores.as_ref().filter(|memory| memory.is_fresh(&senders)).and_then(recall) {
            let judgement = self.judge_by(scores, own, sending, notes, deadline)?;
            if judgement.has_nothing_to_do() {
                return Ok(judgement);
            }
        }
        let scores = self.cluster.scores(deadline).map_err(failed)?;
        if !scores.contains_key(own) {
            notes.tell_all_again();
        }
        notes.scores = Some(memory_of(&scores, senders));
        self.judge_by(scores, own, sending, notes, deadline)
    }

    fn judge_by(
        &self,
        scores: Scores,
        own: &NodeName,
        sending: &Sending,
        notes: &mut Notes,
        deadline: Deadline,
    ) -> Result<Judgement, Failure> {
        let known = scores.keys().chain([own]).cloned().collect();
        let connected = self.cluster_nodes_among(&sending.receivers, known, notes, deadline)?;
        let away_for = away_for(notes);
        let maxlag = self.request.parameters.maxlag().unwrap_or_else(|failure| {
            log::warn!("{failure}; judging without a limit");
            None
        });
        let at = Some(position_of(sending));
        let look = Look { own, at, connected: &connected, scores: &scores, maxlag, away_for: &away_for };
        let (strikes, barred) = self.judge_strikes(&look, notes);
        let (connected_now, end) = (&connected, sending.end);
        let view = View {
            own,
            end,
            connected: connected_now,
            scores: &scores,
            missing_for: &away_for,
            maxlag,
            barred: &barred,
        };
        let plan = plan(&view);
        Ok(Judgement { scores, connected, maxlag, away_for, strikes, plan })
    }

    /// Whether the attribute daemon has lost this primary's promotion score, which would be the reason why Pacemaker
    /// demotes it, and the score is in the cluster configuration again. Its other words are told by the next monitor.
    ///
    /// Pacemaker takes all attributes of a node away whose daemon is started anew (seen, 2.1.5: `attrd_erase_attrs`, and
    /// `attrd_peer_remove` on the others), and plans at once. A change of a score makes it give the plan up before the next
    /// action, and this primary is the best again.
    pub(super) fn restores_lost_score(&self, own: &NodeName) -> bool {
        let deadline = self.deadline.at_most(RESTORATION);
        let restored = self.restore_lost_score(own, deadline);
        restored.unwrap_or_else(|why| {
            log::warn!("cannot see whether this node's promotion score is lost: {why}");
            false
        })
    }

    fn restore_lost_score(&self, own: &NodeName, deadline: Deadline) -> Result<bool, ClusterError> {
        if self.scores_of_new_daemon(deadline)?.contains_key(own) {
            return Ok(false);
        }
        self.change_notes(Notes::tell_all_again);
        self.cluster.set_scores(&[(own.clone(), Some(Score::PRIMARY))], deadline)?;
        let restored = self.let_pacemaker_notice(&[(own.clone(), Score::PRIMARY)]);
        let outcome = match restored {
            true => "and is written again: the plan to demote it is void",
            false => "and the cluster configuration does not show it again yet: it is demoted",
        };
        log::warn!("this primary's promotion score was lost with the attribute daemon, {outcome}");
        Ok(restored)
    }

    /// The daemon may be about to begin.
    fn scores_of_new_daemon(&self, deadline: Deadline) -> Result<Scores, ClusterError> {
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            match self.cluster.scores(deadline) {
                Err(_) if pace.step(deadline) => {}
                scores => return scores,
            }
        }
    }

    fn write_scores(&self, plan: Plan, deadline: Deadline) -> Result<(), Failure> {
        for (node, score) in &plan.changes {
            log::info!("promotion score of {node}: {score}");
        }
        let changes: Vec<_> = plan.changes.into_iter().map(|(node, score)| (node, Some(score))).collect();
        self.cluster.set_scores(&changes, deadline).map_err(failed)
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
        let is_known = |name: &str, known: &BTreeSet<NodeName>| NodeName::of_application(name, known).is_some();
        notes.ignored.retain(|name| receivers.iter().any(|receiver| receiver.name == *name));
        let is_new =
            |receiver: &&Receiver| !is_known(&receiver.name, &known) && !notes.ignored.contains(&receiver.name);
        if receivers.iter().any(|receiver| is_new(&receiver)) {
            let nodes = self.cluster.nodes(deadline).map_err(failed)?;
            known.extend(nodes);
        }
        for receiver in receivers {
            if !is_known(&receiver.name, &known) && !notes.ignored.contains(&receiver.name) {
                log::info!("ignoring the WAL receiver '{}': its application_name is no node's name", receiver.name);
                notes.ignored.push(receiver.name.clone());
            }
        }
        let connected = |receiver: &Receiver| {
            Some(connected_as(NodeName::of_application(&receiver.name, &known)?.clone(), receiver))
        };
        Ok(receivers.iter().filter_map(connected).collect())
    }
}

fn position_of(sending: &Sending) -> Position {
    Position { timeline: sending.timeline, end: sending.end }
}

/// Tells, once, that the role sees too little; whether it does.
fn tell_of_hidden(connected: &[Connected], told: bool) -> bool {
    let hidden = connected.iter().any(Connected::is_hidden);
    if hidden && !told {
        log::warn!(
            "the agent's role may not see how far the standbys are; grant it pg_monitor. Until then those that are connected keep \
             the promotion scores that they have, and are neither struck off nor taken back"
        );
    }
    hidden
}

pub(super) fn connected_as(name: NodeName, receiver: &Receiver) -> Connected {
    Connected { name, state: receiver.state.clone(), flushed: receiver.flushed, replayed: receiver.replayed }
}

fn senders(sending: &Sending) -> String {
    let mut senders: Vec<_> = sending.receivers.iter().map(|receiver| receiver.sender.as_str()).collect();
    senders.sort_unstable();
    senders.join(" ")
}

fn memory_of(scores: &Scores, senders: String) -> ScoreMemory {
    let scores: Vec<_> = scores.iter().map(|(node, score)| format!("{node}={score}")).collect();
    ScoreMemory { read_ms: ms_since_boot(), senders, scores: scores.join(" ") }
}

/// None when the memory is damaged.
fn recall(memory: &ScoreMemory) -> Option<Scores> {
    let pair = |text: &str| {
        let (node, score) = text.split_once('=')?;
        Some((node.parse().ok()?, score.parse().ok()?))
    };
    let pairs: Option<Vec<_>> = memory.scores.split_whitespace().map(pair).collect();
    Some(pairs?.into_iter().into_map())
}
