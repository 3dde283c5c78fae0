//! What the cluster did about a round's faults, in few words.
//!
//! | promotions | the primary's server | outage | word |
//! |---|---|---|---|
//! | any, and no full strength in time | any | any | did not heal |
//! | of another node | any | any | promoted another node |
//! | of the same node | any | any | promoted the same node again |
//! | none | started anew | any | restarted in place |
//! | none | the same | worth telling | went on after an outage |
//! | none | the same | none | no outage |

use serde::{Deserialize, Serialize};

use crate::campaign::record::{Micros, Outcome, Round, Sight};

/// From here on a time without an acknowledgement is an outage, in milliseconds: below it is a slow commit.
const OUTAGE_WORTH_TELLING_MS: u64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Did {
    PromotedAnother,
    PromotedSame,
    RestartedInPlace,
    WentOn,
    NoOutage,
    NotHealed,
    NotMeasured,
}

impl Did {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::PromotedAnother => "promoted another node",
            Self::PromotedSame => "promoted the same node again",
            Self::RestartedInPlace => "restarted in place",
            Self::WentOn => "went on after an outage",
            Self::NoOutage => "no outage",
            Self::NotHealed => "did not heal",
            Self::NotMeasured => "outage not measured",
        }
    }
}

pub(super) fn did(round: &Round, outage_ms: Option<u64>) -> Did {
    if round.aftermath.healed_after.is_none() {
        return Did::NotHealed;
    }
    let before = primary_before(round);
    if round.promotions.iter().any(|promotion| Some(promotion.node.as_str()) != before) {
        return Did::PromotedAnother;
    }
    match outage_ms {
        _ if !round.promotions.is_empty() => Did::PromotedSame,
        _ if before.is_some_and(|node| was_restarted(round, node)) => Did::RestartedInPlace,
        Some(ms) if ms >= OUTAGE_WORTH_TELLING_MS => Did::WentOn,
        Some(_) => Did::NoOutage,
        None => Did::NotMeasured,
    }
}

/// The last one that was seen as the primary before the first strike.
fn primary_before(round: &Round) -> Option<&str> {
    let struck = round.strikes.iter().map(|strike| strike.began).min()?;
    let sights = round.sights.iter().filter(|sight| !sight.standby);
    let sights = sights.map(|sight| (sight.answered, sight.node.as_str()));
    let acknowledged = round.writes.iter().filter_map(|write| match &write.outcome {
        Outcome::Acknowledged { at, node, .. } => Some((*at, node.as_str())),
        Outcome::Refused { .. } | Outcome::Unknown { .. } => None,
    });
    let seen = sights.chain(acknowledged).filter(|(at, _): &(Micros, &str)| *at <= struck);
    seen.max().map(|(_, node)| node)
}

fn was_restarted(round: &Round, node: &str) -> bool {
    let as_primary = |sight: &&Sight| sight.node == node && !sight.standby;
    let mut runs = round.sights.iter().filter(as_primary).map(|sight| &sight.server_started);
    runs.next().is_some_and(|first| runs.any(|run| run != first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::fault::Kind;
    use crate::campaign::made_up::{MadeUp, failover, quiet};

    fn what(case: &MadeUp, outage_ms: Option<u64>) -> Did {
        did(&case.0.rounds[0], outage_ms)
    }

    #[test]
    fn another_primary_is_told_from_the_same_one() {
        assert_eq!(what(&failover(Kind::PowerLossOne), Some(1_910)), Did::PromotedAnother);
        assert_eq!(what(&quiet().promoted("db1", 2, 1, 3_000), Some(3_000)), Did::PromotedSame);
        let there_and_back = failover(Kind::Switchover).promoted("db1", 3, 2, 5_000);
        assert_eq!(what(&there_and_back, Some(900)), Did::PromotedAnother);
    }

    #[test]
    fn without_a_promotion_the_server_tells_and_then_the_outage() {
        assert_eq!(what(&quiet().new_run("db1", 200), Some(900)), Did::RestartedInPlace);
        assert_eq!(what(&quiet().new_run("db2", 200), Some(10)), Did::NoOutage, "a standby's restart");
        assert_eq!(what(&quiet(), Some(900)), Did::WentOn);
        assert_eq!(what(&quiet(), Some(199)), Did::NoOutage);
        assert_eq!(what(&quiet(), None), Did::NotMeasured);
    }

    #[test]
    fn what_did_not_heal_is_nothing_else() {
        assert_eq!(what(&failover(Kind::PowerLossOne).not_healed("db1 is offline"), Some(1_910)), Did::NotHealed);
    }
}
