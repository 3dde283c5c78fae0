//! Rewinding, with the traps of `pg_rewind` closed:
//!
//! - it refuses a directory that was not stopped cleanly, and its own cure fails on a standby's directory: PostgreSQL's
//!   single-user mode refuses `standby.signal`;
//! - before version 16 it sees nothing to do until the source has made a checkpoint on its new timeline;
//! - interrupted, it leaves a directory that looks like an instance, and whose WAL it has partly replaced;
//! - it copies the source's configuration files over the node's own;
//! - it brings each file of the directory to disk by itself, and so does the recovery before it: with thousands of files, most
//!   of them untouched, on a busy disk, that is most of the time that it takes.

use std::fs;
use std::io;
use std::time::Duration;

use super::keep_aside::{Range, clear_way, keep, new_name, remove_oldest, restore_own_files, restore_wal};
use super::outside::links;
use super::source::Source;
use super::{Marker, Phase};
use crate::instance::{ControlData, Instance, signal_file, words};
use crate::sys::{Deadline, Output, Owner, Pace, Program, sync_filesystem_of, sync_tells_errors};
use crate::types::{Lsn, Timeline};

/// A copy of any size must be able to end; the worker's end is the agent's business.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
const SHORT: Duration = Duration::from_secs(60);
/// How long the source may take for the checkpoint that follows its promotion.
const CHECKPOINT: Duration = Duration::from_secs(300);

/// Why an instance was not rewound.
pub(super) enum RewindError {
    /// It may work another time.
    Now(String),
    /// It will never work with this directory.
    Never(String),
}

impl From<String> for RewindError {
    fn from(reason: String) -> Self {
        RewindError::Now(reason)
    }
}

/// Everything that a rewind works with.
pub(super) struct Rewind<'a> {
    pub(super) instance: &'a Instance,
    pub(super) owner: Owner,
    pub(super) source: Source,
}

