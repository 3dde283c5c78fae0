//! The marker of an instance that is being rewound or cloned.
//!
//! It lies beside the data directory, because `pg_rewind` removes from the directory what the source has
//! not. As long as it is there, the directory is not started: an interrupted rewind leaves files that look
//! like an instance and are none.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outside::Places;
use crate::instance::files::read_up_to;
use crate::instance::files::{beside, replace, sync_parent};
use crate::types::{History, Lsn};

/// The last version. An agent that reads a later one does not know what it means.
const VERSION: u64 = 3;
/// What is written unless it says what only version 3 understands: nodes are upgraded, and taken back, one by one.
const USUAL_VERSION: u64 = 2;

fn first_version() -> u64 {
    1
}

/// Larger than any marker: it holds some reasons, a path, a history and some names.
const LONGEST: u64 = 1 << 16;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// `pg_rewind`.
    Rewind,
    /// `pg_basebackup`.
    Clone,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The directory is empty, and there is no primary yet to copy: nobody is at work.
    Waiting,
    /// Nothing was changed yet.
    Planned,
    /// The instance's WAL is copied, and the instance recovers by itself. It is still what it was.
    Saved,
    /// What only this instance has is kept aside, and the directory is being changed.
    Kept,
    /// The directory is an instance again, and may be started.
    Done,
}

/// Everything that the worker needs to know, and that the agent tells of its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The version of this text; what an agent wrote that knew no versions is version 1.
    #[serde(default = "first_version")]
    pub version: u64,
    /// Which worker may do it: one that was started before the last `stop` may not.
    pub ticket: u64,
    /// What is being done.
    pub task: Task,
    /// How far it is.
    pub phase: Phase,
    /// Whether the instance may be cloned when it cannot be rewound.
    pub may_clone: bool,
    /// Why it is done, in words.
    pub why: String,
    /// This node, for `application_name`.
    pub node: String,
    /// The primary's node; empty while none is there.
    pub primary: String,
    /// The timeline that the primary writes.
    pub timeline: u32,
    /// The primary's address, where that is to be taken whatever `primary_conninfo` says.
    pub host: Option<String>,
    /// How many directories are kept aside at most.
    pub keep: u32,
    /// Where this instance's own part is kept.
    pub kept: Option<PathBuf>,
    /// What the data directory leads to outside of itself, when it is cloned.
    #[serde(default)]
    pub outside: Places,
    /// What a rewind has kept that could not be ended: it is kept as well as what the clone in its place keeps.
    #[serde(default)]
    pub kept_before: Option<PathBuf>,
    /// The directory was empty when this was planned: what is in it now was put there by somebody else.
    #[serde(default)]
    pub was_empty: bool,
    /// The name of the directories in which the copies of a clone are made.
    #[serde(default)]
    pub nursery: String,
    /// The copies are whole, and come to their places.
    #[serde(default)]
    pub whole: bool,
    /// The places that a clone fills, each with what tells it from another one of that path: see `nursery::claim`.
    #[serde(default)]
    pub filled: String,
    /// The system identifier that the source has to have; empty when it is not known.
    #[serde(default)]
    pub system: String,
    /// From version 2 on, of a rewind: the history of the instance's own timeline, as it was before.
    #[serde(default)]
    pub own: Option<String>,
    /// From version 2 on: the fork that the instance was first rewound from.
    #[serde(default)]
    pub fork: Option<String>,
    /// From version 2 on: where the recovery of the rewound instance begins.
    #[serde(default)]
    pub redo: Option<String>,
    /// From version 2 on: a rewind may have changed the directory.
    #[serde(default)]
    pub touched: bool,
    /// From version 3 on: what a server has replayed of the first source's WAL since the rewind was done, its end and its
    /// history. An agent that does not know it would rewind the directory to any primary.
    #[serde(default)]
    pub replayed: Option<String>,
    /// The node's own files in the directory are its own, as they were or as a person has corrected them since. What an older
    /// agent wrote does not tell, and they are put back once.
    #[serde(default)]
    pub restored: bool,
    /// The primary has all that the instance has: what is kept of it goes first.
    #[serde(default)]
    pub spare: bool,
    /// From version 2 on: why it will never work with this primary.
    #[serde(default)]
    pub hopeless: Option<String>,
    /// How much of a clone is done, in percent.
    pub percent: Option<u8>,
    /// How often it has failed.
    pub failures: u32,
    /// Why it failed the last time.
    pub last_failure: Option<String>,
}

