//! `lab campaign-report`: campaigns of several seeds together, and several agents side by side.

use std::fs;
use std::path::PathBuf;

use clap::Args;

use super::files;
use super::report::{self, Summary};
use crate::error::{Doing, Result};

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Results of campaigns
    #[arg(required = true)]
    dirs: Vec<PathBuf>,
    /// Where the joined reports go, a directory for each agent
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the agents side by side; one alone gets its whole table.
pub(crate) fn compare(args: &ReportArgs) -> Result<()> {
    let mut joined: Vec<Summary> = Vec::new();
    for dir in &args.dirs {
        join(&mut joined, read(dir)?);
    }
    if let Some(out) = &args.out {
        for summary in &joined {
            let dir = out.join(format!("{}-{}", summary.agent, summary.nodes));
            fs::create_dir_all(&dir).doing(|| format!("make {}", dir.display()))?;
            files::write_report(&dir, summary)?;
        }
    }
    match &joined[..] {
        [one] => print!("{}", one.markdown()),
        several => print!("{}", report::compare(several)),
    }
    Ok(())
}

fn read(dir: &std::path::Path) -> Result<Summary> {
    let path = dir.join("report.json");
    let text = fs::read(&path).doing(|| format!("read {}", path.display()))?;
    serde_json::from_slice(&text).doing(|| format!("read {}", path.display()))
}

/// With those of the same agent and of clusters alike.
fn join(joined: &mut Vec<Summary>, summary: Summary) {
    let is_alike = |there: &Summary| {
        (&there.agent, there.nodes, there.synchronous) == (&summary.agent, summary.nodes, summary.synchronous)
    };
    match joined.iter().position(is_alike) {
        Some(place) => {
            let there = joined.remove(place);
            joined.insert(place, there.joined(summary));
        }
        None => joined.push(summary),
    }
}
