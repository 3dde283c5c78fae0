//! The rules that are explored: the agent's own functions, and any of them may be replaced, to show that it is missed.

use pgbaton::policy::candidacy::{self, Objection, OnRecord};
use pgbaton::policy::election::{self, Ballot, Verdict, Vote};
use pgbaton::policy::leaving;
use pgbaton::policy::rejoin::{self, OwnWal, Reference, Rejoin, Remedy, Standing, Trouble};
use pgbaton::policy::score::{self, Plan, View};
use pgbaton::policy::strike;
use pgbaton::types::{NodeName, Position, Score, Timeline};

/// What is left by whom counts: by the candidate, and by the votes.
pub type Binding = fn(&[(NodeName, Position)], &NodeName, &[(NodeName, Vote)]) -> Vec<(NodeName, Position)>;

/// Among whom a promotion is decided, by who voted among whom.
pub type Electorate = fn(&[(NodeName, Vec<NodeName>)]) -> Vec<NodeName>;

/// What the correction of scores goes by.
#[derive(Clone, Debug)]
pub struct Correction<'a> {
    /// What the election has decided.
    pub verdict: &'a Verdict,
    /// Who was to be promoted.
    pub candidate: &'a NodeName,
    /// Whether the scores say so already, and the candidate was picked all the same.
    pub corrected: bool,
}

/// The rules.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Who may be promoted.
    pub judge: fn(&NodeName, &Ballot<'_>, &OnRecord) -> Verdict,
    /// What becomes of the scores when the candidate may not.
    pub correct: fn(&Correction<'_>) -> Vec<(NodeName, Score)>,
    /// The scores that a primary gives.
    pub plan: fn(&View<'_>) -> Plan,
    /// Whom a primary strikes off.
    pub strike: fn(&strike::View<'_>) -> strike::Plan,
    /// What on record speaks against a node.
    pub objection: fn(&NodeName, Option<Timeline>, &OnRecord) -> Option<Objection>,
    /// Whether a node that comes back may have been passed over.
    pub passed_over: fn(&NodeName, &[NodeName], &[NodeName], &OnRecord) -> bool,
    /// Whether a node against which something speaks stands for election all the same.
    pub may_fetch: fn(&NodeName, &Objection, &OnRecord, &[NodeName]) -> bool,
    /// The score that a start gives its node; none when it leaves it.
    pub score_at_start: fn(Option<Score>, bool) -> Option<Score>,
    /// Whether a standby without a primary stands again: its score, whether another is promoted, and whether something
    /// on record speaks against it.
    pub stands_again: fn(Option<Score>, bool, bool) -> bool,
    /// How an instance stands to the primary.
    pub standing: fn(&OwnWal, &Reference) -> Standing,
    /// How it is mended.
    pub remedy: fn(&Trouble, Rejoin) -> Remedy,
    /// The number of the next timeline, by the candidate's own and by the highest that is known to be used.
    pub next_timeline: fn(Timeline, Option<Timeline>) -> Timeline,
    /// What an instance leaves when it is stopped.
    pub left: fn(&leaving::Facts) -> leaving::Left,
    /// Whether it leaves that for longer than its node is there, by whether it is started again.
    pub is_permanent: fn(&leaving::Facts, bool) -> bool,
    /// Among whom a promotion is decided at its last moment, by who voted among whom.
    pub electorate: Electorate,
    /// What of it counts in an election.
    pub binding: Binding,
    /// Whether the votes are discarded before a promotion.
    pub discards_votes: bool,
    /// Whether `promote` asks the election once more.
    pub asks_again: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            judge: election::judge,
            correct,
            plan: score::plan,
            strike: strike::plan,
            objection: candidacy::objection,
            passed_over: candidacy::may_have_been_passed_over,
            may_fetch: candidacy::may_fetch,
            score_at_start: candidacy::score_at_start,
            stands_again: candidacy::stands_again,
            standing: rejoin::standing,
            remedy: rejoin::remedy,
            next_timeline,
            left: leaving::left,
            is_permanent: leaving::is_permanent,
            electorate: |papers| election::electorate(papers.iter().map(|(node, among)| (node, among.as_slice()))),
            binding: election::binding,
            discards_votes: true,
            asks_again: true,
        }
    }
}

/// What `action::election` does.
fn correct(about: &Correction<'_>) -> Vec<(NodeName, Score)> {
    let candidate = about.candidate.clone();
    match about.verdict {
        Verdict::Promote { .. } | Verdict::CatchUp { .. } => Vec::new(),
        Verdict::Wait { .. }
        | Verdict::Replays { .. }
        | Verdict::DataElsewhere { .. }
        | Verdict::DataInFork { .. }
        | Verdict::Hidden { .. }
        | Verdict::AnotherPrimary { .. }
        | Verdict::Barred { .. } => vec![(candidate, Score::NEVER)],
        Verdict::Yield { to, .. } => {
            let demoted = if about.corrected { Score::NEVER } else { Score::CANDIDATE };
            vec![(to.clone(), Score::ELECTED), (candidate, demoted)]
        }
    }
}

/// What `action::record` does.
fn next_timeline(own: Timeline, used: Option<Timeline>) -> Timeline {
    Timeline(used.unwrap_or(own).max(own).0 + 1)
}
