//! One SQL connection with every wait bounded on this side.
//!
//! A server whose postmaster is stopped accepts the socket connection in the kernel's backlog and never
//! answers; no option of the client library bounds that. So a thread of its own talks to the server,
//! and the action waits for the thread only as long as it can afford.

use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use postgres::error::SqlState;
use postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::{Instance, PidFile};
use crate::policy::settings::Settings;
use crate::sys::Deadline;

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
    /// Connects as the instance's owner, which is what `peer` authentication asks for.
    ///
    /// `pid_file` tells where the server really listens; it is the second try when there is no server
    /// where the parameters say: a wrong parameter must not make a healthy server look dead.
    ///
    /// # Errors
    /// When there is no connection at the deadline.
    pub fn connect(&self, pid_file: Option<&PidFile>, deadline: Deadline) -> Result<Session, SqlError> {
        let port = self.parameters.pgport().ok();
        let first = port.map(|port| self.connect_to(&self.parameters.pghost, port, deadline));
        match first {
            None | Some(Err(SqlError::NoListener(_) | SqlError::Broken(_))) => {}
            Some(result) => return result,
        }
        let configured = format!("{}:{}", self.parameters.pghost, port.map_or("?".to_owned(), |p| p.to_string()));
        let actual = pid_file.and_then(|file| Some((file.socket_directory.as_deref()?, file.port?)));
        let Some((directory, port)) = actual else { return Err(SqlError::NoListener(configured)) };
        let session = self.connect_to(&directory.to_string_lossy(), port, deadline);
        if session.is_ok() && format!("{}:{port}", directory.display()) != configured {
            log::warn!(
                "the server listens at {}:{port} and not at {configured}; correct pghost or pgport",
                directory.display()
            );
        }
        session
    }

    fn connect_to(&self, host: &str, port: u16, deadline: Deadline) -> Result<Session, SqlError> {
        let target = format!("{host}:{port}");
        if host.starts_with('/') && !Path::new(host).join(format!(".s.PGSQL.{port}")).exists() {
            return Err(SqlError::NoListener(target));
        }
        let owner = self.owner().map_err(|e| SqlError::Broken(e.to_string()))?;
        let config = self.connection(host, port, deadline);
        let (queries, inbox) = mpsc::channel::<String>();
        let (outbox, answers) = mpsc::channel();
        let (thread_target, sent) = (target.clone(), outbox.clone());
        let work = move |became: std::io::Result<()>| {
            let client = became
                .map_err(|e| SqlError::Broken(e.to_string()))
                .and_then(|()| config.connect(NoTls).map_err(|e| classify(&e, &thread_target)));
            serve(client, &inbox, &sent, &thread_target);
        };
        owner.spawn_thread(work).map_err(|e| SqlError::Broken(e.to_string()))?;
        let session = Session { target, queries, answers };
        session.receive(deadline)?;
        Ok(session)
    }

    fn connection(&self, host: &str, port: u16, deadline: Deadline) -> Config {
        let bound = deadline.remaining().max(Duration::from_millis(1));
        let mut config = Config::new();
        config.host(host).port(port).user(name(&self.parameters.pguser)).dbname(name(&self.parameters.pgdatabase));
        config.connect_timeout(bound).application_name("pgbaton");
        // The server's own bounds end what this side has given up.
        let ms = bound.as_millis();
        config.options(&format!(
            "-c statement_timeout={ms} -c lock_timeout={ms} -c search_path=pg_catalog -c synchronous_commit=local"
        ));
        config
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
        Ok(pairs.map(|[name, value]: [String; 2]| (name, value)).collect())
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

    fn receive(&self, deadline: Deadline) -> Result<Vec<Row>, SqlError> {
        let patience = deadline.remaining();
        self.answers.recv_timeout(patience).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(SqlError::Timeout(self.target.clone(), patience.as_millis())),
            RecvTimeoutError::Disconnected => Err(SqlError::Broken("the connection is closed".to_owned())),
        })
    }
}

/// Names are cut as PostgreSQL cuts them (NAMEDATALEN): a start-up packet that is too long would be
/// answered by a closed connection, which looks like a crash.
fn name(text: &str) -> &str {
    let end = (0..=63).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end.min(text.len())).unwrap_or(text)
}

/// The thread's life: tell whether there is a connection, then answer query after query.
fn serve(
    client: Result<Client, SqlError>,
    queries: &Receiver<String>,
    answers: &Sender<Result<Vec<Row>, SqlError>>,
    target: &str,
) {
    let mut client = match client {
        Ok(client) => client,
        Err(error) => return drop(answers.send(Err(error))),
    };
    let _ = answers.send(Ok(Vec::new()));
    for sql in queries {
        let rows = client.simple_query(&sql).map(|messages| rows(&messages));
        let _ = answers.send(rows.map_err(|e| classify(&e, target)));
    }
}

fn rows(messages: &[SimpleQueryMessage]) -> Vec<Row> {
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|column| row.get(column).map(str::to_owned)).collect()).collect()
}

fn classify(error: &postgres::Error, target: &str) -> SqlError {
    if let Some(server) = error.as_db_error() {
        let text = server.message().to_owned();
        let not_now = [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
        return if not_now.contains(server.code()) { SqlError::NotNow(text) } else { SqlError::Refused(text) };
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<std::io::Error>());
    match cause.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => {
            SqlError::NoListener(target.to_owned())
        }
        Some(std::io::ErrorKind::TimedOut) => SqlError::Timeout(target.to_owned(), 0),
        _ => SqlError::Broken(error.to_string()),
    }
}
