//! The time after the faults, in which the cluster comes back by itself, or with the hand that its agent demands.

use std::thread;
use std::time::Duration;

use super::Clock;
use super::hand::Hand;
use super::record::{Micros, Strike};
use crate::harness::{Lab, full_strength};

/// How long the cluster may take to be at full strength without a hand.
const LIMIT: Duration = Duration::from_secs(120);
/// The same where a person has to do something, who takes time as well.
const LIMIT_WITH_A_HAND: Duration = Duration::from_secs(300);
/// How long full strength has to last: what was just broken is not always noticed at once.
const HOLD: Duration = Duration::from_secs(3);
/// Between two looks: they cost processor time that the cluster needs.
const LOOK_PAUSE: Duration = Duration::from_millis(400);

/// How it went.
#[derive(Debug, Default)]
pub(super) struct Healing {
    /// From the end of the last fault to full strength.
    pub(super) healed_after: Option<Micros>,
    pub(super) missing: Option<String>,
    pub(super) manual_steps: Vec<String>,
    /// Failed actions that a hand made the cluster forget.
    pub(super) failures: Vec<String>,
}

/// Waits until the cluster is at full strength and stays there for a moment.
pub(super) fn wait(lab: &Lab, clock: Clock, strikes: &[Strike]) -> Healing {
    let last_end = strikes.iter().map(|strike| strike.ended).max().unwrap_or_default();
    let mut hand = Hand::new(lab);
    let mut whole_since = None;
    loop {
        let now = clock.now();
        let shortfall = full_strength::missing(lab).unwrap_or_else(|error| Some(error.to_string()));
        whole_since = shortfall.is_none().then(|| whole_since.unwrap_or(now));
        if let Some(since) = whole_since.filter(|since| clock.now() - since >= micros(HOLD)) {
            return hand.healing(Some(since.saturating_sub(last_end)), None);
        }
        if let Some(missing) = shortfall {
            let limit = if hand.is_at_work() { LIMIT_WITH_A_HAND } else { LIMIT };
            if now.saturating_sub(last_end) > micros(limit) {
                return hand.healing(None, Some(missing));
            }
            end_standby_mode(lab);
            hand.help();
        }
        thread::sleep(LOOK_PAUSE);
    }
}

/// The end of the fault may have been told to a partition whose configuration was given up for another one's.
fn end_standby_mode(lab: &Lab) {
    for node in lab.state().unwrap_or_default().standby_mode {
        if let Err(error) = lab.standby_mode(&node, false) {
            println!("    {node} is still in standby mode: {error}");
        }
    }
}

fn micros(time: Duration) -> Micros {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
