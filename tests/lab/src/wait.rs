//! Waiting for a condition: bounded, in steps of milliseconds that grow.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};

const FIRST_STEP: Duration = Duration::from_millis(2);
const LAST_STEP: Duration = Duration::from_millis(100);

/// What one look at the condition gave.
#[derive(Debug)]
pub(crate) enum Seen<T> {
    Yes(T),
    /// Not yet, and what is there instead.
    NotYet(String),
}

/// Looks again and again until the condition holds. An error in a look counts as "not yet".
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Seen<T>>) -> Result<T> {
    let start = Instant::now();
    let mut step = FIRST_STEP;
    loop {
        let last = match look() {
            Ok(Seen::Yes(value)) => return Ok(value),
            Ok(Seen::NotYet(state)) => state,
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= limit {
            return Err(Error::Timeout { what: what.to_owned(), limit_ms: limit.as_millis(), last });
        }
        std::thread::sleep(step);
        step = (step * 3 / 2).min(LAST_STEP);
    }
}

/// [`until`] for a condition that is merely true or false.
pub(crate) fn until_true(what: &str, limit: Duration, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    until(what, limit, || {
        Ok(match look()? {
            true => Seen::Yes(()),
            false => Seen::NotYet("no".to_owned()),
        })
    })
}
