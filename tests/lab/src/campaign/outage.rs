//! How long nothing could be written through the virtual address.

use super::record::{Campaign, Micros, Outcome, Round, Write};

/// The longest time between two acknowledgements of the clients that write to the virtual address, in milliseconds, of which
/// the second came after the round's first strike. When none came again, it counts to their last attempt, and to the end of a
/// round that did not heal: who cannot connect does not get so far as to an attempt. `None` when there was no such client, or
/// no strike.
pub(crate) fn outage_ms(campaign: &Campaign, round: &Round) -> Option<u64> {
    let struck = round.strikes.iter().map(|strike| strike.began).min()?;
    let to_address: Vec<&Write> = round.writes.iter().filter(|write| !campaign.nodes.contains(&write.target)).collect();
    let last = to_address.iter().map(|write| settled(write)).max()?;
    let mut moments: Vec<Micros> = to_address.iter().filter_map(|write| acknowledged(write)).collect();
    // A client that is refused to the end has no acknowledgement that ends its outage.
    moments.extend([round.began.min(struck), last]);
    if round.aftermath.healed_after.is_none() {
        moments.push(round.ended.max(last));
    }
    moments.sort_unstable();
    let gaps = moments.windows(2).filter(|pair| pair[1] >= struck).map(|pair| pair[1] - pair[0]);
    gaps.max().map(|longest| longest / 1_000)
}

fn acknowledged(write: &Write) -> Option<Micros> {
    match &write.outcome {
        Outcome::Acknowledged { at, .. } => Some(*at),
        Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
    }
}

fn settled(write: &Write) -> Micros {
    match &write.outcome {
        Outcome::Acknowledged { at, .. } | Outcome::Refused { at, .. } | Outcome::Unknown { at, .. } => *at,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fault::Kind;
    use super::super::made_up::{MadeUp, failover, quiet};
    use super::*;

    fn outage(case: &MadeUp) -> Option<u64> {
        outage_ms(&case.0, &case.0.rounds[0])
    }

    #[test]
    fn the_outage_of_a_failover_lies_between_the_last_row_there_and_the_first_one_here() {
        // Row 10 at 105 ms, row 11 at 2015 ms.
        assert_eq!(outage(&failover(Kind::PowerLossOne)), Some(1_910));
    }

    #[test]
    fn without_an_outage_it_is_the_time_between_two_rows() {
        assert_eq!(outage(&quiet()), Some(10));
    }

    #[test]
    fn what_is_written_directly_to_a_node_ends_no_outage() {
        let direct = failover(Kind::PowerLossOne).acknowledged(2, 1, 1_000, 1_005, "db2", 2);
        assert_eq!(outage(&direct), Some(1_910));
    }

    #[test]
    fn a_gap_before_the_strike_is_not_its_outage() {
        // The strike is made at 107 ms.
        let mut early = failover(Kind::PowerLossOne);
        early.0.rounds[0].strikes[0].began += 1_950_000;
        assert_eq!(outage(&early), Some(10));
    }

    #[test]
    fn an_outage_that_does_not_end_lasts_to_the_last_attempt() {
        let mut case = quiet();
        let last = case.0.rounds[0].writes.last_mut().unwrap();
        let at = settled(last) + 60_000_000;
        last.outcome = Outcome::Unknown { at, reason: "no answer in time".to_owned() };
        assert_eq!(outage(&case), Some(60_010));
    }

    #[test]
    fn an_outage_lasts_to_the_end_of_a_round_that_does_not_heal() {
        let mut case = quiet();
        let round = &mut case.0.rounds[0];
        let last = round.writes.iter().map(settled).max().unwrap();
        (round.ended, round.aftermath.healed_after) = (last + 300_000_000, None);
        assert_eq!(outage(&case), Some(300_000));
    }

    #[test]
    fn an_outage_before_the_first_row_began_with_the_round() {
        let mut case = failover(Kind::PowerLossOne);
        case.0.rounds[0].writes.drain(..10);
        assert_eq!(outage(&case), Some(2_015));
    }

    #[test]
    fn it_is_not_known_without_a_client_at_the_address() {
        let mut case = quiet();
        case.0.rounds[0].writes.iter_mut().for_each(|write| "db1".clone_into(&mut write.target));
        assert_eq!(outage(&case), None);
    }
}
