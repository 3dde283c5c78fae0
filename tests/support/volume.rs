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

/// All that a node has, on a file system that can be frozen: then whoever writes there waits, and obeys no signal.
pub(crate) struct FreezableVolume(PathBuf);

impl FreezableVolume {
    /// Of a node that is stopped.
    pub(crate) fn at_the_place_of(node: &Node) -> FreezableVolume {
        let home = node.data.parent().unwrap();
        let (before, image) = (home.with_extension("before"), home.with_extension("image"));
        make_loop_devices();
        fs::rename(home, &before).unwrap();
        fs::create_dir(home).unwrap();
        run(Command::new("truncate").args(["--size=300M"]).arg(&image));
        run(Command::new("mkfs.ext4").arg("-q").arg(&image));
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(home));
        let volume = FreezableVolume(home.to_owned());
        own(home);
        run(Command::new("cp").arg("-a").arg(before.join(".")).arg(home));
        // As /run it is in memory.
        run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(home.join("run")));
        volume
    }

    pub(crate) fn freeze(&self) {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.0));
    }

    pub(crate) fn thaw(&self) {
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.0));
    }
}

/// A frozen file system would outlive the test.
impl Drop for FreezableVolume {
    fn drop(&mut self) {
        let _ = Command::new("fsfreeze").arg("--unfreeze").arg(&self.0).status();
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// The sandbox has a `/dev` of its own.
fn make_loop_devices() {
    let _ = Command::new("mknod").args(["/dev/loop-control", "c", "10", "237"]).status();
    for number in 0..32 {
        let _ = Command::new("mknod").args([&format!("/dev/loop{number}"), "b", "7", &number.to_string()]).status();
    }
}

impl Drop for SmallVolume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
