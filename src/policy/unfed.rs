//! Does a standby strike itself off?
//!
//! The primary strikes off who does not follow it ([`super::strike`]). One that refuses the agent cannot see its standbys. It is
//! alive, so its monitors say that much, with another word each time. A standby that does not stream takes that for what
//! the primary would have written.
//!
//! | the standby | beside it | step |
//! |---|---|---|
//! | streams | | starts anew |
//! | perhaps streams | | waits |
//! | has not streamed for less than [`GRACE`] | | waits |
//! | for longer | no primary that cannot see | waits |
//! | for longer | one whose word it has not had before | remembers the word |
//! | for longer | one that has changed its word since | strikes itself off: it went on without this node |
//!
//! That a primary is promoted is not enough: it may be dead, and this standby the last copy.

use std::collections::BTreeMap;
use std::time::Duration;

use super::score::GRACE;

/// What primaries that cannot see have said, by their nodes.
pub type Words = BTreeMap<String, String>;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Forget that it did not stream.
    Anew,
    /// Nothing.
    Wait,
    /// Remember what was said.
    Remember,
    /// Strike itself off: this node went on as the primary.
    StrikeOff(String),
}

/// Decides. `streams` is unknown when it cannot be seen.
#[must_use]
pub fn step(streams: Option<bool>, away: Duration, noted: &Words, said: &Words) -> Step {
    match streams {
        Some(true) => return Step::Anew,
        None => return Step::Wait,
        Some(false) if away < GRACE => return Step::Wait,
        Some(false) => {}
    }
    let went_on = said.iter().find(|(node, word)| noted.get(*node).is_some_and(|before| before != *word));
    match went_on {
        Some((node, _)) => Step::StrikeOff(node.clone()),
        None if said == noted => Step::Wait,
        None => Step::Remember,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Words {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(node, word)| (node.to_owned(), word.to_owned())).collect()
    }

    #[test]
    fn each_row_of_the_table() {
        let long = GRACE.as_secs();
        let off = || Step::StrikeOff("srv1".to_owned());
        for (streams, away_s, noted, said, expected) in [
            (Some(true), long, "srv1=1", "srv1=2", Step::Anew),
            (None, long, "srv1=1", "srv1=2", Step::Wait),
            (Some(false), long - 1, "srv1=1", "srv1=2", Step::Wait),
            (Some(false), long, "", "", Step::Wait),
            (Some(false), long, "", "srv1=1", Step::Remember),
            (Some(false), long, "srv1=1", "srv1=1", Step::Wait),
            (Some(false), long, "srv1=1", "srv1=2", off()),
            // What another one has said is no later word of the first.
            (Some(false), long, "srv3=1", "srv1=2", Step::Remember),
            (Some(false), long, "srv1=1 srv3=1", "srv1=2 srv3=1", off()),
            (Some(false), long, "srv1=1", "", Step::Remember),
        ] {
            let found = step(streams, Duration::from_secs(away_s), &words(noted), &words(said));
            assert_eq!(found, expected, "{streams:?} {away_s} '{noted}' '{said}'");
        }
    }
}
