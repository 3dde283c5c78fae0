//! An instance that runs and lacks something. Pacemaker is told, and nothing is left of it when the reason is gone, also when
//! maintenance mode or a new DC came in between. Nothing is recovered, nobody changes roles. The definition gets the monitors
//! that tell.

use std::time::Duration;

use super::Verdict;
use crate::cluster::state::{State, is_degraded};
use crate::error::{Result, unexpected};
use crate::harness::Lab;
use crate::plan::VIP;

/// Two plain monitors of a standby, and one that tells.
const NOTICE_LIMIT: Duration = Duration::from_secs(60);
/// More than two plain monitors.
const REMOVAL_LIMIT: Duration = Duration::from_secs(35);

const DETECTION_LIMIT: Duration = Duration::from_secs(30);
/// One plain monitor of a standby.
const SECOND_REMOVAL_LIMIT: Duration = Duration::from_secs(13);

/// The role and the interval in seconds of the monitors that tell, which may not be one of another monitor.
const DEEP: [(&str, u32); 2] = [("Promoted", 20), ("Unpromoted", 21)];

pub(super) fn degraded_is_told(lab: &Lab) -> Verdict {
    for (role, interval) in DEEP {
        let (role, interval) = (format!("role={role}"), format!("interval={interval}s"));
        let monitor = ["pgsql", "monitor", &interval, "timeout=10s", &role, "OCF_CHECK_LEVEL=10"];
        lab.change(&[&["pcs", "resource", "op", "add"][..], &monitor].concat())?;
    }
    let told = tell(lab);
    for (_, interval) in DEEP {
        lab.change(&["pcs", "resource", "op", "remove", &format!("pgsql-monitor-interval-{interval}s")])?;
    }
    told
}

fn tell(lab: &Lab) -> Verdict {
    let dc = dc_beside_a_standby(lab)?;
    let primary = lab.primary()?;
    let Some(standby) = lab.standbys()?.into_iter().find(|standby| *standby != dc) else {
        return unexpected(format!("no standby but that of the DC {dc}"));
    };
    let before = lab.boots();

    lab.sql(&standby, "select pg_wal_replay_pause()")?;
    wait_until_told(lab, &standby, "paused")?;
    // Maintenance mode cancels all monitors. Those that are listed as failed are not started again after it.
    lab.set_property("maintenance-mode", "true")?;
    lab.wait_until_idle()?;
    lab.set_property("maintenance-mode", "false")?;
    lab.wait_until_idle()?;
    lab.sql(&standby, "select pg_wal_replay_resume()")?;
    wait_until_nothing_is_listed(lab, &standby)?;

    // A standby that cannot reach its primary: both lack something.
    lab.configure(&standby, &format!("primary_conninfo = 'host={VIP} port=1 application_name={standby}'"))?;
    wait_until_told(lab, &standby, "not streaming")?;
    wait_until_told(lab, &primary, "primary, 1 of 2 standbys")?;
    lab.configure(&standby, "")?;
    wait_until_nothing_is_listed(lab, &standby)?;
    lab.wait_for_full_strength()?;
    lab.assert_nobody_fenced(&before)?;

    // For a new DC every node lists again what it once was told.
    lab.power_off(&dc)?;
    lab.wait_until(&format!("{dc} found lost"), DETECTION_LIMIT, |state| !state.online.contains(&dc))?;
    lab.wait_until_idle()?;
    lab.wait_until("an empty list again", SECOND_REMOVAL_LIMIT, |state| state.failures.is_empty())?;

    lab.wait_for_full_strength()?;
    lab.assert_primary(&primary)?;
    lab.assert_no_failures()
}

/// The primary moves away from the DC's node if it is there: its own loss would be another story.
fn dc_beside_a_standby(lab: &Lab) -> Result<String> {
    lab.wait_until_idle()?;
    let state = lab.state()?;
    let Some(dc) = state.dc.filter(|dc| lab.nodes().contains(dc)) else { return unexpected("there is no DC") };
    if state.promoted.contains(&dc) {
        lab.switch_over_to(&lab.a_standby()?)?;
        lab.wait_for_full_strength()?;
        lab.wait_until_idle()?;
    }
    Ok(dc)
}

/// In the node's attribute, and among Pacemaker's failed actions.
fn wait_until_told(lab: &Lab, node: &str, words: &str) -> Verdict {
    let says = |state: &State| state.words.get(node).is_some_and(|said| said == words);
    let is_told = |failure: &String| is_degraded(failure) && failure.contains(&format!("on {node}"));
    let both = |state: &State| says(state) && state.failures.iter().any(is_told);
    lab.wait_until(&format!("{node} told as degraded, {words}"), NOTICE_LIMIT, both).map(drop)
}

fn wait_until_nothing_is_listed(lab: &Lab, standby: &str) -> Verdict {
    let streams = |state: &State| state.words.get(standby).is_some_and(|said| said == "streaming");
    let gone = |state: &State| streams(state) && state.failures.is_empty();
    lab.wait_until("a standby that streams, and an empty list", REMOVAL_LIMIT, gone).map(drop)
}
