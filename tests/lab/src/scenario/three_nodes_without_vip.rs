//! The example without a virtual address: standbys follow the promoted node by its name, and clients look for the node that
//! takes writes.

use super::Verdict;
use crate::harness::{Client, Lab};

pub(super) const EXAMPLE: &str = "three-nodes-without-vip";

pub(super) fn three_nodes_without_vip(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let (first, second) = (lab.primary()?, lab.a_standby()?);
    lab.assert_all_follow(&first)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(50)?;

    lab.switch_over_to(&second)?;
    all_follow(lab, &client, &second)?;

    lab.power_off(&second)?;
    let third = lab.wait_for_another_primary(&second)?;
    all_follow(lab, &client, &third)?;

    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

/// The old primary, too, once it is back.
fn all_follow(lab: &Lab, client: &Client, primary: &str) -> Verdict {
    client.wait_for_rows(50)?;
    lab.wait_for_full_strength()?;
    lab.assert_primary(primary)?;
    lab.assert_all_follow(primary)?;
    client.wait_for_rows(50)
}
