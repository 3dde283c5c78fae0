//! From nothing to a running cluster, and back to nothing.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MntFlags, umount2};

use super::node_shell::{check_on, run_on};
use super::{instances, state::State};
use crate::error::{Doing, Error, Result, unexpected};
use crate::node::{clock, disk, mounts};
use crate::plan::{Plan, VIP};
use crate::profile::Profile;
use crate::wait::{self, Seen};
use crate::{cgroup, image, paths, plan, run, switch};

const SWITCH_LIMIT: Duration = Duration::from_secs(10);
const ONLINE_LIMIT: Duration = Duration::from_secs(90);
const EXAMPLE_LIMIT: Duration = Duration::from_secs(240);
const REMOVE_LIMIT: Duration = Duration::from_secs(60);
/// corosync's authkey may have up to 4096 bytes; this is what corosync-keygen makes.
const AUTHKEY_BYTES: usize = 256;

/// What is asked of a new lab.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub nodes: Vec<String>,
    pub example: String,
    pub agent: String,
    pub install: Option<std::path::PathBuf>,
    /// Whether the instances are made with data checksums.
    pub checksums: bool,
    /// Whether each node has a clock of its own that can be set.
    pub clocks: bool,
    pub profile: Profile,
}

/// Builds a lab from nothing, up to the moment when the example has been run. What was there before is removed.
pub(crate) fn up(wish: &Wish) -> Result<Plan> {
    refuse_ordinary_users()?;
    down()?;
    let suite = plan::suite()?;
    image::ensure(&suite)?;
    let mut plan = Plan::new(&wish.nodes, &wish.example, &wish.agent, image::postgres_major(&suite)?)?;
    plan.install = wish.install.clone();
    plan.checksums = wish.checksums;
    plan.clocks = wish.clocks;
    plan.profile = wish.profile;
    prepare_disks(&plan)?;
    start_switch()?;
    boot_all(&plan)?;
    instances::make(&plan)?;
    wait_until_all_online(&plan)?;
    run_example(&plan)?;
    Ok(plan)
}

/// Removes every trace of a lab except the root image.
pub(crate) fn down() -> Result<()> {
    cgroup::sweep()?;
    let run_dir = Path::new(paths::RUN);
    // Detached: a shell that stands in the directory must not keep the lab up. Not mounted is as good.
    let _ = umount2(run_dir, MntFlags::MNT_DETACH);
    remove_tree(run_dir)?;
    remove_tree(&paths::lab().join("data"))
}

fn remove_tree(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let mut remove = Command::new("rm");
    remove.args(["--recursive", "--force", "--one-file-system"]).arg(path);
    run::check(&mut remove, REMOVE_LIMIT).map(drop)
}

pub(crate) fn refuse_ordinary_users() -> Result<()> {
    match nix::unistd::geteuid().is_root() {
        true => Ok(()),
        false => Err(Error::Missing("the lab makes namespaces and mounts: run it as root".to_owned())),
    }
}

fn prepare_disks(plan: &Plan) -> Result<()> {
    let example = example_path(plan)?;
    let example = fs::read_to_string(&example).doing(|| format!("read {}", example.display()))?;
    let example = with_parameters(plan, &example)?;
    let run_dir = Path::new(paths::RUN);
    mounts::make_dir(run_dir)?;
    mounts::tmpfs(run_dir, "mode=755,size=2g")?;
    plan.save()?;
    let mut authkey = vec![0; AUTHKEY_BYTES];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut authkey))
        .doing(|| "draw a key".to_owned())?;
    prepare_archive(plan)?;
    let clock = plan.clocks.then(clock::build).transpose()?;
    for node in &plan.nodes {
        if let Some(library) = &clock {
            clock::install(&node.name, library)?;
        }
        disk::prepare(plan, node, &authkey)?;
        disk::write(&paths::upper(&node.name).join("root").join(format!("{}.sh", plan.example)), &example)?;
    }
    Ok(())
}

