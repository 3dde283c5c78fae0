//! All that may happen, by subject.

mod election;
mod faults;
mod monitors;
mod pacemaker;
mod people;
mod promotion;
mod returns;
mod traffic;

use std::fmt;

use crate::model::Cluster;
use crate::state::State;
use crate::words::node as name;

/// What becomes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice {
    /// It votes, and decides if it is the last.
    Heard,
    /// It never comes.
    Lost,
    /// The agent is killed when it has voted.
    Killed,
    /// The instance cannot tell its position.
    NotKnown,
    /// The instance can tell only what it has replayed.
    AtLeast,
}

/// What becomes of a promotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// It goes through, or is refused by the election.
    Done,
    /// Pacemaker has not noticed that the scores have changed.
    Unnoticed,
    /// The agent is killed when the votes are discarded and the number is reserved.
    KilledBefore,
    /// The agent is killed when the server takes writes.
    KilledAfter,
}

/// What becomes of a demotion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demotion {
    /// Clean, and the standbys that are connected got everything.
    HandedOver,
    /// Clean, and they did not.
    Clean,
    /// By force.
    Forced,
}

/// A step. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client writes a row.
    Write(u8),
    /// A standby receives the next record.
    Receive(u8),
    /// A node loses power.
    Loss(u8),
    /// It is back.
    Return(u8),
    /// An instance crashes.
    Crash(u8),
    /// Replication from and to a node is cut.
    Cut(u8),
    /// And mended.
    Mend(u8),
    /// The cluster starts an instance.
    Start(u8),
    /// A start that was refused is tried again.
    Retry(u8),
    /// A monitor.
    Monitor(u8),
    /// The first monitor of a primary, before any standby has found it.
    EarlyMonitor(u8),
    /// More time than a standby may be away has passed.
    GraceOver,
    /// The election timeout has passed.
    TimedOut,
    /// Pacemaker plans a promotion.
    Plan(u8),
    /// Pacemaker plans to move the primary.
    Switch(u8, u8, Demotion),
    /// Pacemaker demotes a primary that must not be one.
    Demote(u8, Demotion),
    /// Notification before the promotion.
    Notify(u8, Notice),
    /// Pacemaker gives the plan up for the scores.
    GiveUp,
    /// The promotion.
    Promote(u8, Promotion),
    /// A return makes progress.
    Work(u8),
    /// A person makes a slip in a node's configuration.
    Slip(u8),
    /// And corrects it.
    Correct(u8),
    /// A person stops an instance.
    Hold(u8, Option<Demotion>),
    /// And lets the cluster start it again.
    Release(u8),
    /// A person moves the primary.
    Move(u8),
    /// And takes the constraint away.
    ForgetMove,
    /// A person bans a node.
    Ban(u8),
    /// And lifts the ban.
    Unban(u8),
    /// A person delays the replay of a node.
    Unfit(u8),
    /// And does so no longer.
    Fit(u8),
    /// A person accepts what a node lacks.
    Accept(u8),
    /// A person gives up what a stopped node has.
    Renounce(u8),
}

/// Steps and where they lead.
#[derive(Debug, Default)]
pub struct Found(pub Vec<(Step, Result<State, String>)>);

impl Found {
    /// A step.
    pub fn add(&mut self, step: Step, to: State) {
        self.0.push((step, Ok(to)));
    }

    /// A step that may violate something.
    pub fn try_add(&mut self, step: Step, outcome: Result<State, String>) {
        self.0.push((step, outcome));
    }
}

/// What the README leaves to a person, who then bears the loss.
#[must_use]
pub fn decisions(state: &State) -> Vec<(Step, State)> {
    people::decisions(state)
}

/// Whether Pacemaker leaves the primary where it is.
#[must_use]
pub fn stays(state: &State) -> bool {
    state.primary().is_some_and(|primary| pacemaker::best(state).contains(&primary))
}

/// All steps from this state.
pub fn all(cluster: &Cluster, state: &State, to: &mut Found) {
    traffic::steps(cluster, state, to);
    pacemaker::steps(cluster, state, to);
    election::steps(cluster, state, to);
    promotion::steps(cluster, state, to);
    monitors::steps(cluster, state, to);
    returns::steps(cluster, state, to);
    faults::steps(cluster, state, to);
    people::steps(cluster, state, to);
}

