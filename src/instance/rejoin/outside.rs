//! Moving an old data directory aside, with the directories outside of it that it leads to: `pg_wal` and tablespaces
//! that are symbolic links. All of them get the same suffix, each beside itself, and the old directory's links are made
//! to lead to the new names, so that it is whole. The order is decided in [`crate::policy::aside`].

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use super::keep_aside::{LIST, write_list};
use super::nursery;
use crate::instance::files::{beside, sync_parent};
use crate::policy::aside::{self, Back, Old, Site, Step, next, next_back, refusal};
use crate::types::Gather;

/// A directory outside of the data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The link below the data directory that leads to it: `pg_wal` or `pg_tblspc/<oid>`.
    pub link: PathBuf,
    /// Where it is, without any link in the path.
    pub place: PathBuf,
}

/// All of them. In the marker each is a line `<link> <place>`: no link has a blank in its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Places(pub Vec<Outside>);

impl From<String> for Places {
    fn from(text: String) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        Places(lines.map(|(link, place)| Outside { link: link.into(), place: place.into() }).collect())
    }
}

impl From<Places> for String {
    fn from(Places(all): Places) -> Self {
        let mut text = String::new();
        for Outside { link, place } in all {
            text += &format!("{} {}\n", link.display(), place.display());
        }
        text
    }
}

impl Outside {
    /// The number of the tablespace, if it is one.
    pub(super) fn tablespace(&self) -> Option<&str> {
        self.link.strip_prefix("pg_tblspc").ok()?.to_str()
    }
}

/// The entries of a directory, in their order; none when it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.into_set().into_iter().collect()
}

/// The links of a data directory that may lead elsewhere: tablespaces, WAL.
pub(super) fn links(data: &Path) -> Vec<PathBuf> {
    let mut links = entries(&data.join("pg_tblspc"));
    links.push(data.join("pg_wal"));
    links.retain(|link| link.is_symlink());
    links
}

/// What the data directory leads to.
///
/// # Errors
/// When a link leads nowhere, or the path cannot be on record.
pub(super) fn find(data: &Path) -> Result<Places, String> {
    let mut found = Vec::new();
    for path in links(data) {
        let link = path.strip_prefix(data).unwrap_or(&path).to_owned();
        match fs::canonicalize(&path) {
            Ok(place) if place.to_str().is_some_and(|text| !text.contains('\n')) => found.push(Outside { link, place }),
            Ok(place) => {
                return Err(format!(
                    "{} leads to {place:?}, a name with a line's end in it; rename it",
                    path.display()
                ));
            }
            Err(error) => return Err(format!("{} leads nowhere: {error}; correct the link", path.display())),
        }
    }
    Ok(Places(found))
}

/// A data directory that is to be moved aside.
pub(super) struct Move<'a> {
    /// Where it is.
    pub(super) data: &'a Path,
    /// Its new name; `None` when it is empty.
    pub(super) kept: Option<&'a Path>,
    /// What it leads to.
    pub(super) outside: &'a [Outside],
    /// What is written into it, for people.
    pub(super) list: &'a str,
}