/// The example with the profile's parameters of the agent, as its administrator would have added them.
fn with_parameters(plan: &Plan, example: &str) -> Result<String> {
    let (data, configuration) = (plan.pgdata().display().to_string(), plan.configuration().display().to_string());
    let parameters = plan.profile.parameters(&data, &configuration);
    if parameters.is_empty() {
        return Ok(example.to_owned());
    }
    let place = ["pgdata=\"$PGDATA\"", "pgdata=$PGDATA"].into_iter().find(|place| example.contains(place));
    match place {
        Some(place) => Ok(example.replace(place, &format!("{place} {}", parameters.join(" ")))),
        None => unexpected(format!("the example {} has no place for '{}'", plan.example, parameters.join(" "))),
    }
}

/// It belongs to the servers' owner, whose number is the image's.
fn prepare_archive(plan: &Plan) -> Result<()> {
    let (image, archive) = (paths::image(&plan.suite), paths::archive());
    mounts::make_dir(&archive)?;
    let owner = (disk::user_id(&image, "postgres")?, disk::group_id(&image, "postgres")?);
    chown(&archive, Some(owner.0), Some(owner.1)).doing(|| format!("give {} its owner", archive.display()))
}

fn start_switch() -> Result<()> {
    let log = Path::new(paths::RUN).join("power-switch.log");
    let log = File::options().create(true).append(true).open(&log).doing(|| format!("open {}", log.display()))?;
    let log_too = log.try_clone().doing(|| "open the power switch's log".to_owned())?;
    Command::new(paths::SELF)
        .arg("power-switch")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(log_too)
        .process_group(0)
        .current_dir("/")
        .spawn()
        .doing(|| "start the power switch".to_owned())?;
    wait::until("power switch", SWITCH_LIMIT, || switch::order("list").map(Seen::Yes)).map(drop)
}

fn boot_all(plan: &Plan) -> Result<()> {
    plan.nodes.iter().try_for_each(|node| switch::order(&format!("on {}", node.name)).map(drop))
}

pub(crate) fn wait_until_all_online(plan: &Plan) -> Result<()> {
    let expected = plan.cluster_nodes().count();
    let Some(first) = plan.cluster_nodes().next() else {
        return Ok(());
    };
    wait::until("all nodes online", ONLINE_LIMIT, || {
        let state = State::seen_by(&first.name)?;
        Ok(match state.online.len() == expected && state.quorum {
            true => Seen::Yes(()),
            false => Seen::NotYet(format!("online {:?}, quorum {}", state.online, state.quorum)),
        })
    })
}

fn example_path(plan: &Plan) -> Result<std::path::PathBuf> {
    let examples = ["pcs-examples", "tests/lab/definitions"].map(|dir| paths::repository().join(dir));
    let paths = examples.iter().map(|dir| dir.join(format!("{}.sh", plan.example)));
    match paths.into_iter().find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => unexpected(format!("no example '{}' in {}", plan.example, examples[0].display())),
    }
}

/// Runs the example on the first node, as its administrator would.
fn run_example(plan: &Plan) -> Result<()> {
    let Some(first) = plan.cluster_nodes().next() else {
        return unexpected("the plan has no nodes");
    };
    let names: Vec<_> = plan.cluster_nodes().map(|node| node.name.as_str()).collect();
    let settings = [
        "SKIP_SETUP=1".to_owned(),
        format!("NODES={}", names.join(" ")),
        format!("VIP={VIP}"),
        format!("AGENT={}", plan.agent),
        format!("BINDIR={}", plan.bindir().display()),
        format!("PGDATA={}", plan.pgdata_of_agent().display()),
        "FENCE_AGENT=fence_lab".to_owned(),
        "FENCE_OPTIONS=plug=%n".to_owned(),
    ];
    let mut command = vec!["env"];
    command.extend(settings.iter().map(String::as_str));
    let script = format!("/root/{}.sh", plan.example);
    command.extend(["bash", &script]);
    let output = run_on(&first.name, &command, EXAMPLE_LIMIT)?;
    match output.code {
        0 => check_on(&first.name, &["crm_verify", "--live-check"]).map(drop),
        code => Err(Error::Program {
            command: format!("example {}", plan.example),
            code: code.to_string(),
            said: format!("{}\n{}", output.stdout, output.stderr),
        }),
    }
}