/// The path of the marker of a data directory.
#[must_use]
pub(crate) fn marker_path(data: &Path) -> PathBuf {
    beside(data, ".rejoin")
}

impl Marker {
    /// Reads the marker of a data directory. One that is damaged is an error: the directory must not be
    /// started.
    ///
    /// # Errors
    /// When there is something that is no marker.
    pub(crate) fn read(data: &Path) -> io::Result<Option<Marker>> {
        let path = marker_path(data);
        // No such file, or a path that none can have.
        if fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let text: serde_json::Value = serde_json::from_str(&read_up_to(&path, LONGEST)?)?;
        match text.get("version").map(serde_json::Value::as_u64) {
            None | Some(Some(1..=VERSION)) => {
                let marker: Marker = serde_json::from_value(text)?;
                // A clone may have been begun where a rewind had ended half-way, and version 1 does not tell.
                let plain = (marker.task, marker.phase) == (Task::Rewind, Phase::Planned);
                let touched = marker.touched || (marker.version < 2 && !plain);
                Ok(Some(Marker { touched, ..marker }))
            }
            Some(version) => Err(io::Error::other(format!(
                "it has version {}, and this agent knows up to {VERSION}; install the agent that wrote it",
                version.map_or("unknown".to_owned(), |version| version.to_string())
            ))),
        }
    }

    /// Whether the directory is still the instance that it was when this was planned.
    #[must_use]
    pub fn is_untouched(&self) -> bool {
        match (self.task, self.phase) {
            _ if self.touched => false,
            (Task::Rewind, phase) => matches!(phase, Phase::Planned | Phase::Saved),
            // The new name is on record before the first thing is renamed. What was empty is no instance.
            (Task::Clone, phase) => phase == Phase::Planned && self.kept.is_none() && !self.was_empty,
        }
    }

    /// The same for a clone in the place of a rewind that cannot be ended. What the rewind has kept stays.
    #[must_use]
    pub fn clone_instead(self) -> Marker {
        let kept_before = self.kept.or(self.kept_before);
        Marker { task: Task::Clone, phase: Phase::Planned, kept: None, kept_before, ..self }
    }

    /// What it takes to judge another primary as the source of an interrupted rewind. What an older agent wrote has it not.
    #[must_use]
    pub fn first_fork(&self) -> Option<(History, Lsn)> {
        Some((self.own.as_ref()?.parse().ok()?, self.fork.as_ref()?.parse().ok()?))
    }

    /// What a server has replayed since the rewind was done. `Err` when that is not understood.
    pub(crate) fn replayed(&self) -> Result<Option<(History, Lsn)>, ()> {
        let parsed = |text: &String| {
            let (end, history) = text.split_once(' ').ok_or(())?;
            Ok((history.parse().map_err(drop)?, end.parse().map_err(drop)?))
        };
        self.replayed.as_ref().map(parsed).transpose()
    }

    /// What this return has kept of the instance as it was before: not what it has made itself since.
    #[must_use]
    pub fn first_kept(&self) -> Option<&PathBuf> {
        self.kept_before.as_ref().or(self.kept.as_ref())
    }

    /// The marker of a rewind that is done and has to be made again.
    #[must_use]
    pub(crate) fn again(self, replayed: Option<(&History, Lsn)>) -> Marker {
        let replayed = replayed.map(|(history, end)| format!("{end} {history}")).or(self.replayed);
        Marker { phase: Phase::Kept, touched: true, replayed, hopeless: None, failures: 0, last_failure: None, ..self }
    }

