//! The volume that holds the WAL.

use std::io;

use nix::sys::statvfs::{FsFlags, statvfs};

use super::Instance;
use crate::policy::slots::Volume;
use crate::sys::Deadline;

/// No segment is larger (`initdb --wal-segsize`).
const LARGEST_SEGMENT: u64 = 1 << 30;

/// Besides the first segment of the new timeline, for its history and what else is written before it is in use.
const BESIDES: u64 = 1 << 20;

impl Instance {
    /// The volume of `pg_wal`, which may be a symbolic link to another one.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn wal_volume(&self) -> io::Result<Volume> {
        let found = statvfs(&self.data_directory().join("pg_wal"))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Ok(Volume { free: bytes(found.blocks_available()), size: bytes(found.blocks()) })
    }

    /// Whether the volume of the data directory takes no writes, as after `errors=remount-ro`. False when the system does
    /// not tell.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        statvfs(self.data_directory()).is_ok_and(|found| found.flags().contains(FsFlags::ST_RDONLY))
    }

    /// What there is too little of for a promotion, with the values and the cure. PostgreSQL copies the last segment to the
    /// new timeline (`XLogInitNewTimeline`). `None` also when the system does not tell.
    #[must_use]
    pub fn lack_of_room_to_promote(&self, deadline: Deadline) -> Option<String> {
        let free = self.wal_volume().ok()?.free;
        if free >= LARGEST_SEGMENT + BESIDES {
            return None;
        }
        let needed = self.control_data(deadline).ok()?.segment_size.saturating_add(BESIDES);
        let place = self.data_directory().join("pg_wal");
        (free < needed).then(|| {
            format!(
                "the volume of {} has {free} bytes free, and a promotion needs {needed}; make room there: this node goes on by itself",
                place.display()
            )
        })
    }
}
