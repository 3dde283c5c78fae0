//! The public node attribute that says what this node's instance is doing, and the look at a standby.

use std::time::Duration;

use super::Agent;
use crate::instance::{Following, Session};
use crate::sys::Notes;

/// A standby that is further behind than this is catching up: four WAL segments of the usual size.
const FAR: u64 = 64 << 20;

impl Agent {
    /// Shows these words once two monitors in a row have seen them: what passes by is not shown. Each change
    /// makes Pacemaker plan anew.
    pub(super) fn show(&self, words: &str) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let mut notes = before.clone();
        if before.state_seen.as_deref() != Some(words) {
            notes.state_seen = Some(words.to_owned());
        } else if before.state_shown.as_deref() != Some(words) {
            match self.cluster.show_state(Some(words), self.deadline.at_most(Duration::from_secs(2))) {
                Ok(()) => (notes.state_shown, notes.state_untold) = (Some(words.to_owned()), false),
                Err(error) if !before.state_untold => {
                    log::warn!("cannot show the state '{words}' as a node attribute: {error}");
                    notes.state_untold = true;
                }
                Err(_) => {}
            }
        }
        notes.save(&path, &before);
    }

    /// A look at a standby: what it is doing, and whether it needs to be mended.
    pub(super) fn watch_standby(&self, session: &Session) {
        let deadline = self.deadline.at_most(Duration::from_secs(2));
        let following = match session.following(deadline) {
            Ok(following) => following,
            Err(error) => return log::warn!("cannot see how this standby follows: {error}"),
        };
        if following.streams {
            self.note_stream(true);
            return self.show(in_words(&following));
        }
        // A receiver tries again every few seconds, and the address moves with the primary.
        if self.note_stream(false) < 2 {
            return;
        }
        match self.mend_running(session) {
            Ok(state) => self.show(state.as_deref().unwrap_or(in_words(&following))),
            Err(failure) => log::warn!("this standby does not stream: {failure}"),
        }
    }

    /// Counts the monitors that found no stream.
    fn note_stream(&self, streams: bool) -> u32 {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let looks = if streams { 0 } else { before.looks_without_stream.saturating_add(1).min(9) };
        let refused = before.refused.clone().filter(|_| !streams);
        Notes { looks_without_stream: looks, refused, ..before.clone() }.save(&path, &before);
        looks
    }
}

fn in_words(following: &Following) -> &'static str {
    let end = following.received.max(following.primary_end);
    let behind = end.zip(following.replayed).map_or(0, |(end, replayed)| end.bytes_beyond(replayed));
    match following {
        Following { paused: true, .. } => "paused",
        Following { streams: false, .. } => "not streaming",
        _ if behind > FAR => "catching up",
        _ => "streaming",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lsn;

    #[test]
    fn a_standby_in_few_words() {
        let following = Following {
            streams: true,
            paused: false,
            received: Some(Lsn(FAR * 2)),
            replayed: Some(Lsn(FAR * 2)),
            primary_end: None,
        };
        for (following, words) in [
            (following.clone(), "streaming"),
            (Following { replayed: Some(Lsn(1)), ..following.clone() }, "catching up"),
            (Following { primary_end: Some(Lsn(FAR * 4)), ..following.clone() }, "catching up"),
            (Following { paused: true, ..following.clone() }, "paused"),
            (Following { streams: false, ..following.clone() }, "not streaming"),
        ] {
            assert_eq!(in_words(&following), words);
        }
    }
}
