//! A load beside the checked clients that writes so much WAL that segments turn over several times between two faults. What is
//! lost with it is nobody's: it is WAL without rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use super::dice::{Dice, Purpose};
use super::fault::{Fault, Kind};
use crate::harness::Lab;
use crate::harness::lab::is_reachable;
use crate::paths;

/// Megabytes of WAL between two checkpoints: none in a third of the rounds.
const TURNS: [u64; 3] = [0, 20, 60];
const TURN_LIMIT: Duration = Duration::from_secs(15);
/// Between two turns, and between two looks for a primary.
const PAUSE: Duration = Duration::from_millis(1500);
/// Turns before the first fault: what was there before is gone.
const TURNS_BEFORE: usize = 2;
/// What the machine's disk must have left; the load waits below that.
const FREE_BYTES: u64 = 6 << 30;

/// How much a round's load writes at a time; 0 is no load. A small volume for WAL is filled by its fault, and by nothing else.
pub(super) fn megabytes(seed: u64, round: usize, faults: &[Fault]) -> u64 {
    if faults.iter().any(|fault| fault.kind == Kind::WalVolumeFull) {
        return 0;
    }
    let round = u64::try_from(round).unwrap_or_default();
    let mut dice = Dice::with(seed ^ (round << 32), Purpose::Load);
    TURNS[dice.index(TURNS.len())]
}

/// The load of one round; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Begins when it has turned the WAL over.
    pub(super) fn start(lab: &Lab, megabytes: u64) -> Self {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        if megabytes == 0 {
            return Self { stop, written, thread: None };
        }
        (0..TURNS_BEFORE).for_each(|_| turn(lab, megabytes, &written));
        let (lab, ended, count) = (lab.clone(), Arc::clone(&stop), Arc::clone(&written));
        let thread = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                turn(&lab, megabytes, &count);
                thread::sleep(PAUSE);
            }
        });
        Self { stop, written, thread: Some(thread) }
    }

    /// Megabytes that were written.
    pub(super) fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has written what it has written.
            let _ = thread.join();
        }
        self.written.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Whoever takes writes is asked, and whatever comes of it is well: there may be no primary at this time.
fn turn(lab: &Lab, megabytes: u64, written: &AtomicU64) {
    let is_primary = |node: &&String| {
        is_reachable(node) && lab.sql_within(node, "select pg_is_in_recovery()", TURN_LIMIT).is_ok_and(|is| is == "f")
    };
    if !has_room() {
        return;
    }
    let nodes = lab.nodes();
    let turned = nodes.iter().find(is_primary).map(|primary| lab.turn_wal_over_within(primary, megabytes, TURN_LIMIT));
    if turned.is_some_and(|turned| turned.is_ok()) {
        written.fetch_add(megabytes, Ordering::Relaxed);
    }
}

fn has_room() -> bool {
    statvfs(&paths::lab()).is_ok_and(|disk| disk.blocks_available() * disk.fragment_size() > FREE_BYTES)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::fault::Victim;
    use super::*;

    #[test]
    fn a_round_means_the_same_load_each_time_and_all_are_drawn() {
        let loads: BTreeSet<u64> = (0..50).map(|round| megabytes(7, round, &[])).collect();
        assert_eq!(loads.into_iter().collect::<Vec<_>>(), TURNS);
        assert!((0..50).all(|round| megabytes(7, round, &[]) == megabytes(7, round, &[])));
    }

    #[test]
    fn a_small_volume_is_filled_by_its_fault_alone() {
        let full = Fault { kind: Kind::WalVolumeFull, victim: Victim::Primary, lasts_ms: 0, after_ms: 0, choice: 0 };
        assert!((0..20).all(|round| megabytes(7, round, std::slice::from_ref(&full)) == 0));
    }
}