impl Move<'_> {
    /// Whether any of it has its new name already.
    pub(super) fn has_begun(&self) -> bool {
        let moved = |outside: &Outside| self.aside(outside).is_some_and(|path| is_there(&path));
        self.kept.is_some_and(is_there) || self.outside.iter().any(moved)
    }

    /// # Errors
    /// When one of the directories cannot be renamed, with the reason. Nothing is touched.
    pub(super) fn refuse_what_cannot_be_moved(&self) -> Result<(), String> {
        let mut all = vec![("the data directory", self.data)];
        for outside in self.outside {
            all.push((outside.link.to_str().unwrap_or_default(), &outside.place));
        }
        for (at, (what, place)) in all.iter().enumerate() {
            let overlaps = |other: &Path| place.starts_with(other) || other.starts_with(place);
            let within = all.iter().enumerate().find(|(other, (_, path))| *other != at && overlaps(path));
            if let Some(why) = refusal(&self.site(what, place, within.map(|(_, (_, path))| *path))) {
                return Err(why);
            }
        }
        Ok(())
    }

    fn site(&self, what: &str, place: &Path, within: Option<&Path>) -> Site {
        let shown = |path: &Path| path.display().to_string();
        let parent = place.parent().unwrap_or(place);
        Site {
            what: what.to_owned(),
            place: shown(place),
            is_mount_point: is_mount_point(place),
            closed_parent: access(parent, AccessFlags::W_OK | AccessFlags::X_OK).is_err().then(|| shown(parent)),
            within: within.map(shown),
            stranger: if what.starts_with("pg_tblspc") { self.stranger(place) } else { None },
        }
    }

    /// A tablespace has one directory, whose name begins so and has the version. What other instances have there must
    /// not be moved.
    fn stranger(&self, place: &Path) -> Option<String> {
        let version = crate::instance::files::read_small(&self.data.join("PG_VERSION")).unwrap_or_default();
        let own = format!("PG_{}_", version.trim());
        let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        entries(place).into_iter().filter_map(name).find(|name| !name.starts_with(&own))
    }

    /// Goes through the steps until everything has its new name.
    ///
    /// # Errors
    /// When a step fails; what was moved is where it was then, unless the old directory itself was moved.
    pub(super) fn run(&self) -> Result<(), String> {
        loop {
            let step = next(self.old(), &self.facts());
            let Err(why) = self.take(step) else {
                if step == Step::Done {
                    return Ok(());
                }
                continue;
            };
            self.go_back();
            return Err(why);
        }
    }

    /// Takes one step.
    pub(super) fn take(&self, step: Step) -> Result<(), String> {
        let failed = |what: &Path| {
            let what = what.display().to_string();
            move |e: io::Error| format!("cannot move {what} aside: {e}")
        };
        let blocked = |place: &Path| {
            Err(format!("{} was moved aside, and there is something in its place; move that away", place.display()))
        };
        match step {
            Step::Done => Ok(()),
            Step::Move(at) => self.rename_outside(at, true).map_err(failed(&self.outside[at].place)),
            Step::Link(at) => self.link(at, true).map_err(failed(&self.outside[at].link)),
            Step::MoveData => self.rename_data().map_err(failed(self.data)),
            Step::Blocked(Some(at)) => blocked(&self.outside[at].place),
            Step::Blocked(None) => blocked(self.data),
        }
    }

    fn go_back(&self) {
        while let Some(step) = next_back(self.old(), &self.facts()) {
            let done = match step {
                Back::Link(at) => self.link(at, false),
                Back::Move(at) => self.rename_outside(at, false),
            };
            if let Err(error) = done {
                return log::warn!(
                    "{} is left half moved aside, and the next attempt goes on: {error}",
                    self.data.display()
                );
            }
        }
    }

    pub(super) fn old(&self) -> Old {
        match self.kept {
            None => Old::Nothing,
            Some(kept) if !is_there(kept) => Old::InPlace,
            Some(_) if nursery::is_in_use(self.data) => Old::Replaced,
            Some(_) => Old::Aside,
        }
    }

    pub(super) fn facts(&self) -> Vec<aside::Outside> {
        let fact = |outside: &Outside| {
            let aside = self.aside(outside);
            aside::Outside {
                in_place: is_there(&outside.place),
                is_aside: aside.as_deref().is_some_and(is_there),
                linked: aside.is_some() && fs::read_link(self.holder().join(&outside.link)).ok() == aside,
            }
        };
        self.outside.iter().map(fact).collect()
    }

    /// The directory that has the links now.
    fn holder(&self) -> &Path {
        self.kept.filter(|kept| is_there(kept)).unwrap_or(self.data)
    }

    fn aside(&self, outside: &Outside) -> Option<PathBuf> {
        Some(beside(&outside.place, &suffix(self.data, self.kept?)?))
    }

    fn rename_outside(&self, at: usize, forth: bool) -> io::Result<()> {
        let place = &self.outside[at].place;
        let aside = self.aside(&self.outside[at]).ok_or(io::ErrorKind::InvalidInput)?;
        let (from, to) = if forth { (place, &aside) } else { (&aside, place) };
        fs::rename(from, to)?;
        sync_parent(to)
    }

    fn link(&self, at: usize, forth: bool) -> io::Result<()> {
        let outside = &self.outside[at];
        let aside = self.aside(outside).ok_or(io::ErrorKind::InvalidInput)?;
        lead(self.holder(), &outside.link, if forth { &aside } else { &outside.place })
    }

    fn rename_data(&self) -> io::Result<()> {
        let Some(kept) = self.kept else { return Ok(()) };
        write_list(self.data, self.data, self.list)?;
        if let Err(error) = fs::rename(self.data, kept) {
            let _ = fs::remove_file(self.data.join(LIST));
            return Err(error);
        }
        sync_parent(self.data)
    }
}

