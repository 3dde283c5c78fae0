//! Sessions beside the writing client's, from its network straight to a node's own address.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postgres::{Client, Config, NoTls};

use super::client::{Ticket, plug_in};
use super::lab::Lab;
use crate::error::{Error, Result, unexpected};
use crate::wait::{self, Seen};

const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// After this time without a word the other side is asked whether it is still there.
const SILENCE_LIMIT: Duration = Duration::from_secs(5);
const BEGIN_LIMIT: Duration = Duration::from_secs(20);
/// Between one attempt to get a connection that became free and the next.
const GRAB_PAUSE: Duration = Duration::from_millis(20);

/// A transaction that has written a row and goes on computing. The server ends it by itself after two minutes.
#[derive(Debug)]
pub(crate) struct LongTransaction {
    /// The process id of its backend on the node.
    pub backend: String,
    /// The number that its row bears.
    pub client: i32,
}

/// Every connection that the server had to give, until this is dropped.
#[derive(Debug)]
pub(crate) struct AllConnections {
    held: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Lab {
    /// Begins a transaction on that node, which computes without looking up from its work.
    pub(crate) fn long_transaction(&self, node: &str) -> Result<LongTransaction> {
        let address = self.plan.node(node)?.address.clone();
        let ticket = Ticket::draw();
        let (begun, beginning) = mpsc::channel();
        thread::spawn(move || compute(&ticket, &address, &begun));
        let Ok(backend) = beginning.recv_timeout(BEGIN_LIMIT) else {
            return unexpected(format!("no transaction began on {node}"));
        };
        let ask = format!("select state from pg_stat_activity where pid = {backend} and query like 'do %'");
        wait::until_true("transaction that computes", BEGIN_LIMIT, || Ok(self.sql(node, &ask)? == "active"))?;
        Ok(LongTransaction { backend, client: ticket.number })
    }

    /// Takes every connection of the node's server, those that are reserved for the superuser included, and each that
    /// becomes free later.
    pub(crate) fn take_all_connections(&self, node: &str) -> Result<AllConnections> {
        let address = self.plan.node(node)?.address.clone();
        let (held, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (refused, refusal) = (Arc::new(AtomicBool::new(false)), Arc::clone(&held));
        let (their_stop, their_refused) = (Arc::clone(&stop), Arc::clone(&refused));
        let ticket = Ticket::draw();
        let thread = thread::spawn(move || grab(&ticket, &address, &their_stop, &refusal, &their_refused));
        let all = AllConnections { held, stop, thread: Some(thread) };
        wait::until("server that refuses connections", BEGIN_LIMIT, || {
            Ok(match refused.load(Ordering::Relaxed) {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{} connections are held", all.count())),
            })
        })?;
        Ok(all)
    }
}

impl AllConnections {
    pub(crate) fn count(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives them all back.
    pub(crate) fn give_back(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => unexpected("the thread that held all connections has panicked"),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }
}

impl Drop for AllConnections {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Nobody waits for its end: it ends with its server, or by the server's own limit.
fn compute(ticket: &Ticket, address: &str, begun: &Sender<String>) -> Result<()> {
    plug_in(ticket.sequence)?;
    let mut session = connect(address, "client").map_err(sql_error)?;
    let row = session.query_one("select pg_backend_pid()::text", &[]).map_err(sql_error)?;
    session.batch_execute("set statement_timeout = '2min'; begin").map_err(sql_error)?;
    session.execute("insert into lab.rows(client, n) values ($1, 1)", &[&ticket.number]).map_err(sql_error)?;
    let _ = begun.send(row.get(0));
    session.batch_execute("do 'begin loop end loop; end'").map_err(sql_error)
}

fn grab(ticket: &Ticket, address: &str, stop: &AtomicBool, held: &AtomicUsize, refused: &AtomicBool) -> Result<()> {
    plug_in(ticket.sequence)?;
    let mut sessions = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        match connect(address, "postgres") {
            Ok(session) => {
                sessions.push(session);
                held.store(sessions.len(), Ordering::Relaxed);
            }
            Err(_) => {
                refused.store(true, Ordering::Relaxed);
                thread::sleep(GRAB_PAUSE);
            }
        }
    }
    Ok(())
}

/// A node that loses its power in between never answers: `connect_timeout` does not bound the wait for the server's greeting.
fn connect(address: &str, user: &str) -> std::result::Result<Client, postgres::Error> {
    let mut config = Config::new();
    config.host(address).user(user).dbname("postgres").connect_timeout(CONNECT_LIMIT);
    config.keepalives_idle(SILENCE_LIMIT).keepalives_interval(Duration::from_secs(1)).keepalives_retries(3);
    config.connect(NoTls)
}

fn sql_error(error: postgres::Error) -> Error {
    Error::Unexpected(error.to_string())
}
