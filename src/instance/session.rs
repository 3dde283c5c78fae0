//! One SQL connection with every wait bounded on this side.
//!
//! A server whose postmaster is stopped accepts the socket connection in the kernel's backlog and never
//! answers; no option of the client library bounds that. So a thread of its own talks to the server,
//! and the action waits for the thread only as long as it can afford.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use postgres::{Client, SimpleQueryMessage};

use super::Instance;
use super::login::Login;
use crate::policy::address::Place;
use crate::policy::settings::Settings;
use crate::sys::Deadline;
use crate::types::Gather;

/// How long a server may take for its first words after a connection has failed. The deadline may be used up.
const FIRST_WORDS: Duration = Duration::from_millis(500);

/// Why a server lets nobody in whose logins wait. On a standby that has lost its primary, only a promotion ends the transaction.
pub(super) const LOCKED: &str = "its logins wait for a lock of a system catalog, or of the database; end the transaction that holds it, on the primary";

/// A row: its columns as text, `None` for null.
pub(super) type Row = Vec<Option<String>>;

/// Why there is no answer to a query.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// Nothing listens: no socket, or the connection was refused.
    #[error("cannot connect to {0}")]
    NoListener(String),
    /// The server says that it is starting, recovering or shutting down.
    #[error("the server does not take connections now: {0}")]
    NotNow(String),
    /// The server answered with any other error: it is alive.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server answered with an error that says that it cannot work.
    #[error("the server cannot work: {0}")]
    Failing(String),
    /// A server answered that is not this instance's.
    #[error("the server at {0} is another instance's; correct pghost or pgport")]
    Stranger(String),
    /// No answer in time.
    #[error("no answer from {0} in {1} ms")]
    Timeout(String, u128),
    /// The connection broke, or the agent could not make one.
    #[error("the connection failed: {0}")]
    Broken(String),
}

/// An open connection.
#[derive(Debug)]
pub struct Session {
    target: String,
    queries: Sender<String>,
    answers: Receiver<Result<Vec<Row>, SqlError>>,
}

impl Instance {
    /// Connects to this place, as the instance's owner.
    pub(super) fn log_in(&self, place: &Place, database: &str, deadline: Deadline) -> Result<Session, SqlError> {
        let Place { host, port, .. } = place;
        if host.starts_with('/') && !Path::new(host).join(format!(".s.PGSQL.{port}")).exists() {
            return Err(SqlError::NoListener(format!("{host}:{port}")));
        }
        let owner = self.owner().map_err(|e| SqlError::Broken(e.to_string()))?;
        let login = Login {
            host: host.clone(),
            port: *port,
            user: self.parameters.pguser.clone(),
            database: database.to_owned(),
            home: owner.home().to_owned(),
            version: self.major_version(),
            bound: deadline.remaining(),
        };
        let (queries, inbox) = mpsc::channel::<String>();
        let (outbox, answers) = mpsc::channel();
        let (session, threads) = (Session { target: login.target(), queries, answers }, login.clone());
        let work = move |became: std::io::Result<()>| {
            let client = became.map_err(|e| SqlError::Broken(e.to_string())).and_then(|()| threads.open());
            serve(client, &inbox, &outbox, &threads);
        };
        owner.spawn_thread(work).map_err(|e| SqlError::Broken(e.to_string()))?;
        let connected = match session.receive(deadline.at_most(deadline.remaining() / 2)) {
            Err(SqlError::Timeout(..)) if self.login_waits_for_lock() => Err(SqlError::Refused(LOCKED.to_owned())),
            Err(SqlError::Timeout(..)) => session.receive(deadline),
            connected => connected,
        };
        match connected {
            Ok(_) => Ok(session),
            Err(error @ (SqlError::Timeout(..) | SqlError::Broken(_))) => Err(self.despite(&login).unwrap_or(error)),
            Err(error) => Err(error),
        }
    }

    /// What shows that a server is alive to which no connection was made.
    fn despite(&self, login: &Login) -> Option<SqlError> {
        let login = login.clone();
        let listen = move || login.first_words(FIRST_WORDS).ok_or_else(|| std::io::ErrorKind::NotFound.into());
        self.as_owner(listen, Deadline::after(FIRST_WORDS)).ok().map(SqlError::Refused)
    }
}

