//! Does another node have what this primary has?
//!
//! It is asked before something is given up that would take long here: a shutdown that gets nowhere, a recovery. The answer
//! decides over time, not over data: what the other lacks after all this node still has, and the election finds it.
//!
//! | a standby | it has what the primary has |
//! |---|---|
//! | streams, and has flushed all but [`CLOSE`] | yes |
//! | streams, and the agent's role may not see how far it is | no |
//! | catches up, is behind, is not connected | no |

use super::score::Connected;
use crate::types::{Gather, Lsn, NodeName};

/// A segment. What is on the way is sent before a fast shutdown ends, and before a recovery ends nothing is written.
pub const CLOSE: u64 = 16 << 20;

/// The standbys that have what a primary has whose WAL ends here.
#[must_use]
pub fn close(connected: &[Connected], end: Lsn) -> Vec<NodeName> {
    let is_close = |standby: &&Connected| {
        standby.state == "streaming" && standby.flushed.is_some_and(|flushed| end.bytes_beyond(flushed) <= CLOSE)
    };
    let names = connected.iter().filter(is_close).map(|standby| standby.name.clone());
    names.into_set().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_table() {
        let end = Lsn(100 << 20);
        let near = Lsn(end.0 - CLOSE);
        for (state, flushed, counts) in [
            ("streaming", Some(end), true),
            ("streaming", Some(near), true),
            ("streaming", Some(Lsn(near.0 - 1)), false),
            ("streaming", None, false),
            ("catchup", Some(end), false),
            ("", Some(end), false),
        ] {
            let name: NodeName = "srv2".parse().unwrap();
            let standby = Connected { name: name.clone(), state: state.to_owned(), flushed, replayed: flushed };
            let expected = if counts { vec![name] } else { Vec::new() };
            assert_eq!(close(&[standby], end), expected, "{state} {flushed:?}");
        }
        assert_eq!(close(&[], end), []);
    }
}
