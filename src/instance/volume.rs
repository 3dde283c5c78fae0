//! The volume that holds the WAL.

use std::io;

use nix::sys::statvfs::statvfs;

use super::Instance;
use crate::policy::slots::Volume;

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
}
