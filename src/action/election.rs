//! The election: every present node tells its position before a promotion.
//!
//! In `pre-promote` each node publishes its vote, then reads all votes. Whoever finds the set complete
//! decides for the candidate, and where the candidate is not the best corrects the scores, so that
//! Pacemaker plans anew before it promotes. That is at least the node that publishes last. `promote`
//! reads the votes once more and decides again.
//!
//! No node waits for another one here: under load Pacemaker runs the notifications of a transition one
//! after the other (tried, 2.1.5), and a wait for the next would never end.

use std::time::{Duration, Instant};

use super::promote::PROMOTION;
use super::record::Reserved;
use super::{Agent, failed};
use crate::cluster::{ClusterError, Durable, Paper};
use crate::instance::Session;
use crate::instance::rejoin::Rejoining;
use crate::ocf::Failure;
use crate::policy::candidacy::Objection;
use crate::policy::election::{
    Ballot, REPLAY_TOLERANCE, Reach, Verdict, Vote, binding, electorate, has_diverged, insists, judge, missing_bytes,
};
use crate::policy::follow::FIRST_RELOADABLE_VERSION;
use crate::policy::patience::{Noted, begin, is_over, is_waited_for, voters};
use crate::policy::progress::takes_long;
use crate::policy::promote::{is_done, stand_ins};
use crate::policy::vote::{Source, source};
use crate::sys::{Notes, Pace, ms_since_boot};
use crate::types::{NodeName, Position, Role, Score, State, Timeline};

/// How long a node waits for its own instance to know its position. Another node's recovery may have to
/// wait for the end of this notification; the election's own timeout is kept over all attempts.
const ONE_ATTEMPT: Duration = Duration::from_secs(15);

/// How long it is looked at how fast a server replays.
const REPLAY: Duration = Duration::from_secs(2);

/// How long after its attributes a node may still be held for present.
const NOTICED: Duration = Duration::from_secs(3);

type Papers = Vec<(NodeName, Paper)>;

/// An election that this node has won.
#[derive(Debug)]
pub(super) struct Elected {
    /// The timeline that it is on.
    timeline: Timeline,
    /// Whose votes there are.
    voters: Vec<NodeName>,
    /// Who may be promoted as well.
    stand_ins: Vec<NodeName>,
}

impl Agent {
    /// Takes this node's part before a promotion.
    pub(super) fn hold_election(&self) {
        let result = match self.request.notification.promote.as_slice() {
            [candidate] => self.vote_and_decide(candidate),
            others => Err(Failure::generic(format!("{} nodes are to be promoted; set promoted-max=1", others.len()))),
        };
        if let Err(failure) = result {
            log::warn!("election: {failure}");
        }
    }

    fn vote_and_decide(&self, candidate: &NodeName) -> Result<(), Failure> {
        let own = self.own_name()?;
        let among = self.request.notification.present_at_promotion();
        // An instance that this transition stops has no vote: it has left its position behind.
        if !among.contains(&own) {
            return Ok(());
        }
        let picked = self.note_election(candidate, own == *candidate, &among);
        let (vote, durable) = self.while_reading_durable(|| self.await_own_vote());
        let vote = durable.as_ref().map_or(vote.clone(), |durable| self.in_line(vote, durable));
        self.cluster.publish(&Paper::Vote(among.clone(), vote), self.deadline).map_err(failed)?;
        let papers = self.cluster.papers(self.deadline).map_err(failed)?;
        let complete = among.iter().all(|node| matches!(paper_of(node, &papers), Some(Paper::Vote(..))));
        if !complete {
            return Ok(());
        }
        let durable = durable?;
        let own_vote = vote_of(candidate, &papers);
        let judge = |insists| self.judge(candidate, &own_vote, &among, (&papers, &durable), insists);
        let mut verdict = judge(false)?;
        if let Verdict::Yield { to, theirs, ours } = &verdict {
            if insists(picked, *theirs, ours) && self.are_corrected(candidate, to)? {
                verdict = judge(true)?;
            }
        }
        log::info!("election of {candidate}: {}", self.in_words(&verdict, candidate));
        self.correct_scores(candidate, picked > 1, &verdict)
    }

