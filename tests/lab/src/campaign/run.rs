//! `lab campaign`: rounds until there are enough faults, or the time is over.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::fault::{Fault, Kind};
use super::files::{self, Files};
use super::outage::outage_ms;
use super::record::{Campaign, Finding, Round};
use super::report::Summary;
use super::round::{self, Played};
use super::{Clock, checker, draw, load, sequences};
use crate::bench::contender::Contender;
use crate::cluster::build::Wish;
use crate::error::{Doing, Result, unexpected};
use crate::harness::{Lab, full_strength};
use crate::paths;
use crate::profile::{Commits, Nodes, Profile};

const FAULTS: usize = 20;
/// Rounds in a row that could not be played, or made no fault: then something else is wrong.
const FRUITLESS_ROUNDS: usize = 5;
/// Whether nodes need a clock of their own is seen in so many rounds: each kind comes once in 26 faults.
const ROUNDS_LOOKED_AT: usize = 100;
/// After that many rounds the clients' table is emptied, so that looks at it stay cheap.
const ROUNDS_PER_TABLE: usize = 20;
/// A longer one is no finding, and more than any fault explains: its logs are kept.
const LONG_OUTAGE_MS: u64 = 20_000;
/// After the failures of a round were forgotten, Pacemaker looks at the resources anew.
const FORGET_LIMIT: Duration = Duration::from_secs(60);
const TWO_NODES: &str = "two-nodes-qdevice";
/// The clients' looks at their rows, and the aftermath's, would read the whole table without it.
const INDEX: &str = "create index if not exists rows_by_client on lab.rows(client, n)";

#[derive(Debug, Args)]
pub(crate) struct CampaignArgs {
    /// Repeats the faults of a run; without it one is drawn
    #[arg(long)]
    seed: Option<u64>,
    /// So many faults (20 unless minutes are given)
    #[arg(long, conflicts_with = "minutes")]
    faults: Option<usize>,
    /// No new round begins after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Only rounds with faults of these kinds, parted by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// The resource agent to run
    #[arg(long, value_enum, default_value = "pgbaton")]
    agent: Agent,
    /// What the cluster is like: drawn by the seed, plain, another name, or choices like slots=yes,rejoin=clone
    #[arg(long, default_value = "drawn", value_parser = Wanted::read)]
    profile: Wanted,
    /// How many nodes, whatever the profile says: 3, 5, or 2 with a quorum device
    #[arg(long, value_enum)]
    nodes: Option<NodeCount>,
    /// Commits wait for a standby, whatever the profile says
    #[arg(long)]
    synchronous: bool,
    /// What rounds do without, parted by commas
    #[arg(long, value_enum, value_delimiter = ',')]
    without: Vec<Extra>,
    /// A tree made by `make install DESTDIR=DIR`, copied into every node
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
    /// Where the results go (target/lab/campaign/AGENT-SEED unless given)
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A profile, or that one is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Drawn,
    This(Profile),
}

