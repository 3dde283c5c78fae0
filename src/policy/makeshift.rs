//! With which options of the agent's own does a server run that must not, or cannot, be started as it is configured?
//!
//! | the instance | it is started |
//! |---|---|
//! | is on a timeline that no promotion by Pacemaker made, and there is no primary | alone |
//! | was not stopped cleanly, there is no primary, and it restores from an archive | on its own timeline |
//! | ended while it started, and restores from an archive | once more, on its own timeline |
//! | has a `restore_command` that hangs | anew, without its archive |
//! | any other | as it is configured |
//!
//! *Alone*: it follows nobody and restores nothing. Whoever is promoted may give its timeline the same number, and PostgreSQL,
//! which goes by numbers, would then mix the WAL of both. When there is a primary, it is compared with that one and mended.
//!
//! *On its own timeline*: a server looks in the archive for the youngest timeline (`recovery_target_timeline = latest`).
//! When it is not part of that, it ends (`StartupXLOG`: "requested timeline is not a child of this server's history"), so that
//! the history of a timeline that was given up keeps every instance of the cluster from starting again. When it is, and has
//! WAL of its own beyond the fork, it may replay that first, as long as the archive lacks the segment of the younger
//! timeline (`XLogFileReadAnyTLI`), and be damaged. It cannot follow a switch to a younger timeline so: when there is a primary
//! on one, it is compared with it, and mended or restarted.

//!
//! *Without its archive*: the startup process waits for `restore_command` as long as that takes, before it lets anybody in, before
//! it tries the primary again and before it ends its recovery (`RestoreArchivedFile`, which calls `system`). An archive that is
//! away would keep every node of the cluster from starting and from being promoted. What tells it from one that is slow is time:
//!
//! | `restore_command` | it |
//! |---|---|
//! | has been running for less than [`SLOW`] | is waited for |
//! | for longer, and it and the startup process did something within [`STALLED`] | is waited for |
//! | for longer, and they did nothing | hangs |
//!
//! The node loses nothing by that: it counts for what it has in `pg_wal` in any case. It has its archive back with its next start.

use std::fmt;
use std::time::Duration;

use super::progress::STALLED;
use crate::types::Timeline;

/// The options, beside those of the parameter `start_opts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makeshift {
    /// Without an upstream and without an archive.
    Alone,
    /// Only on this timeline.
    OnTimeline(Timeline),
    /// Without an archive that hangs, and on this timeline only if it was to be started so.
    WithoutArchive(Option<Timeline>),
}

impl Makeshift {
    /// What is added to the server's command line.
    #[must_use]
    pub fn options(self) -> Vec<String> {
        let (conninfo, command) = ("primary_conninfo=".to_owned(), "restore_command=".to_owned());
        let on = |timeline: Timeline| format!("recovery_target_timeline={timeline}");
        let settings = match self {
            Makeshift::Alone => vec![conninfo, command],
            Makeshift::OnTimeline(timeline) => vec![on(timeline)],
            Makeshift::WithoutArchive(timeline) => timeline.map(on).into_iter().chain([command]).collect(),
        };
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// As a server's command line tells it. Of two values the last counts.
    #[must_use]
    pub fn of(arguments: &[String]) -> Option<Self> {
        let value =
            |name: &str| arguments.iter().rev().find_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        let timeline = value("recovery_target_timeline").and_then(|timeline| timeline.parse().ok());
        match (value("primary_conninfo"), value("restore_command")) {
            (Some(""), _) => Some(Makeshift::Alone),
            (_, Some("")) => Some(Makeshift::WithoutArchive(timeline)),
            _ => timeline.map(Makeshift::OnTimeline),
        }
    }

    /// The same for an archive that hangs.
    #[must_use]
    pub fn without_archive(before: Option<Self>) -> Self {
        match before {
            None => Makeshift::WithoutArchive(None),
            Some(Makeshift::OnTimeline(own)) => Makeshift::WithoutArchive(Some(own)),
            Some(has_none @ (Makeshift::Alone | Makeshift::WithoutArchive(_))) => has_none,
        }
    }

    /// Whether a server that runs so has to be restarted to follow a primary on this timeline from which it has not diverged, when
    /// it has `waited` so long for WAL that only its archive may have.
    #[must_use]
    pub fn is_over(self, primary: Timeline, waited: Option<Duration>) -> bool {
        match self {
            Makeshift::Alone => true,
            Makeshift::OnTimeline(own) => primary > own,
            Makeshift::WithoutArchive(own) => waited >= Some(ARCHIVE_AGAIN) || own.is_some_and(|own| primary > own),
        }
    }
}

impl fmt::Display for Makeshift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Makeshift::Alone => f.write_str("without an upstream"),
            Makeshift::OnTimeline(timeline) => write!(f, "on timeline {timeline} only"),
            Makeshift::WithoutArchive(_) => f.write_str("without its archive"),
        }
    }
}

/// What is known of an instance that is down while there is no primary.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    /// It is on a timeline that no promotion by Pacemaker made.
    pub is_fork: bool,
    /// It was stopped cleanly.
    pub clean: bool,
    /// Its youngest timeline.
    pub own: Timeline,
}

/// How it is started. Whether it restores from an archive to the latest timeline is asked only where that matters.
#[must_use]
pub fn without_primary(stopped: Stopped, restores: impl FnOnce() -> bool) -> Option<Makeshift> {
    match stopped {
        Stopped { is_fork: true, .. } => Some(Makeshift::Alone),
        Stopped { clean: true, .. } => None,
        Stopped { own, .. } => restores().then_some(Makeshift::OnTimeline(own)),
    }
}