    /// Notes when an election began that is not decided yet, who is to be promoted, and whether it is this
    /// node. Returns how often in a row the same node was picked, this time included, and not promoted.
    fn note_election(&self, candidate: &NodeName, is_own: bool, among: &[NodeName]) -> u32 {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let (since, seen, now) = (before.undecided_since_ms, before.undecided_seen_ms, ms_since_boot());
        let began = Some(begin(Noted { since, seen }, now));
        let again = before.picked.as_deref() == Some(candidate.as_str());
        let times = if again { before.picked_times.saturating_add(1).max(2) } else { 1 };
        let notes = Notes {
            undecided_since_ms: began,
            undecided_seen_ms: Some(now),
            undecided_voters: voters(&before.undecided_voters, among, began == since, now),
            candidate: before.candidate || is_own,
            picked: Some(candidate.to_string()),
            picked_times: times,
            ..before.clone()
        };
        notes.save(&path, &before);
        times
    }

    /// Does something else while what is on record is read.
    fn while_reading_durable<T>(&self, work: impl FnOnce() -> T) -> (T, Result<Durable, Failure>) {
        let (done, durable) = std::thread::scope(|scope| {
            let durable = scope.spawn(|| self.cluster.durable(self.deadline));
            (work(), durable.join())
        });
        (done, durable.unwrap_or(Err(ClusterError::Output("cibadmin"))).map_err(failed))
    }

    /// Decides over `candidate` by the votes of the other nodes and by what stopped instances left.
    fn judge(
        &self,
        candidate: &NodeName,
        own: &Vote,
        among: &[NodeName],
        (papers, durable): (&Papers, &Durable),
        insists: bool,
    ) -> Result<Verdict, Failure> {
        let votes = others_among(candidate, among, papers);
        let private = papers.iter().filter_map(|(node, paper)| match paper {
            Paper::Left(position) => Some((node.clone(), *position)),
            Paper::Vote(..) => None,
        });
        let left = private.chain(durable.left.iter().cloned());
        let left: Vec<_> = left.filter(|(node, position)| !durable.is_given_up(node, *position)).collect();
        let left = binding(&left, candidate, &votes);
        let timed_out = self.election_timed_out(&votes);
        let is_reloadable = self.instance.major_version().is_some_and(|major| major >= FIRST_RELOADABLE_VERSION);
        let record = durable.record.as_ref().map(|record| &record.history);
        let can_fetch = is_reloadable && !has_diverged(own, &votes, record);
        let ballot = Ballot { own, votes: &votes, left: &left, timed_out, insists, can_fetch };
        let reaches = votes.iter().map(|(_, vote)| vote).chain([own]).filter_map(Vote::reach);
        let on_record = self.on_record_for(durable, reaches.map(|reach| reach.position.timeline)).map_err(failed)?;
        Ok(judge(candidate, &ballot, &on_record))
    }

    /// Whether the scores prefer the better node already: then something stronger than they are is against it.
    fn are_corrected(&self, candidate: &NodeName, better: &NodeName) -> Result<bool, Failure> {
        let scores = self.cluster.scores(self.deadline).map_err(failed)?;
        Ok(scores.get(candidate).is_some_and(|score| *score <= Score::CANDIDATE)
            && scores.get(better).is_some_and(|score| *score >= Score::ELECTED))
    }

    /// The verdict for the log and for the exit reason.
    fn in_words(&self, verdict: &Verdict, candidate: &NodeName) -> String {
        let way_out = |node: &NodeName, left: Position| self.cluster.way_to_give_up(node, left);
        let against = |objection: &Objection| self.objection_in_words(candidate, objection);
        in_words(verdict, candidate, &way_out, &against)
    }

    /// Whether the present, still undecided election has lasted for `election_timeout`, for those too who have not told.
    fn election_timed_out(&self, votes: &[(NodeName, Vote)]) -> bool {
        let timeout = self.request.parameters.election_timeout().unwrap_or_else(|failure| {
            log::warn!("{failure}; using 60 seconds");
            Duration::from_secs(60)
        });
        let (notes, now) = (Notes::load(&self.notes_path()), ms_since_boot());
        is_over(notes.undecided_since_ms.unwrap_or(now), &notes.undecided_voters, votes, now, timeout)
    }

