//! The file systems of a node or a sandbox, and the step into them.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{chdir, pivot_root};

use crate::error::{Doing, Result};

const NONE: Option<&str> = None;

/// Nothing that is mounted from here on reaches the machine.
pub(crate) fn make_private() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).doing(|| "make a mount namespace".to_owned())?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).doing(|| "make the mounts private".to_owned())
}

/// Lays `dir/upper` over the image, at `dir/root`.
pub(crate) fn overlay(image: &Path, dir: &Path) -> Result<()> {
    for part in ["upper", "work", "root"] {
        make_dir(&dir.join(part))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        image.display(),
        dir.join("upper").display(),
        dir.join("work").display()
    );
    let root = dir.join("root");
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .doing(|| format!("mount an overlay over {} (does this kernel have overlayfs?)", image.display()))
}

/// The file systems that every Linux has, private to this root.
pub(crate) fn system(root: &Path) -> Result<()> {
    for (dir, mode) in [("run", "mode=755"), ("tmp", "mode=1777"), ("dev", "mode=755")] {
        tmpfs(&root.join(dir), mode)?;
    }
    devices(&root.join("dev"))?;
    let hidden = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), hidden, NONE).doing(|| "mount /proc".to_owned())?;
    mount(Some("sysfs"), &root.join("sys"), Some("sysfs"), hidden | MsFlags::MS_RDONLY, NONE)
        .doing(|| "mount /sys".to_owned())?;
    defuse_kernel_switches(root)
}

/// Pacemaker panics a node through these; here that would restart the whole machine.
fn defuse_kernel_switches(root: &Path) -> Result<()> {
    for switch in ["proc/sysrq-trigger", "proc/sys/kernel/sysrq"] {
        let switch = root.join(switch);
        // A kernel without the key has nothing to defuse.
        if switch.exists() {
            bind(Path::new("/dev/null"), &switch)?;
        }
    }
    Ok(())
}

fn devices(dev: &Path) -> Result<()> {
    for name in ["null", "zero", "full", "random", "urandom", "tty"] {
        let device = dev.join(name);
        File::create(&device).doing(|| format!("make {}", device.display()))?;
        bind(&Path::new("/dev").join(name), &device)?;
    }
    for dir in ["pts", "shm"] {
        make_dir(&dev.join(dir))?;
    }
    tmpfs(&dev.join("shm"), "mode=1777")?;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .doing(|| "mount /dev/pts".to_owned())?;
    let links = [
        ("pts/ptmx", "ptmx"),
        ("/proc/self/fd", "fd"),
        ("/proc/self/fd/0", "stdin"),
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/2", "stderr"),
    ];
    for (target, name) in links {
        symlink(target, dev.join(name)).doing(|| format!("link /dev/{name}"))?;
    }
    Ok(())
}

/// Binds a file or directory of the machine to a place that is made when it is missing.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<()> {
    if source.is_dir() {
        make_dir(target)?;
    } else if !target.exists() {
        File::create(target).doing(|| format!("make {}", target.display()))?;
    }
    mount(Some(source), target, NONE, MsFlags::MS_BIND, NONE)
        .doing(|| format!("bind {} to {}", source.display(), target.display()))
}

/// [`bind`], and nothing can be written there.
pub(crate) fn bind_read_only(source: &Path, target: &Path) -> Result<()> {
    bind(source, target)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, target, NONE, flags, NONE).doing(|| format!("make {} read-only", target.display()))
}

/// Makes `root` the root directory; the machine's own is out of sight afterwards.
pub(crate) fn enter(root: &Path) -> Result<()> {
    chdir(root).doing(|| format!("go to {}", root.display()))?;
    pivot_root(".", ".").doing(|| format!("make {} the root", root.display()))?;
    umount2(".", MntFlags::MNT_DETACH).doing(|| "let go of the machine's root".to_owned())?;
    chdir("/").doing(|| "go to /".to_owned())
}

pub(crate) fn tmpfs(target: &Path, options: &str) -> Result<()> {
    mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::MS_NOSUID, Some(options))
        .doing(|| format!("mount a tmpfs at {}", target.display()))
}

pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::create_dir_all(path).doing(|| format!("make {}", path.display()))
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).doing(|| format!("set the mode of {}", path.display()))
}
