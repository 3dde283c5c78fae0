//! The command line, and what each word of it does.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cluster::build::{self, Wish};
use crate::cluster::node_shell::check_on;
use crate::error::{Doing, Result};
use crate::harness::Lab;
use crate::lock::Lock;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::{bench, campaign, demo, node, sandbox, scenario, switch};

/// A real Pacemaker cluster on one machine: namespaces for nodes, a power switch for fencing.
#[derive(Debug, Parser)]
#[command(name = "lab")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Order,
}

#[derive(Debug, Args)]
pub(crate) struct WishArgs {
    /// Names of the nodes, parted by commas
    #[arg(long, value_delimiter = ',')]
    nodes: Option<Vec<String>>,
    /// The cluster definition of pcs-examples/ to run, without .sh
    #[arg(long, default_value = "three-nodes-vip")]
    example: String,
    /// The resource agent to run
    #[arg(long, default_value = "ocf:pgbaton:postgresql")]
    agent: String,
    /// What the cluster is like: plain, debian, careful, two-nodes, second-site, or choices like slots=yes,rejoin=clone
    #[arg(long, default_value = "plain")]
    profile: Profile,
    /// A tree made by `make install DESTDIR=DIR`, copied into every node
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
    /// Build the cluster and leave it up
    Up(WishArgs),
    /// Show nodes, power, cables and crm_mon
    Status,
    /// Run a command on a node
    Exec {
        node: String,
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Take a node's power
    PowerOff { node: String },
    /// Give a node power
    PowerOn {
        node: String,
        /// Boot without corosync and Pacemaker
        #[arg(long)]
        no_services: bool,
    },
    /// Cut a node from the network
    Cut { node: String },
    /// Connect a node to the network again
    Heal { node: String },
    /// Freeze all processes of a node
    Freeze { node: String },
    /// Thaw a frozen node
    Thaw { node: String },
    /// Show crm_mon
    CrmMon,
    /// Run the writing client for some seconds, and report
    Client {
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// A switchover and the loss of the primary's node under a writing client, with crm_mon before and after
    Demo(WishArgs),
    /// Run the named scenarios, or all
    Scenario {
        names: Vec<String>,
        /// Show the names
        #[arg(long)]
        list: bool,
        /// Without names: leave out those that only repeat at length what others show
        #[arg(long)]
        short: bool,
        #[command(flatten)]
        wish: WishArgs,
    },
    /// Measure this agent and the two others side by side
    Bench(bench::BenchArgs),
    /// Random faults against the cluster, one or two at a time, with clients and a checker
    Campaign(campaign::CampaignArgs),
    /// The results of campaigns together: seeds joined, agents side by side
    CampaignReport(campaign::ReportArgs),
    /// Remove every trace of the lab except the root image
    Down,
    /// Run a command as root in a throw-away system on top of the root image
    Sandbox {
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    SandboxInit {
        #[arg(last = true)]
        command: Vec<String>,
    },
    #[command(hide = true)]
    BenchAgent(bench::AgentArgs),
    #[command(hide = true)]
    BenchStub(bench::StubArgs),
    #[command(hide = true)]
    PowerSwitch,
    #[command(hide = true)]
    NodeBoot(BootArgs),
    #[command(hide = true)]
    NodeInit(BootArgs),
}

#[derive(Debug, Args)]
pub(crate) struct BootArgs {
    node: String,
    #[arg(long, conflicts_with = "no_services")]
    services: bool,
    #[arg(long)]
    no_services: bool,
}

pub(crate) fn obey(order: Order) -> Result<ExitCode> {
    match order {
        Order::Up(wish) => up(wish)?,
        Order::Status => status()?,
        Order::Exec { node, command } => return node::enter::exec(&node, &command),
        Order::PowerOff { node } => say(&format!("off {node}"))?,
        Order::PowerOn { node, no_services: false } => say(&format!("on {node}"))?,
        Order::PowerOn { node, no_services: true } => say(&format!("on-without-services {node}"))?,
        Order::Cut { node } => say(&format!("cut {node}"))?,
        Order::Heal { node } => say(&format!("heal {node}"))?,
        Order::Freeze { node } => switch::group(&node)?.freeze()?,
        Order::Thaw { node } => switch::group(&node)?.thaw()?,
        Order::CrmMon => print!("{}", crm_mon()?),
        Order::Client { seconds } => client(Duration::from_secs(seconds))?,
        Order::Demo(wish) => {
            let _lock = Lock::take()?;
            demo::show(&wish.try_into()?)?;
        }
        Order::Scenario { list: true, .. } => scenario::list(),
        Order::Scenario { names, short, wish, .. } => {
            let _lock = Lock::take()?;
            return scenario::run(&names, short, &wish.try_into()?);
        }
        Order::Bench(args) => {
            let _lock = Lock::take()?;
            return bench::run(&args);
        }
        Order::Campaign(args) => {
            let _lock = Lock::take()?;
            return campaign::run(&args);
        }
        Order::CampaignReport(args) => campaign::compare(&args)?,
        Order::BenchAgent(args) => bench::measure_agent(&args)?,
        Order::BenchStub(args) => bench::become_agent(&args)?,
        Order::Down => down()?,
        Order::Sandbox { command } => return sandbox::sandbox(&command),
        Order::SandboxInit { command } => return sandbox::init(&command),
        Order::PowerSwitch => switch::serve()?,
        Order::NodeBoot(boot) => return node::boot::boot(&boot.node, boot.services),
        Order::NodeInit(boot) => return node::init::init(&boot.node, boot.services),
    }
    Ok(ExitCode::SUCCESS)
}

fn up(wish: WishArgs) -> Result<()> {
    let _lock = Lock::take()?;
    build::up(&wish.try_into()?)?;
    print!("{}", crm_mon()?);
    Ok(())
}

fn client(time: Duration) -> Result<()> {
    let lab = Lab::attach()?;
    let client = lab.writing_client()?;
    std::thread::sleep(time);
    print!("{}", client.stop()?);
    Ok(())
}

fn down() -> Result<()> {
    build::refuse_ordinary_users()?;
    let lock = Lock::take()?;
    build::down()?;
    lock.remove()
}

fn say(order: &str) -> Result<()> {
    println!("{}", switch::order(order)?);
    Ok(())
}

fn status() -> Result<()> {
    let plan = Plan::load()?;
    println!("example {}, agent {}, suite {}", plan.example, plan.agent, plan.suite);
    for node in &plan.nodes {
        let power = switch::order(&format!("status {}", node.name))?;
        let cut = switch::order(&format!("is-cut {}", node.name))? == "true";
        let frozen = switch::group(&node.name)?.is_frozen();
        println!(
            "{}  {}  power {power}{}{}",
            node.name,
            node.address,
            if cut { ", cut" } else { "" },
            if frozen { ", frozen" } else { "" }
        );
    }
    print!("{}", crm_mon()?);
    Ok(())
}

/// `crm_mon` as the first node sees it that can answer.
pub(crate) fn crm_mon() -> Result<String> {
    let plan = Plan::load()?;
    let mut last = Ok("no node answers\n".to_owned());
    for node in plan.cluster_nodes() {
        last = check_on(&node.name, &["crm_mon", "-1rA"]);
        if last.is_ok() {
            break;
        }
    }
    last
}

impl TryFrom<WishArgs> for Wish {
    type Error = crate::error::Error;

    fn try_from(args: WishArgs) -> Result<Self> {
        let count = if args.example.contains("two-nodes") { 2 } else { 3 };
        let names = || (1..=count).map(|number| format!("srv{number}")).collect();
        let absolute = |dir: PathBuf| dir.canonicalize().doing(|| format!("find {}", dir.display()));
        Ok(Self {
            nodes: args.nodes.unwrap_or_else(names),
            example: args.example,
            agent: args.agent,
            install: args.install.map(absolute).transpose()?,
            checksums: true,
            clocks: false,
            profile: args.profile,
        })
    }
}
