//! Following the promoted node without a virtual address: the host in a standby's `primary_conninfo` is kept right.
//!
//! After a promotion each standby is notified. What a lost or killed notification leaves undone is done by the next
//! monitor that finds the standby not streaming, by the next notification of a start, and by the standby's own start.
//! Nothing here fails an action: a problem is told in the log once.

use std::time::{Duration, Instant};

use super::Agent;
use crate::instance::{Session, Upstream};
use crate::ocf::Follow;
use crate::policy::conninfo::{Conninfo, ConninfoError};
use crate::policy::follow::{FIRST_RELOADABLE_VERSION, address, leader, wanted};
use crate::sys::{Deadline, Notes, Pace, ms_since_boot};
use crate::types::{NodeName, Role, State};

/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(6);

/// How long a standby is looked at after a change. It takes milliseconds when the promoted node can be reached, and what
/// is ordered after a promotion waits for its notifications.
const SETTLE: Duration = Duration::from_secs(3);

/// A standby that does not stream asks the cluster not more often.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(10);

/// What is wrong, and the cure.
pub(super) type Problem = String;

impl Agent {
    /// After a promotion, with the promoted nodes as the notification names them.
    pub(super) fn follow_after_promotion(&self) {
        let promoted = self.request.notification.promote.as_slice();
        if self.follows_promoted() && self.own_name().is_ok_and(|own| leader(&own, promoted).is_some()) {
            self.note_problem(self.follow_by_itself(Some(promoted)));
        }
    }

    /// After a start, its own or another node's: an old primary that has come back as a standby looks like an upstream
    /// to a standby that still names it.
    pub(super) fn follow_after_start(&self) {
        if self.follows_promoted() {
            self.note_problem(self.follow_by_itself(None));
        }
    }

    /// In a standby's monitor. While it streams, nothing but one query.
    pub(super) fn follow_unless_streaming(&self, session: &Session) {
        if !self.follows_promoted() {
            return;
        }
        let deadline = self.deadline.at_most(PATIENCE);
        let streams = self.own_name().map_err(problem).and_then(|own| session.streams(&own, deadline).map_err(problem));
        match streams {
            Ok(true) => self.note_problem(Ok(())),
            Ok(false) if self.may_ask() => self.note_problem(self.follow(session, None, deadline)),
            Ok(false) => {}
            Err(problem) => self.note_problem(Err(problem)),
        }
    }

    fn follows_promoted(&self) -> bool {
        self.in_cluster() && self.request.parameters.follow() == Ok(Follow::Promoted)
    }

    fn follow_by_itself(&self, promoted: Option<&[NodeName]>) -> Result<(), Problem> {
        let deadline = self.deadline.at_most(PATIENCE);
        let found = self.instance.observe(deadline.at_most(Duration::from_secs(2)));
        match (found.state, found.session) {
            (State::Running(Role::Standby), Some(session)) => self.follow(&session, promoted, deadline),
            _ => Ok(()),
        }
    }

    /// Makes the standby follow the promoted node, unless it does already. Who is promoted is asked for when it is not
    /// given.
    fn follow(&self, session: &Session, promoted: Option<&[NodeName]>, deadline: Deadline) -> Result<(), Problem> {
        self.refuse_old_version()?;
        let own = self.own_name().map_err(problem)?;
        let addresses = self.cluster.addresses(deadline).map_err(problem)?;
        let Some(leader) = leader(&own, promoted.unwrap_or(&addresses.promoted)) else { return Ok(()) };
        let host = address(leader, &addresses.of_nodes);
        let Some(conninfo) = changed(session, host, deadline)? else { return Ok(()) };
        write(session, &conninfo, deadline)?;
        log::info!("primary_conninfo names {host} now, the address of the promoted node {leader}");
        await_streaming(session, host, deadline)
    }

