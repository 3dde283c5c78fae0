//! Nodes that come back with WAL that the primary lacks: how they come to have it, and how they can be watched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Ticket};
use super::kept::Kept;
use super::lab::{Lab, brief};
use crate::cluster::node_shell::{COMMAND_LIMIT, check_on, sql_on};
use crate::error::{Error, Result, unexpected};
use crate::wait::{self, Seen};
use crate::{paths, switch};

/// Rows that the client writes before, and while no standby receives them.
const ROWS: usize = 50;
const WORDS_LIMIT: Duration = Duration::from_secs(90);
const REJOIN_LIMIT: Duration = Duration::from_secs(120);
/// In milliseconds since 1970.
const BEGIN_OF_LAST_START: &str = "set -e
    line=$(grep 'executing - rsc:pgsql action:start' /var/log/pacemaker/pacemaker.log | tail --lines=1)
    date --date=\"${line:0:19}\" +%s%3N";
/// Between one look at the program and the next: it may be over in a second.
const STEP: Duration = Duration::from_millis(1);

impl Lab {
    // --- looking ---------------------------------------------------------------------------------------------------

    /// Whether a rewind or a clone of the node's data directory is in progress, also while the node has no power.
    pub(crate) fn is_rejoining(&self, node: &str) -> bool {
        paths::volume(node).join("main.rejoin").exists()
    }

    /// The newest timeline that the node's data directory knows, also while the node has no power.
    pub(crate) fn newest_timeline_on_disk(&self, node: &str) -> Result<u64> {
        let wal = paths::data(node).join("pg_wal");
        let entries = fs::read_dir(&wal).into_iter().flatten().flatten();
        let timeline = |name: String| u64::from_str_radix(name.strip_suffix(".history")?, 16).ok();
        let newest = entries.filter_map(|entry| timeline(entry.file_name().into_string().ok()?)).max();
        newest.ok_or_else(|| Error::Unexpected(format!("{node} has no history of timelines in {}", wal.display())))
    }

    /// What tells the node's database cluster from all others, as `pg_controldata` prints it.
    pub(crate) fn system_identifier(&self, node: &str) -> Result<String> {
        let program = self.plan.bindir().join("pg_controldata").display().to_string();
        let text = check_on(node, &[&program, &self.plan.pgdata().display().to_string()])?;
        let line = text.lines().find_map(|line| line.strip_prefix("Database system identifier:"));
        line.map(|value| value.trim().to_owned())
            .ok_or_else(|| Error::Unexpected(format!("pg_controldata on {node} prints no system identifier")))
    }

    /// The numbers of the client's rows that the node's server has.
    pub(crate) fn numbers_on(&self, node: &str, client: i32) -> Result<BTreeSet<i64>> {
        Ok(self.rows_of_client(node, client)?.into_keys().collect())
    }

    /// From the begin of the node's last `start`, as Pacemaker's executor has logged it, to the connection that the standby
    /// streams over, as the primary shows it.
    pub(crate) fn time_from_start_to_streaming(&self, node: &str) -> Result<Duration> {
        let begin = check_on(node, &["bash", "-c", BEGIN_OF_LAST_START])?;
        let ask = "select (extract(epoch from backend_start) * 1000)::bigint from pg_stat_replication \
                   where state = 'streaming' and application_name = ";
        let end = sql_on(&self.primary()?, &format!("{ask}'{node}'"))?;
        let milliseconds = |text: &str| text.trim().parse::<u64>().ok();
        let took = milliseconds(&end).zip(milliseconds(&begin)).and_then(|(end, begin)| end.checked_sub(begin));
        let told = || Error::Unexpected(format!("{node} has begun its start at '{begin}' and streams since '{end}'"));
        took.map(Duration::from_millis).ok_or_else(told)
    }

    // --- waiting ---------------------------------------------------------------------------------------------------

    /// Waits until the agent's few words about the node, in `crm_mon`, begin with these.
    pub(crate) fn wait_for_words(&self, node: &str, words: &str) -> Result<()> {
        wait::until(&format!("{node} described as '{words}'"), WORDS_LIMIT, || {
            let state = self.state()?;
            Ok(match state.words.get(node).is_some_and(|there| there.starts_with(words)) {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{:?}; {}", state.words, brief(&state))),
            })
        })
    }

