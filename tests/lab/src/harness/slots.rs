//! The replication slots that the agent keeps on each node for all others.

use std::time::Duration;

use super::lab::Lab;
use crate::cluster::node_shell::sql_on;
use crate::error::{Result, unexpected};
use crate::wait::{self, Seen};

/// A standby that was told of no slot asks again after a minute.
const SLOTS_LIMIT: Duration = Duration::from_secs(150);
/// WAL that makes a standby look whether slots can be moved: more than four segments.
const MEGABYTES_OF_A_LOOK: u64 = 80;
/// Each look moves slots to where the one before was. With these the slots' bound is not reached.
const LOOKS: usize = 6;
/// More than one monitor of a standby.
const LOOK_LIMIT: Duration = Duration::from_secs(13);

const AGENTS_SLOTS: &str = "select coalesce(string_agg(slot_name::text, ' ' order by slot_name), '') \
                            from pg_replication_slots where left(slot_name::text, 8) = 'pgbaton_'";
const USED_SLOTS: &str = "select coalesce(string_agg(slot_name::text, ' ' order by slot_name), '') \
                          from pg_replication_slots where left(slot_name::text, 8) = 'pgbaton_' and active";
const SLOT_IN_USE: &str = "select coalesce(current_setting('primary_slot_name', true), '')";

impl Lab {
    // --- looking ---------------------------------------------------------------------------------------------------

    /// From where on the node holds WAL for another one.
    pub(crate) fn slot_position(&self, node: &str, of: &str) -> Result<String> {
        self.ask_of_slot(node, of, "coalesce(restart_lsn::text, '')")
    }

    fn ask_of_slot(&self, node: &str, of: &str, what: &str) -> Result<String> {
        sql_on(node, &format!("select {what} from pg_replication_slots where slot_name = '{}'", slot_of(of)))
    }

    // --- waiting ---------------------------------------------------------------------------------------------------

    /// Makes these settings, which bound the slots, on all nodes for this scenario only, and waits until the agent uses
    /// slots. The primary comes first: a standby asks whether that has its slot, and not too often.
    pub(crate) fn use_slots(&self, settings: &str) -> Result<()> {
        let primary = self.primary()?;
        self.configure(&primary, settings)?;
        let slots = self.slots_of_others(&primary);
        wait::until(&format!("slots on {primary}"), SLOTS_LIMIT, || {
            let there = sql_on(&primary, AGENTS_SLOTS)?;
            Ok(if there == slots { Seen::Yes(()) } else { Seen::NotYet(format!("'{there}'")) })
        })?;
        for node in self.nodes().iter().filter(|node| **node != primary) {
            self.configure(node, settings)?;
        }
        self.wait_for_slots()
    }

    /// Waits until each node has a slot for each other one, and each standby uses its own on the primary.
    pub(crate) fn wait_for_slots(&self) -> Result<()> {
        wait::until("slots on all nodes", SLOTS_LIMIT, || Ok(self.lack_of_slots()?.map_or(Seen::Yes(()), Seen::NotYet)))
    }

    fn lack_of_slots(&self) -> Result<Option<String>> {
        let primary = self.primary()?;
        for node in self.nodes() {
            let (wanted, there) = (self.slots_of_others(&node), sql_on(&node, AGENTS_SLOTS)?);
            if there != wanted {
                return Ok(Some(format!("{node} has the slots '{there}'")));
            }
        }
        let used = sql_on(&primary, USED_SLOTS)?;
        Ok((used != self.slots_of_others(&primary)).then(|| format!("of {primary}'s slots '{used}' are in use")))
    }

    fn slots_of_others(&self, node: &str) -> String {
        let mut slots: Vec<_> =
            self.nodes().iter().filter(|other| *other != node).map(|other| slot_of(other)).collect();
        slots.sort();
        slots.join(" ")
    }

    /// Writes WAL until the standby has moved a slot that nothing holds, the primary's, beyond that position.
    pub(crate) fn write_until_slots_move(&self, primary: &str, standby: &str, position: &str) -> Result<()> {
        let is_beyond = format!("restart_lsn > '{position}'");
        for _ in 0..LOOKS {
            self.turn_wal_over(primary, MEGABYTES_OF_A_LOOK)?;
            let moved = || Ok(self.ask_of_slot(standby, primary, &is_beyond)? == "t");
            if wait::until_true("slots that have moved", LOOK_LIMIT, moved).is_ok() {
                return Ok(());
            }
        }
        let there = self.slot_position(standby, primary)?;
        unexpected(format!("{standby} should have moved its slot for {primary} beyond {position}, it is at '{there}'"))
    }

    /// Waits until the server tells that it has taken WAL from the node's slot, in what it has logged since then.
    pub(crate) fn wait_until_slot_is_lost(&self, primary: &str, of: &str, logged_before: usize) -> Result<()> {
        let slot = format!("\"{}\"", slot_of(of));
        wait::until_true(&format!("{primary} invalidating the slot {slot}"), LOOK_LIMIT, || {
            let log = self.server_log(primary)?;
            let mut logged = log.get(logged_before..).unwrap_or_default().lines();
            Ok(logged.any(|line| line.contains("invalidating") && line.contains(&slot)))
        })
    }

    /// Without a bound in the settings the agent removes its slots, and no standby asks for one. While that goes on,
    /// replication is interrupted for a moment.
    pub(super) fn wait_until_slots_are_taken_back(&self) -> Result<()> {
        wait::until("nodes without slots of the agent", SLOTS_LIMIT, || {
            for node in self.nodes() {
                let there = [sql_on(&node, AGENTS_SLOTS)?, sql_on(&node, SLOT_IN_USE)?].concat();
                if there.contains("pgbaton_") {
                    return Ok(Seen::NotYet(format!("{node}: '{there}'")));
                }
            }
            Ok(Seen::Yes(()))
        })
    }

    // --- judging ---------------------------------------------------------------------------------------------------

    /// The node still has all WAL from that position on for another node.
    pub(crate) fn assert_slot_holds(&self, node: &str, of: &str, position: &str) -> Result<()> {
        match self.ask_of_slot(node, of, &format!("restart_lsn <= '{position}'"))?.as_str() {
            "t" => Ok(()),
            _ => {
                let there = self.slot_position(node, of)?;
                unexpected(format!("{node} should hold WAL from {position} on for {of}, its slot is at '{there}'"))
            }
        }
    }

    /// The primary has removed or recycled all WAL that it could, and has what the other node needs only because of its
    /// slot: with `wal_keep_size = 0` that is what `extended` says.
    pub(crate) fn assert_only_slot_keeps_wal(&self, primary: &str, of: &str) -> Result<()> {
        match self.ask_of_slot(primary, of, "wal_status")?.as_str() {
            "extended" => Ok(()),
            status => unexpected(format!("{primary}'s slot for {of} should hold WAL beyond max_wal_size: '{status}'")),
        }
    }
}

/// The slot of a node whose name needs no hash.
fn slot_of(node: &str) -> String {
    format!("pgbaton_{node}")
}
