//! The instance's owner, and how the agent becomes it.

use std::ffi::CString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

use super::Ownership;

/// The operating system user that owns the instance, with all its groups: a server with a TLS key
/// readable by Debian's group `ssl-cert` does not start without them.
#[derive(Clone, Debug)]
pub struct Owner {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
    home: PathBuf,
}

/// Why the owner is not known.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no such user on this node.
    #[error("user '{0}' does not exist on this node; create it or set system_user")]
    Unknown(String),
    /// The user database did not answer.
    #[error("cannot look up user '{name}': {cause}")]
    Lookup {
        /// The user that was looked up.
        name: String,
        /// What the system said.
        cause: nix::Error,
    },
    /// PostgreSQL refuses to run as root.
    #[error(
        "system_user is '{0}', which is root: PostgreSQL does not run as root; set system_user to the owner of the data directory"
    )]
    Root(String),
}

impl Owner {
    /// Looks the user up.
    ///
    /// # Errors
    /// When the user is unknown, is root, or cannot be looked up.
    pub fn lookup(name: &str) -> Result<Owner, IdentityError> {
        let lookup = |cause| IdentityError::Lookup { name: name.to_owned(), cause };
        let printable: String = name.chars().take(40).flat_map(char::escape_default).collect();
        let Ok(c_name) = CString::new(name) else { return Err(IdentityError::Unknown(printable)) };
        let user = User::from_name(name).map_err(lookup)?.ok_or(IdentityError::Unknown(printable))?;
        if user.uid.is_root() {
            return Err(IdentityError::Root(name.to_owned()));
        }
        let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
        Ok(Owner { name: user.name, uid: user.uid, gid: user.gid, groups, home: user.dir })
    }

    /// The user that owns a file or directory, if it has a name and is not root. Nobody does that another user's link leads to.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Owner> {
        let Ownership::Of(uid) = Ownership::of(path) else { return None };
        let user = User::from_uid(Uid::from_raw(uid)).ok().flatten()?;
        Owner::lookup(&user.name).ok()
    }

    /// The user's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user's home directory.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The user's id.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid.as_raw()
    }

    /// Whether the owner may send signals to this process: by its real or its saved id (kill(2)).
    #[must_use]
    pub fn may_signal(&self, pid: i32) -> bool {
        runs_as(pid, self.uid())
    }

    /// Makes `command` run as the owner, with the owner's groups and nothing of the agent's environment.
    pub fn applied_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command.env("HOME", &self.home).env("USER", &self.name).env("LOGNAME", &self.name);
        command.current_dir("/");
        // In a thread that is the owner by its effective id only this fails, and nothing is started.
        if !Uid::current().is_root() {
            return command;
        }
        let Owner { uid, gid, groups, .. } = self.clone();
        let drop_privileges = move || -> io::Result<()> {
            setgroups(&groups)?;
            setgid(gid)?;
            setuid(uid)?;
            Ok(())
        };
        // SAFETY: the closure runs in the forked child before exec. It makes three system calls, touches
        // memory that was allocated before the fork only, allocates nothing and takes no lock.
        unsafe { command.pre_exec(drop_privileges) }
    }

    /// Runs `work` in a thread that has the owner's rights and none of root's, for what must happen in this
    /// process: connecting with `peer` authentication, making a file in the data directory. The thread is not
    /// joined: the caller decides how long to wait for what it sends. What asks for the real id, as access(2) and
    /// kill(2) do, still sees root.
    ///
    /// # Errors
    /// When no thread can be made.
    pub fn spawn_thread(&self, work: impl FnOnce(io::Result<()>) + Send + 'static) -> io::Result<()> {
        let owner = self.clone();
        let body = move || work(owner.become_in_this_thread());
        std::thread::Builder::new().name("owner".to_owned()).spawn(body).map(drop)
    }

    /// glibc's `setuid` changes every thread of the process. The bare system calls change the calling
    /// thread alone, which is what is wanted here: the rest of the agent stays root.
    ///
    /// The effective id alone: whoever has the real or the saved id of one thread may end the whole process (kill(2)), and
    /// with the real id change its limits (prlimit(2)) or trace it (ptrace(2)). Files and `peer` go by the effective one, and the
    /// capabilities of root go with it (capabilities(7)).
    fn become_in_this_thread(&self) -> io::Result<()> {
        if !Uid::effective().is_root() {
            return Ok(());
        }
        let groups: Vec<libc::gid_t> = self.groups.iter().map(|g| g.as_raw()).collect();
        let (uid, gid) = (self.uid.as_raw(), self.gid.as_raw());
        // SAFETY: `groups` is a live array of `groups.len()` ids for the duration of the call.
        check(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })?;
        // SAFETY: takes three integers and no pointer.
        check(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })?;
        // SAFETY: takes three integers and no pointer.
        check(unsafe { libc::syscall(libc::SYS_setresuid, KEPT, uid, KEPT) })
    }
}

/// Whether a process is a user's: by its real or its saved id.
#[must_use]
pub fn runs_as(pid: i32, uid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    is_of(&status, uid)
}

/// `Uid:` has the real, effective, saved and file system id (proc(5)).
fn is_of(status: &str, uid: u32) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    let ids: Vec<_> = ids.split_whitespace().map(str::parse::<u32>).collect();
    [0, 2].iter().any(|at| ids.get(*at) == Some(&Ok(uid)))
}

/// An id that stays as it is (setresuid(2)).
const KEPT: libc::uid_t = libc::uid_t::MAX;

fn check(result: libc::c_long) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_does_not_exist_is_named() {
        let error = Owner::lookup("no such user\n$(id)").unwrap_err().to_string();
        assert!(error.contains("no such user\\n$(id)"), "{error}");
    }

    #[test]
    fn whom_the_owner_may_signal() {
        for (ids, may) in [
            ("7\t7\t7\t7", true),
            ("7\t0\t0\t0", true),
            ("0\t0\t7\t0", true),
            // A thread of the agent.
            ("0\t7\t0\t7", false),
            ("0\t0\t0\t0", false),
            ("70\t7\t77\t7", false),
            ("", false),
        ] {
            assert_eq!(is_of(&format!("Name:\tUid:\nUid:\t{ids}\nGid:\t7\t7\t7\t7\n"), 7), may, "{ids}");
        }
        assert!(!is_of("", 0));
    }

    #[test]
    fn root_cannot_own_an_instance() {
        assert!(matches!(Owner::lookup("root"), Err(IdentityError::Root(_))));
    }
}
