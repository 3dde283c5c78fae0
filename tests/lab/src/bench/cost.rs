//! What one monitor costs, in the environment that Pacemaker gives it.

use std::time::Duration;

use roxmltree::Document;
use serde::Serialize;

use super::contender::Contender;
use super::in_node::Runs;
use super::series::Series;
use super::stage::{Stage, wait_until_idle};
use crate::cluster::node_shell::run_on;
use crate::cluster::state::RESOURCE;
use crate::error::{Doing, Error, Result, unexpected};
use crate::harness::Lab;
use crate::paths;

const RUNS: usize = 15;
const LIMIT: Duration = Duration::from_secs(120);
/// Between two monitors of a primary: pgbaton's interval. An agent that does not ask the same each time is measured at the
/// pace that it runs at.
const PACE_MS: &str = "2000";
const RUNNING: i32 = 0;
const RUNNING_PROMOTED: i32 = 8;

/// One kind of monitor.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Cost {
    pub(super) wall_ms: Series,
    pub(super) cpu_ms: Series,
    pub(super) programs: usize,
    pub(super) names: Vec<String>,
    pub(super) resident_kb: u64,
}

/// The monitors of both roles.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Costs {
    pub(super) standby: Cost,
    pub(super) primary: Cost,
}

impl Costs {
    /// CPU of all monitors of a three-node cluster in one minute.
    pub(super) fn cpu_ms_per_minute(&self, contender: Contender) -> Option<f64> {
        let per_minute = |interval: u32| 60.0 / f64::from(interval);
        let primary = self.primary.cpu_ms.mean()? * per_minute(contender.promoted_interval());
        let standbys = 2.0 * self.standby.cpu_ms.mean()? * per_minute(contender.unpromoted_interval());
        Some(primary + standbys)
    }
}

/// Measures with Pacemaker's own monitors at rest: nothing else runs the agent meanwhile.
pub(super) fn measure(stage: &mut Stage) -> Result<Costs> {
    let lab = stage.lab()?;
    let (primary, standby) = (lab.primary()?, lab.a_standby()?);
    let maintenance = ["crm_attribute", "--type", "crm_config", "--name", "maintenance-mode"];
    lab.run_somewhere(&[&maintenance[..], &["--update", "true"]].concat())?;
    wait_until_idle(&primary)?;
    let costs = || -> Result<Costs> {
        Ok(Costs {
            standby: cost(&lab, stage.contender, &standby, RUNNING)?,
            primary: cost(&lab, stage.contender, &primary, RUNNING_PROMOTED)?,
        })
    };
    let costs = costs();
    lab.run_somewhere(&[&maintenance[..], &["--delete"]].concat())?;
    costs
}

fn cost(lab: &Lab, contender: Contender, node: &str, code: i32) -> Result<Cost> {
    let promoted = code == RUNNING_PROMOTED;
    let runs = RUNS.to_string();
    let pace = if promoted { PACE_MS } else { "0" };
    let result = run(lab, contender, node, promoted, &["--runs", &runs, "--pace-ms", pace, "--trace"])?;
    if result.code != code {
        return unexpected(format!("monitor on {node} ended with {}, expected was {code}", result.code));
    }
    let trace = result.trace.unwrap_or_default();
    Ok(Cost {
        wall_ms: Series::of(result.wall_ms),
        cpu_ms: Series::of(result.cpu_ms),
        programs: trace.programs,
        names: trace.names,
        resident_kb: trace.resident_kb,
    })
}

/// One monitor of the primary by hand.
pub(super) fn run_monitor(lab: &Lab, contender: Contender, primary: &str) -> Result<()> {
    run(lab, contender, primary, true, &["--runs", "0"]).map(drop)
}

fn run(lab: &Lab, contender: Contender, node: &str, promoted: bool, options: &[&str]) -> Result<Runs> {
    let mut command = vec![paths::SELF.to_owned(), "bench-agent".to_owned()];
    command.extend(options.iter().map(|&option| option.to_owned()));
    for variable in environment(lab, contender, node, promoted)? {
        command.extend(["--set".to_owned(), variable]);
    }
    command.extend(["--".to_owned(), contender.program(), "monitor".to_owned()]);
    let command: Vec<_> = command.iter().map(String::as_str).collect();
    let output = run_on(node, &command, LIMIT)?;
    if output.code != 0 {
        return Err(Error::Program {
            command: format!("monitor of {} on {node}", contender.title()),
            code: output.code.to_string(),
            said: output.stderr,
        });
    }
    serde_json::from_str(&output.stdout).doing(|| format!("read what the monitor on {node} cost"))
}

/// What Pacemaker sets for a recurring monitor of a promotable clone.
fn environment(lab: &Lab, contender: Contender, node: &str, promoted: bool) -> Result<Vec<String>> {
    let interval = if promoted { contender.promoted_interval() } else { contender.unpromoted_interval() };
    let mut words = contender.agent().split(':').skip(1);
    let (provider, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut variables = vec![
        "OCF_ROOT=/usr/lib/ocf".to_owned(),
        "OCF_RA_VERSION_MAJOR=1".to_owned(),
        "OCF_RA_VERSION_MINOR=1".to_owned(),
        format!("OCF_RESOURCE_INSTANCE={RESOURCE}"),
        format!("OCF_RESOURCE_PROVIDER={provider}"),
        format!("OCF_RESOURCE_TYPE={name}"),
        "OCF_RESKEY_crm_feature_set=3.16.2".to_owned(),
    ];
    let meta = |name: &str, value: &str| format!("OCF_RESKEY_CRM_meta_{name}={value}");
    let count = lab.nodes().len().to_string();
    variables.extend([
        meta("name", "monitor"),
        meta("interval", &(interval * 1000).to_string()),
        meta("timeout", "10000"),
        meta("on_node", node),
        meta("on_node_uuid", &lab.plan.node(node)?.id.to_string()),
        meta("op_target_rc", if promoted { "8" } else { "0" }),
        meta("role", if promoted { "Promoted" } else { "Unpromoted" }),
        meta("notify", "true"),
        meta("clone", "0"),
        meta("clone_max", &count),
        meta("clone_node_max", "1"),
        meta("globally_unique", "false"),
        meta("promotable", "true"),
    ]);
    variables
        .extend(["promoted_max", "promoted_node_max", "master_max", "master_node_max"].map(|name| meta(name, "1")));
    variables.extend(parameters(lab)?);
    Ok(variables)
}

/// The resource's own parameters, as the cluster knows them.
fn parameters(lab: &Lab) -> Result<Vec<String>> {
    let xml = lab.run_somewhere(&["cibadmin", "--query", "--xpath", &format!("//primitive[@id='{RESOURCE}']")])?;
    let Ok(document) = Document::parse(&xml) else {
        return unexpected(format!("cibadmin printed no XML: '{}'", xml.lines().next().unwrap_or_default()));
    };
    let attributes = document.descendants().filter(|element| element.has_tag_name("instance_attributes"));
    let pairs = attributes
        .flat_map(|set| set.children())
        .filter_map(|pair| Some(format!("OCF_RESKEY_{}={}", pair.attribute("name")?, pair.attribute("value")?)));
    Ok(pairs.collect())
}