    /// Makes Pacemaker plan anew when the candidate must not be promoted. When scores were corrected
    /// already and Pacemaker picks the same node again, a location constraint is stronger than they are:
    /// then only minus infinity keeps the node from being promoted. Its next monitor lifts that. Several
    /// nodes may do this at the same time; they all write the same.
    fn correct_scores(&self, candidate: &NodeName, picked_again: bool, verdict: &Verdict) -> Result<(), Failure> {
        let changes = match verdict {
            Verdict::Promote { .. } | Verdict::CatchUp { .. } => return Ok(()),
            Verdict::Wait { .. }
            | Verdict::Replays { .. }
            | Verdict::DataElsewhere { .. }
            | Verdict::DataInFork { .. }
            | Verdict::Hidden { .. }
            | Verdict::AnotherPrimary { .. }
            | Verdict::Barred { .. } => {
                vec![(candidate.clone(), Score::NEVER)]
            }
            Verdict::Yield { to, .. } => {
                let corrected = picked_again && self.are_corrected(candidate, to)?;
                let demoted = if corrected { Score::NEVER } else { Score::CANDIDATE };
                vec![(to.clone(), Score::ELECTED), (candidate.clone(), demoted)]
            }
        };
        let wanted: Vec<_> = changes.iter().map(|(node, score)| (node.clone(), Some(*score))).collect();
        self.cluster.set_scores(&wanted, self.deadline).map_err(failed)?;
        if !self.let_pacemaker_notice(&changes) {
            log::warn!(
                "election: the corrected scores are not in the configuration yet; promote will refuse if need be"
            );
        }
        Ok(())
    }

    /// What is planned begins when this notification ends, unless Pacemaker has noticed the new scores by then.
    /// That its controller has read them cannot be asked, hence the moment at the end. False when they are not even in the
    /// configuration.
    pub(super) fn let_pacemaker_notice(&self, scores: &[(NodeName, Score)]) -> bool {
        let are_there = self.cluster.await_scores(scores, self.deadline.at_most(Duration::from_secs(2)));
        if are_there {
            std::thread::sleep(Duration::from_millis(100));
        }
        are_there
    }

    /// This node's vote, waiting a while for an instance that will know its position by itself.
    fn await_own_vote(&self) -> Vote {
        // The other half is for telling it.
        let deadline = self.deadline.at_most(ONE_ATTEMPT.min(self.deadline.remaining() / 2));
        // Nobody is promoted now, whom a worker could work with.
        self.end_untouched_work();
        let mut pace = Pace::up_to(Duration::from_millis(100));
        let mut session = None;
        loop {
            let (vote, may_change) = self.own_vote(&mut session);
            if !may_change || !pace.step(deadline) {
                let look_again = || self.own_vote(&mut None).0;
                return self.with_room(self.with_replay(vote, session.as_ref(), look_again));
            }
        }
    }

    /// A node that has no room for the promotion says so.
    fn with_room(&self, vote: Vote) -> Vote {
        match vote {
            Vote::At(reach) if reach.unfit.is_none() => {
                let unfit = self.instance.lack_of_room_to_promote(self.deadline.at_most(ONE_ATTEMPT));
                Vote::At(Reach { unfit, ..reach })
            }
            vote => vote,
        }
    }

    /// A node that has much to replay, and will be at it for long, says so.
    fn with_replay(&self, vote: Vote, session: Option<&Session>, look_again: impl FnOnce() -> Vote) -> Vote {
        let Some(before) = vote.reach().map(|reach| reach.to_replay).filter(|bytes| *bytes > REPLAY_TOLERANCE) else {
            return vote;
        };
        let (begin, deadline) = (Instant::now(), self.deadline.at_most(REPLAY));
        if !self.instance.is_replaying(session, deadline) {
            return vote;
        }
        // It goes on with that meanwhile, so that a promotion comes no later.
        std::thread::sleep(deadline.remaining());
        match look_again() {
            Vote::At(reach) => {
                let replayed = before.saturating_sub(reach.to_replay);
                Vote::At(Reach { replaying: takes_long(reach.to_replay, replayed, begin.elapsed()), ..reach })
            }
            _ => vote,
        }
    }

