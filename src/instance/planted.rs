//! History files that keep PostgreSQL from using a number twice.
//!
//! They stay on the new primary: a standby that follows it fetches the history of every number in between
//! (`WalRcvFetchTimeLineHistoryFiles` in walreceiver.c). Where the promotion did not happen they would keep the server
//! from starting ("requested timeline is not a child of this server's history"), so a start removes those that no
//! real timeline is younger than.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Instance;
use super::as_owner::AsOwnerError;
use super::files::read_small;
use crate::sys::Deadline;
use crate::types::Timeline;

/// The reason in the file's only line. The fork that it names is before all WAL, so that no recovery follows it.
const TEXT: &str = "1\t0/1\tnumber kept free by pgbaton\n";

impl Instance {
    /// Makes PostgreSQL take these numbers for used.
    ///
    /// # Errors
    /// When a file cannot be made.
    pub fn plant_histories(&self, timelines: &[Timeline], deadline: Deadline) -> Result<(), AsOwnerError> {
        if timelines.is_empty() {
            return Ok(());
        }
        let (wal, timelines) = (self.data_directory().join("pg_wal"), timelines.to_vec());
        self.as_owner(move || timelines.iter().try_for_each(|timeline| plant(&wal, *timeline)), deadline)
    }

    /// Removes what was planted for a promotion that did not happen, and nothing else.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_planted_histories(&self, deadline: Deadline) -> Result<(), AsOwnerError> {
        let wal = self.data_directory().join("pg_wal");
        let planted = left_over(&wal);
        if planted.is_empty() {
            return Ok(());
        }
        self.as_owner(move || planted.iter().try_for_each(fs::remove_file), deadline)
    }
}

fn plant(wal: &Path, timeline: Timeline) -> io::Result<()> {
    let path = wal.join(format!("{:08X}.history", timeline.0));
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => file.write_all(TEXT.as_bytes()),
        // The real one is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Planted files with a higher number than every real one.
fn left_over(wal: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(wal).into_iter().flatten().flatten().map(|entry| entry.path());
    let histories = paths.filter(|path| path.extension().is_some_and(|extension| extension == "history"));
    // The file may have been planted by half.
    let is_planted = |path: &PathBuf| read_small(path).is_ok_and(|text| TEXT.starts_with(&text));
    let (planted, real): (Vec<_>, Vec<_>) = histories.partition(is_planted);
    // Names of equal length: their order is that of the numbers.
    let youngest = real.into_iter().max();
    planted.into_iter().filter(|path| youngest.as_ref().is_none_or(|youngest| path > youngest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_planted_is_removed() {
        let wal = tempfile::tempdir().unwrap();
        let path = |name: &str| wal.path().join(name);
        fs::write(path("00000002.history"), "1\t0/5000000\tno recovery target specified\n").unwrap();
        for timeline in [2, 3, 4] {
            plant(wal.path(), Timeline(timeline)).unwrap();
        }
        let mut found = left_over(wal.path());
        found.sort();
        assert_eq!(found, [path("00000003.history"), path("00000004.history")]);
        // The promotion has happened.
        fs::write(path("00000005.history"), "1\t0/5000000\tno recovery target specified\n").unwrap();
        assert!(left_over(wal.path()).is_empty());
    }
}
