//! Explores with the settings of the command line: `pgbaton-explore nodes=3 rows=2 faults=2 lapses=1 slips=1 sync=1`.

use std::process::ExitCode;
use std::time::Duration;

use pgbaton::policy::rejoin::Rejoin;
use pgbaton_explore::engine::{Limit, explore};
use pgbaton_explore::fair::{Absent, all_end_well};
use pgbaton_explore::model::{Cluster, Settings};

fn main() -> ExitCode {
    let mut settings = Settings::THREE;
    let mut limit = Limit { states: 50_000_000, time: Duration::from_secs(120) };
    for word in std::env::args().skip(1) {
        if let Err(why) = set(&mut settings, &mut limit, &word) {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    }
    let cluster = Cluster::new(settings);
    let report = explore(&cluster, limit);
    println!("{report}");
    if report.violation.is_some() {
        return ExitCode::FAILURE;
    }
    for absent in [Absent::StayAway, Absent::ComeBack] {
        match all_end_well(&cluster, &report, absent) {
            Ok(ends) => println!("absent nodes {absent:?}: {ends}"),
            Err(violation) => {
                println!("{}:\n{}", violation.what, violation.trace.join("\n"));
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

fn set(settings: &mut Settings, limit: &mut Limit, word: &str) -> Result<(), String> {
    let unknown = || {
        format!(
            "'{word}' is none of nodes= quorum= rows= faults= lapses= slips= stops= constraints= delays= sync= clone= seconds=, with a number"
        )
    };
    let (name, value) = word.split_once('=').ok_or_else(unknown)?;
    let value: u8 = value.parse().map_err(|_| unknown())?;
    match name {
        "nodes" => settings.nodes = value.clamp(2, 4),
        "quorum" => settings.quorum = value,
        "rows" => settings.rows = value.min(7),
        "faults" => settings.faults = value.min(7),
        "lapses" => settings.lapses = value.min(7),
        "slips" => settings.slips = value.min(7),
        "stops" => settings.kinds.stops = value != 0,
        "constraints" => settings.kinds.constraints = value != 0,
        "delays" => settings.kinds.delays = value != 0,
        "sync" => settings.synchronous = value != 0,
        "clone" => settings.rejoin = if value != 0 { Rejoin::Clone } else { Rejoin::Rewind },
        "seconds" => limit.time = Duration::from_secs(value.into()),
        _ => return Err(unknown()),
    }
    Ok(())
}