    /// Whether this server, which lets nobody in, is done with its WAL all the same.
    pub(super) fn is_done_but_shut(&self) -> bool {
        let control = self.instance.control_data(self.deadline);
        let follows =
            self.instance.recovers_as_standby() && control.is_ok_and(|control| control.is_in_archive_recovery());
        follows && is_done(&self.instance.reach_by_files(self.deadline.at_most(ONE_ATTEMPT)))
    }

    /// A candidate that was excluded while it replayed stands again when little is left, though it lets nobody in yet.
    pub(super) fn stand_again_when_replayed(&self) {
        if !Notes::load(&self.notes_path()).candidate {
            return;
        }
        let vote = self.instance.reach_by_files(self.deadline.at_most(REPLAY));
        if vote.reach().is_some_and(|reach| reach.to_replay <= REPLAY_TOLERANCE) {
            self.stand_again();
        }
    }

    /// This node's position now, and whether another look may tell more. The connection is kept.
    fn own_vote(&self, session: &mut Option<Session>) -> (Vote, bool) {
        let look = self.deadline.at_most(Duration::from_secs(2));
        if session.is_none() {
            if !self.instance.is_running() && self.holds_nothing() {
                return (Vote::Void, false);
            }
            if matches!(self.instance.rejoining(), Ok(Rejoining::UnderWay(_))) {
                let at_least = self.instance.reach_by_files(self.deadline.at_most(ONE_ATTEMPT)).at_least();
                let why = "it is about to be rewound or cloned, and whoever is at work on that does not end".to_owned();
                return (Vote::Unknown { why, at_least }, true);
            }
            let found = self.instance.observe(look);
            let Some(open) = found.session else { return self.vote_without_connection(&found.state) };
            *session = Some(open);
        }
        // A disk may be slow.
        let disk = self.deadline.at_most(ONE_ATTEMPT);
        match session.as_ref().map(|session| self.instance.position(session, disk)) {
            Some(Ok(vote)) => {
                let may_change = vote.may_change();
                (vote, may_change)
            }
            Some(Err(error)) => {
                *session = None;
                self.vote_without_connection(&State::Silent { was: Role::Standby, why: error.to_string() })
            }
            None => (Vote::Silent, true),
        }
    }

    /// The vote of an instance that gives no connection: its files tell how far its WAL reaches.
    fn vote_without_connection(&self, state: &State) -> (Vote, bool) {
        let disk = self.deadline.at_most(ONE_ATTEMPT);
        let unknown = |why: &str, at_least| Vote::Unknown { why: why.to_owned(), at_least };
        let found = match source(state, self.instance.recovers_as_standby()) {
            Source::Primary => return (Vote::Primary, false),
            Source::Nothing(why) => unknown(why, None),
            Source::Replication => self.instance.position_by_replication(disk),
            Source::Files => self.instance.reach_by_files(disk),
            Source::AtLeastFiles(why) => unknown(why, self.instance.reach_by_files(disk).at_least()),
        };
        let may_change = matches!(found, Vote::Unknown { .. }) && !matches!(state, State::Stopped | State::Absent(_));
        (found, may_change)
    }

    /// Whether what this node's instance holds does not count: it is being made, or is to be made, from a primary. What
    /// somebody has put into the directory meanwhile counts.
    pub(super) fn holds_nothing(&self) -> bool {
        match self.instance.rejoining() {
            Ok(Rejoining::No) => false,
            Ok(Rejoining::Waiting(_)) => self.instance.missing().is_some(),
            // It is to be rewound or cloned, and is still what it was.
            Ok(Rejoining::UnderWay(marker) | Rejoining::Interrupted(marker)) => !marker.is_untouched(),
            Ok(Rejoining::Done(_)) | Err(_) => true,
        }
    }

