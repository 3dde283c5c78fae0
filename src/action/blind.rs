//! A primary whose server refuses the agent cannot see who follows it, so that it strikes off only who is not in the cluster. It
//! says that it is alive, and a standby that does not stream strikes itself off by that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::strike::{Look, away_for};
use super::{Agent, failed, finish};
use crate::ocf::Failure;
use crate::policy::candidacy::Lacks;
use crate::policy::condition::Condition;
use crate::policy::score::{Connected, GRACE};
use crate::policy::unfed::{Step, step};
use crate::sys::{Deadline, Notes, UnfedNote, ms_since_boot, utc_now};
use crate::types::{NodeName, Role, Score};

/// How long it may take.
const TIME: Duration = Duration::from_secs(3);

impl Agent {
    /// What a recurring monitor does for an instance that is alive and gives no connection.
    pub(super) fn look_after_blindly(&self, role: Role) -> Option<Condition> {
        if role == Role::Primary {
            if let Err(failure) = self.go_on_blindly(self.deadline.at_most(TIME)) {
                log::warn!("the standbys do not know that this primary goes on and cannot see them: {failure}");
            }
            return None;
        }
        let streams = self.instance.streams_by_title();
        self.note_fed(streams);
        // Nobody else gives it a score: its primary, if there was one, may have been refused as well.
        let is_away = self.note_stream(streams == Some(true)) >= 2;
        let why_not = if is_away { self.stand_if_possible() } else { None };
        why_not.map(|why| Condition::standby("not to be promoted", Some(why)))
    }

    /// Only of a server that the agent is known to have promoted.
    fn go_on_blindly(&self, deadline: Deadline) -> Result<(), Failure> {
        let (path, own) = (self.notes_path(), self.own_name()?);
        let before = Notes::load(&path);
        if before.promoted_server.is_none() || before.promoted_server != self.instance.postmaster_identity() {
            return Ok(());
        }
        finish(self.cluster.begin_telling_blind(&ms_since_boot().to_string()), deadline).map_err(Failure::generic)?;
        self.keep_own_score(&own, deadline)?;
        let mut notes = before.clone();
        self.refresh_roster(&own, None, &mut notes, deadline);
        let present = self.cluster.present(deadline).map_err(failed)?;
        // Who is there may be connected.
        let connected: Vec<_> = present.into_iter().map(unseen).collect();
        let (away_for, scores) = (away_for(&notes), BTreeMap::new());
        let (own, away_for) = (&own, &away_for);
        let look = Look { own, at: None, connected: &connected, scores: &scores, maxlag: None, away_for };
        let (strikes, _) = self.judge_strikes(&look, &notes);
        self.write_strikes(&look, strikes, &mut notes, deadline);
        notes.save(&path, &before);
        Ok(())
    }

    /// The attribute daemon may have been started anew; without a score Pacemaker would demote this primary.
    fn keep_own_score(&self, own: &NodeName, deadline: Deadline) -> Result<(), Failure> {
        let scores = self.cluster.scores(deadline).map_err(failed)?;
        let has_it = scores.get(own).is_some_and(|score| *score >= Score::PRIMARY);
        let wanted = (own.clone(), Some(Score::PRIMARY));
        if has_it { Ok(()) } else { self.cluster.set_scores(&[wanted], deadline).map_err(failed) }
    }

    /// For a standby: whether it streams, if that can be seen.
    pub(super) fn note_fed(&self, streams: Option<bool>) {
        let before = Notes::load(&self.notes_path()).unfed;
        let now = ms_since_boot();
        // What seems to come from the future was noted before a boot.
        let noted = before.clone().filter(|note| note.since_ms <= now);
        let note = noted.unwrap_or_else(|| UnfedNote { since_ms: now, ..UnfedNote::default() });
        let away = Duration::from_millis(now - note.since_ms);
        let asks = streams == Some(false) && away >= GRACE;
        let said = if asks { self.cluster.blind_primaries(self.deadline.at_most(TIME)).ok() } else { None };
        let said = said.unwrap_or_else(|| note.words.clone());
        let after = match step(streams, away, &note.words, &said) {
            Step::Anew => None,
            Step::Wait if streams.is_none() => before.clone(),
            Step::Wait => Some(note),
            Step::Remember => Some(UnfedNote { words: said, ..note }),
            Step::StrikeOff(primary) => {
                if let Err(failure) = self.strike_itself_off_beside(&primary, self.deadline.at_most(TIME)) {
                    log::warn!("it is not on record yet that this standby may lack something: {failure}");
                }
                Some(note)
            }
        };
        if after != before {
            self.change_notes(|notes| notes.unfed = after);
        }
    }

    /// On record before the score tells, as the primary would do it.
    fn strike_itself_off_beside(&self, primary: &str, deadline: Deadline) -> Result<(), Failure> {
        let own = self.own_name()?;
        if self.cluster.durable(deadline).map_err(failed)?.lacks.contains_key(&own) {
            return Ok(());
        }
        let s = GRACE.as_secs();
        let why = format!("it had not streamed for {s} s, and {primary} went on as the primary, which cannot see that");
        let lacks = Lacks { from: None, since: utc_now(), why };
        log::warn!("{own} is not to be promoted: {lacks}");
        finish(self.cluster.begin_striking_off(&own, Some(&lacks)), deadline).map_err(Failure::generic)?;
        self.cluster.set_scores(&[(own, Some(Score::NEVER))], deadline).map_err(failed)
    }
}

fn unseen(name: NodeName) -> Connected {
    Connected { name, state: String::new(), flushed: None, replayed: None }
}
