//! Cloning: the old directory is renamed, with what it leads to outside of itself, and a new one is made from the
//! primary, with its WAL and tablespaces where this node has had them.
//!
//! In this order: the primary is asked whether it lets this node in, everything is looked at that could fail, the old
//! directory is moved, the copy is made apart ([`super::nursery`]) and comes to its place when it is whole.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use super::hold::hold;
use super::keep_aside::{self, SPARE, own_files_in, remove_oldest};
use super::nursery::{self, Nursery};
use super::outside::{self, Move, Outside, resolve};
use super::own_files;
use super::source::Source;
use super::{Marker, Phase};
use crate::instance::files::sync_directory;
use crate::instance::{Instance, signal_file};
use crate::policy::conninfo::Conninfo;
use crate::policy::placing::{NewSite, Next, refusal_of_new};
use crate::sys::{Deadline, Owner};
use crate::types::{Lsn, Timeline};

const SHORT: Duration = Duration::from_secs(60);

/// Everything that a clone works with.
pub(super) struct Clone<'a> {
    pub(super) instance: &'a Instance,
    pub(super) owner: Owner,
    pub(super) source: Source,
}

impl Clone<'_> {
    /// Goes on from where the marker says.
    pub(super) fn run(&self, marker: &mut Marker) -> Result<(), String> {
        self.refuse_if_somebody_filled(marker)?;
        if !marker.whole {
            self.source.refuse_unless_it_serves(self.instance, &self.owner, marker)?;
        }
        if marker.phase == Phase::Planned {
            self.keep_aside(marker)?;
        }
        loop {
            let nursery = self.nursery(marker);
            match nursery.next(marker.whole, &marker.filled) {
                Next::Copy => self.make_copy(marker)?,
                Next::MoveUp(at) => nursery.move_up(&nursery.places[at])?,
                Next::Done => return Ok(()),
                Next::Refuse(why) => return Err(why),
            }
        }
    }

    /// Nobody has to reach the primary to be told that. What was planned as an empty directory is not moved aside, either:
    /// its volume may have been mounted meanwhile.
    fn refuse_if_somebody_filled(&self, marker: &Marker) -> Result<(), String> {
        let is_to_be_kept = marker.phase == Phase::Planned && !marker.was_empty;
        match self.nursery(marker).next(marker.whole, &marker.filled) {
            Next::Refuse(why) if !is_to_be_kept => Err(why),
            _ => Ok(()),
        }
    }

    /// The old directory is renamed, with what it leads to. The new name is on record before, so that an interruption
    /// between two steps loses nothing.
    fn keep_aside(&self, marker: &mut Marker) -> Result<(), String> {
        let (data, home) = (self.instance.data_directory(), self.home());
        let before: Vec<_> = marker.kept_before.iter().cloned().collect();
        let before: Vec<_> = before.iter().map(PathBuf::as_path).collect();
        if !self.moving(marker, &home, "").has_begun() {
            marker.kept = nursery::is_in_use(&home).then(|| keep_aside::new_name(&home, self.timeline(), Lsn(0)));
            marker.outside = outside::find(data)?;
            if marker.kept.is_some() {
                self.moving(marker, &home, "").refuse_what_cannot_be_moved()?;
            }
            self.refuse_new_places(&self.tablespaces(), marker)?;
            self.make_room(marker, &before)?;
            write(marker, data)?;
        }
        let spare = if marker.spare { format!("{SPARE}\n") } else { String::new() };
        let list = format!("{spare}Why: {}\nThe whole data directory of {}.", marker.why, marker.node);
        self.moving(marker, &home, &list).run()?;
        if let Some(kept) = &marker.kept {
            log::info!("the old data directory is kept as {}", kept.display());
        }
        marker.phase = Phase::Kept;
        write(marker, data)?;
        let spared: Vec<_> = before.into_iter().chain(marker.kept.as_deref()).collect();
        if let Err(error) = remove_oldest(data, marker.keep, &spared) {
            log::warn!("cannot remove old kept-aside directories: {error}");
        }
        Ok(())
    }

    /// The data directory itself, when its path is a link.
    fn home(&self) -> PathBuf {
        resolve(self.instance.data_directory())
    }

    fn nursery(&self, marker: &Marker) -> Nursery {
        let outside = marker.outside.0.iter().map(|outside| outside.place.clone());
        Nursery { name: marker.nursery.clone(), places: outside.chain([self.home()]).collect() }
    }

    /// Makes the copy of everything, with all that the node needs to follow. It is whole when this returns.
    fn make_copy(&self, marker: &mut Marker) -> Result<(), String> {
        let data = self.instance.data_directory();
        if let Some(kept) = &marker.kept {
            self.source.look_in(kept);
        }
        let spaces = self.tablespaces();
        self.claim_new_places(&spaces, marker)?;
        marker.whole = false;
        marker.nursery = nursery::new_name().map_err(|e| format!("there are no random numbers: {e}"))?;
        write(marker, data)?;
        let nursery = self.nursery(marker);
        // A place that was claimed a moment ago may have something in it.
        if let Next::Refuse(why) = nursery.next(false, &marker.filled) {
            return Err(why);
        }
        nursery.make()?;
        marker.filled = nursery.places.iter().map(|place| nursery::claim(place) + "\n").collect();
        write(marker, data)?;
        self.copy(marker, &nursery, &spaces)?;
        let copy = nursery.of(&self.home());
        forget_unused(marker, &nursery, &copy);
        lead_to_places(marker, &copy).map_err(|e| format!("cannot make a link of the copy: {e}"))?;
        self.restore_configuration(marker, &copy)?;
        signal_file::make_standby(&copy).map_err(|e| format!("cannot create standby.signal: {e}"))?;
        sync_directory(&copy).map_err(|e| format!("cannot bring {} to disk: {e}", copy.display()))?;
        marker.whole = true;
        write(marker, data)
    }

    fn moving<'a>(&'a self, marker: &'a Marker, home: &'a Path, list: &'a str) -> Move<'a> {
        Move { data: home, kept: marker.kept.as_deref(), outside: &marker.outside.0, list }
    }

    /// What the primary has as well is given up before the clone is.
    fn make_room(&self, marker: &Marker, spared: &[&Path]) -> Result<(), String> {
        let lacks = |_: &String| {
            let removed = keep_aside::remove_spare(self.instance.data_directory(), spared);
            removed.unwrap_or_else(|error| {
                log::warn!("cannot remove old kept-aside directories: {error}");
                false
            })
        };
        match self.refuse_without_room(marker) {
            Err(why) if lacks(&why) => self.refuse_without_room(marker),
            other => other,
        }
    }

    /// A role that may not see the sizes: `pg_basebackup` says when a volume is full, and nothing is lost.
    fn refuse_without_room(&self, marker: &Marker) -> Result<(), String> {
        let size = |sql: &str| self.ask(sql).ok().and_then(|size| size.parse().ok()).unwrap_or(0);
        let spaces: Vec<_> = marker.outside.0.iter().filter_map(|at| Some((at.tablespace()?, &at.place))).collect();
        for (oid, place) in &spaces {
            keep_aside::refuse_without_room(place, size(&format!("select pg_tablespace_size({oid}::oid)")))?;
        }
        let inside = match spaces.is_empty() {
            true => "select coalesce(sum(pg_database_size(oid)), 0) from pg_database where datallowconn",
            false => "select pg_tablespace_size('pg_default') + pg_tablespace_size('pg_global')",
        };
        keep_aside::refuse_without_room(self.instance.data_directory(), size(inside))
    }

    fn ask(&self, sql: &str) -> Result<String, String> {
        self.source.ask(self.instance, &self.owner, sql, Deadline::after(SHORT))
    }

    /// The source's tablespaces, by their numbers and places. A role that may not ask: `pg_basebackup` puts them where
    /// they are on the source, and overwrites nothing.
    fn tablespaces(&self) -> Vec<(String, PathBuf)> {
        let listed =
            self.ask("select oid || ':' || pg_tablespace_location(oid) from pg_tablespace").unwrap_or_default();
        let spaces = listed.lines().filter_map(|line| line.split_once(':'));
        // Relative: in the data directory itself. Empty: the two that every instance has.
        spaces.map(|(oid, at)| (oid.to_owned(), at.into())).filter(|(_, at): &(_, PathBuf)| at.is_absolute()).collect()
    }

    /// The source's tablespaces that this node has not had, and where they lie there.
    fn new_places<'a>(&self, spaces: &'a [(String, PathBuf)], marker: &Marker) -> Vec<&'a (String, PathBuf)> {
        let is_known = |oid: &str| marker.outside.0.iter().any(|outside| outside.tablespace() == Some(oid));
        spaces.iter().filter(|(oid, _)| !is_known(oid)).collect()
    }

    fn refuse_new_places(&self, spaces: &[(String, PathBuf)], marker: &Marker) -> Result<(), String> {
        let home = self.home();
        let refused = self.new_places(spaces, marker).into_iter().find_map(|(oid, place)| {
            let parent = place.parent().unwrap_or(place);
            let (exists, has_parent) = (outside::is_there(place), parent.is_dir());
            let written = if exists { place.as_path() } else { parent };
            let is_in = |data: &Path| place.starts_with(data);
            let site = NewSite {
                place: place.display().to_string(),
                parent: parent.display().to_string(),
                exists,
                has_parent,
                may_write: access(written, AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
                is_in_data: is_in(&home) || is_in(self.instance.data_directory()),
                entry: nursery::first_foreign(place),
            };
            refusal_of_new(oid, &site)
        });
        refused.map_or(Ok(()), Err)
    }

    /// Tablespaces that this node has not had lie where they do on the source.
    fn claim_new_places(&self, spaces: &[(String, PathBuf)], marker: &mut Marker) -> Result<(), String> {
        self.refuse_new_places(spaces, marker)?;
        let new: Vec<_> = self.new_places(spaces, marker).into_iter().cloned().collect();
        for (oid, place) in new {
            marker.outside.0.push(Outside { link: Path::new("pg_tblspc").join(oid), place });
        }
        Ok(())
    }

    fn timeline(&self) -> Timeline {
        let control = self.instance.control_data(Deadline::after(SHORT));
        control.map_or(Timeline(1), |control| control.timeline)
    }

    /// Runs `pg_basebackup` and notes how far it is.
    fn copy(&self, marker: &mut Marker, nursery: &Nursery, spaces: &[(String, PathBuf)]) -> Result<(), String> {
        let data = self.instance.data_directory();
        let program = self.source.program(self.instance, &self.owner, "pg_basebackup");
        let program = program.args(["--dbname", &self.source.conninfo()]).arg("--pgdata").arg(nursery.of(&self.home()));
        let program = program.args(["--wal-method=stream", "--checkpoint=fast", "--progress", "--no-password"]);
        // With a slot it would tell how much it has flushed, which makes it a synchronous standby where their names have `*`
        // (ReceiveXlogStream in receivelog.c): commits would be acknowledged on the word of a copy that may be given up.
        let program = program.arg("--no-slot");
        let _held = hold(&self.source, self.instance, &self.owner, marker.ticket);
        let program = program.args(places(marker, nursery, spaces));
        let mut command = program.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| program.not_started(cause).to_string())?;
        let mut complaints = Complaints::default();
        let lines =
            child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n').map_while(Result::ok));
        for line in lines {
            let line = String::from_utf8_lossy(&line).into_owned();
            match percent(&line) {
                Some(percent) => note_progress(marker, percent, data),
                None => complaints.hear(&line),
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("pg_basebackup failed ({status}): {}", complaints.text())) }
    }

    /// The node's own files come back; without any, what the node needs to follow is added to the source's.
    fn restore_configuration(&self, marker: &Marker, copy: &Path) -> Result<(), String> {
        if let Some(kept) = marker.kept.as_deref().filter(|kept| kept.is_dir()) {
            let (from, failed) = (own_files_in(kept), "cannot bring the node's own files");
            let (closed, own): (Vec<_>, Vec<_>) =
                own_files::list(&from)?.into_iter().partition(|name| own_files::is_closed(&from.join(name)));
            for name in closed {
                let (at, owner) = (from.join(name), self.owner.name());
                log::warn!("{} stays there: {owner} may not read it, and so the server could not", at.display());
            }
            own_files::bring(&own, &from, copy).map_err(|e| format!("{failed}: {e}"))?;
            for name in own_files::that_came_along(&own, copy)? {
                fs::remove_file(copy.join(&name)).map_err(|e| format!("{failed}: {}: {e}", name.display()))?;
            }
        }
        if marker.host.is_some() || (marker.kept.is_none() && !self.configuration_names(&marker.node, copy)) {
            self.source.name_primary(copy).map_err(|e| format!("cannot write primary_conninfo: {e}"))?;
        }
        Ok(())
    }

    /// Whether the configuration that came along, with what it includes on this node, is this node's.
    fn configuration_names(&self, node: &str, copy: &Path) -> bool {
        let is_apart = self.instance.parameters.pgdata != self.instance.data_directory();
        let pgdata = if is_apart { &self.instance.parameters.pgdata } else { copy };
        let settings = self.instance.settings_in(pgdata, &["primary_conninfo"], Deadline::after(SHORT));
        let conninfo =
            settings.unwrap_or_default().get("primary_conninfo").and_then(|text| text.parse::<Conninfo>().ok());
        conninfo.is_some_and(|conninfo| conninfo.get("application_name") == Some(node))
    }
}

