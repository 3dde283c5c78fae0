//! The generator of a campaign's faults: the same seed gives the same rounds, on every machine.
//!
//! | what | how it is drawn |
//! |---|---|
//! | kinds | dealt from a shuffled deck with every kind once, so that no kind comes twice before all have come once |
//! | pairs | one round in four, when a second kind that goes with the first is left in the deck |
//! | victims | by the kind: what only a standby has hits standbys, what writes need hits the primary, the rest hits either |
//! | lengths | within the kind's bounds |

use std::iter;
use std::ops::RangeInclusive;

use super::dice::{Dice, Purpose};
use super::fault::{Fault, Kind, Victim};

/// One round in this many has two faults.
const ROUNDS_PER_PAIR: u64 = 4;
/// How long after the first fault of a pair the second one is made, in milliseconds. Most of what the cluster does about a
/// fault falls into this time.
const OVERLAP_MS: RangeInclusive<u64> = 0..=4000;

/// All kinds; the order is part of what a seed means.
const DECK: [Kind; 26] = [
    Kind::KillPostmaster,
    Kind::KillBackend,
    Kind::KillStartup,
    Kind::KillCheckpointer,
    Kind::KillAll,
    Kind::StopPostmaster,
    Kind::PowerLossOne,
    Kind::PowerLossTwo,
    Kind::PowerLossAll,
    Kind::Cut,
    Kind::CutOneDirection,
    Kind::CutReplication,
    Kind::Freeze,
    Kind::KillAttributeDaemon,
    Kind::KillScheduler,
    Kind::KillController,
    Kind::KillAgent,
    Kind::ConnectionsExhausted,
    Kind::WalVolumeFull,
    Kind::InstanceStoppedByAdmin,
    Kind::StandbyMode,
    Kind::Switchover,
    Kind::ParametersChanged,
    Kind::RestartByHand,
    Kind::ReplayPaused,
    Kind::ClockSet,
];

/// The slips; they are dealt apart from the others, so that a seed means the same faults with and without them.
pub(super) const SLIPS: [Kind; 10] = [
    Kind::BadConfiguration,
    Kind::NonsenseByAlterSystem,
    Kind::AgentShutOut,
    Kind::PromotedByHand,
    Kind::RestartThroughPacemaker,
    Kind::ServicesRestarted,
    Kind::Maintenance,
    Kind::ForgottenBan,
    Kind::CleanedUp,
    Kind::RestoredBackup,
];

/// The rounds of that seed, without an end: each has one fault, or two that overlap.
pub(crate) fn draw(seed: u64, node_count: usize) -> impl Iterator<Item = Vec<Fault>> {
    let mut dealer = Dealer {
        dice: Dice::with(seed, Purpose::Faults),
        deck: Vec::new(),
        standbys: node_count.saturating_sub(1).max(1),
    };
    iter::from_fn(move || Some(dealer.round()))
}

struct Dealer {
    dice: Dice,
    /// What is left of it; the next card is the last one.
    deck: Vec<Kind>,
    standbys: usize,
}

impl Dealer {
    fn round(&mut self) -> Vec<Fault> {
        let kind = self.card();
        let wants_pair = self.dice.below(ROUNDS_PER_PAIR) == 0;
        match self.partner(kind).filter(|_| wants_pair) {
            None => vec![self.fault(kind)],
            Some(place) => {
                let partner = self.deck.remove(place);
                self.pair(kind, partner)
            }
        }
    }

    fn card(&mut self) -> Kind {
        loop {
            match self.deck.pop() {
                Some(kind) => return kind,
                None => self.shuffle_anew(),
            }
        }
    }

    fn shuffle_anew(&mut self) {
        let has_two_standbys = self.standbys > 1;
        self.deck = DECK.into_iter().filter(|kind| has_two_standbys || *kind != Kind::PowerLossTwo).collect();
        self.dice.shuffle(&mut self.deck);
    }

