//! One node with a real PostgreSQL.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use nix::sys::signal::Signal;
use nix::unistd::User;
use postgres::{Client, NoTls, SimpleQueryMessage};

use super::agent::Call;
use super::cluster::Cluster;
use super::processes::{self, servers_in, signal};
use super::wait_until;

const PORT: u16 = 5999;

const SETTINGS: &str = "\
listen_addresses = ''
unix_socket_permissions = 0777
wal_level = replica
wal_log_hints = on
hot_standby = on
max_wal_senders = 10
recovery_target_timeline = 'latest'
wal_retrieve_retry_interval = '100ms'
wal_receiver_status_interval = '1s'
max_connections = 20
shared_buffers = '16MB'
fsync = off
autovacuum = off
";

/// What an instance is, seen from outside of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// No server process.
    Down,
    Standby,
    Primary,
    /// Processes, and no answer.
    Silent,
}

/// A node of a cluster. Its server ends with it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) data: PathBuf,
    pub(crate) sockets: PathBuf,
    tools: PathBuf,
    pub(crate) cluster: Arc<Cluster>,
}

impl Node {
    pub(crate) fn new(cluster: Arc<Cluster>, name: &str) -> Node {
        let home = cluster.home().join(name);
        let (data, sockets) = (home.join("data"), home.join("sockets"));
        fs::create_dir_all(&sockets).unwrap();
        fs::create_dir_all(home.join("run")).unwrap();
        for directory in [&home, &sockets] {
            own(directory);
        }
        let tools = cluster.install_tools(name);
        Node { name: name.to_owned(), data, sockets, tools, cluster }
    }

    pub(crate) fn copy_from(&self, template: &Path) {
        run(Command::new("cp").arg("-a").arg(template).arg(&self.data));
        self.configure("");
    }

    pub(crate) fn back_up(&self, primary: &Node) {
        self.back_up_with(primary, &[]);
    }

    /// The same with more options of `pg_basebackup`.
    pub(crate) fn back_up_with(&self, primary: &Node, options: &[String]) {
        let mut backup = as_owner("pg_basebackup");
        backup.args(options);
        backup.args(["--checkpoint=fast", "--no-sync", "--username=postgres", "--host"]).arg(&primary.sockets);
        run(backup.args(["--port", &PORT.to_string(), "--pgdata"]).arg(&self.data));
        self.configure("");
    }

    /// Writes this node's settings, `more` last.
    pub(crate) fn configure(&self, more: &str) {
        let (sockets, address, name) = (self.sockets.display(), self.cluster.address(), &self.name);
        let own_settings = format!(
            "port = {PORT}\nunix_socket_directories = '{sockets}'\n\
             primary_conninfo = 'host={} port={PORT} user=postgres application_name={name}'\n",
            address.display()
        );
        self.write("postgresql.auto.conf", &format!("{SETTINGS}{own_settings}{more}\n"));
    }

    /// Writes the settings to a file outside of the data directory, as Debian has it, and empties that. Returns the
    /// options that the server needs to be this node's, whatever it was copied from.
    pub(crate) fn empty_with_configuration_outside(&self) -> String {
        let (sockets, address, name) = (self.sockets.display(), self.cluster.address(), &self.name);
        let file = self.data.with_file_name("postgresql.conf");
        let conninfo = format!("host={} port={PORT} user=postgres application_name={name}", address.display());
        fs::write(&file, format!("{SETTINGS}primary_conninfo = '{conninfo}'\n")).unwrap();
        let _ = fs::remove_dir_all(&self.data);
        fs::create_dir(&self.data).unwrap();
        own(&self.data);
        format!("-c config_file={} -c port={PORT} -c unix_socket_directories={sockets}", file.display())
    }

    /// From now on one of the cluster's tools fails on this node when it writes.
    pub(crate) fn break_tool(&self, name: &str) {
        self.break_tool_when(name, "*--update*");
    }