    /// Waits until the reason of a refusal is given, in `crm_mon` or in what the node has logged since then. It is given
    /// with one of these expressions.
    pub(crate) fn wait_for_reason(&self, node: &str, logged_before: usize, expressions: &[&str]) -> Result<()> {
        let is_given = |text: &str| expressions.iter().any(|expression| text.contains(expression));
        wait::until(&format!("the reason on {node}, one of {expressions:?}"), WORDS_LIMIT, || {
            let state = self.state()?;
            let log = self.syslog(node)?;
            let logged = log.get(logged_before..).unwrap_or_default();
            let is_seen = state.words.get(node).is_some_and(|words| is_given(words))
                || state.failures.iter().any(|failure| is_given(failure));
            Ok(match is_seen || is_given(logged) {
                true => Seen::Yes(()),
                false => Seen::NotYet(format!("{:?}; last logged: {:?}", state.words, logged.lines().last())),
            })
        })
    }

    /// Waits until the primary shows the node as a streaming standby.
    pub(crate) fn wait_until_streaming(&self, node: &str, limit: Duration) -> Result<()> {
        let ask = format!(
            "select count(*) from pg_stat_replication where application_name = '{node}' and state = 'streaming'"
        );
        wait::until(&format!("{node} streaming"), limit, || {
            let state = self.state()?;
            Ok(match state.promoted.first().map(|primary| sql_on(primary, &ask)).transpose()?.as_deref() {
                Some("1") => Seen::Yes(()),
                _ => Seen::NotYet(format!("{:?}; {}", state.words, brief(&state))),
            })
        })
    }

    /// Waits until pg_rewind writes into the node's files: from here on until its end nobody can start them.
    pub(crate) fn wait_until_halfway_rewound(&self, node: &str) -> Result<()> {
        wait_until_writing(node, "pg_rewind")
    }

    /// Waits until pg_basebackup writes the node's files: its old ones are kept aside by now.
    pub(crate) fn wait_until_halfway_cloned(&self, node: &str) -> Result<()> {
        wait_until_writing(node, "pg_basebackup")
    }

    // --- breaking --------------------------------------------------------------------------------------------------

    /// The primary's node loses its power, with rows of the client and whatever `more` does that no standby has received.
    /// Gives back its name.
    pub(crate) fn lose_primary(&self, client: &Client, more: impl FnOnce(&str) -> Result<()>) -> Result<String> {
        let old = self.primary()?;
        let standbys = self.standbys()?;
        client.wait_for_rows(ROWS)?;
        standbys.iter().try_for_each(|standby| self.stop_receiving(standby))?;
        client.wait_for_rows(ROWS)?;
        more(&old)?;
        self.power_off(&old)?;
        standbys.iter().try_for_each(|standby| self.receive_again(standby))?;
        Ok(old)
    }

    /// Inserts rows on that node, whether the clients reach it or not; gives back the number that they bear.
    pub(crate) fn insert_rows(&self, node: &str, count: usize) -> Result<i32> {
        let client = Ticket::draw().number;
        let insert = format!("insert into lab.rows(client, n) select {client}, n from generate_series(1, {count}) n");
        sql_on(node, &insert)?;
        Ok(client)
    }

    /// Puts the data directory of a node out of the way, while its instance is stopped. What is in its place is there
    /// for a scenario's own doing.
    pub(crate) fn set_data_directory_aside(&self, node: &str) -> Result<()> {
        self.in_volume(node, "mv \"$1\" \"$1.own\"")
    }

    /// Takes [`Self::set_data_directory_aside`] back.
    pub(crate) fn put_data_directory_back(&self, node: &str) -> Result<()> {
        self.in_volume(node, "rm --recursive --force \"$1\" && mv \"$1.own\" \"$1\"")
    }

    /// Removes all that is in the data directory of a node whose instance is stopped.
    pub(crate) fn empty_data_directory(&self, node: &str) -> Result<()> {
        self.in_volume(node, "find \"$1\" -mindepth 1 -delete")
    }

