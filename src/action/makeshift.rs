//! A server that is started with options of the agent's own, and started anew when they are in the way.

use std::time::Duration;

use super::Agent;
use super::start::{Check, Launching};
use crate::cluster::Record;
use crate::ocf::Failure;
use crate::policy::condition::Condition;
use crate::policy::makeshift::{Archive, Makeshift, Stopped, archive, misleading, second_try, without_primary};
use crate::policy::monitor::STANDSTILL;
use crate::policy::progress::STALLED;
use crate::sys::Deadline;

const QUESTIONS: Duration = Duration::from_secs(5);

impl Agent {
    /// For an instance that is down while there is no primary.
    pub(super) fn makeshift_without_primary(&self) -> Option<Makeshift> {
        let deadline = self.deadline.at_most(QUESTIONS);
        let control = self.instance.control_data(deadline).map_err(|e| log::warn!("{e}")).ok()?;
        let own = self.instance.youngest_timeline(&control);
        let fork = self.durable().and_then(|durable| self.fork_of(own, &durable));
        let stopped = Stopped { is_fork: fork.is_some(), clean: control.was_stopped_cleanly(), own };
        let makeshift = without_primary(stopped, || self.restores_to_latest(deadline));
        if let Some(fork) = fork {
            log::warn!(
                "this instance left the cluster's timelines at {} for one that no promotion by Pacemaker made: it is started \
                 without an upstream, so that it does not mix that with another one's of the same number",
                fork.end
            );
        }
        makeshift
    }

    /// For a server that has just ended while it started.
    pub(super) fn makeshift_after_end(&self, first: Option<Makeshift>, words: &str) -> Option<Option<Makeshift>> {
        let deadline = self.deadline.at_most(QUESTIONS);
        let second = second_try(first, words, self.own_timeline(deadline)?, || self.restores_to_latest(deadline))?;
        let how = second.map_or("as it is configured".to_owned(), |second| second.to_string());
        let cause = misleading(words).map(|timeline| {
            format!(
                ": restore_command finds {:08X}.history, of a timeline that was given up; move that file out of the archive",
                timeline.0
            )
        });
        let cause = cause.unwrap_or_default();
        log::warn!("the server ended while it started: {words}; it is tried once more {how}{cause}");
        Some(second)
    }

    fn restores_to_latest(&self, deadline: Deadline) -> bool {
        let settings = self.instance.settings(&["restore_command", "recovery_target_timeline"], deadline);
        let settings = settings.map_err(|e| log::warn!("{e}")).unwrap_or_default();
        let get = |name: &str| settings.get(name).map_or("", String::as_str);
        !get("restore_command").is_empty() && get("recovery_target_timeline") == "latest"
    }

    /// What the archive does for a startup process that has done nothing for so long.
    pub(super) fn archive(&self, idle: Duration) -> Archive {
        let found = if idle >= STALLED { archive(self.instance.fetches_for(), idle) } else { Archive::Quiet };
        if found != Archive::Hangs {
            return found;
        }
        // A recovery_end_command is a program of the startup process, too.
        let settings =
            self.instance.settings(&["restore_command", "recovery_end_command"], self.deadline.at_most(QUESTIONS));
        let settings = settings.map_err(|e| log::warn!("{e}")).unwrap_or_default();
        let is_set = |name: &str| settings.get(name).is_some_and(|command| !command.is_empty());
        if !is_set("restore_command") || is_set("recovery_end_command") {
            return Archive::Quiet;
        }
        let s = self.instance.fetches_for().unwrap_or_default().as_secs();
        log::warn!(
            "restore_command has not come back for {s} s, and the server waits for it: it is started anew without its archive; \
             when that works again, restart the resource on this node"
        );
        Archive::Hangs
    }

    pub(super) fn runs_without_archive(&self) -> bool {
        matches!(self.instance.makeshift(), Some(Makeshift::WithoutArchive(_)))
    }

    /// For a standby that nothing keeps from following this primary but its archive, which PostgreSQL asks before it tries the
    /// primary again.
    pub(super) fn leave_hanging_archive(&self, primary: &Record) -> Result<Option<Condition>, Failure> {
        let hangs = self.instance.fetches_for().is_some_and(|running| running >= STANDSTILL);
        if !hangs || !self.is_promoted_there(&primary.primary)? || self.archive(STALLED) != Archive::Hangs {
            return Ok(None);
        }
        let mut launching = Launching::default();
        launching.leave_archive(self)?;
        self.launch_standby(Check::Nothing, launching)?;
        Ok(Some(Condition::standby("starting", None)))
    }

    /// For a standby that does not stream, though nothing keeps it from following this primary, or only WAL that its archive
    /// may have.
    pub(super) fn end_makeshift(&self, primary: &Record, needs_archive: bool) -> Result<Option<Condition>, Failure> {
        let waited = if needs_archive { self.instance.age() } else { None };
        let is_over = |makeshift: &Makeshift| makeshift.is_over(primary.history.last().timeline, waited);
        let in_the_way = self.instance.makeshift().filter(is_over);
        let in_the_way =
            in_the_way.filter(|_| !self.request.parameters.start_opts.contains("recovery_target_timeline"));
        let Some(makeshift) = in_the_way else { return Ok(None) };
        if !self.is_promoted_there(&primary.primary)? {
            return Ok(None);
        }
        log::info!("the server was started {makeshift}; it is started anew to follow {}", primary.primary);
        self.end_for_mending()?;
        self.become_standby(Check::Nothing)?;
        Ok(Some(Condition::standby("starting", None)))
    }
}
