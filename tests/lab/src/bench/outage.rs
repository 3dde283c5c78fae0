//! One round of each outage, as the writing client sees it.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use super::in_node::milliseconds;
use super::stage::{Stage, best_standby};
use crate::cluster::state::State;
use crate::error::{Doing, Error, Result, unexpected};
use crate::harness::Lab;
use crate::harness::client::Client;
use crate::harness::history::{History, Report};
use crate::paths;
use crate::wait::{self, Seen};

/// Rows before and after what is measured.
const ROWS: usize = 100;
/// A gap that is no ordinary one between two rows.
const STALL: Duration = Duration::from_millis(150);
const STALL_LIMIT: Duration = Duration::from_secs(60);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(60);
const RECOVERY_LIMIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What one round gave, in milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    pub(super) whole: f64,
    /// The part that belongs to the agent: after the fencing request, or after the cluster has formed.
    pub(super) part: Option<f64>,
    pub(super) missing: usize,
}

pub(super) fn switchover(stage: &mut Stage) -> Result<Outcome> {
    let lab = stage.lab()?;
    let target = best_standby(&lab)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(ROWS)?;

    lab.ask_for_switchover_to(&target)?;

    outlast_the_outage(&client)?;
    match lab.wait_for_primary()? {
        primary if primary == target => {}
        primary => return unexpected(refusal(&lab, &target, &primary)),
    }
    lab.clear_moves()?;
    let report = client.stop()?;
    Ok(Outcome { whole: outage_of(&report)?, part: None, missing: report.missing.len() })
}

/// `phase` says how far within the monitor's interval the crash happens: a fixed one would measure only itself.
pub(super) fn crash(stage: &mut Stage, phase: f64) -> Result<Outcome> {
    let lab = stage.lab()?;
    let primary = lab.primary()?;
    let client = lab.writing_client()?;
    client.wait_for_rows(ROWS)?;
    thread::sleep(Duration::from_secs_f64(f64::from(stage.contender.promoted_interval()) * phase));

    lab.signal_server(&primary, "KILL")?;

    outlast_the_outage(&client)?;
    let report = client.stop()?;
    if !stage.contender.takes_crashed_primary_back() {
        stage.spoil();
    }
    Ok(Outcome { whole: outage_of(&report)?, part: None, missing: report.missing.len() })
}

pub(super) fn node_loss(stage: &mut Stage) -> Result<Outcome> {
    let lab = stage.lab()?;
    let primary = lab.primary()?;
    // A node that boots beside the failover would be measured along.
    lab.stays_off_after_fencing(&primary)?;
    let client = lab.writing_client()?;
    client.wait_for_rows(ROWS)?;

    let off = SystemTime::now();
    lab.power_off(&primary)?;

    outlast_the_outage(&client)?;
    let fenced = fencing_request(&primary, off)?;
    let first_row = client.look(first_row_after_the_longest_gap);
    let report = client.stop()?;
    let part = first_row.and_then(|row| row.duration_since(fenced).ok()).map(milliseconds);
    if part.is_none() {
        return unexpected("rows were acknowledged before the lost node was fenced, and no gap after that");
    }
    if !stage.contender.takes_lost_node_back() {
        stage.spoil();
    }
    Ok(Outcome { whole: outage_of(&report)?, part, missing: report.missing.len() })
}

/// The whole cluster is shut down in order, and all nodes get power at the same moment.
pub(super) fn cold_start(stage: &mut Stage) -> Result<Outcome> {
    let lab = stage.lab()?;
    let before = lab.writing_client()?;
    before.wait_for_rows(ROWS)?;
    before.stop()?;
    shut_down(&lab)?;
    stage.clear_up_after_shutdown(&lab)?;
    lab.nodes().iter().try_for_each(|node| lab.power_off(node))?;

    let on = SystemTime::now();
    power_on_all(&lab)?;
    let client = Client::start(&lab)?;
    let formed = wait_until_formed(&lab)?;

    client.wait_for_rows(1)?;
    let first_row = client.look(|history| history.acks.first().map(|ack| history.began + ack.ack));
    let since = |begin| first_row.and_then(|row| row.duration_since(begin).ok()).map(milliseconds);
    let (Some(whole), part) = (since(on), since(formed)) else {
        return unexpected("no row was acknowledged");
    };
    let report = client.stop()?;
    Ok(Outcome { whole, part, missing: report.missing.len() })
}

