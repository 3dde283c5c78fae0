//! `postmaster.pid`, as `miscadmin.h` describes it.

use std::path::PathBuf;

/// What the postmaster says of itself in line 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostmasterStatus {
    /// Not taking connections yet.
    Starting,
    /// Shutting down.
    Stopping,
    /// Taking connections, as a primary or a hot standby.
    Ready,
    /// In recovery and not taking connections: not yet consistent, or `hot_standby` is off.
    Standby,
    /// The line is missing or says something else.
    Unknown,
}

/// The contents of `postmaster.pid`. The file may be seen half-written: every line may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// The postmaster's process id. A single-user server writes its own, negated.
    pub pid: Option<i32>,
    /// The port.
    pub port: Option<u16>,
    /// The directory of the first Unix socket.
    pub socket_directory: Option<PathBuf>,
    /// What the postmaster says of itself.
    pub status: PostmasterStatus,
}

impl PidFile {
    /// Reads the text, whatever it is.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let line = |number: usize| text.lines().nth(number - 1).map(str::trim).filter(|l| !l.is_empty());
        PidFile {
            pid: line(1).and_then(|l| l.parse::<i32>().ok()).map(i32::saturating_abs).filter(|pid| *pid > 1),
            port: line(4).and_then(|l| l.parse().ok()),
            socket_directory: line(5).map(PathBuf::from).filter(|path| path.is_absolute()),
            status: match line(8) {
                Some("starting") => PostmasterStatus::Starting,
                Some("stopping") => PostmasterStatus::Stopping,
                Some("ready") => PostmasterStatus::Ready,
                Some("standby") => PostmasterStatus::Standby,
                _ => PostmasterStatus::Unknown,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WHOLE: &str =
        "4711\n/var/lib/postgresql/15/main\n1700000000\n5433\n/var/run/postgresql\n*\n  1234567   42\nready   \n";

    #[test]
    fn a_whole_file() {
        let file = PidFile::parse(WHOLE);
        assert_eq!(file.pid, Some(4711));
        assert_eq!(file.port, Some(5433));
        assert_eq!(file.socket_directory, Some("/var/run/postgresql".into()));
        assert_eq!(file.status, PostmasterStatus::Ready);
    }

    #[test]
    fn a_half_written_file_at_any_byte() {
        for end in 0..WHOLE.len() {
            let file = PidFile::parse(&WHOLE[..end]);
            assert!(file.pid.is_none_or(|pid| [4, 47, 471, 4711].contains(&pid)));
        }
        assert_eq!(PidFile::parse("").pid, None);
    }

    #[test]
    fn no_process_of_ours_has_these_ids() {
        for text in ["0", "1", "-1", "99999999999999", "$(id)", "-"] {
            assert_eq!(PidFile::parse(text).pid, None, "{text}");
        }
        assert_eq!(PidFile::parse("-4711").pid, Some(4711));
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(text in ".*") {
            let _ = PidFile::parse(&text);
        }
    }
}