impl Rewind<'_> {
    /// Goes on from where the marker says.
    pub(super) fn run(&self, marker: &mut Marker) -> Result<(), RewindError> {
        let data = self.instance.data_directory();
        match (marker.phase, &marker.kept) {
            (Phase::Waiting | Phase::Planned, _) | (_, None) => {
                if !self.prepare(marker)? {
                    log::info!("pg_rewind finds nothing to rewind: the instance can follow as it is");
                    return self.make_standby();
                }
            }
            (Phase::Kept | Phase::Done, Some(kept)) => {
                log::info!("going on with an interrupted rewind; its WAL is put back from {}", kept.display());
                restore_wal(kept, data).map_err(|e| format!("cannot put the WAL back from {}: {e}", kept.display()))?;
            }
        }
        if let Some(kept) = &marker.kept {
            self.source.look_in(kept);
            clear_way(kept, data)?;
        }
        self.rewind_durably()?;
        if let Some(kept) = &marker.kept {
            restore_own_files(kept, data).map_err(|e| format!("cannot put the configuration back: {e}"))?;
        }
        if marker.host.is_some() {
            self.source.name_primary(data).map_err(|e| format!("cannot write primary_conninfo: {e}"))?;
        }
        self.make_standby()
    }

    /// What it has written is on disk when this returns.
    fn rewind_durably(&self) -> Result<(), RewindError> {
        let by_volume = sync_tells_errors();
        let program = self.pg_rewind(if by_volume { &["--no-sync"] } else { &[] });
        let output = program.output(Deadline::after(LONG)).map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(failure_of(&output));
        }
        if by_volume {
            self.sync_volumes().map_err(|e| format!("cannot bring the rewound directory to disk: {e}"))?;
        }
        Ok(())
    }

    /// The volumes of the data directory, the WAL and the tablespaces.
    fn sync_volumes(&self) -> io::Result<()> {
        let data = self.instance.data_directory();
        sync_filesystem_of(data)?;
        links(data).iter().try_for_each(|link| sync_filesystem_of(link))
    }

    fn make_standby(&self) -> Result<(), RewindError> {
        let made = signal_file::make_standby(self.instance.data_directory());
        made.map_err(|e| RewindError::Now(format!("cannot create standby.signal: {e}")))
    }

    /// Finds out what a rewind would do, and keeps aside what it would overwrite. False when there is
    /// nothing to do.
    fn prepare(&self, marker: &mut Marker) -> Result<bool, RewindError> {
        let mut control = self.control_data()?;
        if !control.was_stopped_cleanly() {
            self.recover_alone()?;
            control = self.control_data()?;
        }
        let Some(plan) = self.plan(marker)? else { return Ok(false) };
        self.keep_aside(marker, &control, &plan)?;
        marker.phase = Phase::Kept;
        marker.write(self.instance.data_directory()).map_err(|e| format!("cannot write the marker: {e}"))?;
        Ok(true)
    }

    fn control_data(&self) -> Result<ControlData, String> {
        self.instance.control_data(Deadline::after(SHORT)).map_err(|e| e.to_string())
    }

    /// Crash recovery without listening to anybody, as `pg_rewind` itself would do it.
    fn recover_alone(&self) -> Result<(), String> {
        let instance = self.instance;
        log::info!("the instance was not stopped cleanly; recovering it by itself, in single-user mode");
        let _ = fs::remove_file(instance.data_directory().join("standby.signal"));
        instance.remove_stale_pid_file(Deadline::after(SHORT)).map_err(|e| e.to_string())?;
        let options = words::split(&instance.parameters.start_opts).ok_or("parameter start_opts has an open quote")?;
        let program = Program::new(instance.program("postgres")).owned_by(&self.owner);
        let program = program.arg("--single").arg("-D").arg(&instance.parameters.pgdata);
        let has_option = instance.major_version().is_some_and(|major| major >= 14);
        let by_volume: &[&str] = match has_option && sync_tells_errors() {
            true => &["-c", "recovery_init_sync_method=syncfs"],
            false => &[],
        };
        let program = program.args(by_volume).args(options);
        let program = program.args(["-c", "logging_collector=off", "template1"]);
        let recovered = program.run(Deadline::after(LONG));
        recovered.map(drop).map_err(|e| format!("crash recovery before the rewind failed: {e}"))
    }

    /// Where `pg_rewind` would begin; `None` when there is nothing to rewind.
    fn plan(&self, marker: &Marker) -> Result<Option<Plan>, RewindError> {
        self.await_checkpoint(Timeline(marker.timeline))?;
        // Left to itself it would go on to fetch all that a rewind fetches, the source's WAL included.
        let dry_run = self.pg_rewind(&["--dry-run"]).output_until(Plan::LAST_WORDS, Deadline::after(LONG));
        let output = dry_run.map_err(|e| e.to_string())?;
        match Plan::parse(&output.stderr) {
            None if !output.status.success() => Err(failure_of(&output)),
            plan => Ok(plan),
        }
    }

    /// Until the source's control file shows the timeline that the source writes, `pg_rewind` sees an older
    /// timeline: nothing to rewind, or a recovery that must end on it (tried, 15: "requested timeline does
    /// not contain minimum recovery point").
    fn await_checkpoint(&self, timeline: Timeline) -> Result<(), String> {
        let patience = Deadline::after(CHECKPOINT);
        let shown = || {
            let sql = "select timeline_id from pg_control_checkpoint()";
            let shown = self.source.ask(self.instance, &self.owner, sql, Deadline::after(SHORT))?;
            Ok::<bool, String>(shown.parse().is_ok_and(|shown: Timeline| shown >= timeline))
        };
        if shown()? {
            return Ok(());
        }
        log::info!("the source has made no checkpoint on timeline {timeline} yet; asking for one");
        if let Err(error) = self.source.ask(self.instance, &self.owner, "checkpoint", patience) {
            log::info!("the source makes no checkpoint for this role ({error}); waiting for its own");
        }
        let mut pace = Pace::up_to(Duration::from_secs(2));
        while !shown()? {
            if !pace.step(patience) {
                return Err(format!("the source has made no checkpoint on timeline {timeline}"));
            }
        }
        Ok(())
    }

    fn keep_aside(&self, marker: &mut Marker, control: &ControlData, plan: &Plan) -> Result<(), String> {
        let (instance, data) = (self.instance, self.instance.data_directory());
        let own = instance.own_wal(control, Deadline::after(SHORT)).map_err(|e| e.to_string())?;
        let end = instance.end_of_wal(&own, control, Deadline::after(LONG)).map_err(|e| e.to_string())?;
        let timeline = own.history.last().timeline;
        let kept = new_name(data, timeline, plan.fork);
        let range = Range { checkpoint: plan.checkpoint, end, segment_size: control.segment_size };
        keep(data, &kept, range, &self.list(marker, timeline, plan.fork, end))?;
        log::info!("the WAL from {} to {end} is kept in {}", plan.checkpoint, kept.display());
        if let Err(error) = remove_oldest(data, marker.keep, &[&kept]) {
            log::warn!("cannot remove old kept-aside directories: {error}");
        }
        marker.kept = Some(kept);
        Ok(())
    }

    /// What is in the directory, for people.
    fn list(&self, marker: &Marker, timeline: Timeline, fork: Lsn, end: Lsn) -> String {
        let (data, bytes) = (self.instance.data_directory().display(), end.bytes_beyond(fork));
        format!(
            "Why: {}\nFrom: {data} on {}, timeline {timeline}\nBeyond the fork at {fork}: {bytes} bytes of WAL, to {end}\n\n\
             pg_wal      the WAL from the last common checkpoint to the end\n\
             pg_control  the control file\n\
             config      the node's own files: configuration, keys, logs; config.txt is the list of them\n\n\
             To see what was written there: pg_waldump -p pg_wal -t {timeline} -s {fork}\n\n{}",
            marker.why,
            marker.node,
            self.statistics(timeline, fork)
        )
    }

    /// The transactions and rows beyond the fork, counted by kind of WAL record.
    fn statistics(&self, timeline: Timeline, fork: Lsn) -> String {
        let Ok(program) = self.instance.waldump(timeline, fork) else { return String::new() };
        let counted = program.arg("--stats=record").output(Deadline::after(LONG));
        let Ok(output) = counted else { return "pg_waldump could not count the records.".to_owned() };
        let of_interest = |line: &&str| {
            let words = ["Transaction/", "Heap/", "Heap2/MULTI_INSERT", "Type "];
            words.iter().any(|word| line.trim_start().starts_with(word))
        };
        let lines: Vec<_> = output.stdout.lines().filter(of_interest).collect();
        format!("Records beyond the fork (Transaction/COMMIT: transactions; Heap: rows):\n{}", lines.join("\n"))
    }

    fn pg_rewind(&self, options: &[&str]) -> Program {
        let program = self.source.program(self.instance, &self.owner, "pg_rewind");
        let program = program.arg("--target-pgdata").arg(self.instance.data_directory());
        let program = program.args(["--source-server", &self.source.conninfo_for_sql()]).args(options);
        // Version 12 has no such option, and no crash recovery of its own either.
        let has_option = self.instance.major_version().is_some_and(|major| major >= 13);
        if has_option { program.arg("--no-ensure-shutdown") } else { program }
    }
}

