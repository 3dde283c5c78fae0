//! Where the WAL in a directory ends, found in a time that does not depend on how much there is.
//!
//! The names of the segments tell which timelines there may be. Of the youngest one, the last segment whose first page is
//! right for its place is looked for by halving: PostgreSQL brings a segment to disk before it begins the next, so that
//! what comes before it is whole. Then all records are read from the segment before it on, with their checksums, to the first
//! that is not whole: there recovery ends, too.
//!
//! What was found is brought to disk before it is told: WAL that a receiver has only written may be gone after the loss of
//! power, and who was promoted for it with it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::libc;

use super::ControlData;
use super::wal::{name_of_segment, parse_segment_name, read_history};
use super::wal_page::{Kind, PAGE, Page, header_at};
use super::wal_records::{Pages, end_of_records, first_record};
use crate::types::{Gather, History, Lsn, Position, Timeline};

/// Where a recovery of this instance would begin, or is at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin {
    /// The timeline that is certain.
    pub timeline: Timeline,
    /// A record begins or ends here.
    pub at: Lsn,
    /// Up to where WAL has been replayed for certain.
    pub replayed: Option<Position>,
}

impl Begin {
    /// By the last checkpoint.
    pub(super) fn of(control: &ControlData) -> Begin {
        Begin { timeline: control.timeline, at: control.redo, replayed: control.min_recovery }
    }
}

/// The end of the WAL in `pg_wal`. `None` when there is nothing from `begin` on.
///
/// # Errors
/// When the directory or a segment cannot be read.
pub(super) fn end_of_files(pg_wal: &Path, begin: Begin, kind: Kind) -> io::Result<Option<Position>> {
    let segments = segments(pg_wal, kind.segment_size)?;
    let mut best = None;
    for timeline in timelines(pg_wal, &segments, begin, kind.segment_size) {
        let history = read_history(pg_wal, timeline).unwrap_or_else(|_| History::of_first(timeline));
        let mut files = Files::new(pg_wal, &segments, &history, kind);
        let Some(end) = files.end(begin)? else { continue };
        let position = Position { timeline: history.timeline_at(end).max(begin.timeline), end };
        best = best.max(Some(position));
        // Nothing of this timeline but what was copied from its parent: the parent may have more.
        if end > history.last().begin {
            break;
        }
    }
    Ok(best)
}

/// The file of the segment in which the youngest timeline begins, where its WAL ends before that, and the one of the timeline
/// before reaches as far. A receiver asks for that segment from its beginning, into a file of zeros. Recovery prefers it
/// (`XLogFileReadAnyTLI`), and where it ends cannot go on on the timeline before ("previous recovered WAL file came from
/// timeline", `WaitForWALToBecomeAvailable` in xlogrecovery.c).
///
/// # Errors
/// When the directory or a segment cannot be read.
pub(super) fn first_segment_in_part(pg_wal: &Path, begin: Begin, kind: Kind) -> io::Result<Option<PathBuf>> {
    let mut segments = segments(pg_wal, kind.segment_size)?;
    let younger = timelines(pg_wal, &segments, begin, kind.segment_size);
    for timeline in younger.into_iter().filter(|timeline| *timeline > begin.timeline) {
        let Ok(history) = read_history(pg_wal, timeline) else { continue };
        let fork = history.last().begin;
        let number = fork.0 / kind.segment_size.max(PAGE);
        if !segments.get(&number).is_some_and(|there| there.contains(&timeline)) {
            continue;
        }
        let end = |segments: &Segments| Files::new(pg_wal, segments, &history, kind).end(begin);
        let with = end(&segments)?;
        segments.entry(number).or_default().remove(&timeline);
        // What the timeline before has beyond the fork, recovery must not come to.
        let is_in_part =
            end(&segments)?.is_some_and(|without| with < Some(fork) && with <= Some(without) && without <= fork);
        let name = name_of_segment(timeline, number, kind.segment_size).filter(|_| is_in_part);
        return Ok(name.map(|name| pg_wal.join(name)));
    }
    Ok(None)
}

/// Whether an instance that has replayed WAL up to this position may go on to a timeline: what an archive has of one that was given
/// up leaves the instance's own line before that (`InitWalRecovery`: "does not contain minimum recovery point").
pub(super) fn leads_on_from(pg_wal: &Path, timeline: Timeline, replayed: Option<Position>) -> bool {
    let Some(replayed) = replayed.filter(|replayed| timeline > replayed.timeline) else { return true };
    read_history(pg_wal, timeline).map_or(true, |history| history.timeline_at(replayed.end) == replayed.timeline)
}

/// The segments by number, with the timelines of which there is a file.
type Segments = BTreeMap<u64, BTreeSet<Timeline>>;

fn segments(pg_wal: &Path, segment_size: u64) -> io::Result<Segments> {
    let mut segments = Segments::new();
    for entry in fs::read_dir(pg_wal)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if let Some((timeline, number)) = parse_segment_name(&name, segment_size) {
            segments.entry(number).or_default().insert(timeline);
        }
    }
    Ok(segments)
}

