//! Looking at the instance: from the cheapest fact to the dearest, and no further than needed.

use super::processes::{Processes, is_suspended};
use super::{Instance, PidFile, PostmasterStatus, Session, SqlError};
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
        let processes = Processes::of(self.data_directory());
        let file = self.pid_file();
        if let Some(pid) = self.postmaster_of(&processes, file.as_ref()) {
            if is_suspended(pid) {
                let why = format!("the postmaster, process {pid}, is suspended by a signal or a debugger");
                return Observation::without_session(State::Silent { was: self.role_by_files(deadline), why });
            }
            return self.ask(file.as_ref(), deadline);
        }
        if !processes.all().is_empty() {
            // The postmaster may have ended its children in the moment between the two looks.
            let was = self.role_by_files(deadline);
            return Observation::without_session(match processes.all().is_empty() {
                true => State::Stopped,
                false => State::Orphaned { was },
            });
        }
        Observation::without_session(self.missing().map_or(State::Stopped, State::Absent))
    }

    /// What `postmaster.pid` says, if it is there.
    #[must_use]
    pub fn pid_file(&self) -> Option<PidFile> {
        let text = std::fs::read(self.data_directory().join("postmaster.pid")).ok()?;
        Some(PidFile::parse(&String::from_utf8_lossy(&text)))
    }

    /// The live postmaster's process id.
    #[must_use]
    pub fn postmaster(&self) -> Option<i32> {
        self.postmaster_of(&Processes::of(self.data_directory()), self.pid_file().as_ref())
    }

    fn postmaster_of(&self, processes: &Processes, file: Option<&PidFile>) -> Option<i32> {
        let named = file.and_then(|file| file.pid).filter(|pid| processes.is_server(*pid));
        named.or_else(|| processes.postmaster())
    }

    fn ask(&self, file: Option<&PidFile>, deadline: Deadline) -> Observation {
        let status = file.map_or(PostmasterStatus::Unknown, |file| file.status);
        if matches!(status, PostmasterStatus::Starting | PostmasterStatus::Standby) {
            return Observation::without_session(State::Starting);
        }
        let answer = self.connect(file, deadline).and_then(|session| {
            let role = if session.is_in_recovery(deadline)? { Role::Standby } else { Role::Primary };
            Ok((session, role))
        });
        match answer {
            Ok((session, role)) => Observation { state: State::Running(role), session: Some(session) },
            Err(error) => Observation::without_session(self.without_answer(status, error)),
        }
    }

    /// What a live postmaster without an answer means.
    fn without_answer(&self, status: PostmasterStatus, error: SqlError) -> State {
        // The deadline is used up: a short one for the control file, which is local.
        let files = Deadline::after(std::time::Duration::from_millis(500));
        let stopping = status == PostmasterStatus::Stopping;
        match error {
            SqlError::NotNow(_) if stopping => State::Stopping,
            SqlError::NotNow(_) => State::Starting,
            SqlError::Refused(why) => State::Restricted { role: self.role_by_files(files), why },
            SqlError::NoListener(_) | SqlError::Broken(_) if stopping => State::Stopping,
            SqlError::NoListener(_) if status == PostmasterStatus::Unknown => State::Starting,
            error @ (SqlError::NoListener(_) | SqlError::Timeout(..) | SqlError::Broken(_)) => {
                State::Silent { was: self.role_by_files(files), why: error.to_string() }
            }
        }
    }
}
