//! The election: every present node tells its position, the candidate decides.
//!
//! In `pre-promote` the candidate publishes a question with a new name; every other node waits for that
//! name, looks at its instance *then*, and answers under it. So an answer is never older than the
//! question, whatever is left over from earlier elections. Pacemaker runs `promote` only after every
//! `pre-promote` has ended; `promote` reads the answers once more and decides again.

use std::time::Duration;

use super::Agent;
use crate::cluster::{ClusterError, Paper, Round};
use crate::instance::Session;
use crate::ocf::Failure;
use crate::policy::election::{Ballot, Verdict, Vote, decide, missing_bytes};
use crate::sys::{Deadline, Notes, Pace, since_boot};
use crate::types::{NodeName, Position, Role, Score, State};

/// How long one attempt waits. A node that was found dead meanwhile can only be recovered once the
/// notification has ended; the election's own timeout is kept over all attempts.
const ONE_ATTEMPT: Duration = Duration::from_secs(15);

type Papers = Vec<(NodeName, Paper)>;

impl Agent {
    /// Takes this node's part before a promotion.
    pub(super) fn hold_election(&self) {
        let candidates = &self.request.notification.promote;
        let result = self.own_name().and_then(|own| match candidates.as_slice() {
            [candidate] if *candidate == own => self.run_for_election(&own),
            [candidate] => self.answer(&own, candidate),
            others => Err(Failure::generic(format!("{} nodes are to be promoted; set promoted-max=1", others.len()))),
        });
        if let Err(failure) = result {
            log::warn!("election: {failure}");
        }
    }

