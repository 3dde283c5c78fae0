//! A node is promoted, writes, and loses its power before anybody has received its new timeline. The one that is promoted
//! next cannot have heard of that timeline, and must not use its number again: two histories of one number could never be
//! told apart. When the short primary comes back, it is rewound.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;
use crate::wait;

const SWITCHOVER_LIMIT: Duration = Duration::from_secs(60);
const ROWS: usize = 10;

pub(super) fn return_of_a_short_primary(lab: &Lab) -> Verdict {
    let short = lab.a_standby()?;
    let others: Vec<_> = lab.nodes().into_iter().filter(|node| *node != short).collect();
    let kept_before = lab.kept_on(&short)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    lab.stays_off_after_fencing(&short)?;
    // The primary of now will be a standby, and must not receive either.
    for node in &others {
        lab.stop_receiving(node)?;
    }

    lab.ask_for_switchover_to(&short)?;
    wait::until_true(&format!("promotion on {short}"), SWITCHOVER_LIMIT, || {
        Ok(lab.sql(&short, "select pg_is_in_recovery()")? == "f")
    })?;
    let own_rows = lab.insert_rows(&short, ROWS)?;
    lab.power_off(&short)?;

    let new = lab.wait_for_another_primary(&short)?;
    let (used, now) = (lab.newest_timeline_on_disk(&short)?, lab.timeline(&new)?);
    if now <= used {
        return unexpected(format!("{short} wrote on timeline {used}, {new} after it writes on timeline {now}"));
    }
    lab.clear_moves()?;
    for node in &others {
        lab.receive_again(node)?;
    }
    client.wait_for_rows(50)?;

    lab.power_on(&short)?;
    lab.wait_for_full_strength()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_no_two_writers()?;
    lab.assert_primary(&new)?;
    let rows: BTreeSet<i64> = (1..).take(ROWS).collect();
    lab.assert_keeps_rows(&short, &kept_before, own_rows, &rows)?;
    lab.assert_no_failures()
}
