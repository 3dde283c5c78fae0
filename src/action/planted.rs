//! The numbers of timelines that a promotion has skipped, in the archive. Looked after by the primary's monitor until all are
//! there; nothing here fails it.

use std::time::Duration;

use super::Agent;
use crate::instance::Session;
use crate::policy::planted::{Step, next};
use crate::sys::{Notes, ms_since_boot};

/// The longest that one look may take.
const LOOK: Duration = Duration::from_secs(2);

/// How long the archiver may fail with a file. It tries three times, a second apart, then waits for a minute (pgarch.c).
const REFUSED: Duration = Duration::from_secs(20);

impl Agent {
    /// Has the history files archived that this primary's promotion has planted, one with each monitor.
    pub(super) fn archive_planted(&self, session: &Session) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        if before.published_timeline.is_none() || before.planted_archived == before.published_timeline {
            return;
        }
        let mut notes = before.clone();
        match self.archive_next(session, &mut notes) {
            Ok(Step::Nothing) => (notes.planted_archived, notes.planted_since_ms) = (before.published_timeline, None),
            Ok(Step::Wait | Step::Archive(_) | Step::GiveUp(_)) => {}
            Err(why) => self.log_refusal_once(&format!("the numbers of skipped timelines are not archived yet: {why}")),
        }
        notes.refused = Notes::load(&path).refused;
        notes.save(&path, &before);
    }

    fn archive_next(&self, session: &Session, notes: &mut Notes) -> Result<Step, String> {
        let files = self.instance.history_files().map_err(|e| format!("cannot look into pg_wal: {e}"))?;
        if !files.iter().any(|file| file.is_planted) {
            return Ok(Step::Nothing);
        }
        let deadline = self.deadline.at_most(LOOK);
        let archiving = session.archiving(deadline).map_err(|e| e.to_string())?;
        let waited = |since: u64| Duration::from_millis(ms_since_boot().saturating_sub(since)) >= REFUSED;
        let refused = archiving.fails_with.filter(|_| notes.planted_since_ms.is_some_and(waited));
        let step = next(&files, archiving.is_on, refused);
        match step {
            Step::Archive(number) => {
                notes.planted_since_ms = Some(ms_since_boot());
                self.instance.archive_history(number, deadline).map_err(|e| e.to_string())?;
                log::info!(
                    "timeline {number} was skipped: archiving its history file, so that a restore finds what follows"
                );
            }
            Step::GiveUp(number) => {
                self.instance.leave_history_to_archive(number, deadline).map_err(|e| e.to_string())?;
                log::warn!(
                    "the archive refuses {number:08X}.history, probably because it has another file by that name, of a primary \
                     that was lost; it is archived no longer, so that nothing else waits for it"
                );
            }
            Step::Nothing | Step::Wait => {}
        }
        Ok(step)
    }
}