impl fmt::Display for Demotion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Demotion::HandedOver => "stops it cleanly, the connected standbys get everything",
            Demotion::Clean => "stops it cleanly, the standbys do not get what it wrote last",
            Demotion::Forced => "stops it by force",
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Step::Write(node) => write!(f, "a client writes a row on {}", name(node)),
            Step::Receive(node) => write!(f, "{} receives a record", name(node)),
            Step::Loss(node) => write!(f, "{} loses power", name(node)),
            Step::Return(node) => write!(f, "{} boots and joins the cluster", name(node)),
            Step::Crash(node) => write!(f, "the instance of {} crashes", name(node)),
            Step::Cut(node) => write!(f, "replication from and to {} is cut", name(node)),
            Step::Mend(node) => write!(f, "replication from and to {} works again", name(node)),
            Step::Start(node) => write!(f, "start on {}", name(node)),
            Step::Retry(node) => write!(f, "the failed start of {} is forgotten", name(node)),
            Step::Monitor(node) => write!(f, "monitor on {}", name(node)),
            Step::EarlyMonitor(node) => write!(f, "monitor on {}, and no standby has found it yet", name(node)),
            Step::GraceOver => write!(f, "20 seconds pass"),
            Step::TimedOut => write!(f, "election_timeout passes"),
            Step::Plan(node) => write!(f, "Pacemaker plans to promote {}", name(node)),
            Step::Switch(from, to, how) => {
                write!(f, "Pacemaker plans to demote {} and to promote {}; demote {how}", name(from), name(to))
            }
            Step::Demote(node, how) => write!(f, "Pacemaker demotes {}; demote {how}", name(node)),
            Step::Notify(node, Notice::Heard) => write!(f, "pre-promote on {}", name(node)),
            Step::Notify(node, Notice::Lost) => write!(f, "pre-promote on {} is lost", name(node)),
            Step::Notify(node, Notice::Killed) => write!(f, "pre-promote on {} is killed after its vote", name(node)),
            Step::Notify(node, Notice::NotKnown) => {
                write!(f, "pre-promote on {}: its position is not known", name(node))
            }
            Step::Notify(node, Notice::AtLeast) => write!(f, "pre-promote on {}: it still replays", name(node)),
            Step::GiveUp => write!(f, "Pacemaker gives the plan up, for the scores have changed"),
            Step::Promote(node, Promotion::Done) => write!(f, "promote on {}", name(node)),
            Step::Promote(node, Promotion::Unnoticed) => {
                write!(f, "promote on {}, for Pacemaker has not noticed the scores", name(node))
            }
            Step::Promote(node, Promotion::KilledBefore) => {
                write!(f, "promote on {} is killed before the promotion", name(node))
            }
            Step::Promote(node, Promotion::KilledAfter) => {
                write!(f, "promote on {} is killed after the promotion, and the instance demoted", name(node))
            }
            Step::Work(node) => write!(f, "the return of {} makes progress", name(node)),
            Step::Slip(node) => write!(f, "a person makes a slip in the configuration of {}", name(node)),
            Step::Correct(node) => write!(f, "the slip in the configuration of {} is corrected", name(node)),
            Step::Hold(node, None) => write!(f, "a person stops the instance of {}", name(node)),
            Step::Hold(node, Some(how)) => write!(f, "a person stops the primary of {}; demote {how}", name(node)),
            Step::Release(node) => write!(f, "a person lets the cluster start {} again", name(node)),
            Step::Move(node) => write!(f, "a person moves the primary to {}", name(node)),
            Step::ForgetMove => write!(f, "the constraint of the move is removed"),
            Step::Ban(node) => write!(f, "a person bans {} from being promoted", name(node)),
            Step::Unban(node) => write!(f, "the ban of {} is lifted", name(node)),
            Step::Unfit(node) => write!(f, "a person delays the replay of {}", name(node)),
            Step::Fit(node) => write!(f, "the replay of {} is delayed no longer", name(node)),
            Step::Accept(node) => write!(f, "a person accepts what {} lacks", name(node)),
            Step::Renounce(node) => write!(f, "a person gives up what {} has", name(node)),
        }
    }
}
