//! All decisions. Nothing here reads, writes, waits or logs: facts come in by reference, an enum goes
//! out. One file per question.

pub mod address;
pub mod archive;
pub mod aside;
pub mod attempt;
pub mod candidacy;
pub mod condition;
pub mod conninfo;
pub mod demote;
pub mod detour;
pub mod election;
pub mod elsewhere;
pub mod follow;
pub mod hba;
pub mod hold;
pub mod leaving;
pub mod makeshift;
pub mod monitor;
pub mod origin;
pub mod passfile;
pub mod patience;
pub mod placing;
pub mod planted;
pub mod primary_slot;
pub mod progress;
pub mod promote;
pub mod refusal;
pub mod rejoin;
pub mod score;
pub mod settings;
pub mod slots;
pub mod start;
pub mod stop;
pub mod strike;
pub mod unfed;
pub mod vote;
