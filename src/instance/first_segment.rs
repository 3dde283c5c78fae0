//! What a standby that went down had of the first segment of a new timeline.

use std::fs;
use std::path::PathBuf;

use super::Instance;
use super::files::{beside, sync_directory};
use super::wal_end::{Begin, first_segment_in_part};
use super::wal_page::Kind;
use crate::sys::Deadline;

impl Instance {
    /// Renames it to what PostgreSQL takes for no segment. Nothing is in it that the file of the timeline before has not, and it is
    /// fetched again. Returns the new name; `None` when there is no such file.
    ///
    /// # Errors
    /// When it cannot be found out, or not be renamed.
    pub fn set_first_segment_aside(&self, deadline: Deadline) -> Result<Option<PathBuf>, String> {
        let control = self.control_data(deadline).map_err(|e| e.to_string())?;
        let (begin, kind) = (Begin::of(&control), Kind::of(&control));
        let pg_wal = self.data_directory().join("pg_wal");
        let set_aside = move || {
            let Some(path) = first_segment_in_part(&pg_wal, begin, kind)? else { return Ok(None) };
            let aside = beside(&path, ".in-part");
            fs::rename(path, &aside)?;
            sync_directory(&pg_wal)?;
            Ok(Some(aside))
        };
        self.as_owner(set_aside, deadline).map_err(|e| e.to_string())
    }
}
