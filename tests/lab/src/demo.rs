//! The demonstration: a switchover, then the loss of the primary's node, under a writing client.

use crate::cli::crm_mon;
use crate::cluster::build::Wish;
use crate::error::Result;
use crate::harness::{Lab, full_strength};

pub(crate) fn show(wish: &Wish) -> Result<()> {
    println!("building a cluster of {} with pcs-examples/{}.sh ...", wish.nodes.join(", "), wish.example);
    let lab = full_strength::build_anew(wish)?;
    let switchover = switch_over(&lab)?;
    let power_loss = lose_the_primarys_node(&lab)?;
    println!("\nswitchover:      outage {:>6} ms, acknowledged rows missing: {}", switchover.0, switchover.1);
    println!("loss of a node:  outage {:>6} ms, acknowledged rows missing: {}", power_loss.0, power_loss.1);
    Ok(())
}

fn switch_over(lab: &Lab) -> Result<(u128, usize)> {
    let (old, new) = (lab.primary()?, lab.a_standby()?);
    step("before the switchover")?;
    let client = lab.writing_client()?;
    client.wait_for_rows(200)?;
    println!("\n>>> switchover from {old} to {new}, while a client writes");
    lab.switch_over_to(&new)?;
    client.wait_for_rows(200)?;
    let report = client.stop()?;
    lab.wait_for_full_strength()?;
    step("after the switchover")?;
    print!("\n{report}");
    Ok((report.outage().as_millis(), report.missing.len()))
}

fn lose_the_primarys_node(lab: &Lab) -> Result<(u128, usize)> {
    // Without this an asynchronous standby may lack the last rows: the README says so, and the demonstration is fair.
    lab.use_synchronous_commit()?;
    let old = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(200)?;
    println!("\n>>> {old}, the primary's node, loses its power, while a client writes (commits wait for one standby)");
    lab.power_off(&old)?;
    let new = lab.wait_for_another_primary(&old)?;
    client.wait_for_rows(200)?;
    println!(">>> {new} is the primary now");
    let report = client.stop()?;
    step("after the loss of the primary's node")?;
    print!("\n{report}");
    Ok((report.outage().as_millis(), report.missing.len()))
}

fn step(title: &str) -> Result<()> {
    println!("\n--- crm_mon {title} ---");
    print!("{}", crm_mon()?);
    Ok(())
}
