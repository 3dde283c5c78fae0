//! `lab bench`: this agent beside the two others, in the same lab, under the same client.

pub(crate) mod contender;
mod cost;
mod goals;
mod in_node;
mod outage;
mod report;
mod series;
mod stage;
mod trace;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;

pub(crate) use in_node::{AgentArgs, StubArgs, become_agent, measure_agent};

use crate::cluster::build;
use crate::error::{Doing, Result};
use contender::Contender;
use outage::Outcome;
use report::{Findings, Table};
use stage::Stage;

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Rounds of each outage
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Which agents, parted by commas
    #[arg(long, value_delimiter = ',', value_enum)]
    agents: Vec<Contender>,
    /// Which measures, parted by commas
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Measure>,
    /// A tree made by `make install DESTDIR=DIR`, copied into every node
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    Monitor,
    Switchover,
    ColdStart,
    Crash,
    NodeLoss,
}

impl Measure {
    const ALL: [Self; 5] = [Self::Monitor, Self::Switchover, Self::ColdStart, Self::Crash, Self::NodeLoss];

    fn title(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Switchover => "switchover",
            Self::ColdStart => "cold start",
            Self::Crash => "crash",
            Self::NodeLoss => "node loss",
        }
    }

    /// The shell agent's cold start is long and even: three rounds of it have to do.
    fn rounds(self, contender: Contender, asked: usize) -> usize {
        match (self, contender) {
            (Self::ColdStart, Contender::Shell) => asked.min(3),
            _ => asked,
        }
    }
}

/// Measures, prints the table, writes the JSON file after every step: a run that is broken off is not lost.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let agents = or_all(&args.agents, &Contender::ALL);
    let measures = or_all(&args.only, &Measure::ALL);
    let install = match &args.install {
        Some(dir) => Some(dir.canonicalize().doing(|| format!("find {}", dir.display()))?),
        None => None,
    };
    let mut table = Table::new(install.as_deref());
    for contender in agents {
        let mut stage = Stage::new(contender, install.as_deref())?;
        for measure in &measures {
            measure_one(&mut stage, *measure, args.rounds, table.findings(contender));
            table.note_versions();
            table.save()?;
        }
    }
    println!("\n{table}");
    build::down()?;
    Ok(ExitCode::SUCCESS)
}

fn or_all<T: Copy + Ord>(asked: &[T], all: &[T]) -> Vec<T> {
    let mut chosen = if asked.is_empty() { all.to_vec() } else { asked.to_vec() };
    chosen.sort();
    chosen
}

fn measure_one(stage: &mut Stage, measure: Measure, rounds: usize, findings: &mut Findings) {
    let rounds = measure.rounds(stage.contender, rounds);
    if measure == Measure::Monitor {
        let costs = twice(stage, measure, "", findings, cost::measure);
        findings.costs = costs;
        return;
    }
    for round in 0..rounds {
        let phase = fraction(round, rounds);
        let name = format!(" {}/{rounds}", round + 1);
        let outcome = twice(stage, measure, &name, findings, |stage| match measure {
            Measure::Switchover => outage::switchover(stage),
            Measure::ColdStart => outage::cold_start(stage),
            Measure::Crash => outage::crash(stage, phase),
            Measure::NodeLoss | Measure::Monitor => outage::node_loss(stage),
        });
        if let Some(outcome) = outcome {
            println!("    {}{name}: {}", measure.title(), told(&outcome));
            findings.add(measure, &outcome);
        }
    }
}

/// The middle of the round's share of the whole.
fn fraction(round: usize, rounds: usize) -> f64 {
    let (round, rounds) = (u32::try_from(round).unwrap_or_default(), u32::try_from(rounds).unwrap_or(1));
    (f64::from(round) + 0.5) / f64::from(rounds)
}

/// A round that fails is told and tried once more, in a new cluster.
fn twice<T>(
    stage: &mut Stage,
    measure: Measure,
    name: &str,
    findings: &mut Findings,
    round: impl Fn(&mut Stage) -> Result<T>,
) -> Option<T> {
    for attempt in 1..=2 {
        let start = Instant::now();
        match round(stage) {
            Ok(outcome) => {
                println!(
                    "{}: {}{name} ({:.0} s)",
                    stage.contender.title(),
                    measure.title(),
                    start.elapsed().as_secs_f64()
                );
                return Some(outcome);
            }
            Err(error) => {
                println!("{}: {}{name}, attempt {attempt} failed: {error}", stage.contender.title(), measure.title());
                findings.failed(measure, &error.to_string());
                stage.spoil();
            }
        }
    }
    None
}

fn told(outcome: &Outcome) -> String {
    let part = outcome.part.map(|part| format!(", of which {part:.0} ms")).unwrap_or_default();
    let missing = if outcome.missing > 0 { format!(", {} rows missing", outcome.missing) } else { String::new() };
    format!("{:.0} ms{part}{missing}", outcome.whole)
}
