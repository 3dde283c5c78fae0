//! One connection of the client, with a bound on every answer. The postgres crate knows no read timeout, so a thread of
//! its own does the talking; when that does not answer in time it is left alone, and ends with its connection.

use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use postgres::config::TargetSessionAttrs;
use postgres::{Config, NoTls};

/// For each host that is tried.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_millis(150);
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const SOCKET_LIMIT: Duration = Duration::from_secs(5);

/// The timeline is the one that the row's record was written on.
const INSERT: &str = "insert into lab.rows(client, n) values ($1, $2) returning current_setting('cluster_name'), \
                      substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";

/// Who took a row, as the answer said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) node: String,
    pub(super) timeline: u32,
}

type Answer = Result<Taker, String>;

#[derive(Debug)]
pub(super) struct Session {
    rows: Sender<i64>,
    answers: Receiver<Answer>,
}

impl Session {
    /// With several hosts, to the first one that answers and takes writes.
    pub(super) fn connect(client: i32, hosts: &[String]) -> Result<Self, String> {
        let limit = CONNECT_LIMIT * u32::try_from(hosts.len()).unwrap_or(1);
        let config = config(hosts);
        let (rows, next_row) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let (connected, connection) = mpsc::channel();
        thread::spawn(move || talk(client, &config, &connected, &next_row, &answer));
        match connection.recv_timeout(limit) {
            Ok(Ok(())) => Ok(Self { rows, answers }),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("no connection in time".to_owned()),
        }
    }

    /// Writes one row; an error means that nobody knows what became of it.
    pub(super) fn write(&self, n: i64) -> Answer {
        self.rows.send(n).map_err(|_| "the connection has ended".to_owned())?;
        self.answers.recv_timeout(ANSWER_LIMIT).unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

fn config(hosts: &[String]) -> Config {
    let mut config = Config::new();
    config.user("client").dbname("postgres").connect_timeout(CONNECT_LIMIT).tcp_user_timeout(SOCKET_LIMIT);
    for host in hosts {
        config.host(host);
    }
    // It takes a question more, which the client of one address is spared.
    if hosts.len() > 1 {
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    }
    config
}

fn talk(
    client: i32,
    config: &Config,
    connected: &Sender<Result<(), String>>,
    rows: &Receiver<i64>,
    answer: &Sender<Answer>,
) {
    let mut connection = match config.connect(NoTls) {
        Ok(connection) => connection,
        Err(error) => return drop(connected.send(Err(text_of(&error)))),
    };
    if connected.send(Ok(())).is_err() {
        return;
    }
    for n in rows {
        let taken = connection.query_one(INSERT, &[&client, &n]).map_err(|error| text_of(&error)).and_then(|row| {
            let timeline: String = row.get(1);
            let timeline = u32::from_str_radix(&timeline, 16).map_err(|error| error.to_string())?;
            Ok(Taker { node: row.get(0), timeline })
        });
        if answer.send(taken).is_err() {
            return;
        }
    }
}

fn text_of(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => said.message().to_owned(),
        None => error.to_string(),
    }
}
