//! A standby that needs WAL which the primary has no more, and which its archive may have.

use std::time::Duration;

use super::Agent;
use crate::instance::Session;
use crate::policy::archive::{Before, FromArchive, from_archive};
use crate::policy::condition::Condition;
use crate::policy::rejoin::Trouble;
use crate::sys::{ArchiveNote, Deadline, Notes, ms_since_boot};
use crate::types::Lsn;

impl Agent {
    /// What this standby is doing, when it is too far behind for the primary and its archive may bring it what it needs.
    pub(super) fn catching_up_from_archive(
        &self,
        trouble: &Trouble,
        session: &Session,
        deadline: Deadline,
    ) -> Option<Condition> {
        if !matches!(trouble, Trouble::TooFarBehind { .. }) {
            return None;
        }
        let look = session.recovery_from_archive(deadline);
        let mut look = look.map_err(|e| log::warn!("cannot see whether this standby has an archive: {e}")).ok()?;
        let without = self.runs_without_archive();
        look.has_command |= without;
        let (now, note) = (ms_since_boot(), Notes::load(&self.notes_path()).archive);
        let before = note.as_ref().map(|note| Before {
            replayed: Lsn(note.replayed),
            since: Duration::from_millis(now.saturating_sub(note.since_ms)),
        });
        let verdict = from_archive(&look, before);
        match verdict {
            FromArchive::CatchesUp => self.change_notes(|notes| {
                notes.archive = Some(ArchiveNote { replayed: look.replayed.0, since_ms: now });
            }),
            FromArchive::Waits => {}
            FromArchive::Cannot => return None,
        }
        if note.is_none() {
            log::info!("{trouble}; it has a restore_command and is left to catch up from its archive");
        }
        Some(if without { Condition::too_far_behind() } else { Condition::catching_up_from_archive() })
    }
}
