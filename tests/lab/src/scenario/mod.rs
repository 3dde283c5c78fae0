//! The scenarios, one file each, and the runner that gives each of them a cluster at full strength.

mod address_after_a_plan_given_up;
mod agent_killed;
mod best_may_not_be_promoted;
mod clone_interrupted_by_power_loss;
mod cold_start;
mod cold_start_after_power_loss_of_all;
mod crash_while_a_standbys_node_is_cut;
mod crmsh_example;
mod degraded_is_told;
mod directory_of_another_cluster;
mod empty_data_directory;
mod names_that_are_prefixes;
mod power_loss_of_a_standbys_node;
mod power_loss_of_all_after_a_failover;
mod power_loss_of_the_primarys_node;
mod power_loss_right_after_promotion;
mod power_loss_while_a_standby_is_behind;
mod primary_changes_while_a_standby_is_away;
mod primary_out_of_connections;
mod primarys_node_cut_from_the_network;
mod primarys_node_frozen;
mod process_that_hangs;
mod return_by_rewind;
mod return_of_a_short_primary;
mod rewind_impossible;
mod rewind_interrupted_by_power_loss;
mod rewind_of_a_large_instance;
mod sigkill_of_a_standbys_processes;
mod sigkill_of_the_attribute_daemon;
mod sigkill_of_the_controller;
mod sigkill_of_the_primarys_postmaster;
mod sigkill_of_the_primarys_processes;
mod sigstop_of_the_primarys_postmaster;
mod slots_and_their_bound;
mod standby_mode_of_the_primarys_node;
mod switchover_and_back;
mod switchover_ten_times_round;
mod switchover_to_a_lagging_standby;
mod switchover_with_a_large_dirty_buffer;
mod three_nodes_without_vip;
mod two_nodes_with_a_quorum_device;
mod two_of_three_nodes_lost;
mod two_primaries_without_fencing;
mod wal_is_gone;
mod wal_volume_full;
mod wrong_application_name;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::cluster::build::Wish;
use crate::error::{Error, Result, unexpected};
use crate::harness::{Lab, evidence, full_strength};

/// What a scenario comes to: nothing to say, or what went otherwise than told.
pub(crate) type Verdict = Result<()>;

/// A story and what it is called.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub name: &'static str,
    tell: fn(&Lab) -> Verdict,
    /// The nodes it needs, when their names matter.
    nodes: Option<&'static [&'static str]>,
    /// The cluster definition it needs, when it is not the usual one.
    example: Option<&'static str>,
    /// Whether its instances have data checksums.
    checksums: bool,
    /// Whether nothing of other scenarios may be left: a rewind copies all WAL files of its source, used or not, and its duration
    /// tells nothing where others have written much.
    fresh: bool,
    /// Whether `--short` leaves it out: it repeats at length what a shorter one shows.
    long: bool,
}

const fn scenario(name: &'static str, tell: fn(&Lab) -> Verdict) -> Scenario {
    Scenario { name, tell, nodes: None, example: None, checksums: true, fresh: false, long: false }
}

