//! The server's replication slots, and the orders given about them.
//!
//! Slot names are [`SlotName`]s: letters, digits and underscores, so they need no quoting. Every order that removes or
//! moves a slot names the kind of slot again: what has become another slot since it was looked at is left alone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::session::Row;
use super::{Session, SqlError};
use crate::policy::slots::{BOUNDED_FROM, Slot};
use crate::sys::{Deadline, Pace};
use crate::types::{Gather, Lsn, SlotName};

/// One query for all facts, also those that version 12 does not have: `max_slot_wal_keep_size` and `wal_status` came
/// with 13, `synchronized_standby_slots` and `invalidation_reason` with 17, its reason `idle_timeout` with 18. A role without pg_monitor does not see the receiver's status; that counts as streaming.
const QUERY: &str = "select current_setting('server_version_num'), current_setting('max_slot_wal_keep_size', true), \
     current_setting('primary_slot_name', true), pg_size_bytes(current_setting('wal_segment_size')), \
     case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_flush_lsn() end, \
     exists (select from pg_stat_wal_receiver where status is null or status = 'streaming'), \
     slot.slot_name, slot.slot_type = 'physical' and not slot.temporary, slot.active_pid, slot.restart_lsn, \
     to_jsonb(slot) ->> 'wal_status' = 'lost', \
     to_jsonb(slot) ->> 'wal_status' in ('unreserved', 'lost') and exists (select from pg_stat_activity \
     where backend_type = 'checkpointer' and wait_event = 'ReplicationSlotDrop'), \
     to_jsonb(slot) ->> 'invalidation_reason' = 'idle_timeout', \
     current_setting('synchronized_standby_slots', true) \
     from (select 1) as one left join pg_replication_slots as slot on true";

/// How long a slot is waited for whose process was just ended.
const RELEASE: Duration = Duration::from_secs(2);

/// What the server tells about slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotFacts {
    /// The server's major version.
    pub version: u32,
    /// Whether `max_slot_wal_keep_size` bounds what a slot retains.
    pub bounded: bool,
    /// `primary_slot_name`.
    pub primary_slot_name: String,
    /// Bytes of a WAL segment.
    pub segment: u64,
    /// The end of a primary's WAL, or what a standby has replayed.
    pub end: Lsn,
    /// Whether a WAL receiver is streaming.
    pub streaming: bool,
    /// All slots.
    pub slots: Vec<Slot>,
    /// What `synchronized_standby_slots` names.
    pub named: BTreeSet<String>,
}

impl Session {
    /// Asks for the slots. `None` while a standby has replayed nothing.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn slots(&self, deadline: Deadline) -> Result<Option<SlotFacts>, SqlError> {
        Ok(facts(&self.query(QUERY, deadline)?))
    }

    /// Makes a slot that retains WAL from the last checkpoint on. The role needs `REPLICATION`.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn create_slot(&self, name: &SlotName, deadline: Deadline) -> Result<(), SqlError> {
        self.query(&format!("select pg_create_physical_replication_slot('{name}', true)"), deadline).map(drop)
    }

    /// Removes a slot that nobody uses. False when there is none, or it is used.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn drop_slot(&self, name: &SlotName, deadline: Deadline) -> Result<bool, SqlError> {
        let sql = format!("select pg_drop_replication_slot(slot_name) {} and not active", from_slot(name));
        Ok(!self.query(&sql, deadline)?.is_empty())
    }

    /// Lets a slot retain less. On a standby that works for physical slots, up to what is replayed
    /// (`pg_replication_slot_advance` in slotfuncs.c).
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn advance_slot(&self, name: &SlotName, to: Lsn, deadline: Deadline) -> Result<(), SqlError> {
        let sql = format!(
            "select pg_replication_slot_advance(slot_name, '{to}') {} and not active and restart_lsn < '{to}'",
            from_slot(name)
        );
        self.query(&sql, deadline).map(drop)
    }

    /// Tells the process that uses a slot to end.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn end_user_of_slot(&self, user: i32, name: &SlotName, deadline: Deadline) -> Result<(), SqlError> {
        let sql = format!("select pg_terminate_backend(active_pid) {} and active_pid = {user}", from_slot(name));
        self.query(&sql, deadline).map(drop)
    }

    /// Ends the process that uses a slot, then removes the slot. False when it is still or again in use.
    ///
    /// A sender whose standby takes nothing (frozen, or cut off) is told more than once: at the first time it tries to
    /// send its last words, and waits for that (seen, 15).
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn take_slot_from(&self, user: i32, name: &SlotName, deadline: Deadline) -> Result<bool, SqlError> {
        let (patience, mut pace) = (deadline.at_most(RELEASE), Pace::up_to(Duration::from_millis(200)));
        loop {
            self.end_user_of_slot(user, name, deadline)?;
            match self.drop_slot(name, deadline) {
                Ok(true) => return Ok(true),
                // Still or again in use: between the look and the order, that is an error of the server's.
                Ok(false) | Err(SqlError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
            if !pace.step(patience) {
                return Ok(false);
            }
        }
    }

    /// Writes `primary_slot_name` to `postgresql.auto.conf`, or takes it out. From 13 on the server takes the new
    /// value at once, version 12 at its next start. The role needs to be a superuser.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    pub fn set_primary_slot(&self, name: Option<&SlotName>, version: u32, deadline: Deadline) -> Result<(), SqlError> {
        let sql = match name {
            Some(name) => format!("alter system set primary_slot_name = '{name}'"),
            None => "alter system reset primary_slot_name".to_owned(),
        };
        self.query(&sql, deadline)?;
        if version >= BOUNDED_FROM {
            self.query("select pg_reload_conf()", deadline)?;
        }
        Ok(())
    }
}

