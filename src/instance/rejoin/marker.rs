//! The marker of an instance that is being rewound or cloned.
//!
//! It lies beside the data directory, because `pg_rewind` removes from the directory what the source has
//! not. As long as it is there, the directory is not started: an interrupted rewind leaves files that look
//! like an instance and are none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::outside::Places;
use crate::instance::files::read_up_to;

/// Larger than any marker: it holds two reasons, a path and some names.
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
    /// What only this instance has is kept aside, and the directory is being changed.
    Kept,
    /// The directory is an instance again, and may be started.
    Done,
}

/// Everything that the worker needs to know, and that the agent tells of its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
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

/// A path beside the data directory, with its name and a suffix.
pub(super) fn beside(data: &Path, suffix: &str) -> PathBuf {
    let mut name = data.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    data.with_file_name(name)
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
        serde_json::from_str(&read_up_to(&path, LONGEST)?).map(Some).map_err(io::Error::from)
    }

    /// Writes the marker, durably and never half.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let (path, temporary) = (marker_path(data), beside(data, ".rejoin.new"));
        let _ = fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        sync_parent(&path)
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

/// Makes the entries of the directory that holds `path` durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker() -> Marker {
        Marker {
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
        fs::write(marker_path(&data), "{\"task\":").unwrap();
        assert!(Marker::read(&data).is_err());
        Marker::remove(&data).unwrap();
        Marker::remove(&data).unwrap();
        assert!(Marker::read(&data).unwrap().is_none());
    }
}
