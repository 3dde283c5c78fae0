//! The administrator has switched off fencing and quorum, against all advice, and the network parts. Now there are two
//! primaries, which nothing can prevent, and both take writes. When the network is whole again, one survives; the other is
//! recognised as one with a history of its own, and is rewound. Its rows are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Verdict;
use crate::error::{Result, unexpected};
use crate::harness::{Kept, Lab};

const ROWS: usize = 50;
const RETURN_LIMIT: Duration = Duration::from_secs(240);

/// One of the two primaries.
struct Side {
    node: String,
    kept_before: Vec<Kept>,
    /// Who wrote there, and the numbers of the rows.
    writer: i32,
    rows: BTreeSet<i64>,
}

pub(super) fn two_primaries_without_fencing(lab: &Lab) -> Verdict {
    lab.set_property("stonith-enabled", "false")?;
    lab.set_property("no-quorum-policy", "ignore")?;
    lab.wait_for_full_strength()?;
    let cut_off = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.cut(&cut_off)?;
    let new = lab.wait_for_another_primary(&cut_off)?;
    client.wait_for_rows(50)?;
    // The address is in both parts of the network: no client knows whom it will reach when they are one again.
    client.stop()?;
    let sides = [side(lab, &cut_off)?, side(lab, &new)?];

    lab.heal(&cut_off)?;
    lab.wait_for_full_strength_within(RETURN_LIMIT)?;
    // What Pacemaker lists of the time with two primaries is its own affair.
    one_survives(lab, &sides)
}

/// Writes on that node, which has to take it.
fn side(lab: &Lab, node: &str) -> Result<Side> {
    let writer = lab.insert_rows(node, ROWS)?;
    let rows = lab.numbers_on(node, writer)?;
    Ok(Side { node: node.to_owned(), kept_before: lab.kept_on(node)?, writer, rows })
}

fn one_survives(lab: &Lab, sides: &[Side; 2]) -> Verdict {
    let survivor = lab.primary()?;
    let mut losers = 0;
    for side in sides {
        let there = lab.numbers_on(&survivor, side.writer)?;
        if there.is_empty() {
            losers += 1;
            lab.assert_keeps_rows(&side.node, &side.kept_before, side.writer, &side.rows)?;
        } else if there != side.rows {
            return unexpected(format!("{survivor} has {} of {} rows of {}", there.len(), ROWS, side.node));
        }
    }
    match losers {
        1 => Ok(()),
        _ => unexpected(format!("{survivor} should have the rows of one of the two primaries, it lacks {losers}")),
    }
}
