//! What this agent wants to reach, and whether it does.

use serde::Serialize;

use super::Measure;
use super::contender::Contender;
use super::report::{Findings, Table, megabytes_of};
use super::series::Series;

#[derive(Debug, Serialize)]
pub(super) struct Goal {
    pub(super) what: String,
    pub(super) value: Option<String>,
    /// None when what it needs was not measured.
    pub(super) met: Option<bool>,
}

const BINARY_BYTES: u64 = 2_000_000;
const RESIDENT_MB: f64 = 8.0;
const STANDBY_WALL_MS: f64 = 15.0;
const CRASH_MS: f64 = 3000.0;
const MONITOR_CPU: f64 = 0.1;

pub(super) fn judge(table: &Table) -> Vec<Goal> {
    let mut goals = Vec::new();
    for rival in [Contender::Paf, Contender::Shell] {
        goals.push(monitor_cpu(table, rival, "a standby", |found| cpu(found, false)));
        goals.push(monitor_cpu(table, rival, "the primary", |found| cpu(found, true)));
    }
    let wall = of(table, Contender::Pgbaton).and_then(|found| found.costs.as_ref()?.standby.wall_ms.median());
    goals.push(at_most("monitor on a standby, wall ms", wall, STANDBY_WALL_MS));
    goals.push(ratio_to_paf(table, "switchover outage", 0.4, |found| median(&found.outages_ms, Measure::Switchover)));
    let after_fencing = "node loss, from the fencing request to the first acknowledged write";
    goals.push(ratio_to_paf(table, after_fencing, 0.4, |found| median(&found.parts_ms, Measure::NodeLoss)));
    let cold = "cold start, from all nodes online to the first write";
    goals.push(ratio_to_paf(table, cold, 0.6, |found| median(&found.parts_ms, Measure::ColdStart)));
    let crash = of(table, Contender::Pgbaton).and_then(|found| median(&found.outages_ms, Measure::Crash));
    goals.push(at_most("crash of the primary's server, monitors every 2 s, ms", crash, CRASH_MS));
    goals.push(minute(table));
    goals.push(binary(table));
    goals.push(resident(table));
    goals
}

fn monitor_cpu(table: &Table, rival: Contender, whose: &str, read: impl Fn(&Findings) -> Option<f64>) -> Goal {
    let what = format!("monitor on {whose}: CPU against {}", rival.title());
    goal_of_ratio(table, rival, what, MONITOR_CPU, read)
}

fn ratio_to_paf(table: &Table, what: &str, limit: f64, read: impl Fn(&Findings) -> Option<f64>) -> Goal {
    goal_of_ratio(table, Contender::Paf, format!("{what}, against PAF"), limit, read)
}

fn goal_of_ratio(
    table: &Table,
    rival: Contender,
    what: String,
    limit: f64,
    read: impl Fn(&Findings) -> Option<f64>,
) -> Goal {
    let of = |contender| of(table, contender).and_then(&read);
    let ratio = of(Contender::Pgbaton).zip(of(rival)).map(|(ours, theirs)| ours / theirs);
    Goal {
        what: format!("{what}: at most {limit}"),
        value: ratio.map(|ratio| format!("{ratio:.3}")),
        met: ratio.map(|ratio| ratio <= limit),
    }
}

fn at_most(what: &str, value: Option<f64>, limit: f64) -> Goal {
    Goal {
        what: format!("{what}: at most {limit}"),
        value: value.map(|value| format!("{value:.1}")),
        met: value.map(|value| value <= limit),
    }
}

fn minute(table: &Table) -> Goal {
    let of = |contender| of(table, contender)?.costs.as_ref()?.cpu_ms_per_minute(contender);
    let both = of(Contender::Pgbaton).zip(of(Contender::Paf));
    Goal {
        what: "all monitors of a minute: less CPU than PAF's at 15 s / 16 s".to_owned(),
        value: both.map(|(ours, theirs)| format!("{ours:.0} ms against {theirs:.0} ms")),
        met: both.map(|(ours, theirs)| ours < theirs),
    }
}

fn binary(table: &Table) -> Goal {
    Goal {
        what: format!("binary: below {BINARY_BYTES} bytes"),
        value: table.binary_bytes.map(|bytes| bytes.to_string()),
        met: table.binary_bytes.map(|bytes| bytes < BINARY_BYTES),
    }
}

fn resident(table: &Table) -> Goal {
    let costs = of(table, Contender::Pgbaton).and_then(|found| found.costs.as_ref());
    let most = costs.map(|costs| megabytes_of(costs.standby.resident_kb.max(costs.primary.resident_kb)));
    Goal {
        what: format!("resident: below {RESIDENT_MB} MB"),
        value: most.map(|most| format!("{most:.1} MB")),
        met: most.map(|most| most < RESIDENT_MB),
    }
}

fn of(table: &Table, contender: Contender) -> Option<&Findings> {
    table.agents.get(&contender)
}

fn cpu(found: &Findings, primary: bool) -> Option<f64> {
    let costs = found.costs.as_ref()?;
    let cost = if primary { &costs.primary } else { &costs.standby };
    cost.cpu_ms.mean()
}

fn median(series: &std::collections::BTreeMap<Measure, Series>, measure: Measure) -> Option<f64> {
    series.get(&measure)?.median()
}
