//! `pg_controldata`: what an instance that is down knows of itself.

use super::Instance;
use crate::sys::{Deadline, IdentityError, Program, ProgramError};
use crate::types::{Lsn, Position, Role, Timeline};

/// The part of the control file that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlData {
    /// "Database cluster state", for instance `in production`.
    pub state: String,
    /// "Latest checkpoint location": where the record of the last checkpoint begins.
    pub checkpoint: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
}

/// Why there is no control data.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The owner is unknown.
    #[error(transparent)]
    Owner(#[from] IdentityError),
    /// `pg_controldata` failed.
    #[error("cannot read the control file: {0}")]
    Program(#[from] ProgramError),
    /// The output lacks a line that every supported version prints.
    #[error("pg_controldata printed no usable '{0}'")]
    Missing(&'static str),
}

impl ControlData {
    /// Reads what `pg_controldata` prints with `LC_ALL=C`.
    ///
    /// # Errors
    /// When a line is missing or its value is none.
    pub fn parse(text: &str) -> Result<Self, ControlError> {
        let value = |name: &'static str| {
            let lines = text.lines().filter_map(|line| line.split_once(':'));
            let mut values = lines.filter(|(key, _)| *key == name).map(|(_, value)| value.trim());
            values.next().ok_or(ControlError::Missing(name))
        };
        const CHECKPOINT: &str = "Latest checkpoint location";
        const TIMELINE: &str = "Latest checkpoint's TimeLineID";
        Ok(ControlData {
            state: value("Database cluster state")?.to_owned(),
            checkpoint: value(CHECKPOINT)?.parse().map_err(|_| ControlError::Missing(CHECKPOINT))?,
            timeline: value(TIMELINE)?.parse().map_err(|_| ControlError::Missing(TIMELINE))?,
        })
    }

    /// The role that the instance has, or had when it ended.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.state.as_str() {
            "in archive recovery" | "shut down in recovery" => Role::Standby,
            // "in production", "shutting down", "shut down", "in crash recovery", "starting up"
            _ => Role::Primary,
        }
    }

    /// Where a primary's WAL ended when it was stopped cleanly: its shutdown checkpoint. `None` for a
    /// standby, and for an instance that was not stopped cleanly.
    #[must_use]
    pub fn left_by_primary(&self) -> Option<Position> {
        let position = Position { timeline: self.timeline, end: self.checkpoint };
        (self.state == "shut down").then_some(position)
    }
}

impl Instance {
    /// Reads the control file of the instance, which may be running.
    ///
    /// # Errors
    /// When `pg_controldata` cannot be run or its output is not understood.
    pub fn control_data(&self, deadline: Deadline) -> Result<ControlData, ControlError> {
        let owner = self.owner()?;
        let program = Program::new(self.program("pg_controldata")).owned_by(&owner);
        ControlData::parse(&program.arg("-D").arg(self.data_directory()).run(deadline)?)
    }

    /// What the instance is by its files, when it cannot be asked. The control file changes with the
    /// promotion itself; `standby.signal` is the second best, since a promotion removes it.
    #[must_use]
    pub fn role_by_files(&self, deadline: Deadline) -> Role {
        match self.control_data(deadline) {
            Ok(control) => control.role(),
            Err(error) => {
                log::warn!("{error}; judging the role by standby.signal");
                let signal = self.data_directory().join("standby.signal");
                if signal.exists() { Role::Standby } else { Role::Primary }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(state: &str) -> String {
        format!(
            "pg_control version number:            1300\n\
             Database cluster state:               {state}\n\
             Latest checkpoint location:           0/5328398\n\
             Latest checkpoint's REDO location:    0/5328398\n\
             Latest checkpoint's TimeLineID:       3\n"
        )
    }

    #[test]
    fn what_version_15_prints() {
        let data = ControlData::parse(&printed("shut down")).unwrap();
        assert_eq!((data.checkpoint, data.timeline), (Lsn(0x532_8398), Timeline(3)));
        assert_eq!(data.left_by_primary(), Some(Position { timeline: Timeline(3), end: Lsn(0x532_8398) }));
    }

    #[test]
    fn only_a_clean_primary_leaves_a_position() {
        for state in ["in production", "shutting down", "shut down in recovery", "in archive recovery"] {
            assert_eq!(ControlData::parse(&printed(state)).unwrap().left_by_primary(), None, "{state}");
        }
    }

    #[test]
    fn the_role_follows_the_state() {
        let role = |state| ControlData::parse(&printed(state)).unwrap().role();
        assert_eq!(role("in production"), Role::Primary);
        assert_eq!(role("in crash recovery"), Role::Primary);
        assert_eq!(role("in archive recovery"), Role::Standby);
        assert_eq!(role("shut down in recovery"), Role::Standby);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in "(Latest checkpoint location:|[a-z: \n]*)*") {
            let _ = ControlData::parse(&text);
        }
    }
}
