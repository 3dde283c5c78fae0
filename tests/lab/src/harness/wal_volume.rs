//! A small volume of its own for the WAL of one node, which can be filled.

use std::time::Duration;

use super::lab::Lab;
use crate::cluster::node_shell::{COMMAND_LIMIT, check_on, run_on};
use crate::error::Result;
use crate::wait;

const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Room on the volume besides the WAL that is there already, in MiB: some segments.
const ROOM: &str = "96";
const BALLAST: &str = "ballast";

/// The WAL moves to a tmpfs that takes the place of its directory.
const MOVE_OUT: &str = "set -e; cd \"$1\"
    size=$(( $(du --summarize --block-size=1M pg_wal | cut --fields=1) + $2 ))
    mount -t tmpfs -o size=${size}m,mode=700 wal /mnt
    cp --archive pg_wal/. /mnt
    mount --move /mnt pg_wal";

/// The WAL moves back to the volume of the data directory.
const MOVE_BACK: &str = "set -e; cd \"$1\"
    rm --force pg_wal/ballast
    rm --recursive --force pg_wal.back
    cp --archive pg_wal pg_wal.back
    umount pg_wal
    rm --recursive --force pg_wal
    mv pg_wal.back pg_wal";

impl Lab {
    /// Puts the WAL of a standby on a small volume and makes it the primary. Gives back its name.
    pub(crate) fn make_primary_with_a_small_wal_volume(&self) -> Result<String> {
        let node = self.a_standby()?;
        self.give_wal_a_small_volume(&node)?;
        self.wait_for_full_strength()?;
        self.switch_over_to(&node)?;
        self.wait_for_full_strength()?;
        Ok(node)
    }

    /// Puts the WAL of a standby on a small volume. The cluster stops its instance meanwhile.
    fn give_wal_a_small_volume(&self, standby: &str) -> Result<()> {
        self.while_stopped(standby, |lab| lab.in_data_directory(standby, MOVE_OUT))
    }

    /// A file takes all that is left of the volume.
    pub(crate) fn fill_wal_volume(&self, node: &str) -> Result<()> {
        let script = format!("cd \"$1/pg_wal\" && {{ dd if=/dev/zero of={BALLAST} bs=1M; true; }}");
        self.in_data_directory(node, &script)
    }

    /// The file that takes all the room is removed.
    pub(crate) fn free_wal_volume(&self, node: &str) -> Result<()> {
        self.in_data_directory(node, &format!("rm --force \"$1/pg_wal/{BALLAST}\""))
    }

    /// Puts the WAL back where it was, if it lies on a volume of its own.
    pub(crate) fn take_wal_volume_back(&self, node: &str) -> Result<()> {
        let wal = self.plan.pgdata().join("pg_wal").display().to_string();
        match run_on(node, &["mountpoint", "--quiet", &wal], COMMAND_LIMIT)?.code {
            0 => self.while_stopped(node, |lab| lab.in_data_directory(node, MOVE_BACK)),
            _ => Ok(()),
        }
    }

    /// Does something to the files of a node while the cluster keeps its instance stopped.
    pub(crate) fn while_stopped(&self, node: &str, act: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        self.standby_mode(node, true)?;
        wait::until_true(&format!("stop of the instance on {node}"), STOP_LIMIT, || self.is_free_of_postgres(node))?;
        act(self)?;
        self.standby_mode(node, false)
    }

    fn in_data_directory(&self, node: &str, script: &str) -> Result<()> {
        let data = self.plan.pgdata().display().to_string();
        check_on(node, &["bash", "-c", script, "wal-volume", &data, ROOM]).map(drop)
    }
}
