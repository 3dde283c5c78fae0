//! Cloning: the old directory is renamed, and a new one is made from the primary.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use super::keep_aside::{self, new_name, own_files, remove_oldest, write_list};
use super::marker::sync_parent;
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
            self.refuse_what_cannot_be_cloned()?;
            self.keep_aside(marker)?;
        }
        // From here on the directory has nothing but what an earlier attempt has copied.
        empty(data).map_err(|e| format!("cannot make {} anew: {e}", data.display()))?;
        self.copy(marker)?;
        self.restore_configuration(marker).map_err(|e| format!("cannot write the configuration: {e}"))?;
        signal_file::create(data).map_err(|e| format!("cannot create standby.signal: {e}"))
    }

    /// What `pg_basebackup` could not put in its place without overwriting something.
    fn refuse_what_cannot_be_cloned(&self) -> Result<(), String> {
        let data = self.instance.data_directory();
        let has_tablespaces = fs::read_dir(data.join("pg_tblspc")).is_ok_and(|mut entries| entries.next().is_some());
        if has_tablespaces {
            return Err(format!("{} has tablespaces, which are not moved aside; clone it by hand", data.display()));
        }
        if data.join("pg_wal").is_symlink() {
            return Err(format!(
                "pg_wal of {} lies elsewhere, which is not moved aside; clone it by hand",
                data.display()
            ));
        }
        let sql = "select coalesce(sum(pg_database_size(oid)), 0) from pg_database where datallowconn";
        let size = self.source.ask(self.instance, &self.owner, sql, Deadline::after(SHORT));
        // A role that may not see the sizes: pg_basebackup says when the volume is full, and nothing is lost.
        let size = size.ok().and_then(|size| size.parse().ok()).unwrap_or(0);
        keep_aside::refuse_without_room(data, size)
    }

    /// The old directory is renamed. The new name is on record before, so that an interruption between the two
    /// steps loses neither.
    fn keep_aside(&self, marker: &mut Marker) -> Result<(), String> {
        let data = self.instance.data_directory();
        let failed = |e: io::Error| format!("cannot rename {}: {e}; a mount point cannot be renamed", data.display());
        if has_entries(data) {
            let kept = match &marker.kept {
                Some(kept) => kept.clone(),
                None => new_name(data, self.timeline(), Lsn(0)),
            };
            marker.kept = Some(kept.clone());
            marker.write(data).map_err(failed)?;
            write_list(data, &format!("Why: {}\nThe whole data directory of {}.", marker.why, marker.node))
                .map_err(failed)?;
            fs::rename(data, &kept).map_err(failed)?;
            log::info!("the old data directory is kept as {}", kept.display());
            if let Err(error) = remove_oldest(data, marker.keep) {
                log::warn!("cannot remove old kept-aside directories: {error}");
            }
        }
        sync_parent(data).map_err(failed)?;
        marker.phase = Phase::Kept;
        marker.write(data).map_err(failed)
    }

    fn timeline(&self) -> Timeline {
        let control = self.instance.control_data(Deadline::after(SHORT));
        control.map_or(Timeline(1), |control| control.timeline)
    }

    /// Runs `pg_basebackup` and notes how far it is.
    fn copy(&self, marker: &mut Marker) -> Result<(), String> {
        let data = self.instance.data_directory();
        let program = self.source.program(self.instance, &self.owner, "pg_basebackup");
        let program = program.args(["--dbname", self.source.conninfo()]).arg("--pgdata").arg(data);
        let program = program.args(["--wal-method=stream", "--checkpoint=fast", "--progress", "--no-password"]);
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

fn has_entries(directory: &Path) -> bool {
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
