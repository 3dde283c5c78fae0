//! One watcher per node asks its instance again and again what it is and how far its WAL reaches. It comes from the node's own
//! network, so that a cut node is watched as well, and is nothing but one session more to the server.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sched::{CloneFlags, setns};
use postgres::{Client, Error};

use super::Clock;
use super::clients::TIMELINE;
use super::line::{self, Line};
use super::record::Sight;
use crate::error::{Doing, Error as LabError, Result};
use crate::harness::Lab;
use crate::switch;

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// After a look that failed: the node is off, or its instance down.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// A server whose processes are stopped wakes up with each attempt in its queue.
const SILENCE_PAUSE: Duration = Duration::from_secs(1);

/// The watchers of all nodes.
#[derive(Debug)]
pub(super) struct Watch {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Sight>>>,
}

impl Watch {
    pub(super) fn start(lab: &Lab, clock: Clock) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let watcher = |node: String| {
            let stop = Arc::clone(&stop);
            thread::spawn(move || watch(clock, &node, &stop))
        };
        let threads = lab.nodes().into_iter().map(watcher).collect();
        Self { stop, threads }
    }

    /// What they saw, in the order of time.
    pub(super) fn stop(mut self) -> Vec<Sight> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = std::mem::take(&mut self.threads);
        let mut sights: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect();
        sights.sort_by_key(|sight| sight.asked);
        sights
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(clock: Clock, node: &str, stop: &AtomicBool) -> Vec<Sight> {
    let mut sights = Vec::new();
    let mut open = None;
    while !stop.load(Ordering::Relaxed) {
        let line = match open.take().map_or_else(|| enter(node), Ok) {
            Ok(line) => line,
            Err(_) => {
                thread::sleep(RETRY_PAUSE);
                continue;
            }
        };
        let asked = clock.now();
        match line.ask(ANSWER_LIMIT, look) {
            Ok(sight) => {
                sights.push(Sight { node: node.to_owned(), asked, answered: clock.now(), ..sight });
                open = Some(line);
                thread::sleep(PAUSE);
            }
            Err(line::Trouble::Silence) => thread::sleep(SILENCE_PAUSE),
            Err(_) => thread::sleep(RETRY_PAUSE),
        }
    }
    sights
}

/// Each boot of a node is another network namespace; the connection's own thread inherits that of this one.
fn enter(node: &str) -> Result<Line> {
    let path = format!("/proc/{}/ns/net", switch::order(&format!("pid {node}"))?);
    let namespace = File::open(&path).doing(|| format!("open {path}"))?;
    setns(namespace, CloneFlags::CLONE_NEWNET).doing(|| format!("enter the network of node '{node}'"))?;
    Line::open(&line::config("127.0.0.1", "postgres", "campaign-watch")).map_err(|trouble| {
        if matches!(trouble, line::Trouble::Silence) {
            thread::sleep(SILENCE_PAUSE);
        }
        LabError::Unexpected(trouble.text())
    })
}

fn look(server: &mut Client) -> std::result::Result<Sight, Error> {
    let ask = format!(
        "select pg_postmaster_start_time()::text, pg_is_in_recovery(), {TIMELINE}, \
         (case when pg_is_in_recovery() \
          then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn(), '0/0') \
          else pg_current_wal_flush_lsn() end - '0/0')::bigint"
    );
    let row = server.query_one(&ask, &[])?;
    Ok(Sight {
        node: String::new(),
        asked: 0,
        answered: 0,
        server_started: row.try_get(0)?,
        standby: row.try_get(1)?,
        timeline: u32::try_from(row.try_get::<_, i32>(2)?).unwrap_or_default(),
        lsn: u64::try_from(row.try_get::<_, i64>(3)?).unwrap_or_default(),
    })
}
