//! Pacemaker gives its plan for a switchover up right after the demotion, as it does for any change of an attribute in that
//! moment. The next plan, which has no demotion in it, has to move the address nevertheless. Found by a campaign: clients stayed
//! with the old primary for 36 s, and Pacemaker, which likes to leave the address where it is, took the new primary's role away
//! again and again.

use super::Verdict;
use crate::cluster::state::{ADDRESS, RESOURCE};
use crate::error::unexpected;
use crate::harness::Lab;
use crate::harness::lab::CLONE;

pub(super) fn address_after_a_plan_given_up(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    // Pacemaker's own scheduler, upon a copy of the configuration.
    let simulation = format!(
        "copy=$(mktemp) && trap 'rm -f \"$copy\"' EXIT && cibadmin --query >\"$copy\" \
         && CIB_file=\"$copy\" crm_resource --resource {CLONE} --move --promoted --node {standby} \
         && crm_simulate --xml-file \"$copy\" --op-inject {RESOURCE}_demote_0@{primary}=0 --simulate 2>&1"
    );
    let planned = lab.run(&primary, &["bash", "-c", &simulation])?;
    let summary: Vec<_> = planned.lines().skip_while(|line| !line.contains("Transition Summary")).collect();
    let has = |words: &[&str]| summary.iter().any(|line| words.iter().all(|word| line.contains(word)));
    let moves = format!("{primary} -> {standby}");
    match has(&["Promote", RESOURCE, &standby]) && has(&["Move", ADDRESS, &moves]) {
        true => Ok(()),
        false => unexpected(format!("{ADDRESS} does not follow to {standby}: {}", summary.join(" / "))),
    }
}
