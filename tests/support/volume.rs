//! A volume of its own for the WAL of a node, or all of it, which can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::node::{Node, own, run};

/// A small volume of one node: for its WAL, reached by a symbolic link, or for all of it.
pub(crate) struct SmallVolume(PathBuf);

impl SmallVolume {
    pub(crate) fn under_the_wal_of(node: &Node, size: &str) -> SmallVolume {
        let (wal, mount) = (node.data.join("pg_wal"), node.data.with_file_name("wal"));
        fs::create_dir(&mount).unwrap();
        let volume = SmallVolume::mount(&mount, size);
        run(Command::new("cp").arg("-a").arg(wal.join(".")).arg(&mount));
        fs::remove_dir_all(&wal).unwrap();
        std::os::unix::fs::symlink(&mount, &wal).unwrap();
        volume
    }

    /// The data directory itself becomes a volume.
    pub(crate) fn at_the_place_of(node: &Node, size: &str) -> SmallVolume {
        let before = node.data.with_file_name("before");
        fs::rename(&node.data, &before).unwrap();
        fs::create_dir(&node.data).unwrap();
        let volume = SmallVolume::mount(&node.data, size);
        run(Command::new("cp").arg("-a").arg(before.join(".")).arg(&node.data));
        volume
    }

    fn mount(place: &Path, size: &str) -> SmallVolume {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(place));
        let volume = SmallVolume(place.to_owned());
        own(place);
        run(Command::new("chmod").arg("700").arg(place));
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
