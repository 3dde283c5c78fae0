//! The settings that the instance would start with.

use std::path::{Path, PathBuf};

use super::files::read_up_to;
use super::{Instance, words};
use crate::policy::settings::Settings;
use crate::sys::{Deadline, IdentityError, Program, ProgramError, Running};
use crate::types::Gather;

/// The longest file of rules that is looked at.
const LONGEST_HBA: u64 = 1 << 20;

/// Why a setting is not known.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// `start_opts` cannot be split into words.
    #[error("parameter start_opts has a quote that is not closed; close it")]
    Options,
    /// The server's configuration cannot be read.
    #[error("cannot read setting {name}: {cause}")]
    Read {
        /// The setting.
        name: &'static str,
        /// What `postgres -C` said.
        cause: ProgramError,
    },
}

impl Instance {
    /// Asks `postgres -C` for each setting, all at the same time. The server itself reads its files,
    /// so includes and `postgresql.auto.conf` count as they will at the start.
    ///
    /// # Errors
    /// When one of the settings cannot be read.
    pub fn settings(&self, names: &[&'static str], deadline: Deadline) -> Result<Settings, SettingsError> {
        self.settings_in(&self.parameters.pgdata, names, deadline)
    }

    /// The file that says who is let in, and what it says, as far as its owner may read it.
    #[must_use]
    pub fn hba_file(&self, deadline: Deadline) -> Option<(PathBuf, String)> {
        let path = PathBuf::from(self.settings(&["hba_file"], deadline).ok()?.remove("hba_file")?);
        let read = path.clone();
        let text = self.as_owner(move || read_up_to(&read, LONGEST_HBA), deadline).ok()?;
        Some((path, text))
    }

    /// The same with another directory in the place of `pgdata`.
    ///
    /// # Errors
    /// When one of the settings cannot be read.
    pub(super) fn settings_in(
        &self,
        pgdata: &Path,
        names: &[&'static str],
        deadline: Deadline,
    ) -> Result<Settings, SettingsError> {
        let owner = self.owner()?;
        let options = words::split(&self.parameters.start_opts).ok_or(SettingsError::Options)?;
        let ask = |name: &'static str| -> Result<(&'static str, Running), SettingsError> {
            let program = Program::new(self.program("postgres")).owned_by(&owner);
            let program = program.args(["-C", name, "-D"]).arg(pgdata).args(&options);
            program.spawn().map(|running| (name, running)).map_err(|cause| SettingsError::Read { name, cause })
        };
        let asked: Vec<_> = names.iter().map(|name| ask(name)).collect::<Result<_, _>>()?;
        let answers = asked.into_iter().map(|(name, running)| {
            let value = running.finish(deadline).map_err(|cause| SettingsError::Read { name, cause })?;
            Ok((name.to_owned(), value.trim_end_matches('\n').to_owned()))
        });
        answers.collect::<Result<Vec<_>, SettingsError>>().map(|pairs| pairs.into_iter().into_map())
    }
}
