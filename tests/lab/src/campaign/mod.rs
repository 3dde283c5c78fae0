//! A campaign: random faults against the cluster, one or two at a time, with clients that write and read all the while, and
//! a checker that decides afterwards from what they were told.

mod aftermath;
mod checker;
mod clients;
mod compare;
pub(crate) mod dice;
mod draw;
mod fault;
mod files;
mod hand;
mod healing;
mod line;
mod load;
#[cfg(test)]
mod made_up;
mod outage;
mod promotions;
mod record;
mod report;
mod round;
mod run;
mod sequences;
mod strike;
mod watch;

use std::time::Instant;

pub(crate) use compare::{ReportArgs, compare};
pub(crate) use run::{CampaignArgs, run};

use record::{Lsn, Micros};

/// One clock for clients, nodes and faults.
#[derive(Debug, Clone, Copy)]
struct Clock(Instant);

impl Clock {
    fn start() -> Self {
        Self(Instant::now())
    }

    fn now(self) -> Micros {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A position as PostgreSQL writes it: `0/5328410`.
fn position(text: &str) -> Option<Lsn> {
    let (high, low) = text.trim().split_once('/')?;
    let half = |text| u32::from_str_radix(text, 16).ok().map(u64::from);
    Some(half(high)? << 32 | half(low)?)
}

#[cfg(test)]
mod tests {
    use super::position;

    #[test]
    fn a_position_has_two_halves() {
        assert_eq!(position("0/5328410"), Some(0x532_8410));
        assert_eq!(position("2/10\n"), Some(0x2_0000_0010));
        assert_eq!(position("5328410"), None);
        assert_eq!(position("0/x"), None);
    }
}
