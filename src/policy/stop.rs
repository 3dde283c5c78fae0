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
//!
//! A `stop` keeps a quarter of its time, and 12 s at most, for what follows the shutdown: what the instance had is put on record,
//! what it had published is withdrawn. All that is bounded by the deadline of the action, and a cluster or a disk that does not
//! answer costs what is not done by then, and no node.
//!
//! A fast shutdown that gets nowhere (see [`super::progress`]: a process that hangs, a standby that does not confirm, an
//! `archive_command` that does not return) is given up before that where nothing depends on it:
//!
//! | the instance | a fast shutdown that gets nowhere |
//! |---|---|
//! | is a standby | is given up: its WAL is on disk |
//! | has written its shutdown checkpoint | is given up: all that follows is sending and archiving |
//! | is a primary, and another node has what it has | is given up: the election sees to the rest |
//! | is a primary, and nobody else is known to have that | has its time |

use std::time::Duration;

use super::progress::STALLED;

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

/// The time for the shutdown in a `stop` that has `time` left.
#[must_use]
pub fn for_shutdown(time: Duration) -> Duration {
    time - Duration::from_secs(12).min(time / 4)
}

/// What is known of a fast shutdown that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// How long no process has done anything.
    pub idle: Duration,
    /// Whether the instance is a standby.
    pub is_standby: bool,
    /// Whether the control file has the shutdown checkpoint.
    pub checkpoint_is_written: bool,
    /// Whether another node has what this primary has.
    pub is_elsewhere: bool,
}

/// Whether a fast shutdown is given up before its time is over.
#[must_use]
pub fn gives_up(stall: &Stall) -> bool {
    stall.idle >= STALLED && (stall.is_standby || stall.checkpoint_is_written || stall.is_elsewhere)
}

/// The rest of the budget when a fast shutdown is given up now: what hangs obeys SIGKILL only, and what does not obey that
/// will not in a minute either.
#[must_use]
pub fn after_giving_up(budget: Budget, now: Duration) -> Budget {
    let immediate = (now + Duration::from_secs(2)).min(budget.immediate);
    Budget { fast: now.min(budget.fast), immediate, kill: (immediate + Duration::from_secs(5)).min(budget.kill) }
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

        #[test]
        fn giving_up_only_shortens(ms in 100_u64..3_600_000, now in 0_u64..3_600_000) {
            let (budget, now) = (budget(Duration::from_millis(ms)), Duration::from_millis(now));
            let rest = after_giving_up(budget, now);
            prop_assert!(rest.fast <= budget.fast && rest.immediate <= budget.immediate && rest.kill <= budget.kill);
            prop_assert!(rest.kill <= now + Duration::from_secs(7) || rest.kill == budget.kill);
        }
    }

    #[test]
    fn what_follows_a_shutdown_has_time_of_its_own() {
        let s = Duration::from_secs;
        for (time, expected) in [(0, 0), (8, 6), (20, 15), (48, 36), (57, 45), (3_600, 3_588)] {
            assert_eq!(for_shutdown(s(time)), s(expected));
        }
    }

    #[test]
    fn a_fast_shutdown_is_given_up_only_where_nothing_depends_on_it() {
        let stall = |idle, is_standby, checkpoint_is_written, is_elsewhere| {
            gives_up(&Stall { idle, is_standby, checkpoint_is_written, is_elsewhere })
        };
        assert!(stall(STALLED, true, false, false));
        assert!(stall(STALLED, false, true, false));
        assert!(stall(STALLED, false, false, true));
        assert!(!stall(Duration::from_secs(3600), false, false, false));
        assert!(!stall(STALLED - Duration::from_millis(1), true, true, true));
    }

    /// The demotion of the examples, 120 s: a fast shutdown of its own has 49 s, one that hangs is over within 17 s.
    #[test]
    fn a_shutdown_that_hangs_leaves_time_for_the_rest_of_a_switchover() {
        let budget = budget(Duration::from_secs(70));
        assert_eq!(budget.fast, Duration::from_secs(49));
        assert_eq!(after_giving_up(budget, STALLED).kill, Duration::from_secs(17));
    }
}