    /// The next card that makes sense together with this one. A pair never reaches into the next deck: then a kind could
    /// come twice before others have come once.
    fn partner(&self, kind: Kind) -> Option<usize> {
        self.deck.iter().rposition(|other| go_together(kind, *other))
    }

    /// What takes its victim out of reach comes second: the other one would find nobody there.
    fn pair(&mut self, one: Kind, other: Kind) -> Vec<Fault> {
        let (first, second) = if silences(one) { (other, one) } else { (one, other) };
        let first = self.fault(first);
        let mut second = self.fault(second);
        if silences(first.kind) {
            second.victim = self.another_than(first.victim);
        }
        second.after_ms = self.dice.within(&OVERLAP_MS);
        vec![first, second]
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        let victim = self.victim(kind);
        let lasts_ms = lasts_ms(kind).map_or(0, |range| self.dice.within(&range));
        // 32 bits: programs that read JSON's numbers as floating point still read the same.
        let choice = self.dice.below(1 << 32);
        Fault { kind, victim, lasts_ms, after_ms: 0, choice }
    }

    fn victim(&mut self, kind: Kind) -> Victim {
        match whom(kind) {
            Whom::Primary => Victim::Primary,
            Whom::Standby => self.standby(),
            Whom::Either if self.dice.below(2) == 0 => Victim::Primary,
            Whom::Either => self.standby(),
            Whom::Standbys => Victim::Standbys,
            Whom::Two if self.dice.below(2) == 0 => Victim::PrimaryAnd(self.dice.index(self.standbys)),
            Whom::Two => Victim::Standbys,
            Whom::All => Victim::All,
        }
    }

    fn standby(&mut self) -> Victim {
        Victim::Standby(self.dice.index(self.standbys))
    }

    fn another_than(&mut self, victim: Victim) -> Victim {
        match victim {
            Victim::Standby(number) if self.standbys > 1 && self.dice.below(2) == 0 => {
                Victim::Standby((number + 1) % self.standbys)
            }
            Victim::Standby(_) | Victim::Standbys => Victim::Primary,
            Victim::Primary | Victim::PrimaryAnd(_) | Victim::All => self.standby(),
        }
    }
}

/// Whom a kind can hit.
enum Whom {
    Primary,
    Standby,
    Either,
    Standbys,
    Two,
    All,
}

fn whom(kind: Kind) -> Whom {
    match kind {
        Kind::KillBackend | Kind::ConnectionsExhausted | Kind::WalVolumeFull | Kind::Switchover => Whom::Primary,
        Kind::KillStartup | Kind::ReplayPaused | Kind::InstanceStoppedByAdmin => Whom::Standby,
        Kind::CutReplication => Whom::Standbys,
        Kind::PowerLossTwo => Whom::Two,
        Kind::PowerLossAll | Kind::ParametersChanged => Whom::All,
        Kind::KillPostmaster
        | Kind::KillCheckpointer
        | Kind::KillAll
        | Kind::StopPostmaster
        | Kind::PowerLossOne
        | Kind::Cut
        | Kind::CutOneDirection
        | Kind::Freeze
        | Kind::KillAttributeDaemon
        | Kind::KillScheduler
        | Kind::KillController
        | Kind::KillAgent
        | Kind::StandbyMode
        | Kind::RestartByHand
        | Kind::ClockSet
        | Kind::BadConfiguration
        | Kind::NonsenseByAlterSystem
        | Kind::AgentShutOut
        | Kind::PromotedByHand
        | Kind::RestartThroughPacemaker
        | Kind::ServicesRestarted
        | Kind::Maintenance
        | Kind::ForgottenBan
        | Kind::CleanedUp
        | Kind::RestoredBackup => Whom::Either,
    }
}

