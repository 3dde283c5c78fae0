//! The volume of the primary's WAL is full. PostgreSQL panics. When there is room again, the instance comes back without
//! anybody's hand, and what had failed is forgotten in time.

use std::time::Duration;

use super::Verdict;
use crate::error::Result;
use crate::harness::{Client, Lab};
use crate::wait;

/// A handful of segments are there already and need no more room.
const PANIC_LIMIT: Duration = Duration::from_secs(60);
/// A monitor, the recovery, and what Pacemaker does around them.
const WAITING_LIMIT: Duration = Duration::from_secs(30);

/// Another node has room. What nobody has confirmed may be on the full one only: then that one is promoted when it has room.
pub(super) fn wal_volume_full(lab: &Lab) -> Verdict {
    let old = lab.make_primary_with_a_small_wal_volume()?;
    lab.use_synchronous_commit()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    let waits = waits_for_room(lab, &old)?;
    fill_until_panic(lab, &old)?;
    let promoted_or_waiting = format!("another primary than {old}, or {old} waiting for room");
    wait::until_true(&promoted_or_waiting, WAITING_LIMIT, || {
        Ok(lab.primary().is_ok_and(|primary| primary != old) || waits_for_room(lab, &old)? > waits)
    })?;
    lab.assert_nobody_fenced(&before)?;
    lab.free_wal_volume(&old)?;
    recover(lab, client)
}

/// Nobody has received what the full node wrote last: one that has room fetches it from there, and is promoted.
pub(super) fn wal_volume_full_where_most_wal_is(lab: &Lab) -> Verdict {
    let old = lab.make_primary_with_a_small_wal_volume()?;
    let before = lab.boots();
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;
    let standbys = lab.standbys()?;
    standbys.iter().try_for_each(|standby| lab.stop_receiving(standby))?;
    client.wait_for_rows(50)?;

    fill_until_panic(lab, &old)?;
    lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(50)?;
    lab.assert_nobody_fenced(&before)?;
    standbys.iter().try_for_each(|standby| lab.receive_again(standby))?;
    lab.free_wal_volume(&old)?;
    recover(lab, client)
}

fn fill_until_panic(lab: &Lab, node: &str) -> Verdict {
    let before = panics(lab, node)?;
    lab.fill_wal_volume(node)?;
    wait::until_true("panic of the server", PANIC_LIMIT, || {
        // A server that has panicked cannot be asked any more.
        let _ = lab.sql(node, "select pg_switch_wal()");
        Ok(panics(lab, node)? > before)
    })
}

fn recover(lab: &Lab, client: Client) -> Verdict {
    lab.wait_for_full_strength_with_a_hand()?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.wait_until_failures_expire()
}

/// How often a promotion began to wait, as far as the log goes back.
fn waits_for_room(lab: &Lab, node: &str) -> Result<usize> {
    Ok(lab.syslog(node)?.matches("waiting for room: the volume of ").count())
}

fn panics(lab: &Lab, node: &str) -> Result<usize> {
    let log = lab.server_log(node)?;
    Ok(log.lines().filter(|line| line.contains("PANIC:") && line.contains("No space left on device")).count())
}
