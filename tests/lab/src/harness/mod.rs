//! What a scenario has in its hands: the lab, a writing client, and a cluster at full strength to begin with.

mod ambush;
mod ballast;
mod changes;
pub(crate) mod client;
mod constraints;
pub(crate) mod evidence;
mod expectations;
pub(crate) mod full_strength;
mod guests;
pub(crate) mod history;
mod kept;
pub(crate) mod lab;
mod pgbench;
mod rejoin;
mod replication;
mod session;
mod slots;
mod wal_bytes;
mod wal_volume;

pub(crate) use ambush::Moment;
pub(crate) use ballast::{KEEP_LITTLE_WAL, KEEP_WAL_IN_SLOTS};
pub(crate) use client::Client;
pub(crate) use history::Report;
pub(crate) use kept::Kept;
pub(crate) use lab::Lab;
