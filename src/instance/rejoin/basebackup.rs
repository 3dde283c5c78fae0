//! Cloning: the old directory is renamed, with what it leads to outside of itself, and a new one is made from the
//! primary, with its WAL and tablespaces where this node has had them.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use super::keep_aside::{self, new_name, own_files, remove_oldest};
use super::outside::{self, Move, Outside};
use super::source::Source;
use super::{Marker, Phase};
use crate::instance::{Instance, signal_file};
use crate::policy::conninfo::Conninfo;
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
        let data = self.instance.data_directory();
        if marker.phase == Phase::Planned {
            self.keep_aside(marker)?;
        }
        let spaces = self.tablespaces();
        self.claim_new_places(&spaces, marker)?;
        self.make_room(marker)?;
        self.copy(marker, &spaces)?;
        self.restore_configuration(marker).map_err(|e| format!("cannot write the configuration: {e}"))?;
        signal_file::make_standby(data).map_err(|e| format!("cannot create standby.signal: {e}"))
    }

    /// The old directory is renamed, with what it leads to. The new name is on record before, so that an interruption
    /// between two steps loses nothing.
    fn keep_aside(&self, marker: &mut Marker) -> Result<(), String> {
        let data = self.instance.data_directory();
        let unwritten = |e: io::Error| format!("cannot write the marker: {e}");
        if !self.moving(marker, "").has_begun() {
            marker.kept = has_entries(data).then(|| new_name(data, self.timeline(), Lsn(0)));
            marker.outside = outside::find(data)?;
            if marker.kept.is_some() {
                self.moving(marker, "").refuse_what_cannot_be_moved()?;
            }
            self.refuse_without_room(marker)?;
            marker.write(data).map_err(unwritten)?;
        }
        let list = format!("Why: {}\nThe whole data directory of {}.", marker.why, marker.node);
        self.moving(marker, &list).run()?;
        if let Some(kept) = &marker.kept {
            log::info!("the old data directory is kept as {}", kept.display());
        }
        marker.phase = Phase::Kept;
        marker.write(data).map_err(unwritten)?;
        if let Err(error) = remove_oldest(data, marker.keep) {
            log::warn!("cannot remove old kept-aside directories: {error}");
        }
        Ok(())
    }

    /// Removes what an earlier attempt has copied. Another directory than it has filled is somebody else's, for instance
    /// a volume that was not mounted then.
    fn make_room(&self, marker: &mut Marker) -> Result<(), String> {
        let data = self.instance.data_directory();
        let claim = |place: &Path| {
            let inode = fs::metadata(place).map(|found| found.ino()).unwrap_or_default();
            format!("{inode} {}", place.display())
        };
        let places = marker.outside.0.iter().map(|outside| outside.place.as_path()).chain([data]);
        let mut filled = String::new();
        for place in places {
            let is_ours = marker.filled.lines().any(|line| line == claim(place));
            if !is_ours && has_entries(place) {
                let place = place.display();
                return Err(format!(
                    "{place} is to be filled, and somebody else has put something there; move that away"
                ));
            }
            empty(place).map_err(|e| format!("cannot make {} anew: {e}", place.display()))?;
            filled = filled + &claim(place) + "\n";
        }
        marker.filled = filled;
        marker.write(data).map_err(|e| format!("cannot write the marker: {e}"))
    }

    fn moving<'a>(&'a self, marker: &'a Marker, list: &'a str) -> Move<'a> {
        let data = self.instance.data_directory();
        Move { data, kept: marker.kept.as_deref(), outside: &marker.outside.0, list }
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

    /// Tablespaces that this node has not had lie where they do on the source. What this attempt puts there, and nothing
    /// else, another attempt may remove.
    fn claim_new_places(&self, spaces: &[(String, PathBuf)], marker: &mut Marker) -> Result<(), String> {
        for (oid, at) in spaces {
            if marker.outside.0.iter().any(|outside| outside.tablespace() == Some(oid)) {
                continue;
            }
            if outside::is_there(at) && fs::read_dir(at).map_or(true, |mut entries| entries.next().is_some()) {
                let at = at.display();
                return Err(format!(
                    "tablespace {oid} lies in {at} on the primary, and {at} is not empty here; empty it"
                ));
            }
            marker.outside.0.push(Outside { link: Path::new("pg_tblspc").join(oid), place: at.clone() });
        }
        Ok(())
    }

    fn timeline(&self) -> Timeline {
        let control = self.instance.control_data(Deadline::after(SHORT));
        control.map_or(Timeline(1), |control| control.timeline)
    }

    /// Runs `pg_basebackup` and notes how far it is.
    fn copy(&self, marker: &mut Marker, spaces: &[(String, PathBuf)]) -> Result<(), String> {
        let data = self.instance.data_directory();
        let program = self.source.program(self.instance, &self.owner, "pg_basebackup");
        let program = program.args(["--dbname", self.source.conninfo()]).arg("--pgdata").arg(data);
        let program = program.args(["--wal-method=stream", "--checkpoint=fast", "--progress", "--no-password"]);
        let program = program.args(self.places(marker, spaces));
        let mut command = program.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|cause| program.not_started(cause).to_string())?;
        let mut last_words = String::new();
        let lines =
            child.stderr.take().into_iter().flat_map(|pipe| BufReader::new(pipe).split(b'\n').map_while(Result::ok));
        for line in lines {
            let line = String::from_utf8_lossy(&line).into_owned();
            match percent(&line) {
                Some(percent) => note_progress(marker, percent, data),
                None if !line.trim().is_empty() => last_words = line.trim().chars().take(400).collect(),
                None => {}
            }
        }
        let status = child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("pg_basebackup failed ({status}): {last_words}")) }
    }

    /// Everything outside of the data directory comes to where this node has had it.
    fn places(&self, marker: &Marker, spaces: &[(String, PathBuf)]) -> Vec<String> {
        let place_of = |link: &Path| marker.outside.0.iter().find(|outside| outside.link == link).map(|at| &at.place);
        let wal = place_of(Path::new("pg_wal")).map(|place| format!("--waldir={}", place.display()));
        let escaped = |path: &Path| path.to_string_lossy().replace('=', "\\=");
        let moved = spaces.iter().filter_map(|(oid, theirs)| {
            let ours = place_of(&Path::new("pg_tblspc").join(oid)).filter(|ours| *ours != theirs)?;
            Some(format!("--tablespace-mapping={}={}", escaped(theirs), escaped(ours)))
        });
        wal.into_iter().chain(moved).collect()
    }

    /// The node's own files come back; without any, what the node needs to follow is added to the source's.
    fn restore_configuration(&self, marker: &Marker) -> io::Result<()> {
        let data = self.instance.data_directory();
        if let Some(kept) = &marker.kept {
            for (from, name) in own_files(kept)? {
                fs::copy(from, data.join(name))?;
            }
        }
        if marker.host.is_some() || (marker.kept.is_none() && !self.configuration_names(&marker.node)) {
            self.source.name_primary(data)?;
        }
        File::open(data)?.sync_all()
    }
}

