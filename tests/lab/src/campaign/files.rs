//! What a campaign leaves on disk.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::record::{Campaign, Finding, Round};
use super::report::Summary;
use crate::error::{Doing, Result};
use crate::harness::{Lab, evidence};

/// Every round as soon as it is over, one per line: a campaign that is broken off is not lost.
const ROUNDS: &str = "rounds.jsonl";
/// All rounds, when all are over: what the checker decides from.
pub(super) const RECORD: &str = "campaign.json";
/// What came of them, readable by other programs.
pub(super) const REPORT: &str = "report.json";

/// The directory of one campaign.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    rounds: File,
    /// The time of day that the campaign's clock began at.
    began: SystemTime,
}

impl Files {
    /// An empty directory: what an earlier campaign of the same name left is removed.
    pub(super) fn create(dir: &Path) -> Result<Self> {
        // Most often there is none.
        let _ = fs::remove_dir_all(dir);
        fs::create_dir_all(dir).doing(|| format!("make {}", dir.display()))?;
        let path = dir.join(ROUNDS);
        let rounds = File::create(&path).doing(|| format!("make {}", path.display()))?;
        Ok(Self { dir: dir.to_owned(), rounds, began: SystemTime::now() })
    }

    pub(super) fn note(&mut self, round: &Round) -> Result<()> {
        let text = serde_json::to_string(round).doing(|| "write a round".to_owned())?;
        writeln!(self.rounds, "{text}").doing(|| format!("write {}", self.dir.join(ROUNDS).display()))
    }

    /// The evidence of what was found in one round: a campaign of that round alone, and the nodes' logs. Gives back where.
    pub(super) fn keep(&self, lab: &Lab, campaign: &Campaign, number: usize, findings: &[Finding]) -> Result<PathBuf> {
        let dir = self.dir.join(format!("round-{number}"));
        let reason: String =
            findings.iter().map(|finding| format!("{:?}: {}\n", finding.verdict, finding.text)).collect();
        let began = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let what =
            format!("seed {}, round {number}; 0 in the history is {began:.3} seconds of the epoch", campaign.seed);
        evidence::keep_in(lab, &dir, &format!("{what}\n{reason}"))?;
        write(&dir.join(RECORD), campaign)?;
        Ok(dir)
    }

    /// The whole campaign in one file, in the place of its rounds.
    pub(super) fn finish(&self, campaign: &Campaign) -> Result<()> {
        write(&self.dir.join(RECORD), campaign)?;
        let rounds = self.dir.join(ROUNDS);
        fs::remove_file(&rounds).doing(|| format!("remove {}", rounds.display()))
    }
}

/// The table, the same as JSON, and the picture.
pub(super) fn write_report(dir: &Path, summary: &Summary) -> Result<()> {
    for (name, text) in [("report.md", summary.markdown()), (REPORT, summary.json()?), ("report.svg", summary.svg())] {
        let path = dir.join(name);
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn write(path: &Path, campaign: &Campaign) -> Result<()> {
    let file = File::create(path).doing(|| format!("make {}", path.display()))?;
    serde_json::to_writer(std::io::BufWriter::new(file), campaign).doing(|| format!("write {}", path.display()))
}
