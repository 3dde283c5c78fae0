//! The administrator asks for a switchover to a standby that has long ceased to receive. What was acknowledged is worth more
//! than the wish: the standby fetches what it lacks from the old primary first, or the old one stays.

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

/// Longer than two monitor intervals of the primary, at a row per 10 ms or less.
const ROWS_OF_A_FEW_MONITORS: usize = 1000;

pub(super) fn switchover_to_a_lagging_standby(lab: &Lab) -> Verdict {
    let old = lab.primary()?;
    let laggard = lab.a_standby()?;
    let client = lab.writing_client()?;
    let timeline = lab.timeline(&old)?;
    lab.stop_receiving(&laggard)?;
    client.wait_for_rows(50)?;

    lab.ask_for_switchover_to(&laggard)?;

    let winner = lab.wait_for_promotion_after(timeline)?;
    // The wish still stands, and must not be tried for again and again.
    client.wait_for_rows(ROWS_OF_A_FEW_MONITORS)?;
    lab.assert_primary(&winner)?;
    match lab.timeline(&winner)? - timeline {
        1 => {}
        more => return unexpected(format!("{more} promotions, one was enough")),
    }
    client.stop()?.assert_nothing_lost()?;
    lab.clear_moves()?;
    // Until then it is degraded, and told to be.
    lab.receive_again(&laggard)?;
    lab.wait_for_full_strength()?;
    lab.assert_no_failures()
}
