//! The youngest timeline that a promotion by the agent is known to have made, or was about to make.
//!
//! The record in the cluster configuration is written by the new primary's first monitor, and what is reserved goes with the nodes.
//! Should all of them lose their power before that, this file tells the timeline from one that a person made. It lies beside
//! the data directory: `<data directory>.timeline`, with the text `1 <timeline>`, in which 1 is the version of the text.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::Instance;
use super::as_owner::AsOwnerError;
use super::files::read_small;
use crate::sys::Deadline;
use crate::types::Timeline;

impl Instance {
    /// What the file says. One that is not there, or not understood, says nothing.
    #[must_use]
    pub fn promised_timeline(&self) -> Option<Timeline> {
        parse(&read_small(&self.promise_path("")).ok()?)
    }

    /// Writes the file, durably and never half.
    ///
    /// # Errors
    /// When the owner may not write beside the data directory.
    pub fn promise_timeline(&self, timeline: Timeline, deadline: Deadline) -> Result<(), AsOwnerError> {
        let (path, temporary) = (self.promise_path(""), self.promise_path(".new"));
        self.as_owner(move || write(&path, &temporary, timeline), deadline)
    }

    fn promise_path(&self, suffix: &str) -> PathBuf {
        let mut name = self.data_directory().file_name().unwrap_or_default().to_owned();
        name.push(".timeline");
        name.push(suffix);
        self.data_directory().with_file_name(name)
    }
}

fn write(path: &Path, temporary: &Path, timeline: Timeline) -> io::Result<()> {
    let _ = fs::remove_file(temporary);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(format!("1 {timeline}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(temporary, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// A later version may put more behind what is there.
fn parse(text: &str) -> Option<Timeline> {
    let mut words = text.split_whitespace();
    words.next()?.parse::<u32>().ok()?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let (path, temporary) = (directory.path().join("main.timeline"), directory.path().join("main.timeline.new"));
        fs::write(&temporary, "1 7").unwrap();
        for timeline in [2, 12] {
            write(&path, &temporary, Timeline(timeline)).unwrap();
            assert_eq!(parse(&fs::read_to_string(&path).unwrap()), Some(Timeline(timeline)));
        }
        assert!(!temporary.exists());
        assert_eq!(parse("2 5 and more"), Some(Timeline(5)));
        for text in ["", "1", "1 0", "x 5", "1 -5"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
