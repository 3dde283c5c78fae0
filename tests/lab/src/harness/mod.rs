//! What a scenario has in its hands: the lab, a writing client, and a cluster at full strength to begin with.

pub(crate) mod client;
pub(crate) mod evidence;
mod expectations;
pub(crate) mod full_strength;
pub(crate) mod history;
pub(crate) mod lab;
mod session;

pub(crate) use lab::Lab;
