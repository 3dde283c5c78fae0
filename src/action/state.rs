//! What is told of this node's instance: a public node attribute with few words, and the exit codes 190 and 191 with the reason
//! for what is degraded.
//!
//! Pacemaker lists such an answer under "Failed Resource Actions", and it stays there after the next monitor has answered 0
//! (seen, 2.1.5). So the agent removes it itself when the reason is gone.
//!
//! While it is listed, Pacemaker takes that monitor for active: one that was cancelled, for a change of roles or by
//! maintenance mode, is not started again (seen, 2.1.5; the scheduler's `process_recurring` counts `last_failure`). An instance
//! must not be left without a monitor, so only a second, slower one gives these answers, which has `OCF_CHECK_LEVEL=10`. The
//! first one, which is never listed, removes them; Pacemaker then starts the second one again.
//!
//! A controller never forgets that a monitor has answered so, and confirms that monitor's cancellation to the DC that started
//! it only: a new DC waits in vain, for the monitor's timeout and 60 s (seen, 2.1.5; `did_lrm_rsc_op_fail` in
//! `process_lrm_event`). When the old DC's node was lost, a promotion waits with it. So the examples have no such monitor.

use std::time::Duration;

use super::Agent;
use crate::instance::{Following, Session};
use crate::ocf::{Degraded, ExitCode, Failure};
use crate::policy::condition::Condition;
use crate::sys::{Notes, ms_since_boot};
use crate::types::Role;

/// The longest that one call for the attribute or the listed answer may take.
const CALL: Duration = Duration::from_secs(2);

/// How often the attribute is looked at: it goes with the attribute daemon, which nobody tells the agent of.
const BETWEEN_LOOKS_MS: u64 = 60_000;

/// Pacemaker's controller remembers a listed answer, and lists it again for every new DC. When that has come with a change of
/// the cluster, a notification tells; this is for when it has not.
const BETWEEN_REMOVALS_MS: u64 = 60_000;

impl Agent {
    /// Whether this is a deep monitor's first answer since the instance has its role. It has to be a plain one, since Pacemaker
    /// shows it as pending otherwise, and a quick one: it comes at the moment in which the address moves, beside the plain
    /// monitor, which looks after everything.
    pub(super) fn begins_deep_monitor(&self) -> bool {
        if !self.request.meta.deep {
            return false;
        }
        let interval = Some(self.request.meta.interval_ms);
        let path = self.notes_path();
        let before = Notes::load(&path);
        let begins = before.deep_interval_ms != interval;
        if begins {
            Notes { deep_interval_ms: interval, degraded_withdrawn: false, ..before.clone() }.save(&path, &before);
        }
        begins
    }

    /// Shows what the instance is doing, and answers the monitor.
    pub(super) fn tell(&self, condition: &Condition) -> ExitCode {
        if self.begins_deep_monitor() {
            return healthy(condition.role);
        }
        let path = self.notes_path();
        let before = Notes::load(&path);
        let mut notes = before.clone();
        self.show(&condition.words, &mut notes);
        let told = self.tell_if_degraded(condition, &mut notes);
        notes.save(&path, &before);
        told.unwrap_or(healthy(condition.role))
    }

