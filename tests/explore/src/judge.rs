//! Was it right? By the truth, which no rule sees.

use crate::state::{Instance, Lacks, State};
use crate::wal::{At, Kind};
use crate::words::node as name;

/// Whether WAL that ends at `ours` lacks, of what `theirs` has, something that no promotion has given up before.
///
/// The promotions have numbers in the order in which they were. One on the own side that is later than all that is on
/// the other side has given that up, and was judged for it. One that a person made by hand gives nothing up.
#[must_use]
pub fn lacks(state: &State, ours: At, theirs: At) -> bool {
    let wal = &state.wal;
    let common = wal.common(ours, theirs);
    let own = wal.way_back(ours).take_while(|at| *at != common);
    let promotions = own.filter(|at| wal.kind(*at) == Kind::Promotion && !wal.is_hand_made(*at));
    let latest = promotions.map(|at| wal.timeline(at)).max();
    common != theirs && latest.is_none_or(|latest| latest <= wal.timeline(theirs))
}

/// The rows that `theirs` has and `ours` lacks, of those that clients were told are safe.
fn acknowledged_and_lacking(state: &State, ours: At, theirs: At) -> usize {
    let lacking = state.wal.way_back(theirs).filter(|at| state.wal.is_acknowledged(*at) && !state.wal.has(ours, *at));
    lacking.count()
}

/// Judges the promotion of this node. `left_out` could not tell their positions in time, which the README says.
///
/// # Errors
/// When it is wrong, in words.
pub fn promotion(state: &State, candidate: u8, left_out: u8) -> Result<(), String> {
    let ours = state.node(candidate).tip;
    for number in state.nodes_where(|node| node.up).filter(|node| *node != candidate) {
        let other = state.node(number);
        if other.instance == Instance::Primary {
            return Err(format!("{} is promoted while {} takes writes", name(candidate), name(number)));
        }
        let counts = other.instance != Instance::Void && left_out >> number & 1 == 0;
        if !counts || !lacks(state, ours, other.tip) {
            continue;
        }
        let rows = acknowledged_and_lacking(state, ours, other.tip);
        if rows > 0 {
            return Err(format!(
                "{} is promoted without {rows} acknowledged rows that {} has, which is there",
                name(candidate),
                name(number)
            ));
        }
        if other.instance == Instance::Standby {
            return Err(format!("{} is promoted and has less WAL than {}", name(candidate), name(number)));
        }
    }
    known_to_lack(state, candidate)
}

/// A node that a primary has seen to be away for long is promoted by nobody's decision but a person's.
fn known_to_lack(state: &State, candidate: u8) -> Result<(), String> {
    let node = state.node(candidate);
    // One that was never seen to be away has no more: it might be promoted itself, and would lack the same and more.
    let mut others = state.nodes_where(|other| other.up && other.instance == Instance::Standby);
    let is_no_worse =
        others.any(|other| state.node(other).lacks != Lacks::Known && state.wal.has(node.tip, state.node(other).tip));
    if node.lacks != Lacks::Known || is_no_worse {
        return Ok(());
    }
    let rows = (0..state.count)
        .filter(|other| lacks(state, node.tip, state.node(*other).tip))
        .map(|other| acknowledged_and_lacking(state, node.tip, state.node(other).tip))
        .max();
    match rows.unwrap_or(0) {
        0 => Ok(()),
        rows => Err(format!(
            "{} is promoted, which a primary had seen to be away for long: it lacks {rows} acknowledged rows",
            name(candidate)
        )),
    }
}

/// Judges that this node is made a copy of the primary: what it alone has is taken out of reach, if not destroyed.
///
/// # Errors
/// When the primary lacks something that nothing had given up.
pub fn destruction(state: &State, number: u8, primary: u8) -> Result<(), String> {
    let (theirs, ours) = (state.node(number).tip, state.node(primary).tip);
    if lacks(state, ours, theirs) {
        return Err(format!(
            "{} is made a copy of {}, which lacks what nobody has given up",
            name(number),
            name(primary)
        ));
    }
    Ok(())
}
