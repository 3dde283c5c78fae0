//! What is done about slots: orders to the server, and the primary's word to the standbys.

use std::time::Duration;

use super::{Connection, Keeper, QUESTION, tell_of_cluster, tell_once};
use crate::instance::SqlError;
use crate::policy::slots::{BOUNDED_FROM, Step};
use crate::sys::{Deadline, ms_since_boot};
use crate::types::SlotName;

/// How long a request for a checkpoint is waited for: the server goes on with it by itself.
const CHECKPOINT: Duration = Duration::from_millis(300);

/// Logical decoding waits for a slot that is named there and missing (`StandbySlotsHaveCaughtup` in slot.c).
const NAMED: &str =
    "synchronized_standby_slots names it, and logical decoding would wait for it; take it out there first";

const PUBLISH: &str = "publish what the standbys need to know about slots";

impl Keeper<'_> {
    /// Takes the steps. One that the server refuses does not keep the others from being taken; any other failure does,
    /// because the connection is of no use then.
    pub(super) fn take(&mut self, steps: Vec<Step>) -> Result<Connection, SqlError> {
        let mut connection = Connection::Usable;
        for step in steps {
            let what = step.to_string();
            if matches!(step, Step::Keep(_)) {
                tell_once(&mut self.notes, &what, NAMED);
                continue;
            }
            let is_last = matches!(step, Step::GiveUp { .. });
            if is_last {
                connection = Connection::Spent;
            } else if self.failed_lately(&what) {
                continue;
            }
            match self.order(&step) {
                Ok(()) => drop(self.notes.refused.remove(&what)),
                Err(SqlError::Refused(words)) => {
                    tell_once(&mut self.notes, &what, &format!("{words}; {}", cure(&step)));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(connection)
    }

    fn order(&mut self, step: &Step) -> Result<(), SqlError> {
        match step {
            Step::Create(name) => {
                self.session.create_slot(name, self.deadline)?;
                log::info!("{step}");
            }
            Step::Drop(name, _) => {
                if self.session.drop_slot(name, self.deadline)? {
                    log::info!("{step}");
                }
            }
            Step::Keep(_) => {}
            Step::Advance(name, to) => {
                self.session.advance_slot(name, *to, self.deadline)?;
                log::debug!("{step} to {to}");
            }
            Step::Release(name, user) => {
                log::warn!("{step}: its standby takes nothing, and no checkpoint can end meanwhile");
                self.session.end_user_of_slot(*user, name, self.deadline)?;
            }
            Step::GiveUp { name, user, retained, free } => self.give_up(name, *user, *retained, *free)?,
        }
        Ok(())
    }

    /// The WAL that the slot retained is removed by the next checkpoint, so one is asked for. Whether it was in time does
    /// not matter; this is the last order over this connection.
    fn give_up(&mut self, name: &SlotName, user: Option<i32>, retained: u64, free: u64) -> Result<(), SqlError> {
        self.notes.gave_up_ms = Some(ms_since_boot());
        let gone = match user {
            Some(user) => self.session.take_slot_from(user, name, self.deadline)?,
            None => self.session.drop_slot(name, self.deadline)?,
        };
        if !gone {
            return Ok(());
        }
        log::warn!(
            "gave up the replication slot {name}, which retained {retained} bytes of WAL: {free} bytes are free on the volume of pg_wal; \
             its standby may have to be made anew; set max_slot_wal_keep_size to bound what a slot retains"
        );
        if let Err(error) = self.session.checkpoint(self.deadline.at_most(CHECKPOINT)) {
            log::debug!("a checkpoint to remove WAL was asked for: {error}");
        }
        Ok(())
    }

    /// Sets `primary_slot_name`, or takes it back.
    pub(super) fn write_name(&mut self, name: Option<&SlotName>) -> Result<(), SqlError> {
        let value = name.map(ToString::to_string).unwrap_or_default();
        let what = match name {
            Some(name) => format!("set primary_slot_name to {name}"),
            None => format!("take primary_slot_name '{}' back", self.facts.primary_slot_name),
        };
        if self.notes.written_name.as_ref().is_some_and(|(name, _)| *name == value) || self.failed_lately(&what) {
            return Ok(());
        }
        match self.session.set_primary_slot(name, self.facts.version, self.deadline) {
            Ok(()) => {
                let when = if self.facts.version < BOUNDED_FROM { ", in effect from the next start on" } else { "" };
                log::info!("{what}{when}");
                self.notes.refused.remove(&what);
                self.notes.written_name = Some((value, self.facts.primary_slot_name.clone()));
                Ok(())
            }
            Err(SqlError::Refused(words)) => {
                let cure = "the agent's role (pguser) needs to be a superuser, or set primary_slot_name yourself";
                tell_once(&mut self.notes, &what, &format!("{words}; {cure}"));
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Publishes this primary's word, or withdraws it, when it differs from the last one.
    pub(super) fn publish(&mut self, word: Option<String>) {
        if self.notes.published == word || self.failed_lately(PUBLISH) {
            return;
        }
        let deadline = self.deadline.at_most(QUESTION);
        let published = self.agent.cluster.begin_publishing_hold(word.as_deref());
        let published = published.and_then(|running| finish(running, deadline));
        match published {
            Ok(()) => {
                self.notes.published = word;
                self.notes.refused.remove(PUBLISH);
            }
            Err(error) => tell_of_cluster(&mut self.notes, PUBLISH, &error),
        }
    }
}

fn finish(running: crate::sys::Running, deadline: Deadline) -> Result<(), crate::cluster::ClusterError> {
    Ok(running.finish(deadline).map(drop)?)
}

fn cure(step: &Step) -> &'static str {
    match step {
        Step::Create(_) => {
            "the agent's role (pguser) needs the attribute REPLICATION, and max_replication_slots room for a slot per node"
        }
        Step::Drop(..) | Step::Keep(_) | Step::Advance(..) => {
            "the agent's role (pguser) needs the attribute REPLICATION"
        }
        Step::Release(..) => "the agent's role (pguser) needs pg_signal_backend",
        Step::GiveUp { .. } => {
            "the agent's role (pguser) needs the attribute REPLICATION and pg_signal_backend; free space on the volume of pg_wal"
        }
    }
}