/// Has a link of the directory lead somewhere else. It is made at the top and renamed, so that it leads to one place or to the
/// other.
pub(super) fn lead(directory: &Path, link: &Path, to: &Path) -> io::Result<()> {
    let link = directory.join(link);
    let temporary = beside(&directory.join(link.file_name().unwrap_or_default()), ".pgbaton-new");
    let _ = fs::remove_file(&temporary);
    symlink(to, &temporary)?;
    fs::rename(&temporary, &link)?;
    sync_parent(&link)
}

/// What the name of a kept directory has after the data directory's.
fn suffix(data: &Path, kept: &Path) -> Option<String> {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    name(kept)?.strip_prefix(&name(data)?).map(str::to_owned)
}

/// Where the outside directories of a kept directory are, if the agent has moved them: they have its suffix.
pub(super) fn moved_with(data: &Path, kept: &Path) -> Vec<PathBuf> {
    let Some(suffix) = suffix(data, kept).filter(|suffix| suffix.starts_with(".kept-")) else { return Vec::new() };
    let mut moved = Vec::new();
    for place in links(kept).iter().filter_map(|link| fs::read_link(link).ok()) {
        let is_directory = fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir());
        if is_directory && place.to_string_lossy().ends_with(&suffix) {
            moved.push(place);
        }
    }
    moved
}

/// Where a path leads, also when there is nothing.
pub(super) fn resolve(path: &Path) -> PathBuf {
    const LONGEST: usize = 16;
    let mut at = path.to_owned();
    for _ in 0..LONGEST {
        let Ok(to) = fs::read_link(&at) else { break };
        at = at.parent().unwrap_or(Path::new("/")).join(to);
    }
    let parent = at.parent().and_then(|parent| fs::canonicalize(parent).ok());
    match (parent, at.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => at,
    }
}