    /// From now on one of the cluster's tools fails on this node when its arguments are like this pattern of the shell's.
    pub(crate) fn break_tool_when(&self, name: &str, arguments: &str) {
        let path = self.tools.join(name);
        let text = fs::read_to_string(&path).unwrap();
        let failing = format!("#!/bin/sh\ncase \"$*\" in {arguments}) exit 102;; esac\n");
        let broken = text.replacen("#!/bin/sh\n", &failing, 1);
        assert_ne!(text, broken);
        fs::write(path, broken).unwrap();
    }

    /// A directory beside the data directory, the owner's.
    pub(crate) fn directory_beside(&self, name: &str) -> PathBuf {
        let path = self.data.with_file_name(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        own(&path);
        path
    }

    /// Moves the WAL of a stopped instance into this directory, which is made if need be.
    pub(crate) fn move_wal_to(&self, place: &Path) {
        let wal = self.data.join("pg_wal");
        run(as_owner_of_files("cp").args(["-a", "-T"]).arg(&wal).arg(place));
        fs::remove_dir_all(&wal).unwrap();
        run(as_owner_of_files("ln").arg("-s").arg(place).arg(&wal));
    }

    /// The directories in which the agent has kept something aside, the oldest first.
    pub(crate) fn kept_aside(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let is_kept = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("data.kept-");
        let mut kept: Vec<_> = entries.filter(is_kept).collect();
        kept.sort();
        kept
    }

    /// Writes a file in the data directory, as the server's owner would.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.data.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        own(&path);
    }

    pub(crate) fn run_as_primary(&self) {
        let _ = fs::remove_file(self.data.join("standby.signal"));
        self.launch();
        self.await_seen(Seen::Primary);
    }

    pub(crate) fn run_as_standby(&self) {
        self.write("standby.signal", "");
        self.launch();
        self.await_seen(Seen::Standby);
    }

    /// Starts the server, without the agent, and does not wait for it.
    pub(crate) fn launch(&self) {
        let log = self.data.with_file_name("server.log");
        let mut pg_ctl = as_owner("pg_ctl");
        pg_ctl.args(["start", "--no-wait", "--silent", "-D"]).arg(&self.data).arg("-l").arg(log);
        run(&mut pg_ctl);
        wait_until("postmaster.pid", || self.postmaster().is_some());
    }

    /// A clean stop, without the agent.
    pub(crate) fn stop_fast(&self) {
        run(as_owner("pg_ctl").args(["stop", "--silent", "--wait", "--mode=fast", "-D"]).arg(&self.data));
        self.await_seen(Seen::Down);
    }

    /// SIGKILL to every process.
    pub(crate) fn crash(&self) {
        processes::kill_all_in(&self.data);
    }

    /// Kills the postmaster and leaves this process, stopped, as its orphan.
    pub(crate) fn kill_postmaster_and_leave(&self, orphan: i32) {
        signal(orphan, Signal::SIGSTOP);
        let postmaster = self.postmaster().unwrap();
        signal(postmaster, Signal::SIGKILL);
        wait_until("only the orphan is left", || servers_in(&self.data).iter().map(|process| process.pid).eq([orphan]));
    }

    /// The live postmaster.
    pub(crate) fn postmaster(&self) -> Option<i32> {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        let pid: i32 = text.lines().next()?.parse().ok()?;
        servers_in(&self.data).iter().any(|process| process.pid == pid).then_some(pid)
    }

    pub(crate) fn connect(&self) -> Result<Client, postgres::Error> {
        let mut config = postgres::Config::new();
        config.host_path(&self.sockets).port(PORT).user("postgres").dbname("postgres");
        config.connect_timeout(std::time::Duration::from_secs(5)).connect(NoTls)
    }

    /// The first column of the first row, empty when there is none.
    pub(crate) fn sql(&self, query: &str) -> String {
        let messages = self.connect().and_then(|mut client| client.simple_query(query));
        let messages = messages.unwrap_or_else(|error| panic!("{} on {}: {error:?}", query, self.name));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap_or_default().to_owned()
    }

