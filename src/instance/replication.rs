//! The position of a standby whose connections are all taken.
//!
//! `max_connections` does not count replication connections (tried, 15), and `IDENTIFY_SYSTEM` tells the
//! timeline and the larger of what was received and replayed. What there is beyond that, its files tell.

use std::time::Duration;

use super::Instance;
use super::session::LOCKED;
use super::wal_page::Kind;
use crate::sys::{Deadline, Program};
use crate::types::{Lsn, Position, Reach, Vote};

/// How long it may take. The files tell as well how far the WAL reaches.
const ANSWER: Duration = Duration::from_secs(5);

impl Instance {
    /// Asks over a replication connection, and the files for the rest; the files alone when there is none.
    #[must_use]
    pub fn position_by_replication(&self, deadline: Deadline) -> Vote {
        let asked = match self.login_waits_for_lock() {
            true => Err(LOCKED.to_owned()),
            false => self.identify_system(deadline.at_most(ANSWER.min(deadline.remaining() / 2))),
        };
        match asked {
            Ok(position) => self.reach_from(position, deadline),
            Err(why) => {
                log::info!("no connection is left, and none for replication: {why}; reading the WAL on disk");
                self.reach_by_files(deadline)
            }
        }
    }

    fn reach_from(&self, sent: Position, deadline: Deadline) -> Vote {
        let unknown = |why| Vote::Unknown { why, at_least: Some(sent) };
        let control = match self.control_data(deadline) {
            Ok(control) => control,
            Err(error) => return unknown(error.to_string()),
        };
        let kind = Kind::of(&control);
        match self.end_from(sent, kind, deadline) {
            Ok(position) => {
                let to_replay = self.to_replay_by_title(position.end, control.segment_size);
                Vote::At(Reach { to_replay, serves: sent.end >= position.end, ..position.into() })
            }
            Err(why) => unknown(why),
        }
    }

    /// The title names the segment that is being replayed: in the last one it is nothing worth mentioning.
    fn to_replay_by_title(&self, end: Lsn, segment_size: u64) -> u64 {
        let begin = self.segment_by_title(segment_size);
        let replays = begin.filter(|begin| end.segment(segment_size) > begin.0 / segment_size.max(1));
        replays.map_or(0, |begin| end.bytes_beyond(begin))
    }

    fn identify_system(&self, deadline: Deadline) -> Result<Position, String> {
        let owner = self.owner().map_err(|e| e.to_string())?;
        let parameters = &self.parameters;
        let port = parameters.pgport().map_err(|e| e.to_string())?.to_string();
        let program = Program::new(self.program("psql")).owned_by(&owner);
        let program = program.args(["-X", "-A", "-t", "-w", "-F", " ", "-h", &parameters.pghost, "-p", &port]);
        let program = program.args(["-U", &parameters.pguser, "-d", "replication=true", "-c", "IDENTIFY_SYSTEM"]);
        let text = program.run(deadline).map_err(|e| e.to_string())?;
        parse(&text).ok_or_else(|| "IDENTIFY_SYSTEM had no usable answer".to_owned())
    }
}

/// `systemid timeline xlogpos dbname`
fn parse(text: &str) -> Option<Position> {
    let mut words = text.split_whitespace().skip(1);
    Some(Position { timeline: words.next()?.parse().ok()?, end: words.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timeline;

    #[test]
    fn what_version_15_answers() {
        let position = Position { timeline: Timeline(2), end: Lsn(0x532_8410) };
        assert_eq!(parse("7412345678901234567 2 0/5328410 \n"), Some(position));
        assert_eq!(parse("ERROR: x"), None);
        assert_eq!(parse(""), None);
    }
}
