//! One process hangs, all else is well, and other nodes have everything: whatever it is, clients wait for half a minute at most.

use std::time::Duration;

use super::Verdict;
use crate::error::Result;
use crate::harness::{Client, Lab};
use crate::paths;
use crate::run;
use crate::wait;

/// What a single process that hangs may cost.
const OUTAGE_LIMIT: Duration = Duration::from_secs(25);
const ARCHIVER_LIMIT: Duration = Duration::from_secs(30);
const CHANGE_OF_FLAGS_LIMIT: Duration = Duration::from_secs(30);

/// The node that was picked gets nowhere with its promotion.
pub(super) fn candidates_startup_process_hangs(lab: &Lab) -> Verdict {
    let (client, new) = (lab.writing_client()?, lab.a_standby()?);
    lab.wait_until_all_caught_up()?;
    lab.signal_process(&new, "startup", "STOP")?;
    let timeline = lab.timeline(&lab.primary()?)?;

    lab.ask_for_switchover_to(&new)?;

    lab.wait_for_promotion_after(timeline)?;
    end(lab, client)
}

/// A fast shutdown waits for its checkpoint.
pub(super) fn primarys_checkpointer_hangs_at_a_switchover(lab: &Lab) -> Verdict {
    let (client, old, new) = (lab.writing_client()?, lab.primary()?, lab.a_standby()?);
    client.wait_for_rows(50)?;
    lab.signal_process(&old, "checkpointer", "STOP")?;

    lab.switch_over_to(&new)?;

    end(lab, client)
}

/// A fast shutdown waits for the archiver, which waits for its command.
pub(super) fn archive_command_never_returns_at_a_switchover(lab: &Lab) -> Verdict {
    let (first, new) = (lab.primary()?, lab.a_standby()?);
    lab.configure(&new, "archive_mode = on\narchive_command = 'sleep 100000'")?;
    lab.signal_server(&new, "KILL")?;
    lab.wait_for_failure("monitor", &new)?;
    lab.wait_for_full_strength()?;
    lab.switch_over_to(&new)?;
    lab.wait_for_full_strength()?;
    let client = lab.writing_client()?;
    lab.sql(&new, "select pg_switch_wal()")?;
    let archives = "select count(*) from pg_stat_activity where backend_type = 'archiver'";
    wait::until_true("an archiver", ARCHIVER_LIMIT, || Ok(lab.sql(&new, archives)? == "1"))?;
    client.wait_for_rows(50)?;

    lab.switch_over_to(&first)?;

    end(lab, client)
}

/// As after an error of the disk: nothing can be written any more, not even by who may do everything.
pub(super) fn primarys_data_cannot_be_written(lab: &Lab) -> Verdict {
    let (client, old) = (lab.writing_client()?, lab.primary()?);
    client.wait_for_rows(50)?;
    let before = lab.boots();

    change_flags(&old, "+i")?;
    let moved = lab.wait_for_another_primary(&old).and_then(|_| client.wait_for_rows(50));
    change_flags(&old, "-i")?;

    moved?;
    lab.assert_nobody_fenced(&before)?;
    end(lab, client)
}

/// The flags of ext4: with `i`, writing, making and removing files fail (chattr(1)). Sockets have none.
fn change_flags(node: &str, flags: &str) -> Result<()> {
    let data = paths::data(node).display().to_string();
    let script = format!("find '{data}' -xdev \\( -type f -o -type d \\) -exec chattr {flags} {{}} +");
    run::check(std::process::Command::new("sh").args(["-c", &script]), CHANGE_OF_FLAGS_LIMIT).map(drop)
}

fn end(lab: &Lab, client: Client) -> Verdict {
    client.wait_for_rows(50)?;
    lab.clear_moves()?;
    lab.wait_for_full_strength()?;
    let report = client.stop()?;
    report.assert_nothing_lost()?;
    report.assert_outage_below(OUTAGE_LIMIT)?;
    lab.wait_until_failures_expire()
}