    /// Makes an instance where the data directory was set aside: of the same settings, and a cluster of its own.
    pub(crate) fn make_another_instance(&self, node: &str) -> Result<()> {
        let script = "set -e
            \"$2/initdb\" --pgdata=\"$1\" --data-checksums --auth-local=peer --no-sync >/dev/null
            cp \"$1.own/postgresql.conf\" \"$1\"";
        self.in_volume(node, script)
    }

    fn in_volume(&self, node: &str, script: &str) -> Result<()> {
        let (data, bindir) = (self.plan.pgdata().display().to_string(), self.plan.bindir().display().to_string());
        let owner = ["runuser", "-u", "postgres", "--", "bash", "-c", script, "in-volume", &data, &bindir];
        check_on(node, &owner).map(drop)
    }

    // --- judging ---------------------------------------------------------------------------------------------------

    /// The node lost its power while its data directory was being rewound or cloned.
    pub(crate) fn assert_interrupted(&self, node: &str) -> Result<()> {
        match self.is_rejoining(node) {
            true => Ok(()),
            false => {
                unexpected(format!("the rejoin of {node} was over before it could be interrupted: make it longer"))
            }
        }
    }

    /// The connection that the node's clone receives WAL through is not taken for a standby's: it would get a score, and
    /// acknowledge synchronous commits with files that nobody can start.
    pub(crate) fn assert_counts_as_no_standby(&self, primary: &str, node: &str) -> Result<()> {
        let ask = "select state || ' ' || sync_state from pg_stat_replication where application_name";
        let there = sql_on(primary, &format!("{ask} = '{node}' and state = 'streaming'"))?;
        match there.as_str() {
            "" => Ok(()),
            connection => unexpected(format!("{primary} takes the clone of {node} for a standby: {connection}")),
        }
    }

    /// What a node alone had of these rows lies in the first directory that it has kept aside since then.
    pub(crate) fn assert_keeps_rows(
        &self,
        node: &str,
        before: &[Kept],
        client: i32,
        rows: &BTreeSet<i64>,
    ) -> Result<()> {
        let kept = self.first_kept_since(node, before)?;
        let there = self.rows_in_kept_wal(&kept, client)?;
        let without: Vec<_> = rows.difference(&there).collect();
        match without.first() {
            None => Ok(()),
            Some(first) => unexpected(format!(
                "of {} rows of client {client} {kept:?} does not hold {} (first {first})",
                rows.len(),
                without.len()
            )),
        }
    }

    /// The node never becomes a candidate in that time, nothing fails, and the primary goes on as before.
    pub(crate) fn watch_left_out(&self, node: &str, primary: &str, time: Duration) -> Result<()> {
        self.watch(&format!("{node} left out"), time, |state| {
            state.promoted == [primary.to_owned()] && state.scores.get(node).is_none_or(|score| *score <= 0)
        })
    }

    /// The program that the agent runs as the instance's owner may still be at work when its server is down.
    pub(super) fn is_free_of_postgres(&self, node: &str) -> Result<bool> {
        let programs = ["pgrep", "-u", "postgres", "-x", "postgres|pg_rewind|pg_basebackup"];
        Ok(self.try_run(node, &programs, COMMAND_LIMIT)?.code != 0)
    }
}

fn wait_until_writing(node: &str, program: &str) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < REJOIN_LIMIT {
        // Without power it has no processes.
        let processes = switch::group(node)?.processes().unwrap_or_default();
        if processes.into_iter().any(|pid| writes_relation(pid, program)) {
            return Ok(());
        }
        thread::sleep(STEP);
    }
    unexpected(format!("no {program} that writes was seen on {node} within {REJOIN_LIMIT:?}"))
}

/// Whether the process is this program and has a file of a relation open: pg_rewind and pg_basebackup only open those to
/// write them.
fn writes_relation(pid: i32, program: &str) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let is_program = fs::read_to_string(process.join("comm")).is_ok_and(|name| name.trim_end() == program);
    let is_relation = |path: &Path| path.to_string_lossy().contains("/base/");
    let open = || fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    is_program && open().any(|file| fs::read_link(file.path()).is_ok_and(|path| is_relation(&path)))
}