/// The timelines that recovery may come to, the youngest first.
fn timelines(pg_wal: &Path, segments: &Segments, begin: Begin, segment_size: u64) -> Vec<Timeline> {
    let first = begin.at.0 / segment_size.max(PAGE);
    let found: BTreeSet<_> = segments.range(first..).flat_map(|(_, timelines)| timelines.iter().copied()).into_set();
    let may_be_read =
        |timeline: &Timeline| *timeline >= begin.timeline && leads_on_from(pg_wal, *timeline, begin.replayed);
    found.into_iter().rev().filter(may_be_read).collect()
}

/// The files of one line of timelines.
struct Files<'a> {
    pg_wal: &'a Path,
    segments: &'a Segments,
    history: &'a History,
    kind: Kind,
    open: Option<(PathBuf, File)>,
    last: Option<Rc<Page>>,
    error: Option<io::Error>,
}

impl<'a> Files<'a> {
    fn new(pg_wal: &'a Path, segments: &'a Segments, history: &'a History, kind: Kind) -> Self {
        Files { pg_wal, segments, history, kind, open: None, last: None, error: None }
    }

    /// The file of the segment that recovery would read: the youngest of the line (`XLogFileReadAnyTLI`).
    fn file_of(&self, number: u64) -> Option<(Timeline, PathBuf)> {
        let there = self.segments.get(&number)?;
        let end = Lsn(number.checked_add(1)?.checked_mul(self.kind.segment_size)?);
        let begin = Lsn(number.checked_mul(self.kind.segment_size)?);
        let line = self.history.stretches();
        // What a timeline wrote beyond the point where its child forked off is not of this line.
        let until = line.iter().skip(1).map(|child| child.begin).chain([Lsn(u64::MAX)]);
        let of_line = line.iter().zip(until).filter(|(stretch, until)| stretch.begin < end && begin < *until);
        let timeline =
            of_line.map(|(stretch, _)| stretch.timeline).filter(|timeline| there.contains(timeline)).max()?;
        Some((timeline, self.pg_wal.join(name_of_segment(timeline, number, self.kind.segment_size)?)))
    }

    fn end(&mut self, begin: Begin) -> io::Result<Option<Lsn>> {
        let first = begin.at.0 / self.kind.segment_size.max(PAGE);
        let Some(last) = self.last_segment(first) else { return self.checked(None) };
        let end = (first..=last).rev().skip(1).find_map(|number| self.end_from_segment(number, begin, first));
        let end = end.or_else(|| self.end_from(begin.at));
        self.sync(last.saturating_sub(1)..=last)?;
        self.checked(end.map(Lsn))
    }

    /// What could not be read is not the end of the WAL.
    fn checked<T>(&mut self, found: T) -> io::Result<T> {
        self.error.take().map_or(Ok(found), Err)
    }

    /// The last of the segments that follow each other from `first` on whose first page is right.
    fn last_segment(&mut self, first: u64) -> Option<u64> {
        let mut missing = first;
        while self.file_of(missing).is_some() {
            missing += 1;
        }
        let size = self.kind.segment_size;
        let (mut right, mut wrong) = (first, missing);
        if wrong == first || self.page(first * size).is_none() {
            return None;
        }
        while wrong - right > 1 {
            let middle = right + (wrong - right) / 2;
            match self.page(middle * size) {
                Some(_) => right = middle,
                None => wrong = middle,
            }
        }
        Some(right)
    }

    /// The end of the records from the first that begins in this segment.
    fn end_from_segment(&mut self, number: u64, begin: Begin, first: u64) -> Option<u64> {
        if number == first {
            return self.end_from(begin.at);
        }
        let begin = first_record(self, number * self.kind.segment_size)?;
        end_of_records(self, begin)
    }

    /// The end of the records from here on.
    fn end_from(&mut self, at: Lsn) -> Option<u64> {
        let header = if at.0 % PAGE == 0 { header_at(at.0, self.kind.segment_size) } else { 0 };
        end_of_records(self, at.0 + header)
    }

    fn sync(&self, numbers: std::ops::RangeInclusive<u64>) -> io::Result<()> {
        for (_, path) in numbers.filter_map(|number| self.file_of(number)) {
            open(&path)?.sync_data()?;
        }
        Ok(())
    }

    fn read(&mut self, address: u64) -> io::Result<Option<Page>> {
        let size = self.kind.segment_size.max(PAGE);
        let Some((timeline, path)) = self.file_of(address / size) else { return Ok(None) };
        let file = match self.open.take() {
            Some((name, file)) if name == path => file,
            _ => open(&path)?,
        };
        let mut bytes = vec![0; PAGE as usize];
        let read = file.read_exact_at(&mut bytes, address % size);
        self.open = Some((path, file));
        match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            read => read.map(|()| Page::read(bytes, address, timeline, self.kind)),
        }
    }
}

impl Pages for Files<'_> {
    fn page(&mut self, address: u64) -> Option<Rc<Page>> {
        if let Some(page) = self.last.as_ref().filter(|page| page.address == address) {
            return Some(Rc::clone(page));
        }
        match self.read(address) {
            Ok(page) => self.last = Some(Rc::new(page?)),
            Err(error) => {
                self.error = Some(error);
                return None;
            }
        }
        self.last.clone()
    }

    fn segment_size(&self) -> u64 {
        self.kind.segment_size
    }
}

/// A pipe or a device in a segment's place must not hold up the reader.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
#[path = "wal_end_tests.rs"]
mod tests;
