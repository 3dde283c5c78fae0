//! The instance's owner, and how the agent becomes it.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::libc;
use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

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

    /// The user that owns a file or directory, if it has a name and is not root.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Owner> {
        let uid = std::fs::metadata(path).ok()?.uid();
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

    /// Makes `command` run as the owner, with the owner's groups and nothing of the agent's environment.
    pub fn applied_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
        command.env("HOME", &self.home).env("USER", &self.name).env("LOGNAME", &self.name);
        command.current_dir("/");
        if !Uid::effective().is_root() {
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

    /// Runs `work` in a thread that is the owner and not root any more, for what must happen in this
    /// process with the owner's rights: connecting with `peer` authentication, making a file in the data
    /// directory. The thread is not joined: the caller decides how long to wait for what it sends.
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
        check(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
    }
}

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
    fn root_cannot_own_an_instance() {
        assert!(matches!(Owner::lookup("root"), Err(IdentityError::Root(_))));
    }
}
