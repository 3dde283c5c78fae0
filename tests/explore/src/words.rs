//! States and nodes in words.

use crate::state::{Configuration, Instance, Lacks, Level, Marker, Node, Paper, State, Undecided};
use crate::wal::{At, Kind, Tree};

/// The name of a node.
#[must_use]
pub fn node(number: u8) -> String {
    format!("srv{}", number + 1)
}

/// Some nodes.
#[must_use]
pub fn nodes(numbers: &[u8]) -> String {
    numbers.iter().map(|number| node(*number)).collect::<Vec<_>>().join(" and ")
}

/// The situation in one line.
#[must_use]
pub fn state(state: &State) -> String {
    let mut words: Vec<_> =
        (0..state.count).map(|number| format!("{} {}", node(number), of_node(state, state.node(number)))).collect();
    words.extend(configuration(state, &state.configuration));
    if state.wish > 0 {
        words.push(format!("wished: {}", node(state.wish - 1)));
    }
    words.join("; ")
}

fn configuration(state: &State, of: &Configuration) -> Option<String> {
    let (at, by) = of.record?;
    let struck: Vec<_> = (0..state.count).filter(|node| of.struck >> node & 1 != 0).collect();
    let struck = if struck.is_empty() { String::new() } else { format!(", struck off: {}", nodes(&struck)) };
    Some(format!("record: {} by {}{struck}", position(&state.wal, at), node(by)))
}

fn of_node(state: &State, node: &Node) -> String {
    let wal = wal(&state.wal, node.tip);
    if !node.up {
        let left = node.left.map_or(String::new(), |at| format!(", on record {}", position(&state.wal, at)));
        let known = configuration(state, &node.configuration).unwrap_or_default();
        return format!("off {wal}{}{left} (its {known})", marker(node));
    }
    let instance = match node.instance {
        Instance::Down => "down",
        Instance::Standby => "standby",
        Instance::Primary => "PRIMARY",
        Instance::Failed => "failed",
        Instance::Held => "stopped",
        Instance::Void => "returning",
    };
    let mut words = format!("{instance} {wal}{}, score {}", marker(node), score(node.score));
    words += &paper(&state.wal, node.paper);
    words += &node.left.map_or(String::new(), |at| format!(", on record {}", position(&state.wal, at)));
    for (is_so, word) in [
        (node.cut, ", cut off"),
        (node.slip, ", misconfigured"),
        (node.banned, ", banned"),
        (node.unfit, ", unfit"),
        (node.undecided == Undecided::TooLong, ", timed out"),
        (node.lacks == Lacks::Known, ", known to lack rows"),
    ] {
        words += if is_so { word } else { "" };
    }
    words
}

fn marker(node: &Node) -> &'static str {
    match node.marker {
        Marker::None => "",
        Marker::Rewind => " (to be rewound)",
        Marker::Clone => " (to be cloned)",
        Marker::Kept => " (half made)",
    }
}

fn score(level: Level) -> &'static str {
    match level {
        Level::None => "none",
        Level::Never => "-INFINITY",
        Level::Candidate => "1",
        Level::Rank3 => "970",
        Level::Rank2 => "980",
        Level::Rank1 => "990",
        Level::Rank0 => "1000",
        Level::Primary => "1001",
        Level::Elected => "1002",
    }
}

fn paper(wal: &Tree, paper: Paper) -> String {
    match paper {
        Paper::None => String::new(),
        Paper::At(at) => format!(", votes {}", position(wal, at)),
        Paper::Unknown => ", votes unknown".to_owned(),
        Paper::AtLeast(at) => format!(", votes at least {}", position(wal, at)),
        Paper::Primary => ", votes primary".to_owned(),
        Paper::Void => ", votes void".to_owned(),
        Paper::Left(at) => format!(", left {}", position(wal, at)),
    }
}

fn position(wal: &Tree, at: At) -> String {
    format!("{}/{}", wal.timeline(at), wal.depth(at))
}

/// The position, and what is on the way to it: `r`ows, `p`romotions, `s`hutdowns.
fn wal(wal: &Tree, at: At) -> String {
    let mut records: Vec<_> = wal.way_back(at).map(|at| record(wal, at)).collect();
    records.reverse();
    format!("{} [{}]", position(wal, at), records.join(" "))
}

fn record(wal: &Tree, at: At) -> String {
    let kind = match wal.kind(at) {
        Kind::Row if wal.is_acknowledged(at) => "R",
        Kind::Row => "r",
        Kind::Promotion => "p",
        Kind::Shutdown => "s",
    };
    format!("{kind}{at}")
}
