//! What a scenario has in its hands: the lab, a writing client, and a cluster at full strength to begin with.

mod ambush;
pub(crate) mod client;
pub(crate) mod evidence;
mod expectations;
pub(crate) mod full_strength;
mod guests;
pub(crate) mod history;
pub(crate) mod lab;
mod replication;
mod session;
mod wal_volume;

pub(crate) use ambush::Moment;
pub(crate) use lab::Lab;