/// How long a kind lasts, in milliseconds, when it has an end of its own: long enough for the cluster to notice, or to just
/// miss it, and short enough for many faults in little time.
fn lasts_ms(kind: Kind) -> Option<RangeInclusive<u64>> {
    match kind {
        Kind::StopPostmaster | Kind::Cut | Kind::CutOneDirection | Kind::CutReplication => Some(2_000..=20_000),
        Kind::Freeze => Some(2_000..=15_000),
        Kind::WalVolumeFull | Kind::ConnectionsExhausted | Kind::ReplayPaused | Kind::ClockSet => Some(5_000..=15_000),
        Kind::StandbyMode | Kind::InstanceStoppedByAdmin => Some(5_000..=10_000),
        Kind::KillPostmaster
        | Kind::KillBackend
        | Kind::KillStartup
        | Kind::KillCheckpointer
        | Kind::KillAll
        | Kind::PowerLossOne
        | Kind::PowerLossTwo
        | Kind::PowerLossAll
        | Kind::KillAttributeDaemon
        | Kind::KillScheduler
        | Kind::KillController
        | Kind::KillAgent
        | Kind::Switchover
        | Kind::ParametersChanged
        | Kind::RestartByHand
        | Kind::BadConfiguration
        | Kind::NonsenseByAlterSystem
        | Kind::AgentShutOut
        | Kind::PromotedByHand
        | Kind::RestartThroughPacemaker
        | Kind::ServicesRestarted
        | Kind::Maintenance
        | Kind::ForgottenBan
        | Kind::CleanedUp
        | Kind::RestoredBackup => None,
    }
}

/// Whether two kinds make sense at once.
/// - after a power loss of all nothing is left to be hit;
/// - of two orders of an administrator the second takes the first one back, and tests neither;
/// - a cut that is healed would heal the other one;
/// - a power loss of two and another lost node is a power loss of all.
fn go_together(one: Kind, other: Kind) -> bool {
    let both = |is: fn(Kind) -> bool| is(one) && is(other);
    let either = |kind: Kind| one == kind || other == kind;
    let obstacles = [
        one == other,
        either(Kind::PowerLossAll),
        both(is_order),
        both(is_cut),
        either(Kind::PowerLossTwo) && both(silences),
    ];
    !obstacles.contains(&true)
}

fn is_order(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::InstanceStoppedByAdmin
            | Kind::StandbyMode
            | Kind::Switchover
            | Kind::ParametersChanged
            | Kind::RestartByHand
    )
}

fn is_cut(kind: Kind) -> bool {
    matches!(kind, Kind::Cut | Kind::CutOneDirection | Kind::CutReplication)
}

