//! What was found, as a table for people and as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::Measure;
use super::contender::Contender;
use super::cost::Costs;
use super::goals::{self, Goal};
use super::outage::Outcome;
use super::series::Series;
use crate::cluster::node_shell::check_on;
use crate::error::{Doing, Result};
use crate::paths;
use crate::plan::Plan;

const FILE: &str = "bench.json";
const PACKAGES: [&str; 5] = ["corosync", "pacemaker", "postgresql", "resource-agents", "resource-agents-paf"];

/// Everything about one agent.
#[derive(Debug, Default, Serialize)]
pub(super) struct Findings {
    pub(super) costs: Option<Costs>,
    pub(super) outages_ms: BTreeMap<Measure, Series>,
    /// After the fencing request, or after the cluster has formed.
    pub(super) parts_ms: BTreeMap<Measure, Series>,
    /// Acknowledged rows that the survivor lacked, over all rounds.
    missing_rows: BTreeMap<Measure, usize>,
    failures: BTreeMap<Measure, Vec<String>>,
}

impl Findings {
    pub(super) fn add(&mut self, measure: Measure, outcome: &Outcome) {
        self.outages_ms.entry(measure).or_default().values.push(outcome.whole);
        if let Some(part) = outcome.part {
            self.parts_ms.entry(measure).or_default().values.push(part);
        }
        *self.missing_rows.entry(measure).or_default() += outcome.missing;
    }

