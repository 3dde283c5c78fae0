//! The numbers of timelines that a promotion has skipped, in the archive. Looked after by the primary's monitor until all are
//! there, and by that of a standby whose own archiver fails with one; nothing here fails it.

use std::time::Duration;

use super::Agent;
use crate::instance::Session;
use crate::policy::planted::{Facts, Step, next};
use crate::sys::{Notes, ms_since_boot};
use crate::types::Role;

/// The longest that one look may take.
const LOOK: Duration = Duration::from_secs(2);

/// How long the archiver may fail with a file. It tries three times, a second apart, then waits for a minute (pgarch.c).
const REFUSED: Duration = Duration::from_secs(20);

impl Agent {
    /// Has the history files archived that this primary's promotion has planted, one with each monitor.
    pub(super) fn archive_planted(&self, session: &Session) {
        let notes = Notes::load(&self.notes_path());
        if notes.published_timeline.is_some() && notes.planted_archived != notes.published_timeline {
            self.archive_next(session, Role::Primary);
        }
    }

    /// Sees to it that none of them holds up the archiver of this standby, which has one with `archive_mode=always`.
    pub(super) fn archive_past_planted(&self, session: &Session, fails_with_history: bool) {
        if fails_with_history || Notes::load(&self.notes_path()).planted_since_ms.is_some() {
            self.archive_next(session, Role::Standby);
        }
    }

    fn archive_next(&self, session: &Session, role: Role) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let mut notes = before.clone();
        match self.next_planted(session, role, &mut notes) {
            Ok(Step::Nothing) => {
                notes.planted_archived = before.published_timeline;
                (notes.planted_since_ms, notes.planted_once_more) = (None, None);
            }
            Ok(_) => {}
            Err(why) => self.log_refusal_once(&format!("the numbers of skipped timelines are not archived yet: {why}")),
        }
        notes.refused = Notes::load(&path).refused;
        notes.save(&path, &before);
    }

    fn next_planted(&self, session: &Session, role: Role, notes: &mut Notes) -> Result<Step, String> {
        let files = self.instance.history_files().map_err(|e| format!("cannot look into pg_wal: {e}"))?;
        if !files.iter().any(|file| file.is_planted) {
            return Ok(Step::Nothing);
        }
        let deadline = self.deadline.at_most(LOOK);
        let archiving = session.archiving(deadline).map_err(|e| e.to_string())?;
        if !archiving.is_on {
            return Ok(Step::Nothing);
        }
        let since = *notes.planted_since_ms.get_or_insert(ms_since_boot());
        let for_long = Duration::from_millis(ms_since_boot().saturating_sub(since)) >= REFUSED;
        let (is_primary, once_more) = (role == Role::Primary, notes.planted_once_more);
        let step = next(&Facts { files: &files, is_primary, last: archiving.last, for_long, once_more });
        match step {
            Step::Archive(number) | Step::ArchiveOnceMore(number) => {
                notes.planted_since_ms = Some(ms_since_boot());
                notes.planted_once_more = matches!(step, Step::ArchiveOnceMore(_)).then_some(number);
                self.instance.archive_history(number, deadline).map_err(|e| e.to_string())?;
                log::info!(
                    "timeline {number} was skipped: archiving its history file, so that a restore finds what follows"
                );
            }
            Step::SetAside(number) => {
                self.instance.set_history_aside(number, deadline).map_err(|e| e.to_string())?;
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
