//! What one action leaves for the next on this node, until the node's next boot.
//!
//! Nothing that decides over data may depend on these notes: they only keep the agent from repeating a
//! log line, from judging a standby by a single look, and from waiting for ever. Lost notes cost one
//! repetition.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ms_since_boot;

/// The notes of one resource on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Names of WAL receivers that are no cluster node, already mentioned in the log.
    pub ignored: Vec<String>,
    /// Nodes that the primary's monitor does not find connected, with the time since boot in milliseconds
    /// at which it first did not.
    pub missing: BTreeMap<String, u64>,
    /// The nodes of the cluster, and who of them is struck off.
    pub roster: Option<Roster>,
    /// The promotion scores as the primary's monitor read them last.
    pub scores: Option<ScoreMemory>,
    /// The postmaster of the server that the agent has ordered to promote, as in [`PromotionNote`]: it is the primary for as long
    /// as it lives.
    pub promoted_server: Option<(i32, u64)>,
    /// Why this primary is none of the cluster's, as its monitor has found.
    pub by_hand: bool,
    /// When the election that is still undecided began, in milliseconds since boot.
    pub undecided_since_ms: Option<u64>,
    /// When somebody was to be promoted the last time, in milliseconds since boot.
    pub undecided_seen_ms: Option<u64>,
    /// Since when each node is to vote in it, in milliseconds since boot.
    pub undecided_voters: BTreeMap<String, u64>,
    /// Who was to be promoted the last time, if nothing was promoted since.
    pub picked: Option<String>,
    /// How often in a row.
    pub picked_times: u32,
    /// This node was to be promoted, and nothing was promoted since.
    pub candidate: bool,
    /// Whether the transition in which this instance is demoted stops it, too, as the notification before the demotion told.
    pub stop_planned: Option<bool>,
    /// Whether the transition in which this instance is stopped starts it again, as the notification before the stop told.
    pub start_planned: Option<bool>,
    /// The standbys that had what this primary has, as its last monitor saw them.
    pub close: Vec<String>,
    /// The server that was told to promote, until it has done it.
    pub promotion: Option<PromotionNote>,
    /// What the monitor has seen of a recovery that goes on.
    pub recovery: Option<RecoveryNote>,
    /// The role of this primary's monitor may not see how far the standbys are, and the log has that already.
    pub unseen: bool,
    /// It is noted in the cluster that this node is in it, with an instance that follows or serves, and nothing is on record there
    /// that it left when it was stopped.
    pub here: bool,
    /// The timeline that this node has published as a primary.
    pub published_timeline: Option<u32>,
    /// The timeline with whose promotion all planted history files are archived, as far as they are to be.
    pub planted_archived: Option<u32>,
    /// When the last of them was given to the archiver, in milliseconds since boot.
    pub planted_since_ms: Option<u64>,
    /// The number whose file the archive has refused once while it took others.
    pub planted_once_more: Option<u32>,
    /// The oldest WAL of this primary, as it was published for a standby that may need it.
    pub published_oldest: Option<String>,
    /// The timeline that this standby follows, and was told to be the cluster's.
    pub followed_timeline: Option<u32>,
    /// This standby does not stream.
    pub unfed: Option<UnfedNote>,
    /// The process of this standby that is suspended, with the time since boot in milliseconds at which that was seen first.
    pub suspended: Option<(i32, u64)>,
    /// How many monitors in a row this standby did not stream.
    pub looks_without_stream: u32,
    /// It was cloned because it was too far behind, and has neither streamed nor been started by an action since.
    pub cloned_behind: bool,
    /// Why this standby cannot follow and is not mended, as the log has it already.
    pub refused: Option<String>,
    /// When this standby last asked the cluster whom to follow, in milliseconds since boot.
    pub asked_whom_to_follow_ms: Option<u64>,
    /// What keeps this standby from following the promoted node, already mentioned in the log.
    pub follow_problem: Option<String>,
    /// Why the server does not let the agent in, as the log has it already.
    pub shut_out: Option<String>,
    /// The state that the last monitor saw.
    pub state_seen: Option<String>,
    /// The state that the node attribute shows.
    pub state_shown: Option<String>,
    /// When it was last seen there, in milliseconds since boot.
    pub state_checked_ms: u64,
    /// It could not be shown, and the log has that already.
    pub state_untold: bool,
    /// Why the last monitor found the instance degraded.
    pub degraded_seen: Option<String>,
    /// What the last monitor has told Pacemaker of it.
    pub degraded_told: Option<String>,
    /// The interval of the deep monitor that has answered last, in milliseconds.
    pub deep_interval_ms: Option<u64>,
    /// That was taken back, and the monitor that told it has not answered otherwise since. Pacemaker is told only of an
    /// answer that differs from the one before.
    pub degraded_withdrawn: bool,
    /// When such an answer was removed from the failed actions, in milliseconds since boot; 0 when that is due, and none
    /// when there was no such answer.
    pub degraded_unlisted_ms: Option<u64>,
    /// How far this standby was when its archive last brought something that the primary has no more.
    pub archive: Option<ArchiveNote>,
    /// About the replication slots.
    pub slots: SlotNotes,
}

/// A promotion that was ordered. The server may be promoted at any moment, whatever became of the action that ordered it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PromotionNote {
    /// The postmaster's process id, and when it began by the kernel's count: an order goes with its server.
    pub postmaster: (i32, u64),
    /// The server got nowhere with it.
    pub hangs: bool,
}

/// A standby that does not stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnfedNote {
    /// When that was seen first, in milliseconds since boot.
    pub since_ms: u64,
    /// What primaries that cannot see their standbys have said since, by their nodes.
    pub words: BTreeMap<String, String>,
}

