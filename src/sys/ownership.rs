//! Whose file a path leads to, where a user may have put links on the way.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

/// The kernel follows as many (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// Whose file a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// This user's: every link on the way is root's or the user's own.
    Of(u32),
    /// Somebody's, by a link of somebody else.
    Misled,
    /// There is no such file, or it cannot be reached.
    Unknown,
}

impl Ownership {
    /// Looks at the path. Each step is held by a descriptor, so that what is looked at is what is gone through, whatever becomes
    /// of its name meanwhile.
    #[must_use]
    pub fn of(path: &Path) -> Ownership {
        follow(path).unwrap_or(Ownership::Unknown)
    }
}

fn follow(path: &Path) -> io::Result<Ownership> {
    let reversed = |path: &Path| path.iter().rev().map(ToOwned::to_owned).collect::<Vec<_>>();
    let held = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut at = File::from(openat(AT_FDCWD, ".", held, Mode::empty())?);
    let (mut steps, mut makers) = (reversed(path), Vec::new());
    // A step that is `/` leads to the root directory from everywhere.
    while let Some(step) = steps.pop() {
        let next = File::from(openat(&at, step.as_os_str(), held, Mode::empty())?);
        let found = next.metadata()?;
        if !found.is_symlink() {
            at = next;
            continue;
        }
        if makers.len() == MOST_LINKS {
            return Err(nix::Error::ELOOP.into());
        }
        makers.push(found.uid());
        steps.extend(reversed(Path::new(&readlinkat(&next, "")?)));
    }
    let owner = at.metadata()?.uid();
    let is_led = makers.iter().all(|maker| [0, owner].contains(maker));
    Ok(if is_led { Ownership::Of(owner) } else { Ownership::Misled })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_as_the_kernel_follows_them() {
        let home = tempfile::tempdir().unwrap();
        let (there, inside) = (home.path().join("there"), home.path().join("there/inside"));
        fs::create_dir_all(&inside).unwrap();
        let own = Ownership::Of(fs::metadata(&inside).unwrap().uid());
        symlink("there", home.path().join("relative")).unwrap();
        symlink(&inside, home.path().join("absolute")).unwrap();
        symlink("../relative", there.join("up")).unwrap();
        symlink("loop", home.path().join("loop")).unwrap();
        symlink("nowhere", home.path().join("dangling")).unwrap();
        for (path, expected) in [
            ("there", own),
            ("there/", own),
            ("relative/inside", own),
            ("relative/up/up/inside", own),
            ("absolute", own),
            ("absolute/../inside/.", own),
            ("loop", Ownership::Unknown),
            ("dangling", Ownership::Unknown),
            ("there/none", Ownership::Unknown),
        ] {
            assert_eq!(Ownership::of(&home.path().join(path)), expected, "{path}");
        }
        assert_eq!(Ownership::of(Path::new("/")), Ownership::Of(0));
        assert_eq!(Ownership::of(Path::new("")), Ownership::of(Path::new(".")));
    }

    /// The process's own user has made it, and `/` is root's.
    #[test]
    fn a_link_to_what_is_anothers_is_believed_if_it_is_roots() {
        let home = tempfile::tempdir().unwrap();
        let link = home.path().join("link");
        symlink("/", &link).unwrap();
        let is_root = fs::symlink_metadata(&link).unwrap().uid() == 0;
        assert_eq!(Ownership::of(&link), if is_root { Ownership::Of(0) } else { Ownership::Misled });
        if is_root {
            std::os::unix::fs::lchown(&link, Some(1), None).unwrap();
            assert_eq!(Ownership::of(&link), Ownership::Misled);
        }
    }
}
