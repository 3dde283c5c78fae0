//! The youngest timeline that a promotion by the agent is known to have made, or was about to make.
//!
//! The record in the cluster configuration is written by the new primary's first monitor, and what is reserved goes with the nodes.
//! Should all of them lose their power before that, this file tells the timeline from one that a person made. It lies beside
//! the data directory: `<data directory>.timeline`, with the text `1 <timeline>`, in which 1 is the version of the text.

use std::io;
use std::path::{Path, PathBuf};

use super::Instance;
use super::as_owner::AsOwnerError;
use super::files::{beside, read_small, replace};
use crate::sys::Deadline;
use crate::types::Timeline;

impl Instance {
    /// What the file says. One that is not there, or not understood, says nothing.
    #[must_use]
    pub fn promised_timeline(&self) -> Option<Timeline> {
        parse(&read_small(&promise_path(self.data_directory())).ok()?)
    }

    /// Writes the file, durably and never half.
    ///
    /// # Errors
    /// When the owner may not write beside the data directory.
    pub fn promise_timeline(&self, timeline: Timeline, deadline: Deadline) -> Result<(), AsOwnerError> {
        let data = self.data_directory().to_owned();
        self.as_owner(move || write(&data, timeline), deadline)
    }
}

fn promise_path(data: &Path) -> PathBuf {
    beside(data, ".timeline")
}

fn write(data: &Path, timeline: Timeline) -> io::Result<()> {
    replace(&promise_path(data), &beside(data, ".timeline.new"), 0o600, format!("1 {timeline}\n").as_bytes())
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
    use std::fs;

    #[test]
    fn a_promise_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("main");
        let (path, temporary) = (directory.path().join("main.timeline"), directory.path().join("main.timeline.new"));
        fs::write(&temporary, "1 7").unwrap();
        for timeline in [2, 12] {
            write(&data, Timeline(timeline)).unwrap();
            assert_eq!(parse(&fs::read_to_string(&path).unwrap()), Some(Timeline(timeline)));
        }
        assert!(!temporary.exists());
        assert_eq!(parse("2 5 and more"), Some(Timeline(5)));
        for text in ["", "1", "1 0", "x 5", "1 -5"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
