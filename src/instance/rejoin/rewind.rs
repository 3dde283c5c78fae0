//! Rewinding, with the traps of `pg_rewind` closed:
//!
//! - it refuses a directory that was not stopped cleanly, and its own cure fails on a standby's directory: PostgreSQL's
//!   single-user mode refuses `standby.signal`;
//! - that recovery ends with a checkpoint, which removes the WAL that the rewind needs next;
//! - before version 16 it sees nothing to do until the source has made a checkpoint on its new timeline;
//! - interrupted, it leaves a directory that looks like an instance, and whose WAL it has partly replaced;
//! - it takes what WAL the source has, and says that it is done also when that does not begin where the recovery will;
//! - it copies the source's configuration files over the node's own;
//! - it brings each file of the directory to disk by itself, and so does the recovery before it: with thousands of files, most
//!   of them untouched, on a busy disk, that is most of the time that it takes.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::hold::hold;
use super::keep_aside::{clear_way, new_name, remove_oldest, restore_own_files, restore_wal};
use super::outside::links;
use super::source::Source;
use super::{Marker, Phase, own_files, own_wal, shape};
use crate::instance::signal_file::RECOVERY_SIGNAL;
use crate::instance::wal::parse_segment_name;
use crate::instance::{ControlData, Instance, signal_file, words};
use crate::policy::attempt::first_gap;
use crate::sys::{Deadline, Output, Owner, Pace, Program, sync_filesystem_of, sync_tells_errors};
use crate::types::{Gather, Lsn, Timeline};

/// A copy of any size must be able to end; the worker's end is the agent's business.
const LONG: Duration = Duration::from_secs(7 * 24 * 3600);
const SHORT: Duration = Duration::from_secs(60);
/// How long the source may take for the checkpoint that follows its promotion.
const CHECKPOINT: Duration = Duration::from_secs(300);

/// What `pg_rewind` says of a target that can follow as it is, and of a source that shows an older timeline (pg_rewind.c).
const NOT_REQUIRED: &str = "no rewind required";