    /// Writes the marker, durably and never half.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let version = if self.replayed.is_some() { VERSION } else { USUAL_VERSION };
        let text = serde_json::to_vec_pretty(&Marker { version, ..self.clone() })?;
        replace(&marker_path(data), &beside(data, ".rejoin.new"), 0o600, &text)
    }

    /// Removes the marker: what it stood for is done.
    pub(crate) fn remove(data: &Path) -> io::Result<()> {
        let path = marker_path(data);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => sync_parent(&path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker {
            version: USUAL_VERSION,
            ticket: 0,
            task: Task::Rewind,
            phase: Phase::Planned,
            may_clone: false,
            why: "it has diverged".to_owned(),
            node: "srv1".to_owned(),
            primary: "srv2".to_owned(),
            timeline: 2,
            host: None,
            keep: 3,
            kept: None,
            kept_before: Some("/data.kept-1".into()),
            was_empty: true,
            nursery: ".pgbaton-copy-1".to_owned(),
            whole: true,
            system: "7".to_owned(),
            outside: Places::from(
                "pg_tblspc/7 /a volume/space
pg_wal /wal"
                    .to_owned(),
            ),
            filled: "7 /wal
"
            .to_owned(),
            own: Some("1@0/0".to_owned()),
            fork: Some("0/500".to_owned()),
            redo: Some("0/300".to_owned()),
            touched: false,
            replayed: None,
            restored: false,
            spare: false,
            hopeless: None,
            percent: None,
            failures: 0,
            last_failure: None,
        }
    }

    #[test]
    fn a_marker_is_read_as_it_was_written_and_a_damaged_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        assert!(Marker::read(&data).unwrap().is_none());
        marker().write(&data).unwrap();
        assert_eq!(Marker::read(&data).unwrap(), Some(marker()));
        assert_eq!(marker().first_fork(), Some(("1@0/0".parse().unwrap(), Lsn(0x500))));
        fs::write(marker_path(&data), "{\"task\":").unwrap();
        assert!(Marker::read(&data).is_err());
        Marker::remove(&data).unwrap();
        Marker::remove(&data).unwrap();
        assert!(Marker::read(&data).unwrap().is_none());
    }

    /// As the agent before version 2 wrote it.
    #[test]
    fn an_older_agents_marker_is_read_and_a_newer_ones_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        let old = r#"{"ticket":7,"task":"Rewind","phase":"Kept","may_clone":false,"why":"w","node":"srv1","primary":"srv2",
            "timeline":2,"host":null,"keep":3,"kept":"/k","outside":"","filled":"","percent":null,"failures":1,
            "last_failure":"f"}"#;
        fs::write(marker_path(&data), old).unwrap();
        let read = Marker::read(&data).unwrap().unwrap();
        assert_eq!((read.version, read.phase, read.first_fork()), (1, Phase::Kept, None));
        assert!(!read.is_untouched());
        for (task, phase, untouched) in [("Rewind", "Planned", true), ("Clone", "Planned", false)] {
            fs::write(marker_path(&data), old.replace("Rewind", task).replace("Kept", phase)).unwrap();
            assert_eq!(Marker::read(&data).unwrap().unwrap().is_untouched(), untouched, "{task} {phase}");
        }
        for version in ["4", "\"2\"", "0"] {
            fs::write(marker_path(&data), old.replacen('{', &format!("{{\"version\":{version},"), 1)).unwrap();
            let error = Marker::read(&data).unwrap_err().to_string();
            assert!(error.contains("install the agent that wrote it"), "{error}");
        }
    }

    /// Without knowing it, an older agent would do harm.
    #[test]
    fn what_was_replayed_has_a_version_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        let history: History = "1@0/0 2@0/500".parse().unwrap();
        let again = Marker { phase: Phase::Done, ..marker() }.again(Some((&history, Lsn(0x600))));
        assert_eq!((again.phase, again.clone().again(None).replayed()), (Phase::Kept, Ok(Some((history, Lsn(0x600))))));
        again.write(&data).unwrap();
        assert_eq!(Marker::read(&data).unwrap().unwrap(), Marker { version: 3, ..again.clone() });
        assert_eq!(marker().replayed(), Ok(None));
        assert!(Marker { replayed: Some("later".to_owned()), ..again }.replayed().is_err());
    }

    #[test]
    fn what_is_untouched_may_be_started_as_it_is() {
        let with = |task, phase, kept: Option<&str>| {
            let kept = kept.map(PathBuf::from);
            Marker { task, phase, kept, was_empty: false, ..marker() }
        };
        for (task, phase, kept, untouched) in [
            (Task::Rewind, Phase::Planned, None, true),
            (Task::Rewind, Phase::Saved, None, true),
            (Task::Rewind, Phase::Kept, Some("/k"), false),
            (Task::Clone, Phase::Planned, None, true),
            (Task::Clone, Phase::Planned, Some("/k"), false),
            (Task::Clone, Phase::Kept, Some("/k"), false),
        ] {
            assert_eq!(with(task, phase, kept).is_untouched(), untouched, "{task:?} {phase:?}");
            assert!(!Marker { touched: true, ..with(task, phase, kept) }.is_untouched());
            let was_empty = Marker { was_empty: true, ..with(task, phase, kept) };
            assert!(task == Task::Rewind || !was_empty.is_untouched());
        }
    }
}
