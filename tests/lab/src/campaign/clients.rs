//! The clients: some write, some read, through the virtual address and directly to every node, each in a network namespace of
//! its own. None of them ever tries a row again whose fate it does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config, Error, SimpleQueryMessage};

use super::line::{self, Line, Trouble};
use super::record::{Outcome, Read, Write};
use super::{Clock, position};
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::harness::client::{Ticket, plug_in};
use crate::plan::VIP;
use crate::wait::{self, Seen};

const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const FIRST_ROWS_LIMIT: Duration = Duration::from_secs(30);
/// Between a row's acknowledgement and the next row, for so many rows; later rounds are long because of the cluster, and
/// nothing new is to be learnt from more.
const PAUSE: Duration = Duration::from_millis(5);
const ROWS_AT_FULL_PACE: i64 = 1500;
const LATER_PAUSE: Duration = Duration::from_millis(30);
/// Between an attempt that failed and the next one.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// The same where an attempt goes to a server that runs, and that has to make a process for it.
const TOUR_PAUSE: Duration = Duration::from_millis(50);
/// The same when a server does not let us in, or says nothing: each attempt stays with it until it wakes up.
const SILENCE_PAUSE: Duration = Duration::from_millis(300);
/// The client without an address looks for another node that takes writes after so many rows.
const ROWS_PER_NODE: i64 = 200;
const READ_PAUSE: Duration = Duration::from_millis(100);

/// The timeline on which an instance writes, or from which it receives.
pub(super) const TIMELINE: &str = "case when pg_is_in_recovery() \
    then coalesce((select received_tli from pg_stat_wal_receiver), (select timeline_id from pg_control_checkpoint())) \
    else ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int end";

/// All clients of one round.
#[derive(Debug)]
pub(super) struct Clients {
    stop: Arc<AtomicBool>,
    /// What the rows of each writer bear.
    pub(super) numbers: Vec<i32>,
    acknowledged: Vec<Arc<AtomicUsize>>,
    writers: Vec<JoinHandle<Result<Vec<Write>>>>,
    readers: Vec<JoinHandle<Result<Vec<Read>>>>,
}

/// Where a client goes.
#[derive(Debug, Clone)]
struct Aim {
    target: String,
    config: Config,
}

/// The aims of one client, one after the other.
struct Tour {
    aims: Vec<Aim>,
    next: usize,
}

impl Clients {
    /// Two writers and a reader through the address, one of each without it.
    pub(super) fn start(lab: &Lab, clock: Clock) -> Self {
        let mut clients = Self {
            stop: Arc::default(),
            numbers: Vec::new(),
            acknowledged: Vec::new(),
            writers: Vec::new(),
            readers: Vec::new(),
        };
        for aims in [address("client"), address("client"), nodes(lab, "client", true)] {
            clients.add_writer(clock, aims);
        }
        for aims in [address("postgres"), nodes(lab, "postgres", false)] {
            clients.add_reader(clock, aims);
        }
        clients
    }

    fn add_writer(&mut self, clock: Clock, aims: Vec<Aim>) {
        let ticket = Ticket::draw();
        let (stop, acknowledged) = (Arc::clone(&self.stop), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&acknowledged);
        self.numbers.push(ticket.number);
        self.acknowledged.push(acknowledged);
        self.writers.push(thread::spawn(move || {
            plug_in(ticket.sequence)?;
            Ok(write_rows(clock, ticket.number, Tour { aims, next: 0 }, &stop, &count))
        }));
    }

    fn add_reader(&mut self, clock: Clock, aims: Vec<Aim>) {
        let ticket = Ticket::draw();
        let (stop, writers) = (Arc::clone(&self.stop), self.numbers.clone());
        self.readers.push(thread::spawn(move || {
            plug_in(ticket.sequence)?;
            Ok(read_rows(clock, &writers, Tour { aims, next: 0 }, &stop))
        }));
    }

    /// Waits until each writer has so many rows more acknowledged.
    pub(super) fn wait_for_rows(&self, count: usize) -> Result<()> {
        let rows = || -> Vec<usize> { self.acknowledged.iter().map(|count| count.load(Ordering::Relaxed)).collect() };
        let before = rows();
        wait::until(&format!("{count} rows of each client"), FIRST_ROWS_LIMIT, || {
            let now = rows();
            Ok(match now.iter().zip(&before).all(|(now, before)| *now >= before + count) {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("acknowledged before {before:?}, now {now:?}")),
            })
        })
    }

    /// Stops all of them, and gives back what they saw.
    pub(super) fn stop(mut self) -> Result<(Vec<Write>, Vec<Read>)> {
        self.stop.store(true, Ordering::Relaxed);
        let writes = std::mem::take(&mut self.writers).into_iter().map(joined).collect::<Result<Vec<_>>>()?;
        let reads = std::mem::take(&mut self.readers).into_iter().map(joined).collect::<Result<Vec<_>>>()?;
        Ok((writes.concat(), reads.concat()))
    }
}

impl Drop for Clients {
    /// A round that failed leaves no client behind.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn joined<T>(thread: JoinHandle<Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| unexpected("a client has panicked"))
}

