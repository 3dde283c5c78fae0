//! TODO: a stand-in until the generator of the faults is there.

use super::fault::{Fault, Kind, Victim};

pub(crate) fn draw(seed: u64, _node_count: usize) -> impl Iterator<Item = Vec<Fault>> {
    let fault = Fault { kind: Kind::KillPostmaster, victim: Victim::Primary, lasts_ms: 0, after_ms: 0, choice: seed };
    std::iter::repeat(vec![fault])
}