/// A standby that catches up from its archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ArchiveNote {
    /// How far it had replayed.
    pub replayed: u64,
    /// When that was seen first, in milliseconds since boot.
    pub since_ms: u64,
}

/// A recovery that outlasted an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecoveryNote {
    /// As in [`PromotionNote`].
    pub postmaster: (i32, u64),
    /// When it was last seen to get somewhere, in milliseconds since boot.
    pub worked_ms: u64,
}

/// Promotion scores as they were read from the cluster, so that not every monitor has to start a program for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreMemory {
    /// When they were read, in milliseconds since boot.
    pub read_ms: u64,
    /// The processes that sent WAL then. A node that was away has another one.
    pub senders: String,
    /// The scores, as `srv1=1001 srv2=1000`.
    pub scores: String,
}

impl ScoreMemory {
    /// How long scores are believed. Somebody who deletes one by hand waits that long for it.
    const BELIEVED: Duration = Duration::from_secs(10);

    /// Whether the scores may be believed, given who receives WAL now.
    #[must_use]
    pub fn is_fresh(&self, senders: &str) -> bool {
        let age = Duration::from_millis(ms_since_boot().saturating_sub(self.read_ms));
        age < Self::BELIEVED && self.senders == senders
    }
}

/// The nodes, as they were read from the cluster configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// When they were read, in milliseconds since boot.
    pub read_ms: u64,
    /// All of them.
    pub nodes: Vec<String>,
    /// Those that are struck off.
    pub struck: Vec<String>,
}

impl Roster {
    /// How long it is believed. Only the primary changes it, or a person.
    const BELIEVED: Duration = Duration::from_secs(60);

    /// Whether it may be believed. What seems to come from the future was noted before a boot.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        ms_since_boot().checked_sub(self.read_ms).is_some_and(|ms| Duration::from_millis(ms) < Self::BELIEVED)
    }
}

/// What one monitor leaves for the next about the replication slots. Times are milliseconds since boot; those with a sign
/// may be from before it, for what happened long ago.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlotNotes {
    /// The nodes that the cluster knew when it was asked last.
    pub nodes: Vec<String>,
    /// Those that had an instance of the resource.
    pub instances: Vec<String>,
    /// When the cluster was asked for its nodes; none when it has to be asked anew.
    pub nodes_asked_ms: Option<u64>,
    /// Slots of nodes that the cluster did not know, with the time at which it first did not.
    pub left: BTreeMap<String, i64>,
    /// What the primary has published last about the slots.
    pub published: Option<String>,
    /// When the primary's word about this node's own slot was asked for.
    pub name_asked_ms: Option<u64>,
    /// The replay position at the last look at the primary's word.
    pub looked_at: Option<String>,
    /// When such a look was in vain.
    pub look_failed_ms: Option<u64>,
    /// Since when no WAL receiver is streaming.
    pub unfed_since_ms: Option<i64>,
    /// A value of `primary_slot_name` that was written, and the one that was in effect then and still is.
    pub written_name: Option<(String, String)>,
    /// What could not be done, with the time of the last try.
    pub refused: BTreeMap<String, u64>,
    /// When a slot was given up for want of disk space.
    pub gave_up_ms: Option<u64>,
}

impl SlotNotes {
    /// Something has changed in the cluster: what it said before is asked anew.
    pub fn forget_the_cluster(&mut self) {
        self.nodes_asked_ms = None;
        self.name_asked_ms = None;
        self.look_failed_ms = None;
    }
}

impl Notes {
    /// The cluster may have lost what this node has told it: all of it is told again.
    pub fn tell_all_again(&mut self) {
        (self.published_timeline, self.published_oldest) = (None, None);
        (self.state_shown, self.slots.published) = (None, None);
        (self.scores, self.roster) = (None, None);
        self.here = false;
    }

    /// Whatever was undecided is decided, or over.
    pub fn forget_election(&mut self) {
        (self.undecided_since_ms, self.undecided_seen_ms) = (None, None);
        self.undecided_voters.clear();
        (self.picked, self.candidate) = (None, false);
    }

    /// What has changed the cluster may have come with a new DC, for which every node lists again what it remembers.
    pub fn unlist_degraded_anew(&mut self) {
        self.degraded_unlisted_ms = self.degraded_unlisted_ms.map(|_| 0);
    }

    /// Reads the notes; missing or damaged notes are empty ones.
    #[must_use]
    pub fn load(path: &Path) -> Notes {
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Writes the notes when they differ from `before`; a failure is logged and changes nothing else.
    pub fn save(&self, path: &Path, before: &Notes) {
        if self == before {
            return;
        }
        if let Err(cause) = self.write(path) {
            log::warn!("cannot write {}: {cause}; the agent goes on without it", path.display());
        }
    }

    fn write(&self, path: &Path) -> std::io::Result<()> {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut temporary = PathBuf::from(path);
        temporary.set_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&temporary);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        fs::rename(&temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_believed_for_a_while_and_while_the_same_processes_send() {
        let memory = ScoreMemory { read_ms: ms_since_boot(), senders: "7".to_owned(), ..ScoreMemory::default() };
        assert!(memory.is_fresh("7"));
        assert!(!memory.is_fresh("7 8"));
        assert!(!ScoreMemory { read_ms: 0, ..memory.clone() }.is_fresh("7") || ms_since_boot() < 10_000);
    }

    #[test]
    fn notes_are_read_back_and_damaged_ones_are_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/pgsql.json");
        assert_eq!(Notes::load(&path), Notes::default());
        let notes = Notes { candidate: true, ..Notes::default() };
        notes.save(&path, &Notes::default());
        assert_eq!(Notes::load(&path), notes);
        fs::write(&path, "{\"ignored\": 7").unwrap();
        assert_eq!(Notes::load(&path), Notes::default());
    }
}