/// All of them, in the order in which they run. Those that need a cluster of their own come last.
pub(crate) const ALL: &[Scenario] = &[
    scenario("cold_start", cold_start::cold_start),
    scenario("switchover_and_back", switchover_and_back::switchover_and_back),
    scenario("address_after_a_plan_given_up", address_after_a_plan_given_up::address_after_a_plan_given_up),
    scenario("sigkill_of_the_primarys_processes", sigkill_of_the_primarys_processes::sigkill_of_the_primarys_processes),
    scenario("power_loss_of_the_primarys_node", power_loss_of_the_primarys_node::power_loss_of_the_primarys_node),
    scenario(
        "cold_start_after_power_loss_of_all",
        cold_start_after_power_loss_of_all::cold_start_after_power_loss_of_all,
    ),
    scenario(
        "cold_start_without_the_old_primary",
        cold_start_after_power_loss_of_all::cold_start_without_the_old_primary,
    ),
    scenario(
        "switchover_with_a_large_dirty_buffer",
        switchover_with_a_large_dirty_buffer::switchover_with_a_large_dirty_buffer,
    ),
    scenario("switchover_to_a_lagging_standby", switchover_to_a_lagging_standby::switchover_to_a_lagging_standby),
    scenario("standby_mode_of_the_primarys_node", standby_mode_of_the_primarys_node::standby_mode_of_the_primarys_node),
    scenario("standby_mode_right_after_a_crash", standby_mode_of_the_primarys_node::standby_mode_right_after_a_crash),
    scenario(
        "power_loss_while_a_standby_is_behind",
        power_loss_while_a_standby_is_behind::power_loss_while_a_standby_is_behind,
    ),
    scenario(
        "power_loss_while_restarted_standbys_differ",
        power_loss_while_a_standby_is_behind::power_loss_while_restarted_standbys_differ,
    ),
    scenario("best_node_is_banned", best_may_not_be_promoted::best_node_is_banned),
    scenario("best_node_is_excluded_by_a_rule", best_may_not_be_promoted::best_node_is_excluded_by_a_rule),
    scenario("best_node_delays_its_replay", best_may_not_be_promoted::best_node_delays_its_replay),
    scenario("power_loss_right_after_promotion", power_loss_right_after_promotion::power_loss_right_after_promotion),
    scenario("both_standbys_nodes_lost", two_of_three_nodes_lost::both_standbys_nodes_lost),
    scenario("primarys_and_a_standbys_node_lost", two_of_three_nodes_lost::primarys_and_a_standbys_node_lost),
    scenario(
        "sigkill_of_the_primarys_postmaster",
        sigkill_of_the_primarys_postmaster::sigkill_of_the_primarys_postmaster,
    ),
    scenario(
        "crash_while_a_standbys_node_is_cut",
        crash_while_a_standbys_node_is_cut::crash_while_a_standbys_node_is_cut,
    ),
    scenario("sigkill_of_a_standbys_processes", sigkill_of_a_standbys_processes::sigkill_of_a_standbys_processes),
    scenario("power_loss_of_a_standbys_node", power_loss_of_a_standbys_node::power_loss_of_a_standbys_node),
    scenario(
        "primarys_node_cut_from_the_network",
        primarys_node_cut_from_the_network::primarys_node_cut_from_the_network,
    ),
    scenario("primarys_node_frozen", primarys_node_frozen::primarys_node_frozen),
    scenario("primarys_node_thawed_too_late", primarys_node_frozen::primarys_node_thawed_too_late),
    scenario(
        "sigstop_of_the_primarys_postmaster",
        sigstop_of_the_primarys_postmaster::sigstop_of_the_primarys_postmaster,
    ),
    scenario("candidates_startup_process_hangs", process_that_hangs::candidates_startup_process_hangs),
    scenario(
        "primarys_checkpointer_hangs_at_a_switchover",
        process_that_hangs::primarys_checkpointer_hangs_at_a_switchover,
    ),
    scenario(
        "archive_command_never_returns_at_a_switchover",
        process_that_hangs::archive_command_never_returns_at_a_switchover,
    ),
    scenario("primarys_data_cannot_be_written", process_that_hangs::primarys_data_cannot_be_written),
    scenario("primary_out_of_connections", primary_out_of_connections::primary_out_of_connections),
    scenario("wal_volume_full", wal_volume_full::wal_volume_full),
    scenario("wal_volume_full_where_most_wal_is", wal_volume_full::wal_volume_full_where_most_wal_is),
    scenario("wrong_application_name", wrong_application_name::wrong_application_name),
    scenario("sigkill_of_the_controller", sigkill_of_the_controller::sigkill_of_the_controller),
    scenario("sigkill_of_the_attribute_daemon", sigkill_of_the_attribute_daemon::sigkill_of_the_attribute_daemon),
    scenario("degraded_is_told", degraded_is_told::degraded_is_told),
    scenario("agent_killed_in_start", agent_killed::agent_killed_in_start),
    scenario("agent_killed_in_stop", agent_killed::agent_killed_in_stop),
    scenario("agent_killed_in_promote", agent_killed::agent_killed_in_promote),
    scenario("agent_killed_in_demote", agent_killed::agent_killed_in_demote),
    // Nodes that come back.
    Scenario { fresh: true, ..scenario("return_by_rewind", return_by_rewind::return_by_rewind) },
    Scenario {
        fresh: true,
        long: true,
        ..scenario("return_by_rewind_three_times", return_by_rewind::return_by_rewind_three_times)
    },
    scenario("return_of_a_short_primary", return_of_a_short_primary::return_of_a_short_primary),
    scenario("rewind_interrupted_by_power_loss", rewind_interrupted_by_power_loss::rewind_interrupted_by_power_loss),
    scenario(
        "rewind_interrupted_by_power_loss_of_its_source",
        rewind_interrupted_by_power_loss::rewind_interrupted_by_power_loss_of_its_source,
    ),
    Scenario {
        long: true,
        ..scenario("rewind_of_a_large_instance", rewind_of_a_large_instance::rewind_of_a_large_instance)
    },
    scenario(
        "power_loss_of_all_after_a_failover",
        power_loss_of_all_after_a_failover::power_loss_of_all_after_a_failover,
    ),
    scenario("two_primaries_without_fencing", two_primaries_without_fencing::two_primaries_without_fencing),
    scenario("switchover_ten_times_round", switchover_ten_times_round::switchover_ten_times_round),
    scenario("wal_is_gone", wal_is_gone::wal_is_gone),
    scenario("wal_is_gone_and_no_clone_is_wanted", wal_is_gone::wal_is_gone_and_no_clone_is_wanted),
    scenario("clone_interrupted_by_power_loss", clone_interrupted_by_power_loss::clone_interrupted_by_power_loss),
    scenario("empty_data_directory", empty_data_directory::empty_data_directory),
    scenario(
        "empty_data_directory_and_no_clone_is_wanted",
        empty_data_directory::empty_data_directory_and_no_clone_is_wanted,
    ),
    scenario("directory_of_another_cluster", directory_of_another_cluster::directory_of_another_cluster),
    // Replication slots.
    scenario("slot_keeps_wal_within_the_bound", slots_and_their_bound::slot_keeps_wal_within_the_bound),
    scenario("slot_keeps_no_wal_beyond_the_bound", slots_and_their_bound::slot_keeps_no_wal_beyond_the_bound),
    scenario(
        "failover_while_a_standby_is_away_keeps_its_wal",
        primary_changes_while_a_standby_is_away::failover_while_a_standby_is_away_keeps_its_wal,
    ),
    scenario(
        "switchover_while_a_standby_is_away_keeps_its_wal",
        primary_changes_while_a_standby_is_away::switchover_while_a_standby_is_away_keeps_its_wal,
    ),
    // Instances of their own.
    Scenario {
        checksums: false,
        ..scenario("rewind_impossible_is_refused", rewind_impossible::rewind_impossible_is_refused)
    },
    Scenario {
        checksums: false,
        ..scenario("rewind_impossible_is_cloned", rewind_impossible::rewind_impossible_is_cloned)
    },
    // Clusters of their own.
    Scenario {
        nodes: Some(names_that_are_prefixes::NODES),
        long: true,
        ..scenario("names_that_are_prefixes", names_that_are_prefixes::names_that_are_prefixes)
    },
    Scenario { example: Some(crmsh_example::EXAMPLE), ..scenario("crmsh_example", crmsh_example::crmsh_example) },
    Scenario {
        example: Some(three_nodes_without_vip::EXAMPLE),
        ..scenario("three_nodes_without_vip", three_nodes_without_vip::three_nodes_without_vip)
    },
    Scenario {
        nodes: Some(two_nodes_with_a_quorum_device::NODES),
        example: Some(two_nodes_with_a_quorum_device::EXAMPLE),
        ..scenario("two_nodes_with_a_quorum_device", two_nodes_with_a_quorum_device::two_nodes_with_a_quorum_device)
    },
];