/// How a server is tried once more that ended while it started, `None` when it is not. As it is configured only when its
/// own timeline is what it complains of: its history may have to come from the archive.
#[must_use]
pub fn second_try(
    first: Option<Makeshift>,
    words: &str,
    own: Timeline,
    restores: impl FnOnce() -> bool,
) -> Option<Option<Makeshift>> {
    match first {
        None => restores().then_some(Some(Makeshift::OnTimeline(own))),
        Some(Makeshift::OnTimeline(_)) => words.contains("recovery target timeline").then_some(None),
        Some(Makeshift::Alone | Makeshift::WithoutArchive(_)) => None,
    }
}

/// For so long an archive is only slow: the first byte of a file may come from a tape.
pub const SLOW: Duration = Duration::from_secs(30);

/// For so long a server that needs its archive goes on without it: it may hang again, and comes back before it counts for one
/// that cannot help (see [`super::archive::PATIENCE`]).
const ARCHIVE_AGAIN: Duration = Duration::from_secs(240);

/// What `restore_command` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Archive {
    /// Nothing is waited for.
    Quiet,
    /// It may bring a file.
    Fetches,
    /// It brings none.
    Hangs,
}

/// What `restore_command` does that has been running for so long, if it runs, and that like the startup process has done
/// nothing for `idle`.
#[must_use]
pub fn archive(running: Option<Duration>, idle: Duration) -> Archive {
    match running {
        None => Archive::Quiet,
        Some(running) if running >= SLOW && idle >= STALLED => Archive::Hangs,
        Some(_) => Archive::Fetches,
    }
}

/// The timeline whose history in the archive is the cause, as the server says in English (`StartupXLOG`).
#[must_use]
pub fn misleading(words: &str) -> Option<Timeline> {
    let (_, rest) = words.split_once("requested timeline ")?;
    let (number, _) = rest.split_once(" is not a child of this server's history")?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Makeshift = Makeshift::OnTimeline(Timeline(2));
    const WITHOUT: Makeshift = Makeshift::WithoutArchive(None);

    #[test]
    fn every_instance_without_a_primary() {
        for (is_fork, clean, restores, expected) in [
            (true, true, false, Some(Makeshift::Alone)),
            (true, false, true, Some(Makeshift::Alone)),
            (false, true, true, None),
            (false, false, true, Some(OWN)),
            (false, false, false, None),
        ] {
            let stopped = Stopped { is_fork, clean, own: Timeline(2) };
            assert_eq!(without_primary(stopped, || restores), expected, "{is_fork} {clean} {restores}");
        }
    }

    #[test]
    fn a_start_is_tried_again_only_where_the_archive_may_be_the_cause() {
        let (other, missing) = ("could not create shared memory", "recovery target timeline 2 does not exist");
        for (first, words, restores, expected) in [
            (None, other, true, Some(Some(OWN))),
            (None, other, false, None),
            (Some(OWN), other, true, None),
            (Some(OWN), missing, true, Some(None)),
            (Some(Makeshift::Alone), missing, true, None),
        ] {
            assert_eq!(second_try(first, words, Timeline(2), || restores), expected, "{first:?} {words} {restores}");
        }
    }

    #[test]
    fn the_history_that_is_to_go_is_named_where_the_server_names_it() {
        let words = "FATAL:  requested timeline 11 is not a child of this server's history";
        assert_eq!(misleading(words), Some(Timeline(11)));
        assert_eq!(misleading("FATAL:  could not open file"), None);
    }

    #[test]
    fn the_options_are_taken_back_when_they_are_in_the_way() {
        assert_eq!(OWN.options(), ["-c", "recovery_target_timeline=2"]);
        assert_eq!(Makeshift::Alone.options(), ["-c", "primary_conninfo=", "-c", "restore_command="]);
        let over = |makeshift: Makeshift| {
            [1, 2, 3].map(|primary| makeshift.is_over(Timeline(primary), Some(Duration::from_secs(239))))
        };
        assert_eq!((over(OWN), over(Makeshift::Alone)), ([false, false, true], [true, true, true]));
        let own = Makeshift::WithoutArchive(Some(Timeline(2)));
        assert_eq!((over(own), over(WITHOUT)), ([false, false, true], [false; 3]));
        let again = |makeshift: Makeshift| makeshift.is_over(Timeline(2), Some(ARCHIVE_AGAIN));
        assert!(again(WITHOUT) && again(own) && !again(OWN) && !WITHOUT.is_over(Timeline(2), None));
    }

    #[test]
    fn a_command_line_tells_how_a_server_was_started() {
        let own = Makeshift::WithoutArchive(Some(Timeline(2)));
        for makeshift in [OWN, Makeshift::Alone, WITHOUT, own] {
            assert_eq!(Makeshift::of(&makeshift.options()), Some(makeshift));
        }
        for (arguments, expected) in [
            ("postgres -D /data", None),
            ("-c restore_command=cp", None),
            ("-c restore_command=cp -c restore_command=", Some(WITHOUT)),
            ("-c recovery_target_timeline=latest", None),
        ] {
            let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            assert_eq!(Makeshift::of(&arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn an_archive_that_is_slow_is_not_one_that_hangs() {
        let s = Duration::from_secs;
        for (running, idle, expected) in [
            (None, s(100), Archive::Quiet),
            (Some(s(29)), s(29), Archive::Fetches),
            (Some(s(3600)), s(9), Archive::Fetches),
            (Some(s(30)), s(10), Archive::Hangs),
        ] {
            assert_eq!(archive(running, idle), expected, "{running:?} {idle:?}");
        }
        for (before, expected) in [
            (None, WITHOUT),
            (Some(OWN), Makeshift::WithoutArchive(Some(Timeline(2)))),
            (Some(Makeshift::Alone), Makeshift::Alone),
        ] {
            assert_eq!(Makeshift::without_archive(before), expected);
        }
    }
}