    /// The candidate's part: ask, wait, decide.
    fn run_for_election(&self, own: &NodeName) -> Result<(), Failure> {
        let mut voters = self.request.notification.present_at_promotion();
        voters.retain(|node| node != own);
        let round = Round::new(own);
        let ask = Paper::Ask(round.clone(), voters.clone());
        let deadline = self.deadline.at_most(ONE_ATTEMPT);
        let publishing = self.cluster.begin_publishing(Some(&ask)).map_err(failed)?;
        let mut session = None;
        let mut own_vote = self.own_vote(&mut session, deadline);
        publishing.finish(self.deadline).map_err(|e| failed(e.into()))?;
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            let papers = self.cluster.papers(self.deadline).map_err(failed)?;
            let verdict = self.judge(own, &own_vote, &round, &voters, &papers);
            if !matches!(verdict, Verdict::Wait { .. }) || !pace.step(deadline) {
                return self.conclude(own, &round, &voters, verdict);
            }
            if !matches!(own_vote, Vote::At(_)) {
                own_vote = self.own_vote(&mut session, deadline);
            }
        }
    }

    /// Counts the papers of one round and decides.
    fn judge(&self, own: &NodeName, own_vote: &Vote, round: &Round, voters: &[NodeName], papers: &Papers) -> Verdict {
        let vote_of = |node: &NodeName| {
            let paper = papers.iter().find(|(from, _)| from == node).map(|(_, paper)| paper);
            match paper {
                Some(Paper::Vote(answered, vote)) if answered == round => vote.clone(),
                _ => Vote::Silent,
            }
        };
        let votes: Vec<_> = voters.iter().map(|node| (node.clone(), vote_of(node))).collect();
        let left: Vec<(NodeName, Position)> = papers
            .iter()
            .filter(|(node, _)| node != own && !voters.contains(node))
            .filter_map(|(node, paper)| match paper {
                Paper::Left(position) => Some((node.clone(), *position)),
                Paper::Ask(..) | Paper::Decided(..) | Paper::Vote(..) => None,
            })
            .collect();
        decide(&Ballot { own: own_vote, votes: &votes, left: &left, timed_out: self.election_timed_out() })
    }

    /// Whether the present, still undecided election has lasted for `election_timeout`.
    fn election_timed_out(&self) -> bool {
        let timeout = self.request.parameters.election_timeout().unwrap_or_else(|failure| {
            log::warn!("{failure}; using 60 seconds");
            Duration::from_secs(60)
        });
        let path = self.notes_path();
        let before = Notes::load(&path);
        let now = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
        let since = before.undecided_since_ms.unwrap_or(now);
        Notes { undecided_since_ms: Some(since), ..before.clone() }.save(&path, &before);
        Duration::from_millis(now.saturating_sub(since)) >= timeout
    }

    /// Does what the verdict asks for before Pacemaker goes on to `promote`.
    fn conclude(&self, own: &NodeName, round: &Round, voters: &[NodeName], verdict: Verdict) -> Result<(), Failure> {
        log::info!("election {round}: {}", in_words(&verdict, &self.cluster.paper_name()));
        match verdict {
            Verdict::Promote { left_out } if left_out.is_empty() => Ok(()),
            Verdict::Promote { .. } => {
                let decided = Paper::Decided(round.clone(), voters.to_vec());
                self.cluster.publish(&decided, self.deadline).map_err(failed)
            }
            Verdict::Yield { ref to, .. } => self.yield_to(own, to, &verdict),
            Verdict::Wait { .. } | Verdict::DataElsewhere { .. } | Verdict::AnotherPrimary { .. } => {
                self.withdraw(own, None, &verdict)
            }
        }
    }

    /// Corrects the scores, so that Pacemaker plans anew before it promotes. When that has been tried
    /// and Pacemaker still picks this node, a location constraint is stronger than the scores: only a
    /// score of minus infinity keeps the node from being promoted.
    fn yield_to(&self, own: &NodeName, to: &NodeName, verdict: &Verdict) -> Result<(), Failure> {
        let scores = self.cluster.scores(self.deadline).map_err(failed)?;
        let corrected = scores.get(own).is_some_and(|score| *score <= Score::CANDIDATE)
            && scores.get(to).is_some_and(|score| *score >= Score::ELECTED);
        if corrected {
            return self.withdraw(own, Some(to), verdict);
        }
        let change = [(to.clone(), Some(Score::ELECTED)), (own.clone(), Some(Score::CANDIDATE))];
        self.cluster.set_scores(&change, self.deadline).map_err(failed)
    }

    fn withdraw(&self, own: &NodeName, to: Option<&NodeName>, verdict: &Verdict) -> Result<(), Failure> {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let why = in_words(verdict, &self.cluster.paper_name());
        Notes { withdrawn: Some(why), ..before.clone() }.save(&path, &before);
        let elected = to.map(|node| (node.clone(), Some(Score::ELECTED)));
        let change: Vec<_> = elected.into_iter().chain([(own.clone(), Some(Score::NEVER))]).collect();
        let withdrawn = self.cluster.begin_publishing(None).map_err(failed)?;
        self.cluster.set_scores(&change, self.deadline).map_err(failed)?;
        withdrawn.finish(self.deadline).map(drop).map_err(|e| failed(e.into()))
    }

    /// A voter's part: wait for the candidate's question, look at the instance, answer. An instance that
    /// this transition stops is not asked.
    fn answer(&self, own: &NodeName, candidate: &NodeName) -> Result<(), Failure> {
        if !self.request.notification.present_at_promotion().contains(own) {
            return Ok(());
        }
        let deadline = self.deadline.at_most(ONE_ATTEMPT);
        let round = self.await_question(own, candidate, deadline)?;
        let (mut session, mut published) = (None, None);
        let mut pace = Pace::up_to(Duration::from_millis(200));
        loop {
            let vote = self.own_vote(&mut session, deadline);
            if published.as_ref() != Some(&vote) {
                self.cluster.publish(&Paper::Vote(round.clone(), vote.clone()), self.deadline).map_err(failed)?;
            }
            // A node whose instance is down cannot find out more here; its recovery waits for the end
            // of this notification.
            let final_word = matches!(vote, Vote::At(_) | Vote::Primary) || session.is_none();
            if final_word || !pace.step(deadline) || !self.is_still_asking(candidate, &round)? {
                return Ok(());
            }
            published = Some(vote);
        }
    }

    /// Waits for a question to this node that it has not answered yet.
    fn await_question(&self, own: &NodeName, candidate: &NodeName, deadline: Deadline) -> Result<Round, Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        loop {
            let papers = self.cluster.papers(self.deadline).map_err(failed)?;
            let paper = |node| papers.iter().find(|(from, _)| from == node).map(|(_, paper)| paper);
            if let Some(Paper::Ask(round, voters)) = paper(candidate) {
                let answered = matches!(paper(own), Some(Paper::Vote(last, _)) if last == round);
                if voters.contains(own) && !answered {
                    return Ok(round.clone());
                }
            }
            if !pace.step(deadline) {
                return Err(Failure::generic(format!(
                    "{candidate} is to be promoted and did not ask this node for its position"
                )));
            }
        }
    }

    fn is_still_asking(&self, candidate: &NodeName, round: &Round) -> Result<bool, Failure> {
        let papers = self.cluster.papers(self.deadline).map_err(failed)?;
        Ok(papers
            .iter()
            .any(|(node, paper)| node == candidate && matches!(paper, Paper::Ask(asked, _) if asked == round)))
    }

    /// This node's position now. The connection is kept for the next question.
    fn own_vote(&self, session: &mut Option<Session>, deadline: Deadline) -> Vote {
        let look = deadline.at_most(Duration::from_secs(2));
        if session.is_none() {
            let found = self.instance.observe(look);
            let Some(open) = found.session else { return without_connection(&found.state) };
            *session = Some(open);
        }
        let asked = session.as_ref().map(|session| self.instance.position(session, look));
        match asked {
            Some(Ok(vote)) => vote,
            Some(Err(error)) => {
                *session = None;
                Vote::Unknown { why: error.to_string(), at_least: None }
            }
            None => Vote::Silent,
        }
    }

    /// The last guard: reads the answers once more, with this node's position of now.
    ///
    /// # Errors
    /// When no election was held, or it does not allow the promotion.
    pub(super) fn confirm_election(&self, session: &Session) -> Result<(), Failure> {
        let own = self.own_name()?;
        let papers = self.cluster.papers(self.deadline).map_err(failed)?;
        let question = papers.iter().find(|(node, _)| *node == own).map(|(_, paper)| paper);
        let (Some(Paper::Ask(round, voters)) | Some(Paper::Decided(round, voters))) = question else {
            let notify =
                "set the meta attribute notify=true on the clone; if it is set, the next attempt will hold an election";
            return Err(Failure::generic(format!("no election was held before this promotion: {notify}")));
        };
        let own_vote = self.await_own_position(session)?;
        let verdict = self.judge(&own, &own_vote, round, voters, &papers);
        let words = in_words(&verdict, &self.cluster.paper_name());
        match verdict {
            Verdict::Promote { .. } => {
                log::info!("election {round}: {words}");
                Ok(())
            }
            _ => Err(Failure::generic(words)),
        }
    }

    fn await_own_position(&self, session: &Session) -> Result<Vote, Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        loop {
            let vote = self.instance.position(session, self.deadline).map_err(|e| Failure::generic(e.to_string()))?;
            if matches!(vote, Vote::At(_) | Vote::Primary) || !pace.step(self.deadline) {
                return Ok(vote);
            }
        }
    }
}