    /// The last guard: reads the votes once more, with this node's position of now, discards them, and reserves the
    /// number of the new timeline. What the cluster's tools do at the same time costs an outage no time. Returns who may be
    /// promoted as well, should this node not get there, and that number. What the votes came to `before` in this action still
    /// holds: the server was only started anew, and has the same WAL.
    ///
    /// # Errors
    /// When no election was held, or it does not allow the promotion.
    pub(super) fn confirm_election<'a>(
        &self,
        session: Option<&Session>,
        before: &'a mut Option<Elected>,
    ) -> Result<(&'a [NodeName], Reserved), Failure> {
        let (elected, used) = std::thread::scope(|scope| {
            let used = scope.spawn(|| self.used_timeline());
            (before.take().map_or_else(|| self.elected(session), Ok), used.join())
        });
        let Elected { timeline: own, voters, stand_ins } = before.insert(elected?);
        let used = used.unwrap_or(Ok(None)).map_err(failed)?;
        let (discarded, reserved) = std::thread::scope(|scope| {
            let discarding = scope.spawn(|| self.cluster.discard_votes(voters, self.deadline).map_err(failed));
            let reserved = self.reserve_timeline(*own, used, voters);
            (discarding.join().unwrap_or(Ok(())), reserved)
        });
        discarded.and(reserved).map(|reserved| (stand_ins.as_slice(), reserved))
    }

    /// What the votes come to, if they allow the promotion. What another node has more is fetched first: Pacemaker promotes
    /// this one whatever the scores say, and to refuse costs a failure and a restart.
    fn elected(&self, session: Option<&Session>) -> Result<Elected, Failure> {
        let own = self.own_name()?;
        // What nodes alone had that were lost since they voted is not within reach.
        let mut lost: Vec<NodeName> = Vec::new();
        let mut has_fetched = false;
        let (mut waiting, mut replaying) = (None, None);
        loop {
            let (papers, durable) = self.while_reading_durable(|| self.cluster.papers(self.deadline));
            let papers = papers.map_err(failed)?;
            let Some(Paper::Vote(voted_among, _)) = paper_of(&own, &papers) else {
                let notify =
                    "set the meta attribute notify=true on the clone; if it is set, the next attempt will hold one";
                return Err(Failure::generic(format!("no election was held before this promotion: {notify}")));
            };
            let mut among = electorate(papers.iter().filter_map(electors));
            among.retain(|node| !lost.contains(node));
            let durable = durable?;
            let vote = self.in_line(self.await_own_position(session)?, &durable);
            // Whatever becomes of this action, whoever is promoted next has to have what was fetched.
            if std::mem::take(&mut has_fetched) {
                let paper = Paper::Vote(voted_among.clone(), vote.clone());
                self.cluster.publish(&paper, self.deadline).map_err(failed)?;
            }
            let verdict = self.judge(&own, &vote, &among, (&papers, &durable), true)?;
            let words = self.in_words(&verdict, &own);
            match (&verdict, &vote) {
                (Verdict::Promote { .. }, Vote::At(Reach { position, .. })) => {
                    log::info!("election of {own}: {words}");
                    let voters = papers.iter().filter(|(_, paper)| matches!(paper, Paper::Vote(..)));
                    let voters: Vec<_> = voters.map(|(node, _)| node.clone()).collect();
                    let stand_ins = stand_ins(*position, &others_among(&own, &among, &papers));
                    return Ok(Elected { timeline: position.timeline, voters, stand_ins });
                }
                (Verdict::CatchUp { from, theirs, .. }, _) => {
                    log::info!("election of {own}: {words}");
                    let fetched = self.fetch(from, *theirs, session);
                    has_fetched = true;
                    if !fetched.map_err(|why| Failure::generic(format!("{words}: {why}")))? {
                        lost = self.lost_with(from)?;
                        if !lost.contains(from) {
                            let why = format!("{from} is in the cluster, and its position is no longer told");
                            return Err(Failure::generic(format!("{words}: {why}; the next attempt asks it anew")));
                        }
                    }
                }
                (Verdict::Replays { other: None, .. }, _) if self.has_time_to_wait(&mut replaying, &words) => {}
                (Verdict::Wait { others }, _) if self.goes_on_waiting(&mut waiting, others, &words) => {}
                _ => return Err(Failure::generic(words)),
            }
        }
    }

    /// Waits a moment for nodes that did not vote, as long as there is time for the promotion after that.
    fn goes_on_waiting(&self, waiting: &mut Option<Pace>, others: &[(NodeName, Vote)], words: &str) -> bool {
        if waiting.is_none() {
            let picked = Notes::load(&self.notes_path()).picked_times;
            let unmanaged = self.cluster.unmanaged(self.deadline).unwrap_or_default();
            if !is_waited_for(others, picked, &unmanaged) {
                return false;
            }
            let unmanaged = others.iter().map(|(node, _)| node).filter(|node| unmanaged.contains(node));
            let unmanaged: Vec<_> = unmanaged.map(NodeName::as_str).collect();
            let why = if unmanaged.is_empty() { "" } else { "; unmanaged, or in maintenance: " };
            log::warn!("{words}{why}{}", unmanaged.join(", "));
        }
        self.has_time_to_wait(waiting, words)
    }

    /// Waits a moment, where there is time for the promotion after that.
    fn has_time_to_wait(&self, waiting: &mut Option<Pace>, words: &str) -> bool {
        if waiting.is_none() {
            log::info!("{words}");
        }
        let patience = self.deadline.at_most(self.deadline.remaining().saturating_sub(PROMOTION));
        waiting.get_or_insert_with(|| Pace::up_to(Duration::from_secs(1))).step(patience)
    }

    fn fetch(&self, from: &NodeName, theirs: Position, session: Option<&Session>) -> Result<bool, String> {
        let session = session.ok_or("the server has no connection left to be asked over")?;
        let deadline = self.deadline.at_most(self.deadline.remaining().saturating_sub(PROMOTION));
        self.catch_up(from, theirs, session, deadline)
    }

    /// The nodes that the cluster has lost, once this one is among them. Its attributes may go a moment earlier.
    fn lost_with(&self, node: &NodeName) -> Result<Vec<NodeName>, Failure> {
        let deadline = self.deadline.at_most(NOTICED);
        let mut pace = Pace::up_to(Duration::from_millis(100));
        loop {
            let lost = self.cluster.lost(self.deadline).map_err(failed)?;
            if lost.contains(node) || !pace.step(deadline) {
                return Ok(lost);
            }
        }
    }

    /// Who may be promoted instead of this node by the votes as they are; nobody, when this node's own position is not known.
    pub(super) fn stand_ins_by_votes(&self) -> Vec<NodeName> {
        let (Ok(own), Ok(papers)) = (self.own_name(), self.cluster.papers(self.deadline)) else { return Vec::new() };
        match paper_of(&own, &papers) {
            Some(Paper::Vote(among, Vote::At(ours))) => stand_ins(ours.position, &others_among(&own, among, &papers)),
            _ => Vec::new(),
        }
    }

    /// Has another node promoted, because this one does not get there. Pacemaker plans anew after the promotion's failure.
    pub(super) fn yield_to(&self, other: &NodeName) -> Result<(), Failure> {
        let scores = [(other.clone(), Score::ELECTED), (self.own_name()?, Score::CANDIDATE)];
        let wanted = scores.clone().map(|(node, score)| (node, Some(score)));
        self.cluster.set_scores(&wanted, self.deadline).map_err(failed)?;
        self.let_pacemaker_notice(&scores);
        Ok(())
    }

    fn await_own_position(&self, session: Option<&Session>) -> Result<Vote, Failure> {
        let mut pace = Pace::up_to(Duration::from_millis(50));
        let look = || match session {
            Some(session) => self.instance.position(session, self.deadline),
            None => Ok(self.instance.position_by_replication(self.deadline)),
        };
        loop {
            let vote = look().map_err(|e| Failure::generic(e.to_string()))?;
            if !vote.may_change() || !pace.step(self.deadline) {
                return Ok(self.with_replay(vote, session, || look().unwrap_or(Vote::Silent)));
            }
        }
    }
}