/// Runs the named scenarios, or all; those that are long only when they are named or `short` is not wanted.
pub(crate) fn run(names: &[String], short: bool, wish: &Wish) -> Result<ExitCode> {
    let chosen = choose(names, short)?;
    let mut failed = 0;
    for scenario in &chosen {
        let start = Instant::now();
        let result = run_one(scenario, wish);
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(told) => println!("ok      {} ({seconds:.1} s{})", scenario.name, told),
            Err(reason) => {
                failed += 1;
                println!("FAILED  {} ({seconds:.1} s): {reason}", scenario.name);
            }
        }
    }
    println!("{} passed, {failed} failed", chosen.len() - failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn list() {
    ALL.iter().for_each(|scenario| println!("{}", scenario.name));
}

fn choose(names: &[String], short: bool) -> Result<Vec<Scenario>> {
    if names.is_empty() {
        return Ok(ALL.iter().copied().filter(|scenario| !(short && scenario.long)).collect());
    }
    names
        .iter()
        .map(|name| {
            let found = ALL.iter().find(|scenario| scenario.name == name).copied();
            found.ok_or_else(|| Error::Unexpected(format!("no scenario '{name}'; `lab scenario --list` shows them")))
        })
        .collect()
}

/// Tells the story on a cluster at full strength; what is left of a failure is kept.
fn run_one(scenario: &Scenario, wish: &Wish) -> Result<String> {
    let mut wish = wish.clone();
    if let Some(nodes) = scenario.nodes {
        wish.nodes = nodes.iter().map(|&node| node.to_owned()).collect();
    }
    if let Some(example) = scenario.example {
        example.clone_into(&mut wish.example);
    }
    wish.checksums = scenario.checksums;
    let start = Instant::now();
    let lab = match scenario.fresh {
        true => full_strength::build_anew(&wish)?,
        false => full_strength::reach(&wish)?,
    };
    let prepared = start.elapsed();
    let verdict = catch_unwind(AssertUnwindSafe(|| (scenario.tell)(&lab)))
        .unwrap_or_else(|_| unexpected("the scenario has panicked, see above"));
    match verdict {
        Ok(()) => Ok(told(prepared, &lab)),
        Err(reason) => {
            let kept = evidence::keep(&lab, scenario.name, &reason.to_string())?;
            unexpected(format!("{reason}\n        evidence: {}", kept.display()))
        }
    }
}

fn told(prepared: Duration, lab: &Lab) -> String {
    let outage = lab.worst_outage().map(|outage| format!(", outage {} ms", outage.as_millis())).unwrap_or_default();
    let remarks: String = lab.remarks().iter().map(|remark| format!("; {remark}")).collect();
    format!(", of them {:.1} s to full strength{outage}{remarks}", prepared.as_secs_f64())
}
