//! The operating system: programs, privileges, time, logging. The only place with `unsafe`.

mod apart;
mod deadline;
mod detached;
mod identity;
mod journal;
mod log_file;
mod notes;
mod ownership;
mod process_handle;
mod program;
mod utc;
mod volume;

pub use apart::apart;
pub use deadline::{Deadline, Pace, ms_since_boot, since_boot};
pub use detached::detach;
pub use identity::{IdentityError, Owner, runs_as};
pub use journal::{flush_log, start_log};
pub use log_file::{cut_log_file, open_log_file};
pub use notes::{ArchiveNote, Notes, PromotionNote, RecoveryNote, Roster, ScoreMemory, SlotNotes, UnfedNote};
pub use ownership::Ownership;
pub use process_handle::ProcessHandle;
pub use program::{Output, Program, ProgramError, Running};
pub use utc::utc_now;
pub use volume::{sync_filesystem_of, sync_tells_errors};