impl Session {
    /// Runs one query.
    ///
    /// # Errors
    /// When the server refuses it, or has not answered at the deadline.
    pub(super) fn query(&self, sql: &str, deadline: Deadline) -> Result<Vec<Row>, SqlError> {
        let closed = |_| SqlError::Broken("the connection is closed".to_owned());
        self.queries.send(sql.to_owned()).map_err(closed)?;
        self.receive(deadline)
    }

    /// The settings of the running server by these names, those that the role may see. The names are the
    /// agent's own words.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn settings(&self, names: &[&'static str], deadline: Deadline) -> Result<Settings, SqlError> {
        let sql = format!("select name, setting from pg_settings where name in ('{}')", names.join("', '"));
        let pair = |row: Row| row.into_iter().collect::<Option<Vec<_>>>()?.try_into().ok();
        let pairs = self.query(&sql, deadline)?.into_iter().filter_map(pair);
        Ok(pairs.map(|[name, value]: [String; 2]| (name, value)).into_map())
    }

    /// Asks for a checkpoint and waits for it.
    ///
    /// # Errors
    /// When the role may not, or it is not done at the deadline.
    pub fn checkpoint(&self, deadline: Deadline) -> Result<(), SqlError> {
        self.query("checkpoint", deadline).map(drop)
    }

    /// Asks for a checkpoint and waits for it as long as that is worth it.
    ///
    /// # Errors
    /// As [`Session::checkpoint`], and when it is worth it no longer.
    pub fn checkpoint_while(&self, mut is_worth_it: impl FnMut() -> bool, deadline: Deadline) -> Result<(), SqlError> {
        const STEP: Duration = Duration::from_millis(500);
        let mut answer = self.query("checkpoint", deadline.at_most(STEP));
        while matches!(answer, Err(SqlError::Timeout(..))) && !deadline.has_passed() && is_worth_it() {
            answer = self.receive(deadline.at_most(STEP));
        }
        answer.map(drop)
    }

    /// Whether the server is in recovery.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn is_in_recovery(&self, deadline: Deadline) -> Result<bool, SqlError> {
        let rows = self.query("select pg_is_in_recovery()", deadline)?;
        match rows.first().and_then(|row| row.first()).and_then(Option::as_deref) {
            Some("t") => Ok(true),
            Some("f") => Ok(false),
            other => Err(SqlError::Broken(format!("pg_is_in_recovery() answered {other:?}"))),
        }
    }

    /// The server process of this session.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub(super) fn backend(&self, deadline: Deadline) -> Result<i32, SqlError> {
        let rows = self.query("select pg_backend_pid()", deadline)?;
        let pid = rows.first().and_then(|row| row.first()?.as_deref()?.parse().ok());
        pid.ok_or_else(|| SqlError::Broken("pg_backend_pid() had no usable answer".to_owned()))
    }

    fn receive(&self, deadline: Deadline) -> Result<Vec<Row>, SqlError> {
        let patience = deadline.remaining();
        self.answers.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(SqlError::Timeout(self.target.clone(), patience.as_millis())),
            RecvTimeoutError::Disconnected => Err(SqlError::Broken("the connection is closed".to_owned())),
        })
    }
}

/// The thread's life: tell whether there is a connection, then answer query after query.
fn serve(
    client: Result<Client, SqlError>,
    queries: &Receiver<String>,
    answers: &Sender<Result<Vec<Row>, SqlError>>,
    login: &Login,
) {
    let mut client = match client {
        Ok(client) => client,
        Err(error) => return drop(answers.send(Err(error))),
    };
    let _ = answers.send(Ok(Vec::new()));
    for sql in queries {
        let rows = client.simple_query(&sql).map(|messages| rows(&messages));
        let _ = answers.send(rows.map_err(|e| login.classify(&e)));
    }
}

fn rows(messages: &[SimpleQueryMessage]) -> Vec<Row> {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()).collect()
}
