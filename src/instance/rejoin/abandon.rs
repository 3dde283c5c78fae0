//! The end of a return by a person: the marker goes, nothing is destroyed, and what is half made cannot be started.
//!
//! A directory without `PG_VERSION` is no data directory, for PostgreSQL and for the agent. So that file gets another name
//! before the marker of a directory that is half rewound or half cloned gets one.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::lock::take_lock;
use super::marker::{Marker, Phase, marker_path};
use super::{Instance, Task};
use crate::instance::files::{beside, sync_directory, sync_parent};
use crate::ocf::Failure;
use crate::sys::Deadline;

const VERSION: &str = "PG_VERSION";
const ABANDONED: &str = "PG_VERSION.abandoned";

/// Whether a person has ended the return of a directory that is no instance now.
#[must_use]
pub fn was_abandoned(data: &Path) -> bool {
    !data.join(VERSION).exists() && fs::symlink_metadata(data.join(ABANDONED)).is_ok()
}

impl Instance {
    /// Ends the return of this instance, if one was begun and nobody is at work, and tells what there is now.
    ///
    /// # Errors
    /// When somebody is at work, or a file cannot be renamed.
    pub fn abandon_rejoin(&self, deadline: Deadline) -> Result<String, Failure> {
        let data = self.data_directory().to_owned();
        let shown = data.display().to_string();
        let ended = self.as_owner(move || abandon(&data), deadline);
        ended.map_err(|error| Failure::generic(format!("the return of {shown} is not ended: {error}")))
    }
}

fn abandon(data: &Path) -> io::Result<String> {
    if fs::symlink_metadata(marker_path(data)).is_err() {
        return Ok(format!("no return of {} was begun", data.display()));
    }
    let Some(_lock) = take_lock(data)? else {
        return Err(io::Error::other("it is under way; stop the resource on this node first"));
    };
    match Marker::read(data) {
        // The others' election and the agent's next attempt go by the marker: what the server needs may be lost.
        Ok(Some(marker)) if marker.phase == Phase::Done => Err(io::Error::other(format!(
            "it is done, and the server has not answered since; start the resource on this node: then {} goes, or, when the server \
             needs WAL that was lost with {}, the return begins again",
            marker_path(data).display(),
            marker.primary
        ))),
        Ok(Some(marker)) if marker.phase == Phase::Waiting || marker.is_untouched() => {
            Marker::remove(data)?;
            Ok(format!(
                "ended; {} is as it was. With rejoin=none the agent does not begin again: {}",
                data.display(),
                marker.why
            ))
        }
        Ok(None) => Ok(format!("no return of {} was begun", data.display())),
        Ok(Some(marker)) => {
            disable(data)?;
            Ok(in_words(data, &marker))
        }
        Err(error) => {
            disable(data)?;
            Ok(format!(
                "ended; the marker could not be read ({error}), so {0} may be half made and cannot be started: its \
                 {VERSION} is called {ABANDONED} now. What was kept aside is in {0}.kept-*",
                data.display()
            ))
        }
    }
}

/// Killed between the two steps it leaves the marker, and is done again.
fn disable(data: &Path) -> io::Result<()> {
    match fs::rename(data.join(VERSION), data.join(ABANDONED)) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) => {}
        Ok(()) => sync_directory(data)?,
    }
    let path = marker_path(data);
    fs::rename(&path, beside(data, ".rejoin.abandoned"))?;
    sync_parent(&path)
}

fn in_words(data: &Path, marker: &Marker) -> String {
    let data = data.display();
    let kept = marker.kept.as_ref().map_or("nowhere".to_owned(), |kept| kept.display().to_string());
    match marker.task {
        Task::Rewind => format!(
            "ended; {data} is half rewound and cannot be started: its {VERSION} is called {ABANDONED} now. The WAL that only \
             this node has is kept in {kept}. Put a copy of the database there, or empty it and set rejoin=clone"
        ),
        Task::Clone => format!(
            "ended; {data} is half cloned and cannot be started. The old data directory is kept as {kept}: move {data} away \
             and that back, with rejoin=none, to have it again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(marker: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("main");
        fs::create_dir(&data).unwrap();
        fs::write(data.join(VERSION), "15").unwrap();
        fs::write(marker_path(&data), marker).unwrap();
        (home, data)
    }

    fn marker(task: &str, phase: &str) -> String {
        format!(
            r#"{{"version":2,"ticket":7,"task":"{task}","phase":"{phase}","may_clone":false,"why":"w","node":"srv1",
            "primary":"srv2","timeline":2,"host":null,"keep":3,"kept":"/k","percent":null,"failures":1,"last_failure":"f"}}"#
        )
    }

    #[test]
    fn only_what_is_an_instance_can_be_started_afterwards() {
        for (marker, startable, words) in [
            (marker("Rewind", "Planned"), true, "is as it was"),
            (marker("Rewind", "Saved"), true, "is as it was"),
            (marker("Clone", "Waiting"), true, "is as it was"),
            (marker("Rewind", "Kept"), false, "kept in /k"),
            (marker("Clone", "Kept"), false, "kept as /k"),
            (marker("Clone", "Planned"), false, "kept as /k"),
            (marker("Rewind", "Later"), false, "kept-*"),
            ("nonsense".to_owned(), false, "kept-*"),
        ] {
            let (_home, data) = scene(&marker);
            let told = abandon(&data).unwrap();
            assert!(told.contains(words), "{marker}: {told}");
            assert_eq!((data.join(VERSION).exists(), was_abandoned(&data)), (startable, !startable), "{marker}");
            assert!(Marker::read(&data).unwrap().is_none());
            // Nothing is gone.
            let (version, left) = (data.join(ABANDONED), beside(&data, ".rejoin.abandoned"));
            assert!(startable || (version.exists() && fs::read_to_string(left).unwrap() == marker));
            assert!(abandon(&data).unwrap().contains("no return"));
        }
    }

    /// It may need WAL that exists nowhere any more, and the marker is how the agent knows.
    #[test]
    fn what_is_done_is_not_told_to_be_as_it_was() {
        for task in ["Rewind", "Clone"] {
            let (_home, data) = scene(&marker(task, "Done"));
            let refused = abandon(&data).unwrap_err().to_string();
            assert!(refused.contains("start the resource"), "{refused}");
            assert!(data.join(VERSION).exists() && Marker::read(&data).unwrap().is_some());
        }
    }

    #[test]
    fn nobody_is_disturbed_at_work() {
        let (_home, data) = scene(&marker("Rewind", "Kept"));
        let lock = take_lock(&data).unwrap().unwrap();
        assert!(abandon(&data).unwrap_err().to_string().contains("stop the resource"));
        drop(lock);
        // Killed between its two steps.
        fs::rename(data.join(VERSION), data.join(ABANDONED)).unwrap();
        abandon(&data).unwrap();
        assert!(was_abandoned(&data));
    }
}
