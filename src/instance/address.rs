//! Finding this instance's server: a connection counts only when it leads to the server of this data directory.

use std::fs;
use std::path::Path;

use super::files::read_small;
use super::{Instance, PidFile, Session, SqlError};
use crate::policy::address::{Place, places};
use crate::sys::Deadline;

impl Instance {
    /// Connects to this instance's server.
    ///
    /// # Errors
    /// When there is no connection at the deadline.
    pub fn connect(&self, deadline: Deadline) -> Result<Session, SqlError> {
        self.connect_by(self.pid_file().as_ref(), &self.parameters.pgdatabase, deadline)
    }

    /// The same, with what `postmaster.pid` says, and to this database.
    pub(super) fn connect_by(
        &self,
        file: Option<&PidFile>,
        database: &str,
        deadline: Deadline,
    ) -> Result<Session, SqlError> {
        let places = self.places(file);
        let mut problem = None;
        for (number, place) in places.iter().enumerate() {
            // A host that swallows packets must leave time for the next place.
            let others = u32::try_from(places.len() - number).unwrap_or(1);
            let part = deadline.at_most(deadline.remaining() / others);
            let found = self.log_in(place, database, part).and_then(|session| self.proven(place, session, part));
            match found {
                Ok(session) => {
                    self.warn_of_other_place(place, file);
                    return Ok(session);
                }
                Err(error) if place.is_certain && is_final(&error) => return Err(error),
                Err(error) if problem.is_none() || place.is_certain => problem = Some(error),
                Err(_) => {}
            }
        }
        Err(problem.unwrap_or_else(|| SqlError::NoListener(self.configured_place())))
    }

    /// Where the server is asked, in order. Links in directories are resolved: Debian's `/var/run` is one.
    pub(super) fn places(&self, file: Option<&PidFile>) -> Vec<Place> {
        let host = resolved(&self.parameters.pghost);
        let directory =
            file.and_then(|file| file.socket_directory.as_deref()).map(|path| resolved(&path.to_string_lossy()));
        let port = file.and_then(|file| file.port);
        let is_named = |pid| self.processes().is_server(pid);
        let is_alive = file.and_then(|file| file.pid).is_some_and(is_named);
        let mut places = places((&host, self.parameters.pgport().ok()), (directory.as_deref(), port));
        // The path of a socket has to be short, and a password file knows it by the parameter's name.
        for place in places.iter_mut().filter(|place| place.host == host) {
            place.host.clone_from(&self.parameters.pghost);
        }
        // A file that does not name the live postmaster is what another one has left, or damaged.
        for place in &mut places {
            place.is_certain &= is_alive;
        }
        places
    }

    /// Where an answer does not come from this instance by the place alone, its process has to be one of this data
    /// directory's.
    fn proven(&self, place: &Place, session: Session, deadline: Deadline) -> Result<Session, SqlError> {
        let backend = session.backend(deadline)?;
        let processes = self.processes();
        let is_ours = if place.is_certain { !processes.is_strangers(backend) } else { processes.is_server(backend) };
        if is_ours { Ok(session) } else { Err(SqlError::Stranger(format!("{}:{}", place.host, place.port))) }
    }

    /// A server may listen in several directories, and `postmaster.pid` names the first: no reason for a warning.
    fn warn_of_other_place(&self, place: &Place, file: Option<&PidFile>) {
        let configured = self.configured_place();
        let actual = format!("{}:{}", place.host, place.port);
        let by_other_name = self.parameters.pgport().is_ok_and(|port| {
            port == place.port && owner_of_socket(&self.parameters.pghost, port) == file.and_then(|file| file.pid)
        });
        if actual != configured && !by_other_name {
            log::warn!("the server listens at {actual} and not at {configured}; correct pghost or pgport");
        }
    }

    fn configured_place(&self) -> String {
        let port = self.parameters.pgport().map_or("?".to_owned(), |port| port.to_string());
        format!("{}:{port}", self.parameters.pghost)
    }
}

/// Whether a place that is certain has given an answer of the server: asking elsewhere would tell no more.
fn is_final(error: &SqlError) -> bool {
    match error {
        SqlError::NotNow(_) | SqlError::Refused(_) | SqlError::Failing(_) | SqlError::Timeout(..) => true,
        SqlError::NoListener(_) | SqlError::Broken(_) | SqlError::Stranger(_) => false,
    }
}

fn resolved(host: &str) -> String {
    let path = Path::new(host);
    let found = if path.is_absolute() { fs::canonicalize(path).ok() } else { None };
    found.and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_else(|| host.to_owned())
}

/// The postmaster that a socket's lock file names; the first line is as in `postmaster.pid`.
fn owner_of_socket(directory: &str, port: u16) -> Option<i32> {
    PidFile::parse(&read_small(&Path::new(directory).join(format!(".s.PGSQL.{port}.lock"))).ok()?).pid
}
