//! What the tests of the agent share: a real PostgreSQL in a temporary directory, scripted cluster tools
//! that know several nodes, and calls of the agent as Pacemaker makes them.
//!
//! The tests run as root, because the agent does, and on a system whose PID 1 reaps orphans.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

pub(crate) mod agent;
pub(crate) mod attributes;
pub(crate) mod cluster;
pub(crate) mod node;
pub(crate) mod processes;
pub(crate) mod rejoin;
pub(crate) mod trace;
pub(crate) mod transition;
pub(crate) mod volume;

use std::time::{Duration, Instant};

/// Waits for a condition, in steps of milliseconds, and never longer than 20 seconds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20), "waited 20 s in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the same work on every item at the same time and returns the results in their order.
pub(crate) fn at_once<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.iter().map(|item| scope.spawn(|| work(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    })
}
