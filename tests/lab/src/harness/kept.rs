//! What the agent kept aside on a node before it overwrote it, and what can be read from it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::history::Report;
use super::lab::Lab;
use super::wal_bytes;
use crate::cluster::node_shell::{check_on_within, run_on};
use crate::error::{Doing, Error, Result, unexpected};
use crate::{paths, run};

const PREFIX: &str = "main.kept-";
const DUMP_LIMIT: Duration = Duration::from_secs(60);
const SERVER_LIMIT: Duration = Duration::from_secs(120);
const REMOVE_LIMIT: Duration = Duration::from_secs(60);
/// A row whose commit was on disk when the power went, and not yet acknowledged.
const IN_FLIGHT: usize = 1;

/// A throw-away server on a data directory that was kept aside: only its own socket, nobody to follow, and no timeline but
/// its own. A process id that was left behind may be another process's by now.
const ASK_A_SERVER: &str = "set -e; bindir=$1 data=$2 ask=$3
    rm --force \"$data/postmaster.pid\"
    options='-p 5499 -c unix_socket_directories=/tmp -c listen_addresses= -c primary_conninfo= -c logging_collector=off'
    options=\"$options -c recovery_target_timeline=current\"
    $bindir/pg_ctl --pgdata=\"$data\" --log=/tmp/kept-server.log --wait --timeout=60 --options=\"$options\" start \
        >/dev/null </dev/null || { cat /tmp/kept-server.log >&2; exit 1; }
    trap '$bindir/pg_ctl --pgdata=\"$data\" --mode=immediate stop >/dev/null </dev/null' EXIT
    psql -X -A -t -q --host=/tmp --port=5499 --command=\"$ask\"";

/// A directory in which the agent kept something aside. They sort by their age.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kept {
    /// When, as the node's clock said.
    stamp: String,
    node: String,
    name: String,
    /// The node's own timeline.
    timeline: u32,
    /// Where that node's WAL and the primary's part.
    fork: String,
}

impl Kept {
    /// Reads `main.kept-<stamp>-<timeline>-<fork>`; other names are no such directory, or not yet.
    fn named(node: &str, name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let (stamp, timeline) = (parts.next()?, parts.next()?.parse().ok()?);
        let (high, low) = (parts.next()?, parts.next()?);
        let is_hex = |text: &str| u32::from_str_radix(text, 16).is_ok();
        let is_whole = is_hex(high) && is_hex(low) && parts.next().is_none();
        let (stamp, node, name) = (stamp.to_owned(), node.to_owned(), name.to_owned());
        is_whole.then(|| Self { stamp, node, name, timeline, fork: format!("{high}/{low}") })
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn timeline(&self) -> u32 {
        self.timeline
    }

    pub(crate) fn fork(&self) -> &str {
        &self.fork
    }

    /// As the machine sees it.
    pub(crate) fn path(&self) -> PathBuf {
        paths::volume(&self.node).join(&self.name)
    }

    /// Whether it is a whole data directory, as before a clone, and not WAL alone, as before a rewind.
    pub(crate) fn is_whole(&self) -> bool {
        self.path().join("PG_VERSION").is_file()
    }

    /// Its segments, in order, with their timelines.
    fn segments(&self) -> Result<Vec<(u32, PathBuf)>> {
        let wal = paths::wal_of(&self.node, &self.path());
        let entries = fs::read_dir(&wal).doing(|| format!("read {}", wal.display()))?;
        let segment = |path: PathBuf| Some((timeline_of(path.file_name()?.to_str()?)?, path));
        let mut segments: Vec<_> = entries.flatten().filter_map(|entry| segment(entry.path())).collect();
        segments.sort();
        Ok(segments)
    }

    /// What is beyond a fork is looked for from there on. Before a clone nobody knows of a fork: then it is all of the last
    /// timeline.
    fn start(&self) -> Result<String> {
        if self.fork != "0/0" {
            return Ok(self.fork.clone());
        }
        let (last, segments) = (self.last_timeline()?, self.segments()?);
        let first =
            segments.iter().find(|(timeline, _)| *timeline == last).and_then(|(_, path)| path.file_name()?.to_str());
        first.and_then(start_of).ok_or_else(|| Error::Unexpected(format!("{} holds no WAL", self.path().display())))
    }

    fn last_timeline(&self) -> Result<u32> {
        let last = self.segments()?.last().map(|(timeline, _)| *timeline);
        last.ok_or_else(|| Error::Unexpected(format!("{} holds no WAL", self.path().display())))
    }
}

/// Where a segment of the default size begins, by its name.
fn start_of(name: &str) -> Option<String> {
    let part = |range| u64::from_str_radix(name.get(range)?, 16).ok();
    Some(format!("{:X}/{:X}", part(8..16)?, part(16..24)? << 24))
}

/// The timeline in the name of a segment.
fn timeline_of(name: &str) -> Option<u32> {
    let is_segment = name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_segment.then(|| u32::from_str_radix(name.get(..8)?, 16).ok())?
}

impl Lab {
    // --- looking ---------------------------------------------------------------------------------------------------

