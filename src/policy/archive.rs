//! Does a standby catch up from its archive?
//!
//! A standby that needs WAL which the primary has no more is not lost when `restore_command` brings it. Then it is left
//! alone, whatever `rejoin` says: PostgreSQL tries the archive and the primary in turn.
//!
//! | `restore_command` | its replay | the standby |
//! |---|---|---|
//! | is empty | | cannot catch up |
//! | is set | is paused by a person | is left alone: nobody knows before it goes on |
//! | is set | got further since the last look, or was not looked at before | catches up |
//! | is set | got no further for less than [`PATIENCE`] | may be fetching a segment, or an archive is away: is left alone |
//! | is set | got no further for longer | cannot catch up: the archive has not what it needs |

use std::time::Duration;

use crate::types::Lsn;

/// How long a standby may get no further. A segment may have 1 GB and come from far away; and a standby that is made anew
/// is a standby less for hours, when there is much data.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What one look finds of a standby's recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// `restore_command` is set.
    pub has_command: bool,
    /// Somebody has paused the replay.
    pub is_paused: bool,
    /// How far it is replayed.
    pub replayed: Lsn,
}

/// How far it was, and since when it has got no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// How far it was replayed.
    pub replayed: Lsn,
    /// How long ago that was seen first.
    pub since: Duration,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromArchive {
    /// It gets further, or it is not known yet.
    CatchesUp,
    /// It has got no further since the look before.
    Waits,
    /// Nothing comes from there.
    Cannot,
}

/// Judges.
#[must_use]
pub fn from_archive(look: &Look, before: Option<Before>) -> FromArchive {
    match before {
        _ if !look.has_command => FromArchive::Cannot,
        Some(before) if before.replayed == look.replayed && look.is_paused => FromArchive::Waits,
        Some(before) if before.replayed == look.replayed && before.since < PATIENCE => FromArchive::Waits,
        Some(before) if before.replayed == look.replayed => FromArchive::Cannot,
        _ => FromArchive::CatchesUp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_look_has_its_verdict() {
        use FromArchive::{Cannot, CatchesUp, Waits};
        let at =
            |replayed: u64, seconds: u64| Some(Before { replayed: Lsn(replayed), since: Duration::from_secs(seconds) });
        for (has_command, is_paused, before, expected) in [
            (false, false, None, Cannot),
            (false, false, at(400, 0), Cannot),
            (true, false, None, CatchesUp),
            (true, false, at(400, 10), CatchesUp),
            (true, false, at(400, 100_000), CatchesUp),
            (true, false, at(500, 0), Waits),
            (true, false, at(500, 299), Waits),
            (true, false, at(500, 300), Cannot),
            (true, true, at(500, 100_000), Waits),
            // Another server, which has replayed less: it is looked at anew.
            (true, false, at(600, 100_000), CatchesUp),
        ] {
            let look = Look { has_command, is_paused, replayed: Lsn(500) };
            assert_eq!(from_archive(&look, before), expected, "{has_command} {is_paused} {before:?}");
        }
    }
}
