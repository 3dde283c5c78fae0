//! The root image: a small Debian with everything a node needs, made once by mmdebstrap and kept.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::error::{Doing, Error, Result, unexpected};
use crate::{paths, plan, run};

const PACKAGES: &[&str] = &[
    "corosync",
    "corosync-qdevice",
    "corosync-qnetd",
    "crmsh",
    "gawk",
    "iproute2",
    "iputils-arping",
    "libxml2-utils",
    "pacemaker",
    "pacemaker-cli-utils",
    "pcs",
    "postgresql",
    "postgresql-contrib",
    "procps",
    "resource-agents",
    "resource-agents-paf",
];
/// The nodes' data directories are made by the lab, not by the package.
const NO_MAIN_CLUSTER: &str = "mkdir -p \"$1/etc/postgresql-common/createcluster.d\"; \
     echo 'create_main_cluster = false' > \"$1/etc/postgresql-common/createcluster.d/lab.conf\"";
const STAMP: &str = ".lab-image";
const QUERY_LIMIT: Duration = Duration::from_secs(30);
const REMOVE_LIMIT: Duration = Duration::from_secs(120);

/// Makes the image unless a complete one is there.
pub(crate) fn ensure(suite: &str) -> Result<()> {
    fs::create_dir_all(paths::lab()).doing(|| format!("make {}", paths::lab().display()))?;
    let path = paths::lab().join("image.lock");
    let file = fs::File::create(&path).doing(|| format!("open {}", path.display()))?;
    let _held = Flock::lock(file, FlockArg::LockExclusive)
        .map_err(|(_, errno)| errno)
        .doing(|| format!("lock {}", path.display()))?;
    let image = paths::image(suite);
    let stamp = stamp(suite);
    if fs::read_to_string(image.join(STAMP)).is_ok_and(|there| there == stamp) {
        return Ok(());
    }
    remove(&image)?;
    build(suite, &image)?;
    fs::write(image.join(STAMP), stamp).doing(|| format!("stamp {}", image.display()))
}

/// The major version of PostgreSQL in the image.
pub(crate) fn postgres_major(suite: &str) -> Result<u32> {
    let programs = paths::image(suite).join("usr/lib/postgresql");
    let versions = fs::read_dir(&programs).doing(|| format!("read {}", programs.display()))?;
    versions
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .max()
        .ok_or_else(|| Error::Unexpected(format!("no PostgreSQL in {}", programs.display())))
}

fn stamp(suite: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (suite, PACKAGES, NO_MAIN_CLUSTER).hash(&mut hasher);
    format!("{:016x}\n", hasher.finish())
}

fn build(suite: &str, image: &Path) -> Result<()> {
    println!("making the root image {} (once, about a minute) ...", image.display());
    let sources = sources(suite)?;
    let log = paths::lab().join("image.log");
    let log_file = fs::File::create(&log).doing(|| format!("write {}", log.display()))?;
    let log_too = log_file.try_clone().doing(|| format!("write {}", log.display()))?;
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=root", "--variant=minbase", "--aptopt=Acquire::Languages \"none\""])
        .args(proxy_options()?.iter().map(|option| format!("--aptopt={option}")))
        .args(["man", "doc", "locale"].map(|dir| format!("--dpkgopt=path-exclude=/usr/share/{dir}/*")))
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!("--essential-hook={NO_MAIN_CLUSTER}"))
        .arg(suite)
        .arg(image)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(log_file)
        .stderr(log_too);
    let mut child = command.spawn().map_err(|error| {
        Error::Missing(format!("mmdebstrap cannot be started ({error}): `make lab-deps` installs it"))
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        use std::io::Write;
        stdin.write_all(sources.as_bytes()).doing(|| "give mmdebstrap its sources".to_owned())?;
    }
    let status = child.wait().doing(|| "wait for mmdebstrap".to_owned())?;
    match status.success() {
        true => Ok(()),
        false => unexpected(format!("mmdebstrap ended with {status}; see {}", log.display())),
    }
}

/// Where this machine's own apt fetches Debian from, its third-party archives left out.
fn sources(suite: &str) -> Result<String> {
    let own = plan::own_suite().unwrap_or_else(|_| suite.to_owned());
    let format = "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)";
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", format, "Created-By: Packages"]);
    let targets = run::check(&mut ask, QUERY_LIMIT)?;
    let mut lines: Vec<String> = targets
        .lines()
        .filter_map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            match fields[..] {
                ["Debian", uri, release, "main"] => Some(format!("deb {uri} {} main", release.replace(&own, suite))),
                _ => None,
            }
        })
        .collect();
    lines.dedup();
    match lines.is_empty() {
        false => Ok(lines.join("\n") + "\n"),
        true => Err(Error::Missing(
            "apt knows no archive of Debian: check /etc/apt/sources.list and run `apt-get update`".to_owned(),
        )),
    }
}

/// The way through a proxy that this machine's apt has been told.
fn proxy_options() -> Result<Vec<String>> {
    let dump = run::check(Command::new("apt-config").arg("dump"), QUERY_LIMIT)?;
    let wanted = |line: &&str| line.starts_with("Acquire::http") && line.contains("Proxy");
    Ok(dump.lines().filter(wanted).map(|line| line.trim_end_matches(';').to_owned()).collect())
}

fn remove(image: &Path) -> Result<()> {
    if !image.exists() {
        return Ok(());
    }
    let mut remove = Command::new("rm");
    remove.args(["--recursive", "--force", "--one-file-system"]).arg(image);
    run::check(&mut remove, REMOVE_LIMIT).map(drop)
}
