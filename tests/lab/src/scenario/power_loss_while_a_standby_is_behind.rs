//! One standby is far behind and the other up to date when the primary's node dies. The wrong one must not win, not even
//! when the scores speak for it.

use std::time::Duration;

use super::Verdict;
use crate::error::unexpected;
use crate::harness::Lab;

const SEGMENT: u64 = 16 * 1024 * 1024;
const NOTICE_LIMIT: Duration = Duration::from_secs(20);
/// As good as a standby's score can be.
const BEST: i64 = 1000;
const WORST: i64 = 990;

pub(super) fn power_loss_while_a_standby_is_behind(lab: &Lab) -> Verdict {
    tell(lab, |_| Ok(()))
}

/// Right after a restart, `pg_last_wal_receive_lsn()` is the start of the segment on both: it tells nothing.
pub(super) fn power_loss_while_restarted_standbys_differ(lab: &Lab) -> Verdict {
    tell(lab, |standbys| {
        for standby in standbys {
            lab.restart_server_processes(standby)?;
        }
        for standby in standbys {
            assert_received_is_start_of_segment(lab, standby)?;
        }
        Ok(())
    })
}

fn tell(lab: &Lab, after_the_loss: impl Fn(&[String]) -> Verdict) -> Verdict {
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let standbys = lab.standbys()?;
    let [laggard, up_to_date] = &standbys[..] else {
        return unexpected(format!("two standbys expected, there are {standbys:?}"));
    };
    // All that follows lies in one segment.
    lab.sql(&old, "select pg_switch_wal()")?;
    let client = lab.writing_client()?;
    client.wait_for_rows(10)?;
    lab.stop_receiving(laggard)?;
    client.wait_for_rows(50)?;

    lab.power_off(&old)?;
    after_the_loss(&standbys)?;
    lab.set_score(up_to_date, up_to_date, WORST)?;
    lab.set_score(up_to_date, laggard, BEST)?;
    lab.wait_until("a better score for the laggard", NOTICE_LIMIT, |state| {
        state.scores.get(laggard).is_some_and(|score| *score > WORST)
    })?;

    lab.wait_for_primary_on(up_to_date)?;
    lab.receive_again(laggard)?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

fn assert_received_is_start_of_segment(lab: &Lab, standby: &str) -> Verdict {
    let received = lab.sql(standby, "select coalesce(pg_last_wal_receive_lsn() - '0/0', 0)::bigint")?;
    match received.parse::<u64>() {
        Ok(bytes) if bytes % SEGMENT == 0 => Ok(()),
        _ => unexpected(format!("{standby} should have forgotten what it received, it says {received}")),
    }
}
