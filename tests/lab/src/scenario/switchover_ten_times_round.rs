//! Ten switchovers, round the nodes, while pgbench writes. Nothing is lost, nothing is fenced, and no node ever has WAL of
//! its own.

use super::Verdict;
use crate::error::{Error, unexpected};
use crate::harness::Lab;

const ROUNDS: usize = 10;
/// pgbench's scale: 150 MB.
const SCALE: u32 = 10;
const TRANSACTIONS: u64 = 50;

pub(super) fn switchover_ten_times_round(lab: &Lab) -> Verdict {
    let before = lab.boots();
    lab.fill_pgbench(SCALE)?;
    let Some(observer) = lab.nodes().pop() else { return unexpected("the lab has no nodes") };
    let load = lab.pgbench_from(&observer)?;
    let client = lab.writing_client()?;

    for _ in 0..ROUNDS {
        let next = after(lab, &lab.primary()?)?;
        lab.switch_over_to(&next)?;
        client.wait_for_rows(50)?;
        lab.wait_for_transactions(TRANSACTIONS)?;
        lab.wait_for_full_strength()?;
    }

    load.stop()?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_pgbench_is_consistent()?;
    lab.drop_pgbench()?;
    lab.assert_nothing_kept()?;
    lab.assert_nobody_fenced(&before)?;
    lab.assert_no_failures()
}

/// The next node of the list, which begins anew behind its end.
fn after(lab: &Lab, node: &str) -> crate::error::Result<String> {
    let nodes = lab.nodes();
    let mut round = nodes.iter().cycle().skip_while(|there| *there != node).skip(1);
    round.next().cloned().ok_or_else(|| Error::Unexpected("the lab has no nodes".to_owned()))
}
