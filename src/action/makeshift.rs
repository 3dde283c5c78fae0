//! A server that is started with options of the agent's own, and started anew when they are in the way.

use std::time::Duration;

use super::Agent;
use super::start::Check;
use crate::cluster::Record;
use crate::instance::Session;
use crate::ocf::Failure;
use crate::policy::condition::Condition;
use crate::policy::makeshift::{Makeshift, Stopped, misleading, second_try, without_primary};
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

    /// For a standby that does not stream, though nothing keeps it from following this primary.
    pub(super) fn end_makeshift(&self, session: &Session, primary: &Record) -> Result<Option<Condition>, Failure> {
        let deadline = self.deadline.at_most(QUESTIONS);
        let makeshift = session.makeshift(deadline).map_err(|e| Failure::generic(e.to_string()))?;
        let in_the_way = makeshift.filter(|makeshift| makeshift.is_over(primary.history.last().timeline));
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
