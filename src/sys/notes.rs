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

use serde::{Deserialize, Serialize};

/// The notes of one resource on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Notes {
    /// Names of WAL receivers that are no cluster node, already mentioned in the log.
    pub ignored: Vec<String>,
    /// Nodes that the primary's monitor does not find connected, with the time since boot in milliseconds
    /// at which it first did not.
    pub missing: BTreeMap<String, u64>,
    /// When the election that is still undecided began, in milliseconds since boot.
    pub undecided_since_ms: Option<u64>,
    /// Who was to be promoted the last time, if nothing was promoted since.
    pub picked: Option<String>,
    /// This node was to be promoted, and nothing was promoted since.
    pub candidate: bool,
    /// When this standby last asked the cluster whom to follow, in milliseconds since boot.
    pub asked_whom_to_follow_ms: Option<u64>,
    /// What keeps this standby from following the promoted node, already mentioned in the log.
    pub follow_problem: Option<String>,
}

impl Notes {
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
