//! `pg_controldata`: what an instance that is down knows of itself.

use super::Instance;
use crate::sys::{Deadline, IdentityError, Program, ProgramError};
use crate::types::{Lsn, Position, Role, SystemId, Timeline};

/// The part of the control file that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlData {
    /// "Database cluster state", for instance `in production`.
    pub state: String,
    /// "Latest checkpoint location": where the record of the last checkpoint begins.
    pub checkpoint: Lsn,
    /// The timeline of the last checkpoint.
    pub timeline: Timeline,
    /// "Database system identifier".
    pub system: SystemId,
    /// "Latest checkpoint's REDO location": where a recovery begins.
    pub redo: Lsn,
    /// "Minimum recovery ending location" and its timeline: a standby's files hold changes up to there, so that it is not
    /// consistent before. None for a primary.
    pub min_recovery: Option<Position>,
    /// "Bytes per WAL segment".
    pub segment_size: u64,
    /// "Data page checksum version" is not 0.
    pub checksums: bool,
    /// "wal_log_hints setting" is on.
    pub wal_log_hints: bool,
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
        const SYSTEM: &str = "Database system identifier";
        const REDO: &str = "Latest checkpoint's REDO location";
        const SEGMENT_SIZE: &str = "Bytes per WAL segment";
        let min_recovery = value("Minimum recovery ending location").ok().and_then(|end| end.parse().ok());
        let timeline = value("Min recovery ending loc's timeline").ok().and_then(|timeline| timeline.parse().ok());
        Ok(ControlData {
            min_recovery: timeline.zip(min_recovery).map(|(timeline, end)| Position { timeline, end }),
            state: value("Database cluster state")?.to_owned(),
            checkpoint: value(CHECKPOINT)?.parse().map_err(|_| ControlError::Missing(CHECKPOINT))?,
            timeline: value(TIMELINE)?.parse().map_err(|_| ControlError::Missing(TIMELINE))?,
            system: value(SYSTEM)?.parse().map_err(|_| ControlError::Missing(SYSTEM))?,
            redo: value(REDO)?.parse().map_err(|_| ControlError::Missing(REDO))?,
            segment_size: value(SEGMENT_SIZE)?.parse().map_err(|_| ControlError::Missing(SEGMENT_SIZE))?,
            checksums: value("Data page checksum version")? != "0",
            wal_log_hints: value("wal_log_hints setting")? == "on",
        })
    }

    /// Whether `pg_rewind` can work on the instance: it must know every changed page.
    ///
    /// # Errors
    /// The reason why not, with the cure.
    pub fn rewindable(&self) -> Result<(), String> {
        match self.checksums || self.wal_log_hints {
            true => Ok(()),
            false => Err("data checksums and wal_log_hints are off; turn one of them on for the next time".to_owned()),
        }
    }

    /// Whether the instance was stopped cleanly, as a primary or as a standby.
    #[must_use]
    pub fn was_stopped_cleanly(&self) -> bool {
        ["shut down", "shut down in recovery"].contains(&self.state.as_str())
    }

    /// Whether the server follows, and is not at what it had to recover from a crash first: pg_ctl promotes no other
    /// (`do_promote` in pg_ctl.c).
    #[must_use]
    pub fn is_in_archive_recovery(&self) -> bool {
        self.state == "in archive recovery"
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
             Database system identifier:           7412345678901234567\n\
             Database cluster state:               {state}\n\
             Latest checkpoint location:           0/5328398\n\
             Latest checkpoint's REDO location:    0/5328398\n\
             Latest checkpoint's TimeLineID:       3\n\
             wal_log_hints setting:                off\n\
             Bytes per WAL segment:                16777216\n\
             Data page checksum version:           1\n"
        )
    }

    #[test]
    fn what_version_15_prints() {
        let data = ControlData::parse(&printed("shut down")).unwrap();
        assert_eq!((data.checkpoint, data.timeline), (Lsn(0x532_8398), Timeline(3)));
        assert_eq!(data.left_by_primary(), Some(Position { timeline: Timeline(3), end: Lsn(0x532_8398) }));
    }

    #[test]
    fn what_a_rewind_needs_to_know() {
        let data = ControlData::parse(&printed("shut down in recovery")).unwrap();
        assert_eq!(
            (data.system, data.redo, data.segment_size),
            (SystemId(7412345678901234567), Lsn(0x532_8398), 16 << 20)
        );
        assert!(data.was_stopped_cleanly() && data.rewindable().is_ok());
        let without = printed("in production").replace("version:           1", "version:           0");
        let data = ControlData::parse(&without).unwrap();
        assert!(!data.was_stopped_cleanly() && data.rewindable().is_err());
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