    /// The directories in which that node keeps something aside, the oldest first.
    pub(crate) fn kept_on(&self, node: &str) -> Result<Vec<Kept>> {
        let volume = paths::volume(node);
        let entries = fs::read_dir(&volume).doing(|| format!("read {}", volume.display()))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut kept: Vec<_> = names.filter_map(|name| Kept::named(node, &name)).collect();
        kept.sort();
        Ok(kept)
    }

    /// The one directory in which the node keeps something aside since then.
    pub(crate) fn kept_since(&self, node: &str, before: &[Kept]) -> Result<Kept> {
        let mut kept = self.kept_on(node)?;
        kept.retain(|kept| !before.contains(kept));
        match &kept[..] {
            [one] => Ok(one.clone()),
            others => unexpected(format!("{node} should keep one directory aside, there are {others:?}")),
        }
    }

    /// The first directory in which the node keeps something aside since then: what came after an interruption may have
    /// made another.
    pub(crate) fn first_kept_since(&self, node: &str, before: &[Kept]) -> Result<Kept> {
        let first = self.kept_on(node)?.into_iter().find(|kept| !before.contains(kept));
        first.ok_or_else(|| Error::Unexpected(format!("{node} keeps nothing aside")))
    }

    /// The client's rows that lie in the WAL that was kept aside.
    pub(crate) fn rows_in_kept_wal(&self, kept: &Kept, client: i32) -> Result<BTreeSet<i64>> {
        let mut records = Vec::new();
        for (_, segment) in kept.segments()? {
            let bytes = fs::read(&segment).doing(|| format!("read {}", segment.display()))?;
            records.extend(wal_bytes::records(&bytes));
        }
        Ok(wal_bytes::rows_of(client, &records))
    }

    /// How many rows of `lab.rows` were inserted beyond the fork by transactions that have committed there.
    fn rows_beyond_fork(&self, kept: &Kept) -> Result<usize> {
        let file = self.sql(&self.primary()?, "select pg_relation_filepath('lab.rows')")?;
        let dump = self.dump_beyond_fork(kept)?;
        count_committed(&dump, file.strip_prefix("base/").unwrap_or(&file))
    }

    /// Where the last record beyond the fork ends; `None` when there is none, or it cannot be read.
    pub(crate) fn end_of_kept_wal(&self, kept: &Kept) -> Option<u64> {
        let dump = self.dump_beyond_fork(kept).ok()?;
        dump.lines().rev().find_map(end_of_record)
    }

    /// `pg_waldump` ends with 1 at the end of WAL.
    fn dump_beyond_fork(&self, kept: &Kept) -> Result<String> {
        let program = self.plan.bindir().join("pg_waldump").display().to_string();
        let wal = self.plan.volume().join(&kept.name).join("pg_wal");
        let path = format!("--path={}", wal.display());
        let (timeline, start) = (format!("--timeline={}", kept.last_timeline()?), format!("--start={}", kept.start()?));
        let output = run_on(&kept.node, &[&program, &path, &timeline, &start], DUMP_LIMIT)?;
        match output.stdout.is_empty() {
            false => Ok(output.stdout),
            true => unexpected(format!("pg_waldump reads nothing from {}: {}", kept.name, output.stderr.trim())),
        }
    }