fn write(marker: &Marker, data: &Path) -> Result<(), String> {
    marker.write(data).map_err(|e| format!("cannot write the marker: {e}"))
}

/// A tablespace that the primary has not any more leaves its place empty.
fn forget_unused(marker: &mut Marker, nursery: &Nursery, copy: &Path) {
    let is_used = |outside: &Outside| fs::read_link(copy.join(&outside.link)).ok() == Some(nursery.of(&outside.place));
    marker.outside.0.retain(|outside| {
        let is_used = is_used(outside);
        if !is_used {
            let _ = fs::remove_dir(nursery.of(&outside.place));
        }
        is_used
    });
}

/// The links of the copy lead to where everything will be.
fn lead_to_places(marker: &Marker, copy: &Path) -> io::Result<()> {
    marker.outside.0.iter().try_for_each(|Outside { link, place }| outside::lead(copy, link, place))
}

/// The copy of everything outside of the data directory is made at its place.
fn places(marker: &Marker, nursery: &Nursery, spaces: &[(String, PathBuf)]) -> Vec<String> {
    let copy_of = |link: &Path| {
        marker.outside.0.iter().find(|outside| outside.link == link).map(|outside| nursery.of(&outside.place))
    };
    let wal = copy_of(Path::new("pg_wal")).map(|copy| format!("--waldir={}", copy.display()));
    let escaped = |path: &Path| path.to_string_lossy().replace('=', "\\=");
    let mapping = |theirs: &Path, ours: PathBuf| format!("--tablespace-mapping={}={}", escaped(theirs), escaped(&ours));
    let told = spaces.iter().filter_map(|(oid, theirs)| {
        let ours = copy_of(&Path::new("pg_tblspc").join(oid))?;
        Some(mapping(theirs, ours))
    });
    // A role that may not ask where they lie: most probably where they do here.
    let is_told = |outside: &Outside| spaces.iter().any(|(oid, _)| outside.tablespace() == Some(oid));
    let here = marker.outside.0.iter().filter(|outside| outside.tablespace().is_some() && !is_told(outside));
    wal.into_iter().chain(told).chain(here.map(|outside| mapping(&outside.place, nursery.of(&outside.place)))).collect()
}