impl Clone<'_> {
    /// Whether the configuration that came along, with what it includes on this node, is this node's.
    fn configuration_names(&self, node: &str) -> bool {
        let settings = self.instance.settings(&["primary_conninfo"], Deadline::after(SHORT)).unwrap_or_default();
        let conninfo = settings.get("primary_conninfo").and_then(|text| text.parse::<Conninfo>().ok());
        conninfo.is_some_and(|conninfo| conninfo.get("application_name") == Some(node))
    }
}

pub(super) fn has_entries(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

/// An empty directory that only its owner may enter, as PostgreSQL demands.
fn empty(data: &Path) -> io::Result<()> {
    if data.exists() {
        for entry in fs::read_dir(data)?.flatten() {
            let path = entry.path();
            if entry.file_type()?.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
        }
        // Somebody has made it for the agent to fill, with the permissions that directories usually get.
        let allows_others = fs::metadata(data)?.permissions().mode() & 0o027 != 0;
        return if allows_others { fs::set_permissions(data, Permissions::from_mode(0o700)) } else { Ok(()) };
    }
    DirBuilder::new().mode(0o700).create(data)
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
    fn an_attempt_begins_with_an_empty_directory() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        empty(&data).unwrap();
        fs::create_dir(data.join("base")).unwrap();
        fs::write(data.join("base/1"), "").unwrap();
        fs::write(data.join("PG_VERSION"), "15").unwrap();
        fs::set_permissions(&data, Permissions::from_mode(0o755)).unwrap();
        empty(&data).unwrap();
        assert!(data.is_dir() && !has_entries(&data));
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