    /// The client's rows that a server on the data directory that was kept aside finds.
    pub(crate) fn rows_in_kept_directory(&self, kept: &Kept, client: i32) -> Result<BTreeSet<i64>> {
        let bindir = self.plan.bindir().display().to_string();
        let data = self.plan.volume().join(&kept.name).display().to_string();
        let ask = format!("select n from lab.rows where client = {client}");
        let script = ["bash", "-c", ASK_A_SERVER, "ask-a-server", &bindir, &data, &ask];
        let command = [&["runuser", "-u", "postgres", "--"][..], &script].concat();
        let text = check_on_within(&kept.node, &command, SERVER_LIMIT)?;
        let number = |line: &str| line.parse().map_err(|_| Error::Unexpected(format!("no number: '{line}'")));
        text.lines().map(number).collect()
    }

    // --- judging ---------------------------------------------------------------------------------------------------

    /// What a rewind took from the client is kept aside: all of it, and nothing that is not lost.
    pub(crate) fn assert_keeps_exactly_what_was_lost(&self, kept: &Kept, report: &Report) -> Result<()> {
        self.assert_keeps_what_was_lost(kept, report)?;
        let (beyond, lost) = (self.rows_beyond_fork(kept)?, report.missing.len());
        match (lost..=lost + IN_FLIGHT).contains(&beyond) {
            true => Ok(()),
            false => unexpected(format!("{lost} rows are lost, beyond the fork {} has {beyond}", kept.name)),
        }
    }

    /// What a rewind took from the client is kept aside, as WAL, with the control file and a text that explains it.
    pub(crate) fn assert_keeps_what_was_lost(&self, kept: &Kept, report: &Report) -> Result<()> {
        for file in ["pg_control", "README.txt"] {
            let path = kept.path().join(file);
            let length = fs::metadata(&path).doing(|| format!("look at {}", path.display()))?.len();
            if length == 0 {
                return unexpected(format!("{} is empty", path.display()));
            }
        }
        assert_has_all(&self.rows_in_kept_wal(kept, report.client)?, report, kept)
    }

    /// What a clone took from the client is kept aside: the old data directory has it.
    pub(crate) fn assert_directory_has_what_was_lost(&self, kept: &Kept, report: &Report) -> Result<()> {
        assert_has_all(&self.rows_in_kept_directory(kept, report.client)?, report, kept)
    }

    /// No node keeps anything aside: nothing had to be overwritten.
    pub(crate) fn assert_nothing_kept(&self) -> Result<()> {
        for node in self.nodes() {
            let kept = self.kept_on(&node)?;
            if !kept.is_empty() {
                return unexpected(format!("{node} should keep nothing aside, there is {kept:?}"));
            }
        }
        Ok(())
    }

    // --- mending ---------------------------------------------------------------------------------------------------