    pub(super) fn failed(&mut self, measure: Measure, reason: &str) {
        self.failures.entry(measure).or_default().push(reason.to_owned());
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Table {
    pub(super) agents: BTreeMap<Contender, Findings>,
    versions: Vec<String>,
    pub(super) binary_bytes: Option<u64>,
}

/// A line of the table: what it shows, and where that is found.
type Row = (&'static str, fn(Contender, &Findings) -> Option<String>);

const ROWS: &[Row] = &[
    ("monitor on a standby: wall ms", |_, found| costs(found, |costs| costs.standby.wall_ms.to_string())),
    ("... CPU ms, mean", |_, found| costs(found, |costs| costs.standby.cpu_ms.mean_text())),
    ("... programs executed", |_, found| costs(found, |costs| costs.standby.programs.to_string())),
    ("... resident memory of the agent, MB", |_, found| costs(found, |costs| megabytes(costs.standby.resident_kb))),
    ("monitor on the primary: wall ms", |_, found| costs(found, |costs| costs.primary.wall_ms.to_string())),
    ("... CPU ms, mean", |_, found| costs(found, |costs| costs.primary.cpu_ms.mean_text())),
    ("... programs executed", |_, found| costs(found, |costs| costs.primary.programs.to_string())),
    ("... resident memory of the agent, MB", |_, found| costs(found, |costs| megabytes(costs.primary.resident_kb))),
    ("all monitors of a minute, three nodes: CPU ms", |contender, found| {
        let minute = found.costs.as_ref()?.cpu_ms_per_minute(contender)?;
        let (promoted, unpromoted) = (contender.promoted_interval(), contender.unpromoted_interval());
        Some(format!("{minute:.0} (at {promoted} s / {unpromoted} s)"))
    }),
    ("switchover: longest write outage, ms", |_, found| outage(found, Measure::Switchover)),
    ("SIGKILL of all of the primary's processes, ms", |_, found| outage(found, Measure::Crash)),
    ("power loss of the primary's node, ms", |_, found| outage(found, Measure::NodeLoss)),
    ("... of which after the fencing request", |_, found| part(found, Measure::NodeLoss)),
    ("cold start: power on to first write, ms", |_, found| outage(found, Measure::ColdStart)),
    ("... of which after all nodes are online", |_, found| part(found, Measure::ColdStart)),
    ("acknowledged rows missing, all rounds", |_, found| match found.missing_rows.is_empty() {
        true => None,
        false => Some(found.missing_rows.values().sum::<usize>().to_string()),
    }),
];

impl Table {
    pub(super) fn new(install: Option<&Path>) -> Self {
        let binary = install.map(|tree| tree.join("usr/sbin/pgbaton"));
        let binary_bytes = binary.and_then(|path| fs::metadata(path).ok()).map(|file| file.len());
        Self { agents: BTreeMap::new(), versions: Vec::new(), binary_bytes }
    }

    pub(super) fn findings(&mut self, contender: Contender) -> &mut Findings {
        self.agents.entry(contender).or_default()
    }

    /// The versions of what is compared, from a node of the lab that is up.
    pub(super) fn note_versions(&mut self) {
        if !self.versions.is_empty() {
            return;
        }
        let ask = [&["dpkg-query", "--show", "--showformat=${Package} ${Version}\n"][..], &PACKAGES[..]].concat();
        let first = Plan::load().ok().and_then(|plan| plan.cluster_nodes().next().map(|node| node.name.clone()));
        // A heading without versions is better than no table.
        let text = first.and_then(|node| check_on(&node, &ask).ok()).unwrap_or_default();
        self.versions = text.lines().map(str::to_owned).collect();
    }

    pub(super) fn save(&self) -> Result<()> {
        let path = paths::lab().join(FILE);
        let goals = goals::judge(self);
        let whole = serde_json::json!({ "found": self, "goals": goals });
        let text = serde_json::to_vec_pretty(&whole).doing(|| "write the findings".to_owned())?;
        fs::write(&path, text).doing(|| format!("write {}", path.display()))
    }

    fn write_row(&self, f: &mut fmt::Formatter<'_>, (title, read): &Row) -> fmt::Result {
        write!(f, "| {title} |")?;
        for (contender, found) in &self.agents {
            write!(f, " {} |", read(*contender, found).unwrap_or_else(|| "not measured".to_owned()))?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.versions.join(", "))?;
        let titles: Vec<_> = self.agents.keys().map(|contender| contender.title()).collect();
        writeln!(f, "| median (min to max) | {} |", titles.join(" | "))?;
        writeln!(f, "|---|{}", "---|".repeat(titles.len()))?;
        ROWS.iter().try_for_each(|row| self.write_row(f, row))?;
        if let Some(bytes) = self.binary_bytes {
            writeln!(f, "\npgbaton's binary: {bytes} bytes")?;
        }
        writeln!(f)?;
        for (contender, found) in &self.agents {
            for remark in contender.remarks() {
                writeln!(f, "- {}: {remark}", contender.title())?;
            }
            for (measure, reasons) in &found.failures {
                for reason in reasons {
                    let reason: String = reason.chars().take(300).collect();
                    writeln!(f, "- {}: a round of {} failed: {reason}", contender.title(), measure.title())?;
                }
            }
        }
        writeln!(f, "\n| goal | value | |\n|---|---|---|")?;
        goals::judge(self).iter().try_for_each(|goal| write_goal(f, goal))
    }
}

fn write_goal(f: &mut fmt::Formatter<'_>, goal: &Goal) -> fmt::Result {
    let verdict = match goal.met {
        Some(true) => "met",
        Some(false) => "NOT MET",
        None => "not measured",
    };
    writeln!(f, "| {} | {} | {verdict} |", goal.what, goal.value.as_deref().unwrap_or("–"))
}

fn costs(found: &Findings, read: impl Fn(&Costs) -> String) -> Option<String> {
    found.costs.as_ref().map(read)
}

fn outage(found: &Findings, measure: Measure) -> Option<String> {
    found.outages_ms.get(&measure).map(Series::to_string)
}

fn part(found: &Findings, measure: Measure) -> Option<String> {
    found.parts_ms.get(&measure).map(Series::to_string)
}

fn megabytes(kilobytes: u64) -> String {
    format!("{:.1}", megabytes_of(kilobytes))
}

pub(super) fn megabytes_of(kilobytes: u64) -> f64 {
    f64::from(u32::try_from(kilobytes).unwrap_or(u32::MAX)) / 1024.0
}