pub(super) fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The fifth field of a line is a mount point, with white space and backslashes as octal numbers (proc(5)).
pub(super) fn is_mount_point(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let escaped = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011");
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(&escaped))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::rejoin::keep_aside::remove_oldest;

    struct Scene {
        home: tempfile::TempDir,
        data: PathBuf,
        kept: PathBuf,
        outside: Vec<Outside>,
    }

    /// A data directory with its WAL and a tablespace elsewhere, each of them with one file.
    fn scene() -> Scene {
        let home = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(home.path()).unwrap();
        let data = root.join("main");
        for directory in ["main/pg_tblspc", "wal/15", "space/PG_15_2022"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for (file, text) in [("main/PG_VERSION", "15\n"), ("wal/15/1", "wal"), ("space/PG_15_2022/1", "rows")] {
            fs::write(root.join(file), text).unwrap();
        }
        symlink("../wal/15", data.join("pg_wal")).unwrap();
        symlink(root.join("space"), data.join("pg_tblspc/16385")).unwrap();
        let kept = root.join("main.kept-20261121T000000Z-1-0-0");
        let outside = find(&data).unwrap().0;
        Scene { home, data, kept, outside }
    }

    impl Scene {
        fn moving(&self) -> Move<'_> {
            Move { data: &self.data, kept: Some(&self.kept), outside: &self.outside, list: "list" }
        }

        fn expect_whole(&self, directory: &Path) {
            for (file, text) in [("PG_VERSION", "15\n"), ("pg_wal/1", "wal"), ("pg_tblspc/16385/PG_15_2022/1", "rows")]
            {
                assert_eq!(fs::read_to_string(directory.join(file)).unwrap(), text);
            }
        }

        fn expect_all_aside(&self) {
            assert!([&self.data, &self.outside[0].place, &self.outside[1].place].iter().all(|path| !is_there(path)));
            self.expect_whole(&self.kept);
        }
    }

    /// Killed after each step, also while a link was made: renamed WAL, renamed tablespace, each link, the directory.
    #[test]
    fn an_interruption_after_any_step_is_gone_on_from() {
        const STEPS: [Step; 5] = [Step::Move(0), Step::Move(1), Step::Link(0), Step::Link(1), Step::MoveData];
        for killed_after in 0..=STEPS.len() {
            let scene = scene();
            for step in &STEPS[..killed_after] {
                assert_eq!(next(scene.moving().old(), &scene.moving().facts()), *step);
                scene.moving().take(*step).unwrap();
            }
            assert_eq!(scene.moving().has_begun(), killed_after > 0);
            let holder = if killed_after == STEPS.len() { &scene.kept } else { &scene.data };
            symlink("/half", holder.join("16385.pgbaton-new")).unwrap();
            scene.moving().run().unwrap();
            scene.expect_all_aside();
            scene.moving().run().unwrap();
        }
    }

    #[test]
    fn what_cannot_be_finished_is_undone() {
        let scene = scene();
        for step in [Step::Move(0), Step::Move(1), Step::Link(0), Step::Link(1)] {
            scene.moving().take(step).unwrap();
        }
        // A directory cannot take the name of a file that is there: here the text for people.
        fs::create_dir(scene.data.join(LIST)).unwrap();
        let why = scene.moving().run().unwrap_err();
        assert!(why.contains("cannot move") && why.contains("main"), "{why}");
        assert!(!scene.moving().has_begun());
        scene.expect_whole(&scene.data);
    }

    #[test]
    fn somebody_elses_directory_is_in_nobodys_way() {
        let scene = scene();
        scene.moving().take(Step::Move(0)).unwrap();
        fs::create_dir(&scene.outside[0].place).unwrap();
        let why = scene.moving().run().unwrap_err();
        assert!(why.contains("something in its place"), "{why}");
        fs::remove_dir(&scene.outside[0].place).unwrap();
        scene.moving().run().unwrap();
        scene.expect_all_aside();
        fs::create_dir(&scene.data).unwrap();
        fs::write(scene.data.join("PG_VERSION"), "15").unwrap();
        assert!(scene.moving().run().unwrap_err().contains("something in its place"));
    }

    #[test]
    fn what_must_not_be_moved_is_refused_with_the_values() {
        let scene = scene();
        assert_eq!(scene.moving().refuse_what_cannot_be_moved(), Ok(()));
        let space = scene.outside[0].place.clone();
        fs::create_dir(space.join("PG_14_2021")).unwrap();
        let why = scene.moving().refuse_what_cannot_be_moved().unwrap_err();
        assert!(why.contains("pg_tblspc/16385") && why.contains("PG_14_2021"), "{why}");
        fs::remove_dir(space.join("PG_14_2021")).unwrap();
        let inside = [Outside { link: "pg_wal".into(), place: scene.data.join("wal") }];
        let why = Move { outside: &inside, ..scene.moving() }.refuse_what_cannot_be_moved().unwrap_err();
        assert!(why.contains("overlaps"), "{why}");
        assert!(is_mount_point(Path::new("/proc")) && !is_mount_point(scene.home.path()));
    }

    #[test]
    fn a_path_leads_to_the_same_place_whether_or_not_something_is_there() {
        let scene = scene();
        let root = fs::canonicalize(scene.home.path()).unwrap();
        symlink("there", root.join("link")).unwrap();
        symlink(root.join("link"), root.join("link-to-link")).unwrap();
        for _ in 0..2 {
            for name in ["there", "link", "link-to-link"] {
                assert_eq!(resolve(&root.join(name)), root.join("there"));
            }
            fs::create_dir(root.join("there")).unwrap_or_default();
        }
        symlink("circle", root.join("circle")).unwrap();
        assert_eq!(resolve(&root.join("circle")), root.join("circle"));
    }

    #[test]
    fn a_kept_directory_goes_with_what_it_leads_to() {
        let scene = scene();
        scene.moving().run().unwrap();
        let stranger = scene.home.path().join("stranger");
        fs::create_dir(&stranger).unwrap();
        symlink(&stranger, scene.kept.join("pg_tblspc/1")).unwrap();
        assert_eq!(moved_with(&scene.data, &scene.kept).len(), 2);
        remove_oldest(&scene.data, 0, &[]).unwrap();
        assert!(stranger.is_dir());
        let names = fs::read_dir(scene.home.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().contains(".kept-")));
        assert_eq!(fs::read_dir(scene.home.path().join("wal")).unwrap().count(), 0);
    }
}