/// What `pg_rewind --dry-run` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    fork: Lsn,
    checkpoint: Lsn,
}

impl Plan {
    /// What it says last before it begins to read and fetch.
    const LAST_WORDS: &str = "last common checkpoint at ";

    /// `servers diverged at WAL location X on timeline N`, `rewinding from last common checkpoint at Y on
    /// timeline N` (pg_rewind.c, the same from 12 to 18).
    fn parse(text: &str) -> Option<Plan> {
        let after = |words: &str| {
            let (_, rest) = text.split_once(words)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        Some(Plan { fork: after("servers diverged at WAL location ")?, checkpoint: after(Plan::LAST_WORDS)? })
    }
}

/// Whether another attempt may help is told by what `pg_rewind` complains of.
fn failure_of(output: &Output) -> RewindError {
    const NEVER: [&str; 6] = [
        "needs to use either data checksums",
        "could not find previous WAL record",
        "could not read WAL record",
        "could not find common ancestor",
        "different systems",
        "could not open file",
    ];
    let complaints = output.stderr.lines().filter(|line| line.contains("error:") || line.contains("fatal:"));
    let words: Vec<_> = complaints.map(str::trim).collect();
    let words = if words.is_empty() { output.stderr.trim().to_owned() } else { words.join("; ") };
    let words: String = words.chars().take(400).collect();
    let mut reason = format!("pg_rewind failed ({}): {words}", output.status);
    if words.contains("permission denied for function") {
        reason.push_str("; grant the role of primary_conninfo what the README lists under \"Rights\"");
    }
    match NEVER.iter().any(|complaint| words.contains(complaint)) {
        true => RewindError::Never(reason),
        false => RewindError::Now(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_version_15_says() {
        let text = "pg_rewind: connected to server\n\
                    pg_rewind: servers diverged at WAL location 0/5328410 on timeline 1\n\
                    pg_rewind: rewinding from last common checkpoint at 0/5328398 on timeline 1\n\
                    pg_rewind: Done!\n";
        let plan = Plan { fork: Lsn(0x532_8410), checkpoint: Lsn(0x532_8398) };
        assert_eq!(Plan::parse(text), Some(plan));
        assert_eq!(Plan::parse("pg_rewind: no rewind required\n"), None);
    }
}
