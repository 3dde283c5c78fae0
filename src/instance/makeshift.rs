//! With which options of the agent's own the server runs, as it says itself.

use super::{Session, SqlError};
use crate::policy::makeshift::Makeshift;
use crate::sys::Deadline;

/// What is on the command line. A role that may not see `primary_conninfo` is told nothing of it.
const QUERY: &str = "select name, setting from pg_settings where source = 'command line' \
                     and name in ('primary_conninfo', 'recovery_target_timeline') order by name";

impl Session {
    /// # Errors
    /// When the server does not answer.
    pub fn makeshift(&self, deadline: Deadline) -> Result<Option<Makeshift>, SqlError> {
        let rows = self.query(QUERY, deadline)?;
        let settings = rows.iter().filter_map(|row| Some((row.first()?.as_deref()?, row.get(1)?.as_deref()?)));
        let mut found = settings.filter_map(|(name, value)| match (name, value) {
            ("primary_conninfo", "") => Some(Makeshift::Alone),
            ("recovery_target_timeline", timeline) => timeline.parse().ok().map(Makeshift::OnTimeline),
            _ => None,
        });
        Ok(found.next_back())
    }
}
