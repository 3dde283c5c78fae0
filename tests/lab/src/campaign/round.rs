//! One round: clients and watchers begin, faults are made, the cluster heals, and everything is looked at.

use std::thread;

use super::aftermath::{self, Before};
use super::clients::Clients;
use super::fault::{Fault, Kind};
use super::healing::{self, Healing};
use super::load::Load;
use super::record::{Micros, Round, Strike};
use super::watch::Watch;
use super::{Clock, promotions, strike};
use crate::error::{Result, unexpected};
use crate::harness::Lab;

/// Rows of each client before the first fault, and after full strength.
const ROWS: usize = 50;

/// A round, and what it leaves to be put back.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) round: Round,
    /// The node whose WAL was put on a small volume.
    pub(super) small_volume: Option<String>,
}

/// An error says that the round could not be played; nothing follows from it about the agent.
pub(super) fn play(lab: &Lab, clock: Clock, number: usize, faults: &[Fault], load_mb: u64) -> Result<Played> {
    let small_volume = strike::prepare(lab, faults)?;
    let before = Before::note(lab)?;
    let began = clock.now();
    let clients = Clients::start(lab, clock);
    let watch = Watch::start(lab, clock);
    clients.wait_for_rows(ROWS)?;
    let load = Load::start(lab, load_mb);
    let strikes = strike_all(lab, clock, faults)?;
    let mut healing = healing::wait(lab, clock, &strikes);
    let load_mb = load.stop();
    if healing.healed_after.is_some() {
        serve_again(&clients, &mut healing);
    }
    let numbers = clients.numbers.clone();
    let (writes, reads) = clients.stop()?;
    let sights = watch.stop();
    let ended = clock.now();
    refuse_lost_volume(lab, &before, small_volume.as_deref())?;
    let promotions = promotions::promotions(lab, before.timeline, ended, (&writes, &reads, &sights));
    let aftermath = aftermath::look(lab, &before, &numbers, healing);
    let round = Round { number, began, ended, strikes, writes, reads, sights, promotions, load_mb, aftermath };
    Ok(Played { round, small_volume })
}

fn strike_all(lab: &Lab, clock: Clock, faults: &[Fault]) -> Result<Vec<Strike>> {
    thread::scope(|scope| {
        let strike = |fault| scope.spawn(move || strike::strike(lab, clock, fault, faults));
        let strikes: Vec<_> = faults.iter().map(strike).collect();
        let made = strikes.into_iter().map(|strike| strike.join().or_else(|_| unexpected("a fault has panicked")));
        made.collect::<Vec<_>>().into_iter().collect()
    })
}

/// What Pacemaker shows is not all: the clients have to be served.
fn serve_again(clients: &Clients, healing: &mut Healing) {
    if let Err(error) = clients.wait_for_rows(ROWS) {
        healing.healed_after = None;
        healing.missing = Some(format!("Pacemaker shows full strength, but: {error}"));
    }
}

/// The small volume goes with its node's power, and takes WAL along that was safe: no real volume does.
fn refuse_lost_volume(lab: &Lab, before: &Before, node: Option<&str>) -> Result<()> {
    match node.filter(|node| before.power_lost(lab).iter().any(|lost| lost == node)) {
        Some(node) => unexpected(format!("{node} lost its power, and with that the small volume that had its WAL")),
        None => Ok(()),
    }
}

impl Round {
    /// How many of its faults were really made.
    pub(super) fn made(&self) -> usize {
        self.strikes.iter().filter(|strike| strike.failed.is_none()).count()
    }

    /// One line for whoever watches; the outage in milliseconds.
    pub(super) fn told(&self, outage: Option<u64>) -> String {
        let strikes: Vec<_> = self.strikes.iter().map(told).collect();
        let healed = match self.aftermath.healed_after {
            Some(after) => format!("healed after {:.1} s", seconds(after)),
            None => "not healed".to_owned(),
        };
        let steps = match self.aftermath.manual_steps.len() {
            0 => String::new(),
            count => format!(", {count} steps by hand"),
        };
        let outage = outage.map_or("not known".to_owned(), |outage| format!("{outage} ms"));
        let load = if self.load_mb > 0 { format!(" under {} MB of WAL", self.load_mb) } else { String::new() };
        format!("{}{load}: outage {outage}, {healed}{steps}", strikes.join(" + "))
    }
}

fn told(strike: &Strike) -> String {
    let kind = name(strike.kind);
    let nodes = strike.nodes.join(",");
    match &strike.failed {
        Some(reason) => format!("{kind} ({nodes}) not made: {reason}"),
        None if strike.fault.lasts_ms > 0 => format!("{kind} ({nodes}, {:.1} s)", seconds(strike.ended - strike.began)),
        None => format!("{kind} ({nodes})"),
    }
}

/// As it is in the record.
fn name(kind: Kind) -> String {
    serde_json::to_string(&kind).unwrap_or_default().trim_matches('"').to_owned()
}

fn seconds(time: Micros) -> f64 {
    std::time::Duration::from_micros(time).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_as_they_are_written() {
        assert_eq!(name(Kind::KillPostmaster), "kill-postmaster");
    }
}
