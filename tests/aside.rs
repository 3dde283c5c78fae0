//! What a return keeps, what it never touches, and how it is ended: with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs;
use std::process::Command;

use support::node::{Node, as_owner_of_files, own};
use support::rejoin::{Diverged, diverged};

/// Holds the lock of a rejoin until it is dropped.
struct Holder(std::process::Child);

impl Holder {
    fn of_lock(node: &Node, mut flock: Command) -> Holder {
        let lock = node.data.with_file_name("data.rejoin.lock");
        let _ = fs::remove_file(&lock);
        fs::write(&lock, "").unwrap();
        own(&lock);
        let holder = Holder(flock.arg("--no-fork").arg(&lock).args(["sleep", "600"]).spawn().unwrap());
        let is_free = || Command::new("flock").arg("-n").arg(&lock).arg("true").status().unwrap().success();
        support::wait_until("it is locked", || !is_free());
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_stop_does_not_fail_because_somebody_holds_the_lock() {
    for flock in [as_owner_of_files("flock"), Command::new("flock")] {
        let Diverged { old, .. } = diverged();
        let _holder = Holder::of_lock(&old, flock);
        old.call("stop").timeout(8_000).run().expect_code(0);
    }
}