fn failed(error: ClusterError) -> Failure {
    Failure::generic(error.to_string())
}

fn without_connection(state: &State) -> Vote {
    let unknown = |why: &str| Vote::Unknown { why: why.to_owned(), at_least: None };
    match state {
        State::Running(Role::Primary) | State::Restricted { role: Role::Primary, .. } => Vote::Primary,
        State::Running(Role::Standby) => unknown("its connection was lost"),
        State::Restricted { why, .. } => unknown(&format!("it refuses the agent: {why}")),
        State::Absent(_) => unknown("it has no data directory"),
        State::Stopped | State::Orphaned { .. } => unknown("its instance is not running"),
        State::Starting => unknown("its instance is starting or recovering"),
        State::Stopping => unknown("its instance is shutting down"),
        State::Silent { .. } => unknown("its instance does not answer"),
    }
}

/// The verdict for the log and for the exit reason: the values compared and the way out.
fn in_words(verdict: &Verdict, attribute: &str) -> String {
    match verdict {
        Verdict::Promote { left_out } if left_out.is_empty() => "no present node has more WAL; promoting".to_owned(),
        Verdict::Promote { left_out } => {
            format!("promoting without {}, which could not tell in time and may hold more", named(left_out))
        }
        Verdict::Yield { to, theirs, ours } => {
            format!(
                "this node is not the best: it has {}, {to} has {theirs}; {to} is to be promoted",
                vote_in_words(ours)
            )
        }
        Verdict::Wait { others } if others.is_empty() => {
            "this node cannot tell its own position: it is still replaying; wait or promote another".to_owned()
        }
        Verdict::Wait { others } => {
            format!("the position of {} is not known; waiting for it up to election_timeout", named(others))
        }
        Verdict::DataElsewhere { node, theirs, ours } => format!(
            "{node} was stopped as a primary at {theirs} and this node has {ours}, at least {} bytes less; start {node} again, \
             or give its data up with: attrd_updater -n {attribute} -D -N {node}",
            missing_bytes(theirs.end, ours.end)
        ),
        Verdict::AnotherPrimary { node } => {
            format!("{node} takes writes as a primary; stop it before another one is promoted")
        }
    }
}

fn named(votes: &[(NodeName, Vote)]) -> String {
    let names: Vec<_> = votes.iter().map(|(node, vote)| format!("{node} ({})", vote_in_words(vote))).collect();
    names.join(", ")
}

fn vote_in_words(vote: &Vote) -> String {
    match vote {
        Vote::At(position) => position.to_string(),
        Vote::Unknown { why, at_least: Some(at) } => format!("{why}, at least {at}"),
        Vote::Unknown { why, at_least: None } => why.clone(),
        Vote::Primary => "takes writes".to_owned(),
        Vote::Silent => "did not answer".to_owned(),
    }
}
