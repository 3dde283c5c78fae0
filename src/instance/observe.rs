//! Looking at the instance: from the cheapest fact to the dearest, and no further than needed.

use super::files::read_small;
use super::processes::{is_suspended, is_waiting_login, postmaster_among, title};
use super::{Instance, PidFile, PostmasterStatus, Session, SqlError};
use std::time::Duration;

use crate::policy::refusal::other_database;
use crate::sys::Deadline;
use crate::types::{Role, State};

/// What was found, with the connection if there is one.
#[derive(Debug)]
pub struct Observation {
    /// The state.
    pub state: State,
    /// An open connection, when the server answered.
    pub session: Option<Session>,
}

impl Observation {
    fn without_session(state: State) -> Self {
        Observation { state, session: None }
    }
}

impl Instance {
    /// Looks at the instance. A server that is alive has until `deadline` to answer.
    #[must_use]
    pub fn observe(&self, deadline: Deadline) -> Observation {
        let processes = self.processes();
        let file = self.pid_file();
        let named = file.as_ref().and_then(|file| file.pid).filter(|pid| processes.is_server(*pid));
        if let Some(pid) = named {
            return self.ask(pid, file.as_ref(), deadline);
        }
        // One list answers both questions: between two lists a postmaster may come or go.
        let servers = processes.all();
        match postmaster_among(&servers) {
            Some(pid) => self.ask(pid, file.as_ref(), deadline),
            None if servers.is_empty() => {
                Observation::without_session(self.missing().map_or(State::Stopped, State::Absent))
            }
            None => Observation::without_session(State::Orphaned { was: self.role_by_files(shortly(deadline)) }),
        }
    }

    /// What `postmaster.pid` says, if it is there.
    #[must_use]
    pub fn pid_file(&self) -> Option<PidFile> {
        Some(PidFile::parse(&read_small(&self.data_directory().join("postmaster.pid")).ok()?))
    }

    /// The live postmaster's process id.
    #[must_use]
    pub fn postmaster(&self) -> Option<i32> {
        let processes = self.processes();
        let named = self.pid_file().and_then(|file| file.pid).filter(|pid| processes.is_server(*pid));
        named.or_else(|| postmaster_among(&processes.all()))
    }

    /// Whether a login waits for a lock: then the server is alive, whatever it does not answer.
    pub(super) fn login_waits_for_lock(&self) -> bool {
        self.processes().all().iter().any(|pid| is_waiting_login(&title(*pid)))
    }

    fn ask(&self, postmaster: i32, file: Option<&PidFile>, deadline: Deadline) -> Observation {
        if is_suspended(postmaster) {
            let why = format!("the postmaster, process {postmaster}, is suspended by a signal or a debugger");
            return Observation::without_session(State::Silent { was: self.role_by_files(shortly(deadline)), why });
        }
        let status = file.map_or(PostmasterStatus::Unknown, |file| file.status);
        if matches!(status, PostmasterStatus::Starting | PostmasterStatus::Standby) {
            return Observation::without_session(State::Starting);
        }
        match self.ask_in(&self.parameters.pgdatabase, file, deadline) {
            Ok((session, role)) => Observation { state: State::Running(role), session: Some(session) },
            Err(error) => Observation::without_session(self.without_answer(status, error, file, deadline)),
        }
    }

    fn ask_in(&self, database: &str, file: Option<&PidFile>, deadline: Deadline) -> Result<(Session, Role), SqlError> {
        let session = self.connect_by(file, database, deadline)?;
        let role = if session.is_in_recovery(deadline)? { Role::Standby } else { Role::Primary };
        Ok((session, role))
    }

    /// What a live postmaster without an answer means.
    fn without_answer(
        &self,
        status: PostmasterStatus,
        error: SqlError,
        file: Option<&PidFile>,
        deadline: Deadline,
    ) -> State {
        let files = shortly(deadline);
        let stopping = status == PostmasterStatus::Stopping;
        match error {
            SqlError::NotNow(_) if stopping => State::Stopping,
            SqlError::NotNow(_) => State::Starting,
            SqlError::Refused(why) if self.is_read_only() => {
                self.failing(&format!("{why}; its volume is read-only"), file, deadline)
            }
            SqlError::Refused(why) => State::Restricted { role: self.role_by_files(files), why },
            SqlError::Failing(why) => self.failing(&why, file, deadline),
            SqlError::NoListener(_) | SqlError::Stranger(_) | SqlError::Broken(_) if stopping => State::Stopping,
            SqlError::NoListener(_) | SqlError::Stranger(_) if status == PostmasterStatus::Unknown => State::Starting,
            error @ (SqlError::NoListener(_) | SqlError::Stranger(_) | SqlError::Timeout(..) | SqlError::Broken(_)) => {
                State::Silent { was: self.role_by_files(files), why: error.to_string() }
            }
        }
    }

    /// A server whose answer says that it cannot work. What ails one database only is told apart by another one.
    fn failing(&self, why: &str, file: Option<&PidFile>, deadline: Deadline) -> State {
        let another = other_database(&self.parameters.pgdatabase);
        match self.ask_in(another, file, shortly(deadline)) {
            Ok((_, role)) => State::Restricted { role, why: why.to_owned() },
            Err(_) => State::Silent {
                was: self.role_by_files(shortly(deadline)),
                why: format!("all it answers is an error: {why}"),
            },
        }
    }
}

/// For the control file, which is local, when the deadline may be used up. No action keeps less for its answer than twice what
/// this takes beyond it.
fn shortly(deadline: Deadline) -> Deadline {
    let time = deadline.remaining().clamp(Duration::from_millis(100), Duration::from_millis(500));
    Deadline::after(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_ends_soon_after_its_deadline() {
        for (left, at_most) in [(0, 100), (50, 100), (300, 300), (10_000, 500)] {
            let ends = shortly(Deadline::after(Duration::from_millis(left))).remaining();
            assert!(ends <= Duration::from_millis(at_most), "{left} ms left: {ends:?}");
        }
    }
}
