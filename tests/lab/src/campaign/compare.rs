//! `lab campaign-report`: campaigns of several seeds together, and several agents side by side. Where a campaign's record is
//! still there it is checked again, by the checker of today.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::de::DeserializeOwned;

use super::record::Campaign;
use super::report::{self, Summary};
use super::{checker, files};
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

fn read(dir: &Path) -> Result<Summary> {
    let record = dir.join(files::RECORD);
    if !record.exists() {
        return read_json(&dir.join(files::REPORT));
    }
    let campaign: Campaign = read_json(&record)?;
    Ok(Summary::of(&campaign, &checker::check(&campaign)))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).doing(|| format!("read {}", path.display()))?;
    serde_json::from_reader(BufReader::new(file)).doing(|| format!("read {}", path.display()))
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
