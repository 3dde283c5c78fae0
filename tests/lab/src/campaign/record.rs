//! What a campaign writes down: everything that the checker decides from and the reports are made of. It is kept as JSON, so
//! that a finding can be checked again without the cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, Kind};
use crate::profile::Profile;

/// Microseconds since the campaign's start, by the machine's monotonic clock: one clock for clients, nodes and faults.
pub(crate) type Micros = u64;

/// A position in the WAL, in bytes.
pub(crate) type Lsn = u64;

/// A whole campaign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Campaign {
    pub seed: u64,
    pub agent: String,
    pub nodes: Vec<String>,
    /// Whether a commit waits for a standby: then no acknowledged row may be lost.
    pub synchronous: bool,
    /// What the cluster was like.
    #[serde(default)]
    pub profile: Profile,
    pub rounds: Vec<Round>,
}

/// One fault, or two that overlap, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Round {
    pub number: usize,
    pub began: Micros,
    pub ended: Micros,
    pub strikes: Vec<Strike>,
    /// What the clients did from shortly before the first strike until full strength.
    pub writes: Vec<Write>,
    pub reads: Vec<Read>,
    /// What each node's instance told of itself, as often as it could be asked.
    pub sights: Vec<Sight>,
    pub promotions: Vec<Promotion>,
    /// Megabytes of WAL that were written beside the clients.
    #[serde(default)]
    pub load_mb: u64,
    pub aftermath: Aftermath,
}

/// A fault as it was really made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Strike {
    pub kind: Kind,
    pub fault: Fault,
    /// The nodes that were hit, as their roles were then.
    pub nodes: Vec<String>,
    /// Whether the primary's node was among them.
    pub hit_primary: bool,
    /// Whether its kind takes the primary's node, its instance or its links away, so that what was not sent may be lost.
    pub primary_lost: bool,
    pub began: Micros,
    /// When it was over by itself (a thaw, a heal, room on the volume); the same as `began` where there is nothing to end.
    pub ended: Micros,
    /// Why it could not be made, when it could not.
    pub failed: Option<String>,
}

/// One attempt of a client to write a row. Every attempt has a number of its own: none is tried twice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Write {
    pub client: i32,
    pub n: i64,
    /// Where it was sent: a node's name, or the virtual address.
    pub target: String,
    pub sent: Micros,
    pub outcome: Outcome,
}

/// What a client knows of its write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// The server said that it is committed; `lsn` is the server's flush position at that time, where it was told.
    Acknowledged { at: Micros, node: String, timeline: u32, lsn: Option<Lsn> },
    /// The server said no: it is certain that the row is not there.
    Refused { at: Micros, reason: String },
    /// Nobody knows: the connection ended, or no answer came in time.
    Unknown { at: Micros, reason: String },
}

/// One look of a client at the rows of one writing client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Read {
    pub target: String,
    pub sent: Micros,
    pub answered: Micros,
    /// Who answered, and as what.
    pub node: String,
    pub standby: bool,
    pub timeline: u32,
    /// Whose rows were counted.
    pub client: i32,
    /// Rows of that client that were seen, and the highest number among them.
    pub count: i64,
    pub highest: i64,
}

/// What an instance told of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Sight {
    pub node: String,
    pub asked: Micros,
    pub answered: Micros,
    /// Tells one run of the server from the next.
    pub server_started: String,
    pub standby: bool,
    pub timeline: u32,
    /// What is safe on its disk: a primary's flush position; a standby's received position, or what it has replayed if that
    /// is more.
    pub lsn: Lsn,
}

/// A change of the timeline, from the history file of the new one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Promotion {
    pub node: String,
    pub timeline: u32,
    /// The timeline before it, and where it ends.
    pub parent: u32,
    pub fork: Lsn,
    /// When the new primary was first seen as such: by an acknowledgement, a read or a sight.
    pub seen: Micros,
}

/// The cluster after a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Aftermath {
    /// From the end of the last strike to full strength; `None` when it was not reached in time.
    pub healed_after: Option<Micros>,
    /// What was missing to full strength, when it was not reached.
    pub missing: Option<String>,
    /// Who was the primary at last.
    pub survivor: Option<String>,
    /// The survivor's rows of this round's clients: `client` to (`n` to how often).
    pub rows: BTreeMap<i32, BTreeMap<i64, u64>>,
    /// Each client's rows in the order in which the survivor's WAL has their commits (by commit timestamp and transaction).
    pub order: BTreeMap<i32, Vec<i64>>,
    /// Failed actions as `crm_mon` lists them.
    pub failures: Vec<String>,
    /// Nodes that lost their power in this round, by fault or by fencing.
    pub power_lost: Vec<String>,
    pub kept: Vec<KeptAside>,
    /// What a person would have had to do, as the agent's documentation says, and the harness did.
    pub manual_steps: Vec<String>,
}

/// A directory that was kept aside in a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct KeptAside {
    pub node: String,
    pub directory: String,
    pub timeline: u32,
    pub fork: Lsn,
    /// Whether it is a whole data directory, as before a clone, and not WAL alone.
    #[serde(default)]
    pub whole: bool,
    /// How far its WAL goes.
    pub end: Option<Lsn>,
    /// The clients' rows that are in it: `client` to the numbers.
    pub rows: BTreeMap<i32, Vec<i64>>,
}

/// What the checker found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub round: usize,
    pub verdict: Verdict,
    /// One line: what, which values, where to look.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Lost,
    Invented,
    Doubled,
    OutOfOrder,
    Split,
    Stale,
    Unhealed,
    Destroyed,
}
