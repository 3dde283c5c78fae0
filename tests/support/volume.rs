//! A volume of its own for the WAL of a node, which can be filled.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::node::{Node, own, run};

/// A small volume for the WAL of one node, reached by a symbolic link.
pub(crate) struct SmallVolume(PathBuf);

impl SmallVolume {
    pub(crate) fn under_the_wal_of(node: &Node, size: &str) -> SmallVolume {
        let (wal, mount) = (node.data.join("pg_wal"), node.data.with_file_name("wal"));
        fs::create_dir(&mount).unwrap();
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&mount));
        let volume = SmallVolume(mount.clone());
        own(&mount);
        run(Command::new("chmod").arg("700").arg(&mount));
        run(Command::new("cp").arg("-a").arg(wal.join(".")).arg(&mount));
        fs::remove_dir_all(&wal).unwrap();
        std::os::unix::fs::symlink(&mount, &wal).unwrap();
        volume
    }

    /// Leaves so much of it to the WAL.
    pub(crate) fn fill_up_to(&self, free: &str) {
        let ballast = self.0.join("ballast");
        let _ = fs::remove_file(&ballast);
        let df = run(Command::new("df").args(["--output=avail", "--block-size=1"]).arg(&self.0));
        let available: u64 = df.lines().last().unwrap().trim().parse().unwrap();
        let size = available - free.parse::<u64>().unwrap() * (1 << 20);
        run(Command::new("fallocate").args(["-l", &size.to_string()]).arg(&ballast));
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
