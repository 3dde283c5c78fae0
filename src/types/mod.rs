//! The values that every part of the agent speaks of.

mod gather;
mod history;
mod lsn;
mod node;
mod score;
mod slot;
mod state;
mod vote;

pub use gather::Gather;
pub use history::{Common, History, PromotionId, Stretch, SystemId};
pub use lsn::{Lsn, ParsePositionError, Position, Timeline};
pub use node::{NodeName, ParseNodeNameError};
pub use score::Score;
pub use slot::SlotName;
pub use state::{Role, State};
pub use vote::{Reach, Vote};
