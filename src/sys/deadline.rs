//! Bounded waiting.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The moment by which an answer is due.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline this far from now.
    #[must_use]
    pub fn after(span: Duration) -> Self {
        Deadline(Instant::now() + span)
    }

    /// The time that is left, zero when it has passed.
    #[must_use]
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether the deadline has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.remaining().is_zero()
    }

    /// The same deadline, or an earlier one when `span` ends before it.
    #[must_use]
    pub fn at_most(self, span: Duration) -> Self {
        Deadline(self.0.min(Instant::now() + span))
    }
}

/// The steps of a poll: milliseconds that grow, so that a short wait is noticed at once and a long one
/// costs little.
#[derive(Debug)]
pub struct Pace {
    step: Duration,
    longest: Duration,
}

impl Pace {
    /// Steps from 1 ms, growing to `longest`.
    #[must_use]
    pub fn up_to(longest: Duration) -> Self {
        Pace { step: Duration::from_millis(1), longest }
    }

    /// Sleeps for the next step, and not beyond the deadline. False when the deadline has passed: then
    /// there is no time for another look either.
    pub fn step(&mut self, deadline: Deadline) -> bool {
        if deadline.has_passed() {
            return false;
        }
        std::thread::sleep(self.step.min(deadline.remaining()));
        self.step = (self.step * 3 / 2 + Duration::from_micros(500)).min(self.longest);
        !deadline.has_passed()
    }
}

/// The time since this node booted. It is what a note for the next action may hold: unlike the wall
/// clock nobody sets it, and unlike [`Instant`] it means the same in another process.
#[must_use]
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from)
}

/// The same in milliseconds, as the notes hold it.
#[must_use]
pub fn ms_since_boot() -> u64 {
    u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_ends_with_its_deadline() {
        let deadline = Deadline::after(Duration::from_millis(30));
        let mut pace = Pace::up_to(Duration::from_secs(60));
        let mut steps = 0;
        while pace.step(deadline) {
            steps += 1;
        }
        assert!(steps >= 1, "not one step in 30 ms");
        assert!(deadline.has_passed());
    }
}