fn from_slot(name: &SlotName) -> String {
    format!("from pg_replication_slots where slot_name = '{name}' and slot_type = 'physical' and not temporary")
}

fn facts(rows: &[Row]) -> Option<SlotFacts> {
    let first = rows.first()?;
    let version: u32 = text(first, 0)?.parse().ok()?;
    Some(SlotFacts {
        version: version / 10_000,
        bounded: text(first, 1).is_some_and(|size| size != "-1"),
        primary_slot_name: text(first, 2).unwrap_or_default().to_owned(),
        segment: text(first, 3)?.parse().ok().filter(|size: &u64| size.is_power_of_two())?,
        end: text(first, 4)?.parse().ok()?,
        streaming: text(first, 5)? == "t",
        slots: rows.iter().filter_map(slot).collect(),
        named: text(first, 13).map(listed).unwrap_or_default(),
    })
}

/// A list of identifiers; a slot's name needs no quotes, and may have them.
fn listed(text: &str) -> BTreeSet<String> {
    let names = text.split(',').map(|name| name.trim().trim_matches('"'));
    names.filter(|name| !name.is_empty()).map(str::to_owned).into_set()
}

fn slot(row: &Row) -> Option<Slot> {
    Some(Slot {
        name: text(row, 6)?.to_owned(),
        lasting_physical: text(row, 7)? == "t",
        user: text(row, 8).and_then(|pid| pid.parse().ok()),
        restart: text(row, 9).and_then(|lsn| lsn.parse().ok()),
        lost: text(row, 10) == Some("t"),
        revoked: text(row, 11) == Some("t"),
        idled_out: text(row, 12) == Some("t"),
    })
}

fn text(row: &Row, column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(slot: [Option<&str>; 7], bound: Option<&str>) -> Row {
        let server = [Some("150008"), bound, Some(""), Some("16777216"), Some("0/5000000"), Some("f")];
        let named = Some("pgbaton_srv3, \"mine\",");
        server.into_iter().chain(slot).chain([named]).map(|column| column.map(str::to_owned)).collect()
    }

    #[test]
    fn a_server_without_slots_has_one_row() {
        let facts = facts(&[row([None; 7], Some("-1"))]).unwrap();
        assert_eq!(facts.named, ["pgbaton_srv3", "mine"].map(str::to_owned).into());
        assert_eq!((facts.version, facts.bounded, facts.end, facts.slots.len()), (15, false, Lsn(0x500_0000), 0));
    }

    #[test]
    fn the_bound_is_any_size_and_version_12_has_none() {
        let bounded = |bound| facts(&[row([None; 7], bound)]).unwrap().bounded;
        assert_eq!([Some("1GB"), Some("0"), Some("-1"), None].map(bounded), [true, true, false, false]);
    }

    #[test]
    fn slots_as_the_server_tells_them() {
        let lost = [Some("pgbaton_srv2"), Some("t"), None, None, Some("t"), None, Some("t")];
        let used = [Some("pgbaton_srv3"), Some("t"), Some("77"), Some("0/4000000"), Some("f"), Some("t"), None];
        let slots = facts(&[row(lost, Some("1GB")), row(used, Some("1GB"))]).unwrap().slots;
        assert_eq!((slots[0].idled_out, slots[1].idled_out), (true, false));
        assert_eq!((slots[0].lost, slots[0].user, slots[0].restart), (true, None, None));
        assert_eq!((slots[1].lost, slots[1].user, slots[1].restart), (false, Some(77), Some(Lsn(0x400_0000))));
    }
}