    pub(crate) fn seen(&self) -> Seen {
        if servers_in(&self.data).is_empty() {
            return Seen::Down;
        }
        let asked = self.connect().and_then(|mut client| client.query_one("select pg_is_in_recovery()", &[]));
        match asked.map(|row| row.get(0)) {
            Ok(true) => Seen::Standby,
            Ok(false) => Seen::Primary,
            Err(_) => Seen::Silent,
        }
    }

    pub(crate) fn await_seen(&self, wanted: Seen) {
        wait_until(&format!("{} is {wanted:?}", self.name), || self.seen() == wanted);
    }

    pub(crate) fn await_streaming(&self, standby: &str) {
        let query = format!(
            "select count(*) from pg_stat_replication where application_name = '{standby}' and state = 'streaming' \
             and replay_lsn = pg_current_wal_lsn()"
        );
        wait_until(&format!("{standby} has everything"), || self.sql(&query) == "1");
    }

    /// A call of the agent on this node, as Pacemaker makes it for a promotable clone.
    pub(crate) fn call(&self, action: &str) -> Call {
        Call::new(action)
            .variable("PATH", &format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.tools.display()))
            .variable("OCF_RESOURCE_INSTANCE", &self.cluster.resource)
            .variable("HA_RSCTMP", self.data.with_file_name("run").to_str().unwrap())
            .parameter("bindir", bindir().to_str().unwrap())
            .parameter("pgdata", self.data.to_str().unwrap())
            .parameter("pghost", self.sockets.to_str().unwrap())
            .parameter("pgport", &PORT.to_string())
            .meta("on_node", &self.name)
            .meta("promotable", "true")
            .meta("promoted_max", "1")
            .meta("notify", "true")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for process in processes::working_in(&self.data) {
            signal(process.pid, Signal::SIGKILL);
        }
    }
}

/// Makes the instance that every node's first one is a copy of.
pub(crate) fn init_template(data: &Path) {
    own(data.parent().unwrap());
    let mut initdb = as_owner("initdb");
    initdb.args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"]);
    run(initdb.arg(data));
    // A standby does not start with smaller settings than its control file has seen on a primary.
    fs::write(data.join("postgresql.auto.conf"), SETTINGS).unwrap();
    let options = format!("-c unix_socket_directories={}", data.display());
    let pg_ctl = |action: &str| {
        let mut command = as_owner("pg_ctl");
        command.args([action, "--wait", "--silent", "-l", "/dev/null", "-D"]).arg(data);
        command
    };
    run(pg_ctl("start").args(["-o", &options]));
    run(&mut pg_ctl("stop"));
}

/// The directory of the server's programs: given, or the newest that Debian's packages have installed.
pub(crate) fn bindir() -> PathBuf {
    static BINDIR: OnceLock<PathBuf> = OnceLock::new();
    let found = || {
        let installed = fs::read_dir("/usr/lib/postgresql").expect("install postgresql").flatten();
        let major = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = installed.map(|entry| entry.path()).max_by_key(major);
        newest.expect("install postgresql").join("bin")
    };
    BINDIR.get_or_init(|| std::env::var_os("PGBATON_TEST_BINDIR").map_or_else(found, PathBuf::from)).clone()
}

/// One of PostgreSQL's programs, run as the user who owns the instances.
pub(crate) fn as_owner(program: &str) -> Command {
    let user = owner();
    let mut command = Command::new(bindir().join(program));
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/").env("LC_ALL", "C");
    command
}

/// Any other program, run as that user.
pub(crate) fn as_owner_of_files(program: &str) -> Command {
    let user = owner();
    let mut command = Command::new(program);
    command.uid(user.uid.as_raw()).gid(user.gid.as_raw()).current_dir("/");
    command
}

pub(crate) fn owner() -> User {
    User::from_name("postgres").unwrap().expect("user postgres")
}

pub(crate) fn own(path: &Path) {
    let user = owner();
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
}

/// Runs a program that must succeed.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{stdout}\n{stderr}", output.status);
    stdout.into_owned()
}