fn paper_of<'a>(node: &NodeName, papers: &'a Papers) -> Option<&'a Paper> {
    papers.iter().find(|(from, _)| from == node).map(|(_, paper)| paper)
}

fn others_among(candidate: &NodeName, among: &[NodeName], papers: &Papers) -> Vec<(NodeName, Vote)> {
    let others = among.iter().filter(|node| *node != candidate);
    others.map(|node| (node.clone(), vote_of(node, papers))).collect()
}

fn electors((node, paper): &(NodeName, Paper)) -> Option<(&NodeName, &[NodeName])> {
    match paper {
        Paper::Vote(among, _) => Some((node, among)),
        Paper::Left(_) => None,
    }
}

fn vote_of(node: &NodeName, papers: &Papers) -> Vote {
    match paper_of(node, papers) {
        Some(Paper::Vote(_, vote)) => vote.clone(),
        Some(Paper::Left(_)) | None => Vote::Silent,
    }
}

/// The verdict for the log and for the exit reason: the values compared and the way out.
fn in_words(
    verdict: &Verdict,
    candidate: &NodeName,
    way_out: &dyn Fn(&NodeName, Position) -> String,
    against: &dyn Fn(&Objection) -> String,
) -> String {
    match verdict {
        Verdict::Promote { left_out } if left_out.is_empty() => "no present node has more WAL; promoting".to_owned(),
        Verdict::Promote { left_out } => {
            format!("promoting without {}, which could not tell in time and may hold more", named(left_out))
        }
        Verdict::Yield { to, theirs, ours } => {
            format!(
                "{candidate} is not the best: it has {}, {to} has {theirs}; {to} is to be promoted",
                vote_in_words(ours)
            )
        }
        Verdict::CatchUp { from, theirs, ours, because } => {
            format!(
                "{candidate} has {ours}, {from} has {theirs} and is not to be promoted ({because}); fetching what is missing from it"
            )
        }
        Verdict::Wait { others } if others.is_empty() => {
            format!(
                "{candidate} cannot tell its own position yet; when election_timeout is over it yields to a node that is known to \
                 have as much"
            )
        }
        Verdict::Wait { others } => {
            format!("the position of {} is not known; waiting for it up to election_timeout", named(others))
        }
        Verdict::Replays { other: None, to_replay } => format!(
            "{candidate} has {} MB of WAL to replay before it can take writes, and is at it; it stands for election again when \
             that is done",
            to_replay >> 20
        ),
        Verdict::Replays { other: Some(node), to_replay } => format!(
            "{node} has what {candidate} has, or more, and {} MB of WAL to replay before others can fetch it or it can take \
             writes; that is waited for",
            to_replay >> 20
        ),
        Verdict::DataElsewhere { node, theirs, ours } => format!(
            "{node} was stopped with WAL up to {theirs} and has not told more since; {candidate} has {ours}, at least {} bytes \
             less; start {node} again, or give its data up with: {}",
            missing_bytes(theirs.end, ours.end),
            way_out(node, *theirs)
        ),
        Verdict::DataInFork { node, theirs, ours } => format!(
            "{node} is on a timeline that no promotion by Pacemaker made, and has {} bytes before that, up to {theirs}, which \
             {candidate} lacks: it has {ours}; stop the instance on {node} to go on without them",
            theirs.end.bytes_beyond(ours.end)
        ),
        Verdict::Hidden { node, theirs, why, ours } => format!(
            "{node} has WAL up to {theirs} at least and cannot tell where it ends ({why}); {candidate} has {ours}, {} bytes less; \
             mend the instance on {node}, or stop it: then this reason names the command that gives its data up",
            theirs.end.bytes_beyond(ours.end)
        ),
        Verdict::AnotherPrimary { node } => {
            format!("{node} takes writes as a primary; stop it before another one is promoted")
        }
        Verdict::Barred { objection } => against(objection),
    }
}

fn named(votes: &[(NodeName, Vote)]) -> String {
    let names: Vec<_> = votes.iter().map(|(node, vote)| format!("{node} ({})", vote_in_words(vote))).collect();
    names.join(", ")
}

fn vote_in_words(vote: &Vote) -> String {
    match vote {
        Vote::At(Reach { position, to_replay, unfit, .. }) => {
            let replay = if *to_replay > 0 {
                format!(", {} MB of it to replay", to_replay.div_ceil(1 << 20))
            } else {
                String::new()
            };
            let unfit = unfit.as_ref().map_or_else(String::new, |why| format!(", but {why}"));
            format!("{position}{replay}{unfit}")
        }
        Vote::Unknown { why, at_least: Some(at) } => format!("{why}, at least {at}"),
        Vote::Unknown { why, at_least: None } => why.clone(),
        Vote::Incomplete { why, until } => format!("{why}, and has WAL up to {until}"),
        Vote::Primary => "takes writes".to_owned(),
        Vote::Silent => "did not answer".to_owned(),
        Vote::Fork(until) => format!("is on a timeline made by hand, from {until} on"),
        Vote::Void => "has no instance yet: it is being rewound or cloned, or waits for that".to_owned(),
    }
}
