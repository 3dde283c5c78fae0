//! The replication slots, looked after by the monitor. Nothing here fails it.
//!
//! What cannot be done is a warning in the log, once, and is tried again after [`RETRY`], so that neither the log nor
//! the server's fills up.

mod knowledge;
mod orders;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Agent;
use crate::cluster::ClusterError;
use crate::instance::{Session, SlotFacts, SqlError};
use crate::ocf::Failure;
use crate::policy::hold::{Hold, hold, is_away};
use crate::policy::primary_slot;
use crate::policy::slots::{Look, Members, Step, View, Volume, is_used, own_slots, plan};
use crate::sys::{Deadline, Notes, Running, SlotNotes, ms_since_boot};
use crate::types::{Lsn, NodeName, Role, SlotName};

/// The share of a monitor that slots may take.
const TIME: Duration = Duration::from_secs(5);

/// The longest that one question to the cluster may take: what it would tell can wait for another monitor.
const QUESTION: Duration = Duration::from_secs(1);

/// How long after a failure the same is not tried again.
const RETRY: Duration = Duration::from_secs(120);

/// How long a failure is remembered. What still fails is tried, and remembered, again before that.
const REMEMBERED: Duration = Duration::from_secs(600);

static NOBODY: BTreeMap<NodeName, Lsn> = BTreeMap::new();
static NOTHING: BTreeMap<SlotName, Duration> = BTreeMap::new();

/// What the server does not tell.
struct Surroundings {
    members: Option<Members>,
    left_for: BTreeMap<SlotName, Duration>,
    volume: Option<Volume>,
}

/// What an order has left of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    Usable,
    /// Its last query may not be answered yet.
    Spent,
}

/// One look after the slots, with what the next one is to know.
struct Keeper<'a> {
    agent: &'a Agent,
    session: &'a Session,
    deadline: Deadline,
    own: NodeName,
    facts: SlotFacts,
    notes: SlotNotes,
}

impl Agent {
    /// Makes, moves and removes the agent's slots; on a standby it keeps `primary_slot_name`, too.
    pub(super) fn keep_slots(&self, role: Role, session: &Session) {
        let path = self.notes_path();
        let before = Notes::load(&path);
        let mut notes = before.clone();
        if let Err(failure) = self.look_after_slots(role, session, &mut notes.slots) {
            tell_once(&mut notes.slots, "look after the replication slots", &failure.to_string());
        }
        notes.save(&path, &before);
    }

    fn look_after_slots(&self, role: Role, session: &Session, notes: &mut SlotNotes) -> Result<(), Failure> {
        let (wish, own) = (self.request.parameters.slots()?, self.own_name()?);
        let failed = |e: SqlError| Failure::generic(e.to_string());
        let deadline = self.deadline.at_most(TIME);
        let Some(facts) = session.slots(deadline).map_err(failed)? else { return Ok(()) };
        notes.refused.retain(|_, since| time_since(*since) < REMEMBERED);
        let used = is_used(wish, facts.version, facts.bounded);
        let mut keeper = Keeper { agent: self, session, deadline, own, facts, notes: std::mem::take(notes) };
        let result = keeper.keep(role, used);
        *notes = keeper.notes;
        result.map_err(failed)
    }

    fn forget_published_hold(&self) {
        self.change_notes(|notes| notes.slots.published = None);
    }

    /// Starts withdrawing what this node has published as the primary, when it ceases to be it.
    pub(super) fn begin_withdrawing_hold(&self) -> Option<Running> {
        Notes::load(&self.notes_path()).slots.published?;
        let begun = self.cluster.begin_publishing_hold(None);
        begun.map_err(|e| log::warn!("cannot withdraw what this node published about slots: {e}")).ok()
    }

    /// Waits shortly for the end of that. A monitor makes up for what fails.
    pub(super) fn finish_withdrawing_hold(&self, withdrawing: Option<Running>) {
        let Some(running) = withdrawing else { return };
        match running.finish(self.deadline.at_most(Duration::from_secs(1))) {
            Ok(_) => self.forget_published_hold(),
            Err(error) => log::warn!("cannot withdraw what this node published about slots: {error}"),
        }
    }
}