fn address(user: &str) -> Vec<Aim> {
    vec![Aim { target: VIP.to_owned(), config: line::config(VIP, user, "campaign") }]
}

fn nodes(lab: &Lab, user: &str, writes: bool) -> Vec<Aim> {
    let aim = |node: &crate::plan::Node| {
        let mut config = line::config(&node.address, user, "campaign");
        if writes {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        Aim { target: node.name.clone(), config }
    };
    lab.plan.cluster_nodes().map(aim).collect()
}

impl Tour {
    /// The next aim that lets us in, tried once; waits a little when it does not.
    fn connect(&mut self) -> Option<(Line, String)> {
        let aim = self.aims.get(self.next % self.aims.len().max(1))?.clone();
        self.next += 1;
        match Line::open(&aim.config) {
            Ok(line) => Some((line, aim.target)),
            Err(trouble) => {
                thread::sleep(match trouble {
                    Trouble::Silence => SILENCE_PAUSE,
                    _ if self.has_more_than_one() => TOUR_PAUSE,
                    _ => RETRY_PAUSE,
                });
                None
            }
        }
    }

    fn has_more_than_one(&self) -> bool {
        self.aims.len() > 1
    }
}

fn write_rows(clock: Clock, client: i32, mut tour: Tour, stop: &AtomicBool, count: &AtomicUsize) -> Vec<Write> {
    let mut writes = Vec::new();
    let mut open = None;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let Some((line, target)) = open.take().or_else(|| tour.connect()) else { continue };
        n += 1;
        let sent = clock.now();
        let answer = line.ask(ANSWER_LIMIT, move |server| insert(server, client, n));
        let is_silent = matches!(answer, Err(Trouble::Silence));
        let outcome = outcome(answer, clock);
        let is_acknowledged = matches!(outcome, Outcome::Acknowledged { .. });
        writes.push(Write { client, n, target: target.clone(), sent, outcome });
        if is_acknowledged {
            count.fetch_add(1, Ordering::Relaxed);
            if !(tour.has_more_than_one() && n % ROWS_PER_NODE == 0) {
                open = Some((line, target));
            }
        }
        thread::sleep(match (is_acknowledged, is_silent) {
            (true, _) if n < ROWS_AT_FULL_PACE => PAUSE,
            (true, _) => LATER_PAUSE,
            (false, true) => SILENCE_PAUSE,
            (false, false) => RETRY_PAUSE,
        });
    }
    writes
}

/// Who took a row, on which timeline, and how far its WAL is safe.
type Taken = Option<(String, u32, Option<u64>)>;

/// One round trip: the flush position is asked for after the commit, so that it lies behind the row's.
fn insert(server: &mut Client, client: i32, n: i64) -> std::result::Result<Taken, Error> {
    let answers = server.simple_query(&format!(
        "begin; insert into lab.rows(client, n) values ({client}, {n}); commit; \
         select current_setting('cluster_name'), substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), \
         pg_current_wal_flush_lsn()"
    ))?;
    Ok(answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => {
            let timeline = u32::from_str_radix(row.get(1)?, 16).ok()?;
            Some((row.get(0)?.to_owned(), timeline, row.get(2).and_then(position)))
        }
        _ => None,
    }))
}

fn outcome(answer: std::result::Result<Taken, Trouble>, clock: Clock) -> Outcome {
    let at = clock.now();
    match answer {
        Ok(Some((node, timeline, lsn))) => Outcome::Acknowledged { at, node, timeline, lsn },
        Ok(None) => Outcome::Unknown { at, reason: "the answer has no row".to_owned() },
        Err(Trouble::Said { rolled_back: true, text }) => Outcome::Refused { at, reason: text },
        Err(trouble) => Outcome::Unknown { at, reason: trouble.text() },
    }
}

/// Each connection looks once at the rows of each writer.
fn read_rows(clock: Clock, writers: &[i32], mut tour: Tour, stop: &AtomicBool) -> Vec<Read> {
    let mut reads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let Some((line, target)) = tour.connect() else { continue };
        for writer in writers.iter().copied() {
            let sent = clock.now();
            let Ok(read) = line.ask(ANSWER_LIMIT, move |server| look(server, writer)) else { break };
            reads.push(Read { target: target.clone(), sent, answered: clock.now(), ..read });
        }
        thread::sleep(READ_PAUSE);
    }
    reads
}

fn look(server: &mut Client, client: i32) -> std::result::Result<Read, Error> {
    let ask = format!(
        "select current_setting('cluster_name'), pg_is_in_recovery(), {TIMELINE}, count(*), coalesce(max(n), 0) \
         from lab.rows where client = $1"
    );
    let row = server.query_one(&ask, &[&client])?;
    Ok(Read {
        target: String::new(),
        sent: 0,
        answered: 0,
        node: row.try_get(0)?,
        standby: row.try_get(1)?,
        timeline: u32::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default(),
        client,
        count: row.try_get(3)?,
        highest: row.try_get(4)?,
    })
}
