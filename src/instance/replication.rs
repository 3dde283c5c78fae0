//! The position of a standby whose connections are all taken.
//!
//! `max_connections` does not count replication connections (tried, 15), and `IDENTIFY_SYSTEM` tells the
//! timeline and the larger of what was received and replayed. Whether everything is replayed, which SQL
//! would tell, shows in the startup process: it sleeps when it has nothing left to read.

use std::fs;
use std::time::Duration;

use super::Instance;
use super::processes::Processes;
use crate::sys::{Deadline, Program};
use crate::types::{Position, Vote};

/// The two looks that must agree are this far apart.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

impl Instance {
    /// Asks over a replication connection. Unknown when there is none, or while WAL is replayed.
    #[must_use]
    pub fn position_by_replication(&self, deadline: Deadline) -> Vote {
        let unknown = |why: String, at_least| Vote::Unknown { why, at_least };
        let first = match self.identify_system(deadline) {
            Ok(position) => position,
            Err(why) => return unknown(format!("it has no connection left, and none for replication: {why}"), None),
        };
        if !self.startup_sleeps() {
            return unknown("it has no connection left and is still replaying".to_owned(), Some(first));
        }
        std::thread::sleep(BETWEEN_LOOKS.min(deadline.remaining()));
        match self.identify_system(deadline) {
            Ok(second) if second == first && self.startup_sleeps() => Vote::At(second.into()),
            _ => unknown("it has no connection left and its position moves".to_owned(), Some(first)),
        }
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

    fn startup_sleeps(&self) -> bool {
        let is_startup = |pid: &i32| {
            let title = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            title.starts_with("postgres: ") && title.contains("startup ")
        };
        let startup = Processes::of(self.data_directory()).all().into_iter().find(is_startup);
        let waits_in = startup.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/wchan")).ok());
        waits_in.is_some_and(|place| place.contains("epoll") || place.starts_with("ep_"))
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
    use crate::types::{Lsn, Timeline};

    #[test]
    fn what_version_15_answers() {
        let position = Position { timeline: Timeline(2), end: Lsn(0x532_8410) };
        assert_eq!(parse("7412345678901234567 2 0/5328410 \n"), Some(position));
        assert_eq!(parse("ERROR: x"), None);
        assert_eq!(parse(""), None);
    }
}
