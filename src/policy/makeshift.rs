//! With which options of the agent's own does a server run that must not, or cannot, be started as it is configured?
//!
//! | the instance | it is started |
//! |---|---|
//! | is on a timeline that no promotion by Pacemaker made, and there is no primary | alone |
//! | was not stopped cleanly, there is no primary, and it restores from an archive | on its own timeline |
//! | ended while it started, and restores from an archive | once more, on its own timeline |
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

use std::fmt;

use crate::types::Timeline;

/// The options, beside those of the parameter `start_opts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makeshift {
    /// Without an upstream and without an archive.
    Alone,
    /// Only on this timeline.
    OnTimeline(Timeline),
}

impl Makeshift {
    /// What is added to the server's command line.
    #[must_use]
    pub fn options(self) -> Vec<String> {
        let settings = match self {
            Makeshift::Alone => vec!["primary_conninfo=".to_owned(), "restore_command=".to_owned()],
            Makeshift::OnTimeline(timeline) => vec![format!("recovery_target_timeline={timeline}")],
        };
        settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect()
    }

    /// Whether a server that runs so has to be restarted to follow a primary on this timeline from which it has not diverged.
    #[must_use]
    pub fn is_over(self, primary: Timeline) -> bool {
        match self {
            Makeshift::Alone => true,
            Makeshift::OnTimeline(own) => primary > own,
        }
    }
}

impl fmt::Display for Makeshift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Makeshift::Alone => f.write_str("without an upstream"),
            Makeshift::OnTimeline(timeline) => write!(f, "on timeline {timeline} only"),
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
        Some(Makeshift::Alone) => None,
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
        let over = |makeshift: Makeshift| [1, 2, 3].map(|primary| makeshift.is_over(Timeline(primary)));
        assert_eq!((over(OWN), over(Makeshift::Alone)), ([false, false, true], [true, true, true]));
    }
}