/// As `pcs cluster stop --all` does it: Pacemaker on all nodes, and corosync only when that has ended everywhere.
fn shut_down(lab: &Lab) -> Result<()> {
    for node in lab.nodes() {
        lab.run(&node, &["pkill", "-TERM", "-x", "pacemakerd"])?;
    }
    wait::until("end of Pacemaker on all nodes", SHUTDOWN_LIMIT, || {
        let running = lab.nodes().into_iter().find(|node| lab.runs_services(node).unwrap_or(true));
        Ok(match running {
            None => Seen::Yes(()),
            Some(node) => Seen::NotYet(format!("{node} still runs it")),
        })
    })?;
    lab.nodes().iter().try_for_each(|node| lab.run(node, &["pkill", "-TERM", "-x", "corosync"]).map(drop))
}

fn power_on_all(lab: &Lab) -> Result<()> {
    let nodes = lab.nodes();
    thread::scope(|scope| {
        let starts: Vec<_> = nodes.iter().map(|node| scope.spawn(|| lab.power_on(node))).collect();
        starts.into_iter().try_for_each(|start| start.join().unwrap_or_else(|_| unexpected("a start has panicked")))
    })
}

/// The moment when all nodes are online: from here on Pacemaker starts resources.
fn wait_until_formed(lab: &Lab) -> Result<SystemTime> {
    let nodes = lab.nodes();
    wait::until("all nodes online", RECOVERY_LIMIT, || {
        let state = State::seen_by(&nodes[0])?;
        Ok(match state.online.len() == nodes.len() && state.quorum {
            true => Seen::Yes(SystemTime::now()),
            false => Seen::NotYet(format!("online {:?}", state.online)),
        })
    })
}

/// Waits until rows have stopped being acknowledged and are acknowledged again. Nothing runs on the nodes for that: a
/// look at the cluster would cost the agent time.
fn outlast_the_outage(client: &Client) -> Result<()> {
    let began = SystemTime::now();
    loop {
        let silence = client.look(|history| {
            let last = history.acks.last().map_or(history.began, |ack| history.began + ack.ack);
            last.elapsed().unwrap_or_default()
        });
        if silence >= STALL {
            break;
        }
        if began.elapsed().unwrap_or_default() > STALL_LIMIT {
            return unexpected("the client saw no outage");
        }
        thread::sleep(LOOK_AGAIN);
    }
    client.wait_for_rows(ROWS)
}

fn outage_of(report: &Report) -> Result<f64> {
    report.assert_no_two_writers()?;
    Ok(milliseconds(report.outage()))
}

fn first_row_after_the_longest_gap(history: &History) -> Option<SystemTime> {
    let pairs = history.acks.windows(2);
    let longest = pairs.max_by_key(|pair| pair[1].ack.saturating_sub(pair[0].ack))?;
    Some(history.began + longest[1].ack)
}

/// When the power switch was asked to fence the node, from its log.
fn fencing_request(node: &str, after: SystemTime) -> Result<SystemTime> {
    let path = Path::new(paths::RUN).join("power-switch.log");
    let log = fs::read_to_string(&path).doing(|| format!("read {}", path.display()))?;
    let requests = log.lines().filter_map(|line| {
        let (stamp, order) = line.split_once(' ')?;
        let ours = order.starts_with("fence-") && order.split([' ', ':']).nth(1) == Some(node);
        let at = SystemTime::UNIX_EPOCH + Duration::try_from_secs_f64(stamp.parse().ok()?).ok()?;
        (ours && at >= after).then_some(at)
    });
    requests.min().ok_or_else(|| Error::Unexpected(format!("{node} was not fenced")))
}

fn refusal(lab: &Lab, target: &str, primary: &str) -> String {
    let failures = lab.state().map(|state| state.failures.join("; ")).unwrap_or_default();
    format!("asked for {target}, the primary is {primary}; failures: {failures}")
}