    /// What earlier scenarios left beside the data directory takes no room any more.
    pub(super) fn forget_what_was_kept(&self, node: &str) -> Result<()> {
        for kept in self.kept_on(node)? {
            let mut remove = Command::new("rm");
            remove.args(["--recursive", "--force", "--one-file-system"]).arg(kept.path());
            run::check(&mut remove, REMOVE_LIMIT)?;
        }
        Ok(())
    }
}

/// The story is only told when something was lost at all.
fn assert_has_all(rows: &BTreeSet<i64>, report: &Report, kept: &Kept) -> Result<()> {
    let without: Vec<_> = report.missing.iter().filter(|n| !rows.contains(n)).collect();
    match (report.missing.is_empty(), without.is_empty()) {
        (false, true) => Ok(()),
        (true, _) => unexpected(format!("no row was lost, so {} proves nothing", kept.name)),
        (false, false) => unexpected(format!(
            "of {} lost rows {} does not hold {} (first {:?})",
            report.missing.len(),
            kept.name,
            without.len(),
            without.first()
        )),
    }
}

/// From `len (rec/tot):     34/    34, tx: 735, lsn: 0/01571F90, prev ...`.
fn end_of_record(line: &str) -> Option<u64> {
    let (_, lengths) = line.split_once("len (rec/tot):")?;
    let (_, total) = lengths.split_once(',')?.0.split_once('/')?;
    let (high, low) = line.split_once("lsn: ")?.1.split_once(',')?.0.split_once('/')?;
    let half = |text| u64::from_str_radix(text, 16).ok();
    Some(wal_bytes::end_of(half(high)? << 32 | half(low)?, total.trim().parse().ok()?))
}

/// Counts inserts into that relation (`database/file`) by transactions whose commit is there, too.
fn count_committed(dump: &str, relation: &str) -> Result<usize> {
    let relation = format!("/{relation} blk ");
    let mut commits = HashSet::new();
    let mut inserts = Vec::new();
    for line in dump.lines() {
        let Some(transaction) = transaction_of(line) else { continue };
        if line.contains("desc: COMMIT") {
            commits.insert(transaction);
        } else if line.contains("desc: INSERT") && line.contains(&relation) {
            inserts.push(transaction);
        }
    }
    match commits.is_empty() {
        false => Ok(inserts.into_iter().filter(|transaction| commits.contains(transaction)).count()),
        true => unexpected("pg_waldump shows no commit beyond the fork"),
    }
}

/// The number in `tx: 735,`.
fn transaction_of(line: &str) -> Option<&str> {
    Some(line.split_once("tx:")?.1.split_once(',')?.0.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_where_the_wal_parts() {
        let kept = Kept::named("srv1", "main.kept-20261120T193000Z-1-0-5328410").unwrap();
        assert_eq!(kept.fork, "0/5328410");
        assert_eq!(start_of("000000020000000100000003").as_deref(), Some("1/3000000"));
        for name in ["main", "main.rejoin", "main.kept-20261120T193000Z", "main.kept-20261120T193000Z-1-0-5328410.new"]
        {
            assert_eq!(Kept::named("srv1", name), None, "{name}");
        }
    }

    #[test]
    fn directories_sort_by_age() {
        let old = Kept::named("srv1", "main.kept-20261120T193000Z-9-0-1").unwrap();
        let new = Kept::named("srv1", "main.kept-20261120T193001Z-10-0-1").unwrap();
        assert!(old < new);
    }

    #[test]
    fn only_segments_are_wal() {
        assert_eq!(timeline_of("0000000A0000000000000005"), Some(10));
        assert_eq!(timeline_of("0000000A.history"), None);
        assert_eq!(timeline_of("0000000A0000000000000005.partial"), None);
    }

    #[test]
    fn inserts_count_with_their_commits() {
        // As versions 15 and 17 print them.
        let dump = "\
rmgr: Heap        len (rec/tot):     63/    63, tx:        735, lsn: 0/01571F50, prev 0/01571F18, desc: INSERT off 2 flags 0x08, blkref #0: rel 1663/5/16388 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        735, lsn: 0/01571F90, prev 0/01571F50, desc: COMMIT 2026-11-20 19:30:00.000000 UTC
rmgr: Heap        len (rec/tot):     63/    63, tx:        736, lsn: 0/01571FB8, prev 0/01571F90, desc: INSERT+INIT off: 1, flags: 0x08, blkref #0: rel 1663/5/16388 blk 1
rmgr: Transaction len (rec/tot):     34/    34, tx:        736, lsn: 0/01572000, prev 0/01571FB8, desc: COMMIT 2026-11-20 19:30:00.000000 UTC
rmgr: Heap        len (rec/tot):     63/    63, tx:        737, lsn: 0/01572028, prev 0/01572000, desc: INSERT off 2 flags 0x08, blkref #0: rel 1663/5/1638 blk 0
rmgr: Transaction len (rec/tot):     34/    34, tx:        737, lsn: 0/01572068, prev 0/01572028, desc: COMMIT 2026-11-20 19:30:00.000000 UTC
rmgr: Heap        len (rec/tot):     63/    63, tx:        738, lsn: 0/01572090, prev 0/01572068, desc: INSERT off 3 flags 0x08, blkref #0: rel 1663/5/16388 blk 1
";
        assert_eq!(count_committed(dump, "5/16388").unwrap(), 2);
        assert_eq!(dump.lines().last().and_then(end_of_record), Some(0x157_20D0));
        assert!(count_committed("", "5/16388").is_err());
    }
}