impl Wanted {
    fn read(text: &str) -> std::result::Result<Self, String> {
        match text {
            "drawn" => Ok(Self::Drawn),
            text => text.parse().map(Self::This),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum NodeCount {
    #[value(name = "2")]
    Two,
    #[value(name = "3")]
    Three,
    #[value(name = "5")]
    Five,
}

/// What makes rounds harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Extra {
    /// A load that turns the WAL over
    Load,
    /// Slips of administrators
    Slips,
    /// Faults before full strength is back
    Sequences,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Agent {
    Pgbaton,
    Pgsqlms,
    Pgsql,
}

impl Agent {
    fn name(self) -> &'static str {
        match self {
            Self::Pgbaton => "pgbaton",
            Self::Pgsqlms => "pgsqlms",
            Self::Pgsql => "pgsql",
        }
    }

    fn contender(self) -> Contender {
        match self {
            Self::Pgbaton => Contender::Pgbaton,
            Self::Pgsqlms => Contender::Paf,
            Self::Pgsql => Contender::Shell,
        }
    }
}

/// The cluster that the rounds are played in, and what was found.
struct Runner {
    wish: Wish,
    clock: Clock,
    lab: Option<Lab>,
    campaign: Campaign,
    findings: Vec<Finding>,
    files: Files,
}

/// Ends with an error code when something was found.
pub(crate) fn run(args: &CampaignArgs) -> Result<ExitCode> {
    let seed = args.seed.map_or_else(draw_seed, Ok)?;
    let profile = profile(args, seed)?;
    println!("seed {seed}, profile {profile}");
    let name = format!("{}-{seed}", args.agent.name());
    let dir = args.out.clone().unwrap_or_else(|| paths::lab().join("campaign").join(name));
    let wish = wish(args, profile)?;
    let mut runner = Runner {
        clock: Clock::start(),
        lab: None,
        campaign: empty(args, seed, &wish),
        wish,
        findings: Vec::new(),
        files: Files::create(&dir)?,
    };
    let ending = runner.play_all(args);
    runner.conclude()?;
    ending?;
    Ok(if runner.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn empty(args: &CampaignArgs, seed: u64, wish: &Wish) -> Campaign {
    let (agent, profile, nodes) = (args.agent.name().to_owned(), wish.profile, wish.nodes.clone());
    Campaign { seed, agent, nodes, synchronous: profile.is_synchronous(), profile, rounds: Vec::new() }
}

/// Only this agent has parameters for all of them: the others' definitions are for three plain nodes.
fn profile(args: &CampaignArgs, seed: u64) -> Result<Profile> {
    let mut profile = match (args.profile, args.agent) {
        (Wanted::This(profile), _) => profile,
        (Wanted::Drawn, Agent::Pgbaton) => Profile::draw(seed),
        (Wanted::Drawn, Agent::Pgsqlms | Agent::Pgsql) => Profile::default(),
    };
    if let Some(count) = args.nodes {
        profile.nodes = match count {
            NodeCount::Two => Nodes::Two,
            NodeCount::Three => Nodes::Three,
            NodeCount::Five => Nodes::Five,
        };
    }
    if args.synchronous {
        profile.commits = Commits::Any;
    }
    match profile.clash() {
        Some(reason) => unexpected(format!("the profile {profile} cannot be had: {reason}")),
        None if args.agent != Agent::Pgbaton && !profile.is_for_any_agent() => {
            unexpected(format!("only pgbaton has a definition for the profile {profile}"))
        }
        None => Ok(profile),
    }
}

/// Short enough to be typed.
fn draw_seed() -> Result<u64> {
    let mut bytes = [0; 4];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .doing(|| "draw a seed".to_owned())?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}

fn wish(args: &CampaignArgs, profile: Profile) -> Result<Wish> {
    let install = match &args.install {
        Some(dir) => Some(dir.canonicalize().doing(|| format!("find {}", dir.display()))?),
        None => None,
    };
    let mut wish = args.agent.contender().wish(install.as_deref())?;
    wish.nodes = (1..=profile.nodes.count()).map(|number| format!("srv{number}")).collect();
    if profile.nodes == Nodes::Two {
        TWO_NODES.clone_into(&mut wish.example);
    }
    wish.profile = profile;
    Ok(wish)
}

impl Runner {
    fn play_all(&mut self, args: &CampaignArgs) -> Result<()> {
        let deadline = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
        let wanted = args.faults.unwrap_or(if deadline.is_some() { usize::MAX } else { FAULTS });
        let (mut made, mut fruitless) = (0, 0);
        // Programs are a little slower for it.
        self.wish.clocks =
            self.wanted_rounds(args).take(wanted.min(ROUNDS_LOOKED_AT)).any(|(_, faults)| sets_a_clock(&faults));
        for (number, faults) in self.wanted_rounds(args) {
            if made >= wanted || deadline.is_some_and(|deadline| Instant::now() > deadline) {
                break;
            }
            let lab = self.lab(number)?;
            let load = match args.without.contains(&Extra::Load) {
                true => 0,
                false => load::megabytes(self.campaign.seed, number, &faults),
            };
            let count = match round::play(&lab, self.clock, number, &faults, load) {
                Ok(played) => self.judge(&lab, played)?,
                Err(error) => {
                    println!("round {number}: {faults:?} could not be played: {error}");
                    self.lab = None;
                    0
                }
            };
            made += count;
            fruitless = if count == 0 { fruitless + 1 } else { 0 };
            if fruitless == FRUITLESS_ROUNDS {
                return unexpected(format!("{fruitless} rounds in a row without a fault"));
            }
        }
        Ok(())
    }

    /// Those that were asked for, with their numbers.
    fn wanted_rounds<'a>(&self, args: &'a CampaignArgs) -> impl Iterator<Item = (usize, Vec<Fault>)> + 'a {
        let is_wanted = |faults: &[Fault]| args.only.is_empty() || faults.iter().all(|f| args.only.contains(&f.kind));
        (1..).zip(self.rounds(args)).filter(move |(_, faults)| is_wanted(faults))
    }

    /// What the seed draws, and how hard it is made.
    fn rounds(&self, args: &CampaignArgs) -> Box<dyn Iterator<Item = Vec<Fault>>> {
        let (seed, nodes) = (self.campaign.seed, self.wish.nodes.len());
        let mut rounds: Box<dyn Iterator<Item = Vec<Fault>>> = Box::new(draw::draw(seed, nodes));
        // The slips are this agent's promises.
        if !args.without.contains(&Extra::Slips) && args.agent == Agent::Pgbaton {
            rounds = Box::new(sequences::with_slips(seed, nodes.saturating_sub(1), rounds));
        }
        if !args.without.contains(&Extra::Sequences) {
            rounds = Box::new(sequences::sequences(seed, rounds));
        }
        rounds
    }

    /// The lab at full strength. Between rounds nobody puts a hand to it, unless the round before left it broken.
    fn lab(&mut self, number: usize) -> Result<Lab> {
        let lab = match self.lab.take() {
            Some(lab) => lab,
            None => {
                let lab = full_strength::reach(&self.wish)?;
                lab.sql(&lab.primary()?, INDEX)?;
                full_strength::wait_for(&lab, FORGET_LIMIT)?;
                lab
            }
        };
        if number % ROUNDS_PER_TABLE == 0 {
            lab.sql(&lab.primary()?, "truncate lab.rows")?;
        }
        lab.constrain()?;
        lab.trim_archive()?;
        self.lab = Some(lab.clone());
        Ok(lab)
    }

    /// Checks one round, keeps the evidence of what was found, and says how many faults it made.
    fn judge(&mut self, lab: &Lab, played: Played) -> Result<usize> {
        let Played { round, small_volume } = played;
        let (number, made) = (round.number, round.made());
        let is_healed = round.aftermath.healed_after.is_some();
        let has_failures = !round.aftermath.failures.is_empty();
        self.files.note(&round)?;
        let alone = self.alone(round);
        let findings = checker::check(&alone);
        for round in &alone.rounds {
            println!("round {number}: {}: {}", round.told(outage_ms(&alone, round)), verdicts(&findings));
        }
        let is_long = |round: &Round| outage_ms(&alone, round).is_some_and(|outage| outage > LONG_OUTAGE_MS);
        if !findings.is_empty() || !is_healed || alone.rounds.iter().any(is_long) {
            let dir = self.files.keep(lab, &alone, number, &findings)?;
            println!("    evidence: {}", dir.display());
        }
        self.campaign.rounds.extend(alone.rounds);
        if !is_healed || tidy_up(lab, small_volume.as_deref(), has_failures).is_err() {
            self.lab = None;
        }
        Ok(made)
    }

    fn alone(&self, round: Round) -> Campaign {
        let Campaign { seed, agent, nodes, synchronous, profile, .. } = &self.campaign;
        let (agent, nodes) = (agent.clone(), nodes.clone());
        Campaign { seed: *seed, agent, nodes, synchronous: *synchronous, profile: *profile, rounds: vec![round] }
    }

    /// Checks the whole, and writes everything.
    fn conclude(&mut self) -> Result<()> {
        self.files.finish(&self.campaign)?;
        self.findings = checker::check(&self.campaign);
        files::write_report(&self.files.dir, &Summary::of(&self.campaign, &self.findings))?;
        for finding in &self.findings {
            println!("FOUND   round {}, {:?}: {}", finding.round, finding.verdict, finding.text);
        }
        let faults: usize = self.campaign.rounds.iter().map(Round::made).sum();
        println!(
            "{faults} faults in {} rounds, {} findings; seed {}, profile {}, results in {}",
            self.campaign.rounds.len(),
            self.findings.len(),
            self.campaign.seed,
            self.campaign.profile,
            self.files.dir.display()
        );
        Ok(())
    }
}

fn sets_a_clock(faults: &[Fault]) -> bool {
    faults.iter().any(|fault| fault.kind == Kind::ClockSet)
}

fn verdicts(findings: &[Finding]) -> String {
    match findings {
        [] => "nothing found".to_owned(),
        findings => findings
            .iter()
            .map(|finding| format!("{:?}: {}", finding.verdict, finding.text))
            .collect::<Vec<_>>()
            .join("; "),
    }
}

/// What is in the record is taken away: listed failures, and the small volume. No instance is touched otherwise.
fn tidy_up(lab: &Lab, small_volume: Option<&str>, has_failures: bool) -> Result<()> {
    if has_failures {
        lab.clean_up_failures()?;
    }
    if let Some(node) = small_volume {
        lab.take_wal_volume_back(node)?;
    }
    match has_failures || small_volume.is_some() {
        true => full_strength::wait_for(lab, FORGET_LIMIT),
        false => Ok(()),
    }
}