impl Keeper<'_> {
    fn keep(&mut self, role: Role, used: bool) -> Result<(), SqlError> {
        if role == Role::Standby || !used {
            self.publish(None);
        }
        self.notes.written_name =
            self.notes.written_name.take().filter(|(_, was)| *was == self.facts.primary_slot_name);
        match role {
            Role::Primary if used => self.keep_on_primary(),
            Role::Standby if used => self.keep_on_standby(),
            Role::Primary | Role::Standby => self.take_back(role),
        }
    }

    fn keep_on_primary(&mut self) -> Result<(), SqlError> {
        let somebody_is_away = self.somebody_is_away();
        let around = self.surroundings(somebody_is_away);
        let members = around.members.as_ref();
        let mut flushed = if somebody_is_away { self.flushed(members)? } else { BTreeMap::new() };
        let steps = plan(&View { flushed: &flushed, ..self.view_in(&around, Role::Primary) });
        let makes_some = steps.iter().any(|step| matches!(step, Step::Create(_)));
        if self.take(steps)? == Connection::Spent {
            return Ok(());
        }
        let made = if makes_some { self.session.slots(self.deadline)? } else { None };
        if let Some(facts) = made {
            self.facts = facts;
            flushed = self.flushed(members)?;
        }
        self.tell_standbys(&around, &flushed);
        Ok(())
    }

    /// Whether some slot is not in use: its node is away, or streams without it.
    fn somebody_is_away(&self) -> bool {
        own_slots(&self.facts.slots).iter().any(|own| own.slot.user.is_none())
    }

    /// A standby asks for its slot only when it is told that the slot is there.
    fn tell_standbys(&mut self, around: &Surroundings, flushed: &BTreeMap<NodeName, Lsn>) {
        if around.members.is_some() {
            let before: Option<Hold> = self.notes.published.as_deref().and_then(|text| text.parse().ok());
            let view = View { flushed, ..self.view_in(around, Role::Primary) };
            let word = hold(&view, &before.unwrap_or_default()).to_string();
            self.publish(Some(word));
        }
    }

    fn keep_on_standby(&mut self) -> Result<(), SqlError> {
        let unfed_for = self.unfed_for();
        let replayed_before = self.due_look();
        let word = self.word(unfed_for, replayed_before.is_some());
        let provided = word.as_ref().map(|word| word.as_ref().is_some_and(|word| word.lists(&self.own)));
        self.keep_name(true, unfed_for, provided)?;
        let word = word.flatten();
        let is_away = |name| word.as_ref().is_some_and(|word| is_away(name, word));
        let somebody_is_away = own_slots(&self.facts.slots).iter().any(|own| is_away(&own.name));
        let around = self.surroundings(somebody_is_away);
        let look = word.as_ref().zip(replayed_before);
        let look = look.map(|(hold, replayed_before)| Look { hold, replayed_before });
        let steps = plan(&View { look, ..self.view_in(&around, Role::Standby) });
        self.take(steps).map(drop)
    }

    /// Slots are not used (any more).
    fn take_back(&mut self, role: Role) -> Result<(), SqlError> {
        self.keep_name(false, Duration::ZERO, None)?;
        let steps = plan(&View { used: false, ..self.view(role) });
        self.take(steps).map(drop)
    }

    /// What the server tells, without what has to be asked for elsewhere.
    fn view(&self, role: Role) -> View<'_> {
        View {
            own: &self.own,
            role,
            used: true,
            bounded: self.facts.bounded,
            volume: None,
            end: self.facts.end,
            segment: self.facts.segment,
            slots: &self.facts.slots,
            named: &self.facts.named,
            members: None,
            flushed: &NOBODY,
            left_for: &NOTHING,
            look: None,
            gave_up: None,
        }
    }

    fn view_in<'b>(&'b self, around: &'b Surroundings, role: Role) -> View<'b> {
        View {
            members: around.members.as_ref(),
            left_for: &around.left_for,
            volume: around.volume,
            gave_up: self.notes.gave_up_ms.map(time_since),
            ..self.view(role)
        }
    }

    /// Keeps `primary_slot_name`. What was written and is not in effect yet (version 12 before its next start, an option
    /// on the server's command line) is not written again.
    fn keep_name(&mut self, used: bool, unfed_for: Duration, provided: Option<bool>) -> Result<(), SqlError> {
        let slot = SlotName::of(&self.own);
        let written = self.notes.written_name.clone().map(|(name, _)| name);
        let value = written.filter(|name| !used && !name.is_empty()).unwrap_or(self.facts.primary_slot_name.clone());
        let view = primary_slot::View { value: &value, own: &slot, used, unfed_for };
        let wish = match primary_slot::next(&view, provided) {
            primary_slot::Step::Keep => return Ok(()),
            primary_slot::Step::Set => Some(&slot),
            primary_slot::Step::Reset => None,
        };
        self.write_name(wish)
    }
}

fn time_since(ms: impl Into<i128>) -> Duration {
    let since = i128::from(ms_since_boot()).saturating_sub(ms.into());
    Duration::from_millis(u64::try_from(since).unwrap_or(0))
}

/// Logs a failure unless it is remembered, and remembers it.
fn tell_once(notes: &mut SlotNotes, what: &str, why: &str) {
    if notes.refused.insert(what.to_owned(), ms_since_boot()).is_none() {
        log::warn!("cannot {what}: {why}");
    }
}

/// As [`tell_once`], of the cluster's tools.
fn tell_of_cluster(notes: &mut SlotNotes, what: &str, why: &ClusterError) {
    tell_once(notes, what, &why.to_string());
}
