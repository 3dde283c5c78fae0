//! srv1, srv10 and srv100: each name is the beginning of the next, and none may be taken for another.

use std::time::Duration;

use super::Verdict;
use crate::harness::Lab;

pub(super) const NODES: &[&str] = &["srv1", "srv10", "srv100"];
const SCORE_LIMIT: Duration = Duration::from_secs(30);

pub(super) fn names_that_are_prefixes(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let client = lab.writing_client()?;
    for node in NODES {
        if lab.primary()? != *node {
            lab.switch_over_to(node)?;
        }
        client.wait_for_rows(50)?;
        lab.wait_for_full_strength()?;
    }
    // srv100 is the primary now.
    for (laggard, other) in [("srv10", "srv1"), ("srv1", "srv10")] {
        loses_its_score_alone(lab, laggard, other)?;
    }

    lab.power_off("srv100")?;
    lab.wait_for_another_primary("srv100")?;
    client.wait_for_rows(50)?;
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// Who does not receive cannot be promoted; whose name is like its name still can.
fn loses_its_score_alone(lab: &Lab, laggard: &str, other: &str) -> Verdict {
    lab.stop_receiving(laggard)?;
    lab.wait_until(&format!("{other} as the only candidate beside the primary"), SCORE_LIMIT, |state| {
        let promotable = |node: &str| state.scores.get(node).is_some_and(|score| *score > 0);
        !promotable(laggard) && promotable(other)
    })?;
    lab.receive_again(laggard)?;
    lab.wait_for_full_strength()
}