/// What `pg_basebackup` says besides its progress: the first error, or else the last words. After an error it goes on to
/// tell what it removes.
#[derive(Default)]
struct Complaints {
    error: Option<String>,
    last: String,
}

impl Complaints {
    fn hear(&mut self, line: &str) {
        let line: String = line.trim().chars().take(400).collect();
        if ["error:", "fatal:"].iter().any(|word| line.contains(word)) {
            self.error.get_or_insert_with(|| line.clone());
        }
        if !line.is_empty() {
            self.last = line;
        }
    }

    fn text(&self) -> &str {
        self.error.as_deref().unwrap_or(&self.last)
    }
}

/// `12345/67890 kB (18%), 0/1 tablespace`
fn percent(line: &str) -> Option<u8> {
    let (_, rest) = line.split_once(" kB (")?;
    rest.split_once('%')?.0.trim().parse().ok().filter(|percent| *percent <= 100)
}

/// In steps that a person would want to see. That it cannot be noted stops no copy.
fn note_progress(marker: &mut Marker, percent: u8, data: &Path) {
    let step = percent - percent % 5;
    if marker.percent != Some(step) {
        marker.percent = Some(step);
        let _ = marker.write(data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_as_version_15_prints_it() {
        assert_eq!(percent("  23124/ 31190 kB (74%), 0/1 tablespace"), Some(74));
        assert_eq!(percent("waiting for checkpoint"), None);
        assert_eq!(percent("1/0 kB (999%)"), None);
    }

    #[test]
    fn the_cause_is_told_and_not_what_is_cleaned_up() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.text(), "");
        for line in [
            "pg_basebackup: initiating base backup, waiting for checkpoint to complete",
            "pg_basebackup: error: could not write to file: No space left on device",
            "pg_basebackup: removing contents of data directory \"/d\"",
        ] {
            complaints.hear(line);
        }
        assert!(complaints.text().contains("No space left"), "{}", complaints.text());
    }
}
