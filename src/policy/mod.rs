//! All decisions. Nothing here reads, writes, waits or logs: facts come in by reference, an enum goes
//! out. One file per question.

pub mod conninfo;
pub mod demote;
pub mod election;
pub mod follow;
pub mod monitor;
pub mod promote;
pub mod score;
pub mod settings;
pub mod start;
pub mod stop;
