//! The agent itself is killed in the middle of an action. Pacemaker counts a failure; the next action copes with what
//! it finds. Each story is told twice: the agent dies at once, and halfway.

use std::time::Duration;

use super::Verdict;
use crate::harness::{Lab, Moment};

const MOMENTS: [Moment; 2] = [Moment::AtOnce, Moment::Halfway];
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A start that failed is tried again, like anything else (start-failure-is-fatal=false).
pub(super) fn agent_killed_in_start(lab: &Lab) -> Verdict {
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let before = lab.boots();
    let client = lab.writing_client()?;
    for moment in MOMENTS {
        stop_instance(lab, &standby)?;
        let ambush = lab.ambush(&standby, "start", moment)?;
        lab.standby_mode(&standby, false)?;
        ambush.wait()?;

        lab.wait_for_failure("start", &standby)?;
        lab.wait_for_full_strength()?;
        lab.assert_only_failure("start", &standby)?;
        lab.clean_up_failures()?;
        lab.wait_for_full_strength()?;
    }
    client.stop()?.assert_nothing_lost()?;
    lab.assert_nobody_fenced(&before)?;
    lab.assert_primary(&primary)?;
    lab.assert_no_failures()
}

/// An instance whose stop failed may still run: its node is fenced, and comes back.
pub(super) fn agent_killed_in_stop(lab: &Lab) -> Verdict {
    lab.use_synchronous_commit()?;
    let client = lab.writing_client()?;
    for moment in MOMENTS {
        let old = lab.primary()?;
        let before = lab.boots();
        let ambush = lab.ambush(&old, "stop", moment)?;
        lab.standby_mode(&old, true)?;
        ambush.wait()?;

        lab.wait_for_another_primary(&old)?;
        client.wait_for_rows(50)?;
        lab.wait_until_fenced_and_back(&old, &before)?;
        lab.standby_mode(&old, false)?;
        lab.wait_for_full_strength()?;
    }
    client.stop()?.assert_nothing_lost()?;
    lab.assert_no_failures()
}

pub(super) fn agent_killed_in_promote(lab: &Lab) -> Verdict {
    killed_in_switchover(lab, "promote", |_, new| new.to_owned())
}

pub(super) fn agent_killed_in_demote(lab: &Lab) -> Verdict {
    killed_in_switchover(lab, "demote", |old, _| old.to_owned())
}

/// The cluster recovers by itself, and lists the one failure. Who is the primary then is Pacemaker's choice: in the
/// transition that recovers a failed instance it promotes another one.
fn killed_in_switchover(lab: &Lab, action: &str, victim: fn(&str, &str) -> String) -> Verdict {
    let before = lab.boots();
    let client = lab.writing_client()?;
    for moment in MOMENTS {
        let (old, new) = (lab.primary()?, lab.a_standby()?);
        let victim = victim(&old, &new);
        let ambush = lab.ambush(&victim, action, moment)?;
        lab.ask_for_switchover_to(&new)?;
        ambush.wait()?;

        lab.wait_for_failure(action, &victim)?;
        lab.wait_until_idle()?;
        lab.wait_for_primary()?;
        lab.clear_moves()?;
        client.wait_for_rows(50)?;
        lab.wait_for_full_strength()?;
        lab.assert_only_failure(action, &victim)?;
        // Pacemaker looks anew at an instance whose failure it forgets.
        lab.clean_up_failures()?;
        lab.wait_for_full_strength()?;
    }
    client.stop()?.assert_nothing_lost()?;
    lab.assert_nobody_fenced(&before)?;
    lab.assert_no_failures()
}

fn stop_instance(lab: &Lab, node: &str) -> Verdict {
    lab.standby_mode(node, true)?;
    let stopped = format!("{node} without its instance");
    lab.wait_until(&stopped, STOP_LIMIT, |state| !state.unpromoted.iter().any(|standby| standby == node))?;
    lab.wait_until_idle()
}