/// Why an instance was not rewound.
pub(super) enum RewindError {
    /// It may work another time.
    Now(String),
    /// It will never work with this directory.
    Never(String),
    /// It will not before somebody has corrected something, which the reason names. A clone needs none of that.
    ByHand(String),
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
        self.refuse_unfit_source(marker)?;
        self.await_checkpoint(Timeline(marker.timeline))?;
        let _held = hold(&self.source, self.instance, &self.owner, marker.ticket);
        match (marker.phase, &marker.kept) {
            (Phase::Waiting | Phase::Planned | Phase::Saved, _) | (_, None) => {
                if !self.prepare(marker)? {
                    log::info!("pg_rewind finds nothing to rewind: the instance can follow as it is");
                    return self.make_standby();
                }
            }
            (Phase::Kept | Phase::Done, Some(kept)) if !kept.is_dir() => {
                return Err(RewindError::ByHand(format!(
                    "{} is gone, and an interrupted rewind cannot go on without it; put it back, or set rejoin=clone",
                    kept.display()
                )));
            }
            (Phase::Kept | Phase::Done, Some(kept)) => {
                log::info!("going on with an interrupted rewind; its WAL is put back from {}", kept.display());
                restore_wal(kept, data).map_err(|e| format!("cannot put the WAL back from {}: {e}", kept.display()))?;
                shape::put_back(kept, data).map_err(|e| format!("cannot put the files back as they were: {e}"))?;
                let size = self.control_data()?.segment_size.max(1);
                let checked = |way: Way| self.refuse_gap(way, &kept.join("pg_wal"), way.fork.0 / size);
                Way::of(marker).map_or(Ok(()), checked)?;
            }
        }
        self.rewind_and_restore(marker)?;
        self.make_standby()
    }

    /// From here on the directory is not the instance that it was.
    fn rewind_and_restore(&self, marker: &mut Marker) -> Result<(), RewindError> {
        let data = self.instance.data_directory();
        let note = |marker: &mut Marker, restored: bool| {
            marker.restored = restored;
            marker.write(data).map_err(|e| format!("cannot write the marker: {e}"))
        };
        if let Some(kept) = &marker.kept {
            self.source.look_in(kept);
        }
        note(marker, false)?;
        if let Some(kept) = &marker.kept {
            clear_way(kept, data)?;
        }
        self.rewind_durably()?;
        let way = Way::of(marker);
        if let Some(kept) = marker.kept.clone() {
            restore_own_files(&kept, data).map_err(|e| format!("cannot put the configuration back: {e}"))?;
            note(marker, true)?;
            let filled = way.map_or(Ok(()), |way| self.fill_in(way, &kept));
            filled.map_err(|e| format!("cannot put the common WAL back: {e}"))?;
        }
        if marker.host.is_some() {
            self.source.name_primary(data).map_err(|e| format!("cannot write primary_conninfo: {e}"))?;
        }
        way.map_or(Ok(()), |way| self.refuse_gap(way, &data.join("pg_wal"), u64::MAX))
    }

    /// Another attempt was planned for what was published, and the address may lead elsewhere by now.
    fn refuse_unfit_source(&self, marker: &Marker) -> Result<(), String> {
        let sql = "select system_identifier || ' ' || pg_is_in_recovery() from pg_control_system()";
        let answer = self.source.ask(self.instance, &self.owner, sql, Deadline::after(SHORT))?;
        // A control file that an interrupted rewind has left half is put back later.
        let own = self.control_data().map_or(marker.system.clone(), |control| control.system.to_string());
        match answer.split_once(' ') {
            Some((theirs, _)) if theirs != own && !own.is_empty() => Err(format!(
                "primary_conninfo leads to another cluster: its system identifier is {theirs}, this one's {own}; correct it"
            )),
            Some((_, "false")) => Ok(()),
            _ => {
                Err(format!("primary_conninfo leads to a standby and not to {}; waiting until it does", marker.primary))
            }
        }
    }

    /// Refuses a rewind after which the recovery would stop for want of WAL that this node has not, before this segment, and the
    /// source has not. Where an archive is asked, what that has is not known.
    fn refuse_gap(&self, way: Way, wal: &Path, before: u64) -> Result<(), RewindError> {
        if self.has_archive() {
            return Ok(());
        }
        let size = self.control_data()?.segment_size.max(1);
        let Some(theirs) = self.segments_of_source(size) else { return Ok(()) };
        let mut ours = own_wal::numbers(wal, size).map_err(|e| format!("cannot list the WAL: {e}"))?;
        ours.retain(|number| *number < before);
        let Some(gap) = first_gap(way.redo.0 / size, &ours, &theirs) else { return Ok(()) };
        let position = |number: u64| Lsn(number.saturating_mul(size));
        let oldest = theirs.first().copied().map_or(Lsn(0), position);
        Err(RewindError::Never(format!(
            "it is too far behind to be rewound: the WAL from {} on is needed, and the primary's oldest is {oldest}",
            position(gap)
        )))
    }

    /// By the rights that `pg_rewind` needs, too.
    fn segments_of_source(&self, segment_size: u64) -> Option<BTreeSet<u64>> {
        let sql = "select pg_ls_dir('pg_wal', true, false)";
        let names = self.source.ask(self.instance, &self.owner, sql, Deadline::after(SHORT));
        let names = names.map_err(|e| log::info!("the source does not tell what WAL it has: {e}")).ok()?;
        let numbers = names.lines().filter_map(|name| parse_segment_name(name, segment_size));
        Some(numbers.map(|(_, number)| number).into_set())
    }

    fn fill_in(&self, way: Way, kept: &Path) -> io::Result<()> {
        let size = self.control_data().map_err(io::Error::other)?.segment_size.max(1);
        own_wal::fill_in(kept, self.instance.data_directory(), way.fork.0 / size, size)
    }

    /// WAL of this instance that is gone from it may be in the archive. Before version 15 `pg_rewind` finds `restore_command` only
    /// where the configuration is in the data directory.
    fn archive_options(&self) -> Vec<String> {
        let major = self.instance.major_version().unwrap_or_default();
        let settings = self.instance.settings(&["restore_command", "config_file"], Deadline::after(SHORT));
        let settings = settings.unwrap_or_default();
        let get = |name: &str| settings.get(name).filter(|value| !value.is_empty());
        match (get("restore_command"), get("config_file")) {
            (Some(_), Some(file)) if major >= 15 => {
                vec!["--restore-target-wal".to_owned(), format!("--config-file={file}")]
            }
            (Some(_), Some(file)) if major >= 13 && Path::new(file).starts_with(self.instance.data_directory()) => {
                vec!["--restore-target-wal".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    fn has_archive(&self) -> bool {
        let settings = self.instance.settings(&["restore_command"], Deadline::after(SHORT)).unwrap_or_default();
        settings.get("restore_command").is_some_and(|command| !command.is_empty())
    }

    /// What it has written is on disk when this returns.
    fn rewind_durably(&self) -> Result<(), RewindError> {
        let by_volume = sync_tells_errors();
        let program = self.pg_rewind(if by_volume { &["--no-sync"] } else { &[] });
        let output = program.output(Deadline::after(LONG)).map_err(|e| e.to_string())?;
        if !output.status.success() {
            return Err(failure_of(&output));
        }
        if output.stderr.contains(NOT_REQUIRED) {
            return Err(RewindError::Now(format!(
                "pg_rewind says '{NOT_REQUIRED}' of a directory that is to be rewound"
            )));
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
        refuse_closed_files(self.instance.data_directory(), self.owner.name())?;
        let mut control = self.control_data()?;
        if !control.was_stopped_cleanly() {
            self.refuse_same_timeline(marker, &control)?;
            self.save_before_recovery(marker, &control)?;
            self.recover_alone()?;
            control = self.control_data()?;
        }
        let Some(plan) = self.plan()? else { return Ok(false) };
        self.keep_aside(marker, &control, &plan)?;
        (marker.phase, marker.touched) = (Phase::Kept, true);
        marker.write(self.instance.data_directory()).map_err(|e| format!("cannot write the marker: {e}"))?;
        Ok(true)
    }

    /// `pg_rewind` rewinds nothing on a timeline of the source's number, and a recovery by itself would write a checkpoint where the
    /// source has written something else: the instance could never follow again.
    fn refuse_same_timeline(&self, marker: &Marker, control: &ControlData) -> Result<(), RewindError> {
        let own = self.instance.whole_wal(control, Deadline::after(SHORT)).ok();
        match own.map(|own| own.history.last().timeline).filter(|own| own.0 == marker.timeline) {
            Some(own) => Err(RewindError::Never(format!(
                "it is on timeline {own} as {} is, and pg_rewind cannot tell two timelines of the same number apart",
                marker.primary
            ))),
            None => Ok(()),
        }
    }

    /// A recovery ends where the WAL is damaged, and writes there. What was saved once is not saved again.
    fn save_before_recovery(&self, marker: &mut Marker, control: &ControlData) -> Result<(), RewindError> {
        let data = self.instance.data_directory();
        if fs::symlink_metadata(data.join("backup_label")).is_ok() {
            return Err(RewindError::Never(format!(
                "{0} has a backup_label: a restored backup, or an exclusive one that was not ended, cannot be recovered by \
                 itself; start it without the cluster, or remove {0}/backup_label if no backup was restored",
                data.display()
            )));
        }
        if marker.phase == Phase::Saved && own_wal::unfinished(data).is_dir() {
            return Ok(());
        }
        own_wal::begin(data)?;
        own_wal::save(data, control.redo.0 / control.segment_size.max(1), control.segment_size)?;
        marker.phase = Phase::Saved;
        marker.write(data).map_err(|e| RewindError::Now(format!("cannot write the marker: {e}")))
    }

    fn control_data(&self) -> Result<ControlData, String> {
        self.instance.control_data(Deadline::after(SHORT)).map_err(|e| e.to_string())
    }

    /// Crash recovery without listening to anybody, as `pg_rewind` itself would do it.
    fn recover_alone(&self) -> Result<(), String> {
        let instance = self.instance;
        log::info!("the instance was not stopped cleanly; recovering it by itself, in single-user mode");
        for name in ["standby.signal", RECOVERY_SIGNAL] {
            let _ = fs::remove_file(instance.data_directory().join(name));
        }
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
        // The last of several counts. Its checkpoints keep all WAL: `pg_rewind` reads back to the last common one.
        let keep = match instance.major_version() {
            Some(..=12) => "wal_keep_segments=2147483647",
            _ => "wal_keep_size=2147483647",
        };
        let program = program.args(["-c", keep, "-c", "logging_collector=off", "template1"]);
        let recovered = program.run(Deadline::after(LONG));
        recovered.map(drop).map_err(|e| format!("crash recovery before the rewind failed: {e}"))
    }

    /// Where `pg_rewind` would begin; `None` when there is nothing to rewind.
    fn plan(&self) -> Result<Option<Plan>, RewindError> {
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

    fn keep_aside(&self, marker: &mut Marker, control: &ControlData, plan: &Plan) -> Result<(), RewindError> {
        let (instance, data) = (self.instance, self.instance.data_directory());
        let own = instance.whole_wal(control, Deadline::after(LONG))?;
        let end = own.end.unwrap_or(control.redo);
        let timeline = own.history.last().timeline;
        let way = Way { redo: self.redo_of(plan, control)?, fork: plan.fork };
        let (redo, size) = (way.redo, control.segment_size.max(1));
        if marker.phase != Phase::Saved {
            own_wal::begin(data)?;
        }
        own_wal::save(data, redo.0 / size, size)?;
        self.refuse_gap(way, &own_wal::unfinished(data).join("pg_wal"), plan.fork.0 / size)?;
        let kept = new_name(data, timeline, plan.fork);
        own_wal::finish(data, &kept, &self.list(marker, timeline, plan.fork, end))?;
        log::info!("the WAL from {redo} to {end} is kept in {}", kept.display());
        if let Err(error) = remove_oldest(data, marker.keep, &[&kept]) {
            log::warn!("cannot remove old kept-aside directories: {error}");
        }
        (marker.own, marker.fork) = (Some(own.history.to_string()), Some(plan.fork.to_string()));
        (marker.redo, marker.kept) = (Some(redo.to_string()), Some(kept));
        Ok(())
    }

    /// Where the recovery of the rewound instance begins: the last common checkpoint's record has it.
    fn redo_of(&self, plan: &Plan, control: &ControlData) -> Result<Lsn, String> {
        let (instance, at) = (self.instance, plan.checkpoint);
        let youngest = instance.youngest_timeline(control);
        let timeline = instance.timeline_of_file(plan.timeline, youngest, at, control.segment_size);
        let record = instance.waldump(timeline, at).map_err(|e| e.to_string())?;
        let line = record.args(["-n", "1"]).last_line(Deadline::after(SHORT)).map_err(|e| e.to_string())?;
        let unreadable = || format!("the checkpoint at {} cannot be read: {line}", plan.checkpoint);
        redo_in(&line).filter(|redo| *redo <= plan.checkpoint).ok_or_else(unreadable)
    }

    /// What is in the directory, for people.
    fn list(&self, marker: &Marker, timeline: Timeline, fork: Lsn, end: Lsn) -> String {
        let (data, bytes) = (self.instance.data_directory().display(), end.bytes_beyond(fork));
        format!(
            "Why: {}\nFrom: {data} on {}, timeline {timeline}\nBeyond the fork at {fork}: {bytes} bytes of WAL, to {end}\n\n\
             pg_wal      the WAL from the last common checkpoint to the end\n\
             before-recovery  of that, what the recovery after a crash has written in since, as it was (if any)\n\
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
        let program = if has_option { program.arg("--no-ensure-shutdown") } else { program };
        program.args(self.archive_options())
    }
}

/// `pg_rewind` removes what the source has not, and what cannot be kept would be lost.
fn refuse_closed_files(data: &Path, owner: &str) -> Result<(), RewindError> {
    let own = own_files::list(data)?;
    match own.iter().map(|name| data.join(name)).find(|path| own_files::is_closed(path)) {
        None => Ok(()),
        Some(path) => Err(RewindError::ByHand(format!(
            "{} cannot be kept aside: {owner} may not read it; allow that, or move it out of the data directory",
            path.display()
        ))),
    }
}

/// What a rewound instance has to recover.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Where its recovery begins.
    redo: Lsn,
    /// Where the WAL of the source alone begins.
    fork: Lsn,
}

impl Way {
    /// What an older agent wrote does not tell.
    fn of(marker: &Marker) -> Option<Way> {
        let (_, fork) = marker.first_fork()?;
        Some(Way { redo: marker.redo.as_ref()?.parse().ok()?, fork })
    }
}

/// What `pg_rewind --dry-run` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plan {
    fork: Lsn,
    checkpoint: Lsn,
    /// The one that the checkpoint is on.
    timeline: Timeline,
}

impl Plan {
    /// What it says last before it begins to read and fetch.
    const LAST_WORDS: &str = "last common checkpoint at ";

    /// `servers diverged at WAL location X on timeline N`, `rewinding from last common checkpoint at Y on
    /// timeline N` (pg_rewind.c, the same from 12 to 18).
    fn parse(text: &str) -> Option<Plan> {
        let word = |after: &str, number: usize| {
            let (_, rest) = text.split_once(after)?;
            rest.split_whitespace().nth(number)
        };
        Some(Plan {
            fork: word("servers diverged at WAL location ", 0)?.parse().ok()?,
            checkpoint: word(Plan::LAST_WORDS, 0)?.parse().ok()?,
            timeline: word(Plan::LAST_WORDS, 3)?.parse().ok()?,
        })
    }
}

/// `... desc: CHECKPOINT_ONLINE redo 0/2000028; tli 1; ...`
fn redo_in(line: &str) -> Option<Lsn> {
    let (_, rest) = line.split_once("desc: CHECKPOINT_")?;
    let (_, rest) = rest.split_once(" redo ")?;
    rest.split(';').next()?.trim().parse().ok()
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
        let plan = Plan { fork: Lsn(0x532_8410), checkpoint: Lsn(0x532_8398), timeline: Timeline(1) };
        assert_eq!(Plan::parse(text), Some(plan));
        assert_eq!(Plan::parse("pg_rewind: no rewind required\n"), None);
    }

    #[test]
    fn where_a_recovery_begins() {
        let line = "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/02000060, prev 0/02000028, \
                    desc: CHECKPOINT_ONLINE redo 0/2000028; tli 1; prev tli 1; fpw true";
        assert_eq!(redo_in(line), Some(Lsn(0x200_0028)));
        assert_eq!(redo_in(&line.replace("CHECKPOINT_ONLINE", "RUNNING_XACTS")), None);
    }
}
