//! Do server processes get anywhere?
//!
//! A process that works reads, writes or computes, and `/proc` counts that; one that hangs (stopped by a signal, caught in a
//! lock, waiting for a disk or for somebody who never answers) does none of it. Small amounts do not count: a process that
//! waits wakes up now and then, and reads 128 bytes from a signalfd each time (latch.c).
//!
//! | since the last sign of work | verdict |
//! |---|---|
//! | a process ended, or a program that one of them runs began or ended | it works |
//! | one has read or written [`BYTES`] | it works |
//! | one has computed for [`TICKS`] | it works |
//! | the system does not tell what one has read | it works: nothing is given up on a guess |
//! | none of that for [`STALLED`] | it gets nowhere |

use std::collections::BTreeMap;
use std::time::Duration;

/// How long processes that do nothing are waited for where somebody else can go on instead.
pub const STALLED: Duration = Duration::from_secs(10);

/// A page.
const BYTES: u64 = 8192;

/// Clock ticks, of 10 ms each.
const TICKS: u64 = 5;

/// A replay that takes longer is not part of a promotion: half of what its action usually may take is left for surprises.
pub const LONG_REPLAY: Duration = Duration::from_secs(30);

/// Whether a replay takes long, by the bytes that are left, and those that it has replayed within some time.
#[must_use]
pub fn takes_long(left: u64, replayed: u64, within: Duration) -> bool {
    u128::from(left) * within.as_millis() > u128::from(replayed) * LONG_REPLAY.as_millis()
}

/// What a process has done since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Bytes read and written, from wherever; none when the system does not tell.
    pub bytes: Option<u64>,
    /// Clock ticks of computing, its ended children's included.
    pub ticks: u64,
}

/// The work of processes, by their ids.
pub type Works = BTreeMap<i32, Work>;

/// Whether something was done between two looks.
#[must_use]
pub fn has_worked(before: &Works, now: &Works) -> bool {
    before.len() != now.len() || now.iter().any(|(pid, work)| before.get(pid).is_none_or(|before| more(before, work)))
}

fn more(before: &Work, now: &Work) -> bool {
    let read = before.bytes.zip(now.bytes).map(|(before, now)| now.saturating_sub(before));
    read.is_none_or(|read| read >= BYTES) || now.ticks.saturating_sub(before.ticks) >= TICKS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works(of: &[(i32, u64, u64)]) -> Works {
        of.iter().map(|(pid, bytes, ticks)| (*pid, Work { bytes: Some(*bytes), ticks: *ticks })).collect()
    }

    #[test]
    fn a_replay_is_long_by_its_pace() {
        let s = Duration::from_secs(2);
        for (left, replayed, is_long) in
            [(1500, 100, false), (1501, 100, true), (1, 0, true), (0, 0, false), (u64::MAX, u64::MAX, false)]
        {
            assert_eq!(takes_long(left, replayed, s), is_long, "{left} {replayed}");
        }
    }

    #[test]
    fn each_row_of_the_table() {
        let before = works(&[(1, 100, 10), (2, 0, 0)]);
        for (now, worked) in [
            (works(&[(1, 100, 10), (2, 0, 0)]), false),
            (works(&[(1, 100 + BYTES - 1, 10 + TICKS - 1), (2, 128, 1)]), false),
            (works(&[(1, 100 + BYTES, 10), (2, 0, 0)]), true),
            (works(&[(1, 100, 10 + TICKS), (2, 0, 0)]), true),
            (works(&[(1, 100, 10)]), true),
            (works(&[(1, 100, 10), (2, 0, 0), (3, 0, 0)]), true),
            (works(&[(1, 100, 10), (3, 0, 0)]), true),
            (works(&[]), true),
        ] {
            assert_eq!(has_worked(&before, &now), worked, "{now:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_standstill() {
        let before = works(&[(1, 0, 0)]);
        let unknown = Works::from([(1, Work { bytes: None, ticks: 0 })]);
        assert!(has_worked(&before, &unknown) && has_worked(&unknown, &unknown) && has_worked(&unknown, &before));
        assert!(!has_worked(&Works::new(), &Works::new()));
    }
}
