//! What a profile has in the cluster beside the example, and has to be there before each round.

use std::fs;
use std::path::PathBuf;

use super::lab::{CLONE, Lab};
use crate::error::{Doing, Result};
use crate::paths;
use crate::profile::Constraint;

/// Segments that stay in the archive: more than any standby is behind in a round.
const ARCHIVED_FILES: usize = 40;

impl Lab {
    /// Keeps the last node from being promoted, when the profile says so and nothing does it yet.
    pub(crate) fn constrain(&self) -> Result<()> {
        let nodes = self.nodes();
        let Some(last) = nodes.last() else { return Ok(()) };
        match self.plan.profile.constraint {
            Constraint::No => return Ok(()),
            Constraint::Rule if self.has_rule()? => return Ok(()),
            Constraint::Rule => self.make_rule(last)?,
            Constraint::Ban if !self.state()?.bans.is_empty() => return Ok(()),
            Constraint::Ban => {
                let ban = ["crm_resource", "--resource", CLONE, "--ban", "--promoted", "--node", last];
                self.run_somewhere(&ban)?;
            }
        }
        self.wait_for_full_strength()
    }

    fn has_rule(&self) -> Result<bool> {
        Ok(self.run_somewhere(&["cibadmin", "--query", "--scope", "constraints"])?.contains("no-primary-here"))
    }

    fn make_rule(&self, node: &str) -> Result<()> {
        let rule = ["rule", "constraint-id=no-primary-here", "role=Promoted", "score=-INFINITY", "#uname", "eq", node];
        self.run_somewhere(&[&["pcs", "constraint", "location", CLONE][..], &rule].concat()).map(drop)
    }

    /// The oldest files of the archive go: a campaign would fill the disk.
    pub(crate) fn trim_archive(&self) -> Result<()> {
        let archive = paths::archive();
        let entries = fs::read_dir(&archive).doing(|| format!("read {}", archive.display()))?;
        let is_segment = |path: &PathBuf| path.file_name().is_some_and(|name| name.len() == 24);
        let mut segments: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(is_segment).collect();
        // Not by name: a node that was lost archives what is older by its timeline.
        segments.sort_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
        let count = segments.len().saturating_sub(ARCHIVED_FILES);
        segments
            .iter()
            .take(count)
            .try_for_each(|path| fs::remove_file(path).doing(|| format!("remove {}", path.display())))
    }
}
