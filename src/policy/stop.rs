//! How long may each way of stopping take?
//!
//! A fast shutdown writes a checkpoint and waits for the WAL senders; it gets most of the time. An
//! immediate shutdown loses nothing (the next start recovers) but is not clean. SIGKILL is last, and a
//! reserve is kept in which the agent can still answer: Pacemaker fences a node whose stop times out.
//!
//! | share of the time | way |
//! |---|---|
//! | the first 70 % | fast (SIGINT to the postmaster) |
//! | up to 85 % | immediate (SIGQUIT) |
//! | up to 95 % | SIGKILL to every server process of this data directory |
//! | the rest | the answer |

use std::time::Duration;

/// When each way of stopping ends, counted from the beginning of the action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// End of the fast shutdown.
    pub fast: Duration,
    /// End of the immediate shutdown.
    pub immediate: Duration,
    /// End of waiting for killed processes.
    pub kill: Duration,
}

/// The budget of an action that has `time` for stopping.
#[must_use]
pub fn budget(time: Duration) -> Budget {
    let share = |percent: u32| time * percent / 100;
    Budget { fast: share(70), immediate: share(85), kill: share(95) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_ways_follow_each_other_and_leave_a_reserve(ms in 100_u64..3_600_000) {
            let time = Duration::from_millis(ms);
            let budget = budget(time);
            prop_assert!(budget.fast < budget.immediate);
            prop_assert!(budget.immediate < budget.kill);
            prop_assert!(budget.kill < time);
        }
    }
}