    fn refuse_old_version(&self) -> Result<(), Problem> {
        let new = self.instance.major_version().is_some_and(|major| major >= FIRST_RELOADABLE_VERSION);
        let needed = || format!("follow=promoted needs PostgreSQL {FIRST_RELOADABLE_VERSION}; set follow=conninfo");
        new.then_some(()).ok_or_else(needed)
    }

    /// Whether enough time has passed since the last question to the cluster. It is noted.
    fn may_ask(&self) -> bool {
        let path = self.notes_path();
        let (before, now) = (Notes::load(&path), ms_since_boot());
        let passed = |asked: u64| Duration::from_millis(now.saturating_sub(asked)) >= BETWEEN_QUESTIONS;
        let may = before.asked_whom_to_follow_ms.is_none_or(passed);
        if may {
            Notes { asked_whom_to_follow_ms: Some(now), ..before.clone() }.save(&path, &before);
        }
        may
    }

    /// Tells a problem, once until it is another one or gone.
    fn note_problem(&self, result: Result<(), Problem>) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let problem = result.err();
        if let Some(problem) = problem.as_ref().filter(|problem| before.follow_problem.as_ref() != Some(problem)) {
            log::warn!("this standby may not follow the promoted node: {problem}");
        }
        Notes { follow_problem: problem, ..before.clone() }.save(&path, &before);
    }
}

pub(super) fn problem(error: impl ToString) -> Problem {
    error.to_string()
}

/// What the standby's `primary_conninfo` is.
pub(super) fn upstream(session: &Session, deadline: Deadline) -> Result<Upstream, Problem> {
    let upstream = session.upstream(deadline).map_err(problem)?;
    upstream.ok_or_else(|| "the agent's role may not see primary_conninfo; grant it pg_monitor".to_owned())
}

pub(super) fn parsed(conninfo: Result<Conninfo, ConninfoError>) -> Result<Conninfo, Problem> {
    conninfo.map_err(|e| format!("primary_conninfo cannot be parsed: {e}; correct it"))
}

/// Nothing that is written anywhere counts then.
pub(super) const FIXED: &str = "primary_conninfo is given on the server's command line; take it out of start_opts";

/// The new connection string, `None` when the present one is right.
fn changed(session: &Session, host: &str, deadline: Deadline) -> Result<Option<Conninfo>, Problem> {
    let upstream = upstream(session, deadline)?;
    let present = parsed(upstream.conninfo)?;
    let wanted = wanted(&present, host);
    if wanted.is_some() && upstream.fixed {
        return Err(FIXED.to_owned());
    }
    Ok(wanted)
}

fn write(session: &Session, conninfo: &Conninfo, deadline: Deadline) -> Result<(), Problem> {
    if !session.may_set_primary_conninfo(deadline).map_err(problem)? {
        return Err("the agent's role may not set primary_conninfo; make it a superuser, or from PostgreSQL 15 on grant \
             it ALTER SYSTEM on parameter primary_conninfo and EXECUTE on function pg_reload_conf(); allow_alter_system \
             must not be off"
            .to_owned());
    }
    session.set_primary_conninfo(conninfo, deadline).map_err(|e| format!("primary_conninfo cannot be set: {e}"))?;
    if *conninfo != conninfo.without_secrets() {
        log::warn!(
            "primary_conninfo holds a secret, and PostgreSQL logs the new value of a setting that it reads anew; \
             move the secret to a password file (.pgpass)"
        );
    }
    Ok(())
}

/// Looks until the standby streams from the new host, and tells how that went.
fn await_streaming(session: &Session, host: &str, deadline: Deadline) -> Result<(), Problem> {
    let (begin, settled) = (Instant::now(), deadline.at_most(SETTLE));
    let mut pace = Pace::up_to(Duration::from_millis(50));
    while !session.streams_from(host, deadline).map_err(problem)? {
        if !pace.step(settled) {
            return Err(format!(
                "it does not stream from {host} yet; the server goes on trying, and its log tells why"
            ));
        }
    }
    log::info!("streaming from {host} after {} ms", begin.elapsed().as_millis());
    Ok(())
}
