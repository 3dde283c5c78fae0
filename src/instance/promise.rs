//! The youngest timeline that a promotion by the agent is known to have made, or was about to make, and one that a person was
//! seen to have made.
//!
//! The record in the cluster configuration is written by the new primary's first monitor, and what is reserved goes with the nodes.
//! Should all of them lose their power before that, this file tells the timeline from one that a person made. It lies beside
//! the data directory: `<data directory>.timeline`, with the text `1 <timeline or -> [byhand=<timeline>@<lsn>[#<id>]]`, in
//! which 1 is the version of the text. A version before the last word passes it over, and drops it when it writes the file.

use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use super::Instance;
use super::as_owner::AsOwnerError;
use super::files::{beside, read_small, replace};
use crate::sys::Deadline;
use crate::types::{History, Stretch, Timeline};

/// What the file says. What is not there, or not understood, says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Promise {
    timeline: Option<Timeline>,
    by_hand: Option<History>,
}

impl Instance {
    /// The youngest timeline that the cluster made, or was about to make.
    #[must_use]
    pub fn promised_timeline(&self) -> Option<Timeline> {
        read(self.data_directory()).timeline
    }

    /// The last timeline that a person was seen to have made of this instance.
    #[must_use]
    pub fn timeline_by_hand(&self) -> Option<Stretch> {
        read(self.data_directory()).by_hand.map(|history| history.last())
    }

    /// Notes a timeline of the cluster's, durably and never half.
    ///
    /// # Errors
    /// When the owner may not write beside the data directory.
    pub fn promise_timeline(&self, timeline: Timeline, deadline: Deadline) -> Result<(), AsOwnerError> {
        self.change_promise(move |promise| promise.timeline = Some(timeline), deadline)
    }

    /// Notes a timeline that a person made, or forgets it, in the same way.
    ///
    /// # Errors
    /// As [`Self::promise_timeline`].
    pub fn note_timeline_by_hand(&self, made: Option<Stretch>, deadline: Deadline) -> Result<(), AsOwnerError> {
        self.change_promise(move |promise| promise.by_hand = made.map(History::of_stretch), deadline)
    }

    /// Whether the owner may write beside the data directory.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub fn may_write_beside(&self, deadline: Deadline) -> Result<bool, AsOwnerError> {
        let path = promise_path(self.data_directory());
        let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        // By the effective user, which the owner is in that thread.
        self.as_owner(move || Ok(faccessat(AT_FDCWD, &parent, wanted, AtFlags::AT_EACCESS).is_ok()), deadline)
    }

    fn change_promise(
        &self,
        change: impl FnOnce(&mut Promise) + Send + 'static,
        deadline: Deadline,
    ) -> Result<(), AsOwnerError> {
        let data = self.data_directory().to_owned();
        let work = move || {
            let mut promise = read(&data);
            change(&mut promise);
            write(&data, &promise)
        };
        self.as_owner(work, deadline)
    }
}

fn promise_path(data: &Path) -> PathBuf {
    beside(data, ".timeline")
}

fn read(data: &Path) -> Promise {
    read_small(&promise_path(data)).map_or_else(|_| Promise::default(), |text| parse(&text))
}

fn write(data: &Path, promise: &Promise) -> io::Result<()> {
    let timeline = promise.timeline.map_or_else(|| "-".to_owned(), |timeline| timeline.to_string());
    let by_hand = promise.by_hand.as_ref().map_or_else(String::new, |made| format!(" byhand={made}"));
    let text = format!("1 {timeline}{by_hand}\n");
    replace(&promise_path(data), &beside(data, ".timeline.new"), 0o600, text.as_bytes())
}

/// A later version may put more behind what is there.
fn parse(text: &str) -> Promise {
    let mut words = text.split_whitespace();
    if words.next().is_none_or(|version| version.parse::<u32>().is_err()) {
        return Promise::default();
    }
    let timeline = words.next().and_then(|word| word.parse().ok());
    let by_hand = words.find_map(|word| word.strip_prefix("byhand=")?.parse().ok());
    Promise { timeline, by_hand }
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
        let made: History = "3@0/500#a".parse().unwrap();
        for (timeline, by_hand, text) in [
            (Some(2), None, "1 2\n"),
            (Some(12), Some(made.clone()), "1 12 byhand=3@0/500#000000000000000a\n"),
            (None, Some(made), "1 - byhand=3@0/500#000000000000000a\n"),
            (None, None, "1 -\n"),
        ] {
            let promise = Promise { timeline: timeline.map(Timeline), by_hand };
            write(&data, &promise).unwrap();
            assert_eq!((fs::read_to_string(&path).unwrap().as_str(), read(&data)), (text, promise));
        }
        assert!(!temporary.exists());
    }

    #[test]
    fn what_another_version_wrote_is_read_for_what_is_known_in_it() {
        let later = parse("2 5 color=blue byhand=3@0/500 and more");
        assert_eq!((later.timeline, later.by_hand.unwrap().to_string()), (Some(Timeline(5)), "3@0/500".to_owned()));
        for text in ["", "1", "1 0", "x 5", "1 -5", "1 - byhand=3", "x 5 byhand=3@0/500"] {
            assert_eq!(parse(text), Promise::default(), "{text}");
        }
    }
}
