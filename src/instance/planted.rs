//! History files that keep PostgreSQL from using a number twice.
//!
//! They stay on the new primary: a standby that follows it fetches the history of every number in between
//! (`WalRcvFetchTimeLineHistoryFiles` in walreceiver.c). Where the promotion did not happen they would keep the server
//! from starting ("requested timeline is not a child of this server's history"), so a start removes those that no
//! real timeline is younger than.
//!
//! A promotion archives its own history file only, so the agent has the planted ones archived: [`crate::policy::planted`] says
//! when. What is to be archived is told by an empty file in `archive_status` (pgarch.c).

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::as_owner::AsOwnerError;
use super::files::read_small;
use super::{Instance, Session, SqlError};
use crate::policy::planted::{HistoryFile, Last, Status};
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

/// What the server tells of its archiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archiving {
    /// Whether it archives at all.
    pub is_on: bool,
    /// What it has done last.
    pub last: Last,
}

impl Session {
    /// Asks for the archiver. The statistics are there for every role.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn archiving(&self, deadline: Deadline) -> Result<Archiving, SqlError> {
        let rows = self.query(
            "select current_setting('archive_mode'), last_archived_time is not null, \
             case when last_failed_time > coalesce(last_archived_time, '-infinity') then last_failed_wal end \
             from pg_stat_archiver",
            deadline,
        )?;
        let text = |column: usize| rows.first()?.get(column)?.as_deref();
        let last = match (text(2), text(1)) {
            (Some(file), _) => number_of(file).map_or(Last::Failed, Last::FailedWithHistory),
            (None, Some("t")) => Last::Archived,
            (None, _) => Last::Nothing,
        };
        Ok(Archiving { is_on: text(0).is_some_and(|mode| mode != "off"), last })
    }
}

impl Instance {
    /// The history files in `pg_wal`.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn history_files(&self) -> io::Result<Vec<HistoryFile>> {
        let wal = self.data_directory().join("pg_wal");
        let names = fs::read_dir(&wal)?.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Some(history_file(&wal, &name, number_of(&name)?))).collect())
    }

    /// Tells the archiver of a history file.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn archive_history(&self, number: u32, deadline: Deadline) -> Result<(), AsOwnerError> {
        let status = self.data_directory().join("pg_wal/archive_status");
        let name = move |what: &str| status.join(format!("{number:08X}.history.{what}"));
        let make = move || match fs::rename(name("aside"), name("ready")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(name("ready")).map(drop)
            }
            renamed => renamed,
        };
        self.as_owner(make, deadline)
    }

    /// Hides a history file from the archiver for a while, which looks for names that end in `.ready` only (pgarch.c).
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn set_history_aside(&self, number: u32, deadline: Deadline) -> Result<(), AsOwnerError> {
        self.rename_status(number, "ready", "aside", deadline)
    }

    /// Tells the archiver that it need not archive a history file.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn leave_history_to_archive(&self, number: u32, deadline: Deadline) -> Result<(), AsOwnerError> {
        self.rename_status(number, "aside", "done", deadline)
    }

    fn rename_status(&self, number: u32, from: &str, to: &str, deadline: Deadline) -> Result<(), AsOwnerError> {
        let status = self.data_directory().join("pg_wal/archive_status");
        let [from, to] = [from, to].map(|what| status.join(format!("{number:08X}.history.{what}")));
        self.as_owner(move || fs::rename(&from, &to), deadline)
    }
}

fn number_of(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".history").filter(|number| number.len() == 8)?;
    u32::from_str_radix(number, 16).ok()
}

fn history_file(wal: &Path, name: &str, number: u32) -> HistoryFile {
    let has = |what: &str| wal.join("archive_status").join(format!("{name}.{what}")).exists();
    let known = [("done", Status::Done), ("ready", Status::Ready), ("aside", Status::Aside)];
    let status = known.into_iter().find(|(what, _)| has(what)).map_or(Status::Unknown, |(_, status)| status);
    HistoryFile { number, is_planted: is_planted(&wal.join(name)), status }
}

/// The file may have been planted by half.
fn is_planted(path: &Path) -> bool {
    read_small(path).is_ok_and(|text| TEXT.starts_with(&text))
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
    let (planted, real): (Vec<_>, Vec<_>) = histories.partition(|path| is_planted(path));
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