    /// Shows these words once two monitors in a row have seen them: what passes by is not shown. Each change
    /// makes Pacemaker plan anew.
    fn show(&self, words: &str, notes: &mut Notes) {
        if notes.state_seen.as_deref() != Some(words) {
            notes.state_seen = Some(words.to_owned());
        } else if notes.state_shown.as_deref() != Some(words) || self.is_lost(notes) {
            match self.cluster.show_state(Some(words), self.deadline.at_most(CALL)) {
                Ok(()) => {
                    (notes.state_shown, notes.state_untold) = (Some(words.to_owned()), false);
                    notes.state_checked_ms = ms_since_boot();
                }
                Err(error) if !notes.state_untold => {
                    log::warn!("cannot show the state '{words}' as a node attribute: {error}");
                    notes.state_untold = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Whether the state that was shown is there no longer. Not knowing is as good as being there.
    fn is_lost(&self, notes: &mut Notes) -> bool {
        let now = ms_since_boot();
        if now.saturating_sub(notes.state_checked_ms) < BETWEEN_LOOKS_MS {
            return false;
        }
        notes.state_checked_ms = now;
        let shown = self.own_name().ok().zip(self.cluster.states(self.deadline.at_most(CALL)).ok());
        let is_lost = shown.is_some_and(|(own, shown)| !shown.contains_key(&own));
        // What else this node has told went with it.
        notes.here &= !is_lost;
        is_lost
    }

    /// The answer of a deep monitor for a degraded instance, once two monitors in a row have seen the same reason. Every
    /// monitor takes back what is no longer so.
    fn tell_if_degraded(&self, condition: &Condition, notes: &mut Notes) -> Option<ExitCode> {
        let deep = self.request.meta.deep;
        let withdrawn = deep && std::mem::take(&mut notes.degraded_withdrawn);
        let reason = condition.degraded.clone().filter(|_| self.tells_degraded());
        let lasts = reason.is_some() && notes.degraded_seen == reason;
        notes.degraded_seen.clone_from(&reason);
        if reason.is_none() || notes.degraded_told.as_ref().is_some_and(|told| reason.as_ref() != Some(told)) {
            notes.degraded_withdrawn |= notes.degraded_told.take().is_some() && !deep;
            self.unlist_degraded(notes);
        }
        let reason = reason.filter(|_| lasts && deep && !withdrawn)?;
        if notes.degraded_told.as_ref() != Some(&reason) {
            log::warn!("degraded: {reason}");
        }
        let code = match condition.role {
            Role::Primary => ExitCode::DegradedPromoted,
            Role::Standby => ExitCode::Degraded,
        };
        Failure::new(code, reason.clone()).report();
        (notes.degraded_told, notes.degraded_unlisted_ms) = (Some(reason), Some(0));
        Some(code)
    }

    fn tells_degraded(&self) -> bool {
        let wish = self.request.parameters.degraded().unwrap_or_else(|failure| {
            log::warn!("{failure}; degraded states are reported");
            Degraded::Report
        });
        wish == Degraded::Report && self.request.meta.knows_degraded
    }

    /// Removes what an earlier answer has left in the list of failed actions.
    fn unlist_degraded(&self, notes: &mut Notes) {
        let Some(last) = notes.degraded_unlisted_ms else { return };
        let now = ms_since_boot();
        if now.saturating_sub(last) < BETWEEN_REMOVALS_MS && last != 0 {
            return;
        }
        let own = self.own_name().map_err(|e| e.to_string());
        let removed = own
            .and_then(|own| self.cluster.unlist_degraded(&own, self.deadline.at_most(CALL)).map_err(|e| e.to_string()));
        match removed {
            Ok(()) => notes.degraded_unlisted_ms = Some(now.max(1)),
            Err(why) => log::warn!("the degraded state that is over stays listed as a failed action: {why}"),
        }
    }

    /// A stopped instance does nothing. None of this may fail its stop.
    pub(super) fn show_nothing(&self) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        if !self.in_cluster() {
            return;
        }
        let shortly = self.deadline.at_most(Duration::from_secs(1));
        let hiding = self.cluster.begin_showing_state(None).ok();
        let mut notes = Notes { state_seen: None, state_shown: None, degraded_seen: None, ..before.clone() };
        notes.deep_interval_ms = None;
        if notes.degraded_told.take().is_some() {
            notes.degraded_unlisted_ms = Some(0);
            self.unlist_degraded(&mut notes);
        }
        if let Some(Err(error)) = hiding.map(|running| running.finish(shortly)) {
            log::warn!("the state of this stopped instance is still shown: {error}");
            notes.state_shown = before.state_shown.clone();
        }
        notes.save(&path, &before);
    }

    /// A look at a standby: what it is doing, and whether it needs to be mended. `None` when it cannot be seen.
    pub(super) fn watch_standby(&self, session: &Session) -> Option<Condition> {
        let deadline = self.deadline.at_most(CALL);
        let following = match session.following(self.own_name().ok().as_ref(), deadline) {
            Ok(following) => following,
            Err(error) => {
                log::warn!("cannot see how this standby follows: {error}");
                return None;
            }
        };
        self.archive_past_planted(session, following.fails_with_history);
        let condition = if following.from_itself { Condition::own_upstream() } else { condition_of(&following) };
        let condition = if self.runs_without_archive() { condition.without_archive() } else { condition };
        if following.streams && !following.from_itself {
            self.note_stream(true);
            self.note_fed(Some(true));
            self.note_here(Role::Standby, following.timeline);
            self.promise_what_is_followed(following.timeline);
            return Some(condition);
        }
        self.note_fed(if following.from_itself { Some(false) } else { self.instance.streams_by_title() });
        // A receiver tries again every few seconds, and the address moves with the primary.
        if self.note_stream(false) < 2 {
            return Some(condition);
        }
        match self.mend_running(session) {
            Ok(None) => Some(self.stand_or_tell_why_not(condition)),
            Ok(mending) => mending,
            Err(failure) => {
                log::warn!("this standby does not stream: {failure}");
                Some(condition)
            }
        }
    }

    /// There is nothing to follow, or nothing that keeps this standby from following.
    fn stand_or_tell_why_not(&self, condition: Condition) -> Condition {
        match self.stand_if_possible() {
            Some(why) => Condition::standby("not to be promoted", Some(why)),
            None => condition,
        }
    }

    /// Counts the monitors that found no stream.
    pub(super) fn note_stream(&self, streams: bool) -> u32 {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let looks = if streams { 0 } else { before.looks_without_stream.saturating_add(1).min(9) };
        let refused = before.refused.clone().filter(|_| !streams);
        let cloned_behind = before.cloned_behind && !streams;
        Notes { looks_without_stream: looks, refused, cloned_behind, ..before.clone() }.save(&path, &before);
        looks
    }
}

/// What a monitor answers where there is nothing to tell.
pub(super) fn healthy(role: Role) -> ExitCode {
    match role {
        Role::Primary => ExitCode::RunningPromoted,
        Role::Standby => ExitCode::Success,
    }
}

fn condition_of(following: &Following) -> Condition {
    let end = following.received.max(following.primary_end);
    let behind = end.zip(following.replayed).map_or(0, |(end, replayed)| end.bytes_beyond(replayed));
    Condition::of_standby(following.streams, following.paused, behind)
}