/// Whether nothing can be done on its victim any more.
fn silences(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::PowerLossOne
            | Kind::PowerLossTwo
            | Kind::PowerLossAll
            | Kind::Freeze
            | Kind::StopPostmaster
            | Kind::Cut
            | Kind::CutOneDirection
    )
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn rounds(seed: u64, nodes: usize, count: usize) -> Vec<Vec<Fault>> {
        draw(seed, nodes).take(count).collect()
    }

    /// Whoever changes what a seed means sees it here: findings of old seeds can then no longer be repeated.
    #[test]
    fn a_seed_means_the_same_for_ever() {
        let told: Vec<String> = rounds(1, 3, 3).iter().map(|round| serde_json::to_string(round).unwrap()).collect();
        assert_eq!(told, FIRST_ROUNDS_OF_SEED_1);
    }

    const FIRST_ROUNDS_OF_SEED_1: [&str; 3] = [
        r#"[{"kind":"cut-replication","victim":"standbys","lasts_ms":15201,"after_ms":0,"choice":354455580}]"#,
        concat!(
            r#"[{"kind":"wal-volume-full","victim":"primary","lasts_ms":10275,"after_ms":0,"choice":2942643076},"#,
            r#"{"kind":"stop-postmaster","victim":{"standby":1},"lasts_ms":10933,"after_ms":2665,"choice":3085828864}]"#
        ),
        r#"[{"kind":"kill-backend","victim":"primary","lasts_ms":0,"after_ms":0,"choice":659289428}]"#,
    ];

    #[test]
    fn a_beginning_does_not_depend_on_how_much_is_drawn() {
        assert_eq!(rounds(7, 3, 5), rounds(7, 3, 200)[..5]);
    }

    #[test]
    fn another_seed_gives_other_rounds() {
        assert_ne!(rounds(7, 3, 5), rounds(8, 3, 5));
    }

    #[test]
    fn the_deck_has_every_kind_once() {
        assert_eq!(DECK.iter().collect::<BTreeSet<_>>().len(), DECK.len());
    }

    #[test]
    fn no_kind_comes_twice_before_all_have_come_once() {
        for (seed, nodes, kinds) in (0..50).flat_map(|seed| [(seed, 3, 26), (seed, 2, 25)]) {
            let faults: Vec<Kind> = draw(seed, nodes).take(200).flatten().map(|fault| fault.kind).collect();
            for deal in faults.chunks_exact(kinds) {
                assert_eq!(deal.iter().collect::<BTreeSet<_>>().len(), kinds, "seed {seed}");
            }
        }
    }

    #[test]
    fn about_one_round_in_four_has_two_faults() {
        let drawn: Vec<_> = (0..20).flat_map(|seed| rounds(seed, 3, 100)).collect();
        let pairs = drawn.iter().filter(|round| round.len() == 2).count();
        assert!((350..=550).contains(&pairs), "{pairs} of {} rounds", drawn.len());
        assert!(drawn.iter().all(|round| (1..=2).contains(&round.len())));
    }

    #[test]
    fn pairs_overlap_and_make_sense() {
        for round in (0..50).flat_map(|seed| rounds(seed, 3, 100)) {
            assert_eq!(round[0].after_ms, 0);
            let [first, second] = &round[..] else { continue };
            assert!(OVERLAP_MS.contains(&second.after_ms));
            assert!(go_together(first.kind, second.kind), "{round:?}");
            assert!(!silences(first.kind) || first.victim != second.victim, "{round:?}");
        }
    }

    #[test]
    fn every_fault_lasts_as_long_as_its_kind_may() {
        for fault in (0..20).flat_map(|seed| rounds(seed, 3, 100)).flatten() {
            match lasts_ms(fault.kind) {
                Some(range) => assert!(range.contains(&fault.lasts_ms), "{fault:?}"),
                None => assert_eq!(fault.lasts_ms, 0, "{fault:?}"),
            }
        }
    }

    #[test]
    fn victims_fit_their_kind() {
        let mut hit: BTreeMap<Kind, BTreeSet<String>> = BTreeMap::new();
        for fault in (0..30).flat_map(|seed| rounds(seed, 3, 100)).flatten() {
            hit.entry(fault.kind).or_default().insert(format!("{:?}", fault.victim));
        }
        let victims = |kind| hit[&kind].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(victims(Kind::WalVolumeFull), ["Primary"]);
        assert_eq!(victims(Kind::KillStartup), ["Standby(0)", "Standby(1)"]);
        assert_eq!(victims(Kind::KillPostmaster), ["Primary", "Standby(0)", "Standby(1)"]);
        assert_eq!(victims(Kind::PowerLossTwo), ["PrimaryAnd(0)", "PrimaryAnd(1)", "Standbys"]);
        assert_eq!(victims(Kind::PowerLossAll), ["All"]);
        assert_eq!(victims(Kind::CutReplication), ["Standbys"]);
    }

    #[test]
    fn two_nodes_have_one_standby_to_hit() {
        for fault in (0..30).flat_map(|seed| rounds(seed, 2, 100)).flatten() {
            assert_ne!(fault.kind, Kind::PowerLossTwo);
            assert!(!matches!(fault.victim, Victim::Standby(1..) | Victim::PrimaryAnd(_)), "{fault:?}");
        }
    }
}
