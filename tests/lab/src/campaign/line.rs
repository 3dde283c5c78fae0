//! A connection with a bound on every answer. The postgres crate knows no read timeout, so a thread of its own does the
//! talking; when that does not answer in time it is left alone, and ends with its connection.

use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use postgres::error::{Severity, SqlState};
use postgres::{Client, Config, Error, NoTls};

/// Until a host answers.
const CONNECT_LIMIT: Duration = Duration::from_millis(150);
/// Until a server that has answered has let us in. One whose postmaster is stopped never does.
const WELCOME_LIMIT: Duration = Duration::from_millis(600);
/// After a host is gone, its connections end within these.
const KEEPALIVE: Duration = Duration::from_secs(2);
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no answer.
#[derive(Debug, Clone)]
pub(super) enum Trouble {
    /// The server said this. When `rolled_back`, the transaction is not there and never will be.
    Said { rolled_back: bool, text: String },
    /// The connection ended, or could not be made.
    Lost(String),
    /// Nothing came in time.
    Silence,
}

impl Trouble {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Said { text, .. } | Self::Lost(text) => text.clone(),
            Self::Silence => "no answer in time".to_owned(),
        }
    }
}

type Job = Box<dyn FnOnce(&mut Client) + Send>;

/// One connection; it is closed when this is dropped.
#[derive(Debug)]
pub(super) struct Line {
    jobs: Sender<Job>,
}

/// How to reach a node or an address.
pub(super) fn config(address: &str, user: &str, application: &str) -> Config {
    let mut config = Config::new();
    config.host(address).user(user).dbname("postgres").application_name(application);
    config.connect_timeout(CONNECT_LIMIT).tcp_user_timeout(SOCKET_LIMIT);
    config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE).keepalives_retries(2);
    config
}

impl Line {
    /// The connection lives in the network namespace of the calling thread.
    pub(super) fn open(config: &Config) -> Result<Self, Trouble> {
        let config = config.clone();
        let (jobs, next_job) = mpsc::channel::<Job>();
        let (opened, opening) = mpsc::channel();
        thread::spawn(move || {
            let mut client = match config.connect(NoTls) {
                Ok(client) => client,
                Err(error) => return drop(opened.send(Err(trouble(&error)))),
            };
            if opened.send(Ok(())).is_ok() {
                next_job.into_iter().for_each(|job| job(&mut client));
            }
        });
        match opening.recv_timeout(CONNECT_LIMIT + WELCOME_LIMIT) {
            Ok(Ok(())) => Ok(Self { jobs }),
            Ok(Err(trouble)) => Err(trouble),
            Err(_) => Err(Trouble::Silence),
        }
    }

    /// After an error nothing more is to be asked here.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        limit: Duration,
        question: impl FnOnce(&mut Client) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Trouble> {
        let (answer, answered) = mpsc::channel();
        let job: Job = Box::new(move |client| drop(answer.send(question(client).map_err(|error| trouble(&error)))));
        self.jobs.send(job).map_err(|_| Trouble::Lost("the connection has ended".to_owned()))?;
        match answered.recv_timeout(limit) {
            Ok(answer) => answer,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(Trouble::Silence),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(Trouble::Lost("the connection has ended".to_owned())),
        }
    }
}

fn trouble(error: &Error) -> Trouble {
    match error.as_db_error() {
        Some(said) => Trouble::Said {
            rolled_back: said.parsed_severity() == Some(Severity::Error) && tells_that_it_is_rolled_back(said.code()),
            text: format!("{} {}", said.code().code(), said.message()),
        },
        None => Trouble::Lost(error.to_string()),
    }
}

/// These come from the statement itself, before its commit. What ends a session (57P01 and its like) may come in the middle of
/// a commit that is waiting for a standby, and a cancelled wait is a commit.
fn tells_that_it_is_rolled_back(code: &SqlState) -> bool {
    [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::DISK_FULL, SqlState::OUT_OF_MEMORY].contains(code)
}
