//! The writing client: in a network namespace of its own, one row after the other through the virtual
//! address, or to whichever node takes writes where there is none.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use nix::sched::{CloneFlags, unshare};
use nix::unistd::gettid;

use super::history::{Ack, History, Report};
use super::lab::Lab;
use super::session::Session;
use crate::error::{Doing, Result, unexpected};
use crate::plan::client_address;
use crate::wait::{self, Seen};
use crate::{net, switch};

/// Between a row's acknowledgement and the next row.
const PAUSE: Duration = Duration::from_millis(2);
/// Between an attempt that failed and the next one.
const RETRY_PAUSE: Duration = Duration::from_millis(5);
const FIRST_ROW_LIMIT: Duration = Duration::from_secs(30);
const ROW_LIMIT: Duration = Duration::from_secs(120);

static NEXT_SEQUENCE: AtomicUsize = AtomicUsize::new(0);
/// The last client's number. Rows of earlier runs lie in the same table, so numbers follow the clock.
static LAST_NUMBER: AtomicI32 = AtomicI32::new(0);

/// What tells one client from all others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    /// Counts the cables that lead to the switch.
    pub(crate) sequence: usize,
    /// What its rows bear.
    pub(crate) number: i32,
}

impl Ticket {
    pub(crate) fn draw() -> Self {
        let sequence = NEXT_SEQUENCE.fetch_add(1, Ordering::Relaxed);
        let now = epoch_seconds();
        let last = LAST_NUMBER.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last, now)));
        Self { sequence, number: after(last.unwrap_or_default(), now) }
    }
}

/// Another number than any before, and no later than it has to be: the next run begins with the seconds of its own start.
fn after(last: i32, now: i32) -> i32 {
    now.max(last.saturating_add(1))
}

/// A client that writes until it is stopped.
#[derive(Debug)]
pub(crate) struct Client {
    number: i32,
    lab: Lab,
    stop: Arc<AtomicBool>,
    history: Arc<Mutex<History>>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Client {
    /// Starts a client without waiting for its first row.
    pub(crate) fn start(lab: &Lab) -> Result<Self> {
        let Ticket { sequence, number } = Ticket::draw();
        let stop = Arc::new(AtomicBool::new(false));
        let history = Arc::new(Mutex::new(History::new(number)));
        let (their_stop, their_history) = (Arc::clone(&stop), Arc::clone(&history));
        let hosts = lab.plan.client_hosts();
        let thread = thread::spawn(move || {
            plug_in(sequence)?;
            write_rows(number, &hosts, &their_stop, &their_history);
            Ok(())
        });
        let client = Self { number, lab: lab.clone(), stop, history, thread: Some(thread) };
        lab.remember(&client.history);
        Ok(client)
    }

    /// Waits until the cluster has acknowledged the first row.
    pub(crate) fn wait_for_first_row(&self) -> Result<()> {
        self.wait_for_rows_within(1, FIRST_ROW_LIMIT)
    }

    /// Waits until `count` more rows have been acknowledged.
    pub(crate) fn wait_for_rows(&self, count: usize) -> Result<()> {
        self.wait_for_rows_within(count, ROW_LIMIT)
    }

    fn wait_for_rows_within(&self, count: usize, limit: Duration) -> Result<()> {
        let wanted = self.acknowledged() + count;
        wait::until(&format!("{count} more acknowledged rows"), limit, || {
            let there = self.acknowledged();
            if self.thread.as_ref().is_none_or(JoinHandle::is_finished) {
                return unexpected("the client has ended by itself");
            }
            Ok(match there >= wanted {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{there} of {wanted}; {}", self.history().last_error())),
            })
        })
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.history().acks.len()
    }

    /// Stops writing, and compares what was acknowledged with what the primary of now has.
    pub(crate) fn stop(mut self) -> Result<Report> {
        self.end()?;
        let primary = self.lab.wait_for_primary()?;
        let rows = self.lab.rows_of_client(&primary, self.number)?;
        let report = self.history().report(&rows, &primary);
        self.lab.note_outage(report.outage());
        Ok(report)
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => unexpected("the client's thread has panicked"),
            Some(Ok(result)) => result,
            None => Ok(()),
        }
    }

    /// A look at what has happened so far.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.history())
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    /// A scenario that failed leaves no client behind; its history is told elsewhere.
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Gives the calling thread a network namespace with a cable to the switch.
pub(crate) fn plug_in(sequence: usize) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).doing(|| "make the client's network namespace".to_owned())?;
    switch::order(&format!("plug client{} {}", sequence % 1000, gettid()))?;
    net::address_eth0(&client_address(sequence))
}

fn write_rows(number: i32, hosts: &[String], stop: &AtomicBool, history: &Mutex<History>) {
    let start = Instant::now();
    history.lock().unwrap_or_else(PoisonError::into_inner).began = SystemTime::now();
    let mut session = None;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        let begin = start.elapsed();
        let result = match session.take().map_or_else(|| Session::connect(number, hosts), Ok) {
            Ok(open) => {
                // Every attempt has a number of its own: one whose fate is unknown is never tried again.
                n += 1;
                open.write(n).map(|taker| (open, taker))
            }
            Err(reason) => Err(reason),
        };
        let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = match result {
            Ok((open, taker)) => {
                session = Some(open);
                let (node, timeline) = (taker.node, taker.timeline);
                history.acks.push(Ack { n, begin, ack: start.elapsed(), node, timeline });
                PAUSE
            }
            Err(reason) => {
                history.note_error(start.elapsed(), reason);
                RETRY_PAUSE
            }
        };
        drop(history);
        thread::sleep(pause);
    }
}

fn epoch_seconds() -> i32 {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    i32::try_from(seconds % 2_000_000_000).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_two_runs_differ_however_many_clients_there_were() {
        let burst = (0..5).fold(0, |last, _| after(last, 1_000));
        assert_eq!(burst, 1_004);
        assert_eq!(after(burst, 1_020), 1_020);
        assert_eq!(after(burst, 990), 1_005, "the clock was set back");
    }
}
