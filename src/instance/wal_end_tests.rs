//! Made-up WAL: a writer that follows PostgreSQL's format, and what a crash, a recycling or a fork makes of its files.

use super::super::crc32c::crc32c;
use super::super::wal_page::{LONG_PAGE_HEADER, PAGE_HEADER};
use super::*;
use crate::types::SystemId;
use tempfile::TempDir;

const MB: u64 = 1 << 20;
const SYSTEM: u64 = 7_412_345_678_901_234_567;

/// Writes WAL into the files of a directory.
struct Writer {
    home: TempDir,
    size: u64,
    timeline: u32,
    /// Where the next byte goes.
    at: u64,
    before: u64,
}

impl Writer {
    /// From the beginning of segment 4 on.
    fn new(size: u64) -> Writer {
        Writer { home: tempfile::tempdir().unwrap(), size, timeline: 1, at: 4 * size, before: 0 }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.path_of(self.timeline, number)
    }

    fn path_of(&self, timeline: u32, number: u64) -> PathBuf {
        self.home.path().join(name_of_segment(Timeline(timeline), number, self.size).unwrap())
    }

    /// Writes into the file of that place, which is made of zeros if need be.
    fn put(&self, address: u64, bytes: &[u8]) {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.path(address / self.size));
        let file = file.unwrap();
        if file.metadata().unwrap().len() == 0 {
            file.set_len(self.size).unwrap();
        }
        file.write_all_at(bytes, address % self.size).unwrap();
    }

    fn put_header(&mut self, rest: u64, flags: u16) {
        let long = self.at % self.size == 0;
        let info = flags | if long { 2 } else { 0 } | u16::from(rest > 0);
        let mut header = Vec::new();
        header.extend(0xD110_u16.to_ne_bytes());
        header.extend(info.to_ne_bytes());
        header.extend(self.timeline.to_ne_bytes());
        header.extend(self.at.to_ne_bytes());
        header.extend(u32::try_from(rest).unwrap().to_ne_bytes());
        header.extend([0; 4]);
        if long {
            header.extend(SYSTEM.to_ne_bytes());
            header.extend(u32::try_from(self.size).unwrap().to_ne_bytes());
            header.extend(u32::try_from(PAGE).unwrap().to_ne_bytes());
        }
        self.put(self.at, &header);
        self.at += if long { LONG_PAGE_HEADER } else { PAGE_HEADER };
    }

    /// Writes a record of this length and returns where it begins.
    fn record(&mut self, length: u64) -> u64 {
        self.record_of(length, 10, 0)
    }

    fn record_of(&mut self, length: u64, rmgr: u8, info: u8) -> u64 {
        if self.at % PAGE == 0 {
            self.put_header(0, 0);
        }
        let begin = self.at;
        let bytes = made_up(length, self.before, rmgr, info);
        self.before = begin;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            if self.at % PAGE == 0 {
                self.put_header(rest.len() as u64, 0);
            }
            let here = usize::try_from(PAGE - self.at % PAGE).unwrap().min(rest.len());
            self.put(self.at, &rest[..here]);
            self.at += here as u64;
            rest = &rest[here..];
        }
        self.at = self.at.next_multiple_of(8);
        begin
    }

    /// Records of 200 bytes until the WAL reaches this address, and large ones before the last 20 pages.
    fn fill(&mut self, until: u64) {
        while self.at < until {
            self.record(if self.at + 20 * PAGE < until { 5000 } else { 200 });
        }
    }

    /// `pg_switch_wal()`.
    fn switch(&mut self) {
        self.record_of(24, 0, 0x40);
        self.at = self.at.next_multiple_of(self.size);
    }

    /// What PostgreSQL does at a promotion: the last segment is copied up to here, and a history file is written.
    fn fork(&mut self, timeline: u32) {
        let (old, fork) = (self.path(self.at / self.size), self.at);
        self.timeline = timeline;
        let copied = fs::read(old).unwrap();
        let until = usize::try_from(fork % self.size).unwrap();
        self.put(fork - fork % self.size, &copied[..until]);
        let line = format!("1\t{}\tno recovery target specified\n", Lsn(fork));
        fs::write(self.home.path().join(format!("{timeline:08X}.history")), line).unwrap();
    }

    fn found_from(&self, timeline: u32, at: u64) -> Option<(u32, u64)> {
        self.found_after(timeline, at, None)
    }

    fn found_after(&self, timeline: u32, at: u64, replayed: Option<Position>) -> Option<(u32, u64)> {
        let kind = Kind { segment_size: self.size, system: Some(SystemId(SYSTEM)) };
        let begin = Begin { timeline: Timeline(timeline), at: Lsn(at), replayed };
        let found = end_of_files(self.home.path(), begin, kind).unwrap();
        found.map(|found| (found.timeline.0, found.end.0))
    }

    /// The end as it is found from the first record on.
    fn found(&self) -> Option<(u32, u64)> {
        self.found_from(1, 4 * self.size)
    }

    fn assert_ends(&self, timeline: u32, end: u64) {
        let found = self.found().map(|(timeline, end)| (timeline, format!("{:X}", end)));
        assert_eq!(found, Some((timeline, format!("{end:X}"))));
    }
}

fn made_up(length: u64, before: u64, rmgr: u8, info: u8) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(u32::try_from(length).unwrap().to_ne_bytes());
    header.extend([0; 4]);
    header.extend(before.to_ne_bytes());
    header.extend([info, rmgr, 0, 0]);
    let body: Vec<u8> = (0..length - 24).map(|i| i.to_le_bytes()[0] | 1).collect();
    let crc = crc32c(&[&body, &header]);
    header.extend(crc.to_ne_bytes());
    header.extend(body);
    header
}

/// Copies a segment to the name of a later one: what recycling leaves there.
fn recycle(writer: &Writer, from: u64, to: u64) {
    fs::copy(writer.path(from), writer.path(to)).unwrap();
}

#[test]
fn the_end_is_behind_the_last_record() {
    for (size, until) in [(MB, MB / 2), (MB, 3 * MB), (16 * MB, 17 * MB), (64 * MB, 2 * MB)] {
        let mut writer = Writer::new(size);
        writer.fill(4 * size + until);
        writer.assert_ends(1, writer.at);
        assert_eq!(writer.found_from(1, writer.before), Some((1, writer.at)), "from the last record");
        assert_eq!(writer.found_from(1, writer.at), None, "nothing from the end on");
    }
}

#[test]
fn segments_made_in_advance_are_none() {
    let mut writer = Writer::new(MB);
    writer.fill(6 * MB + MB / 2);
    for number in 7..40 {
        recycle(&writer, 4 + number % 2, number);
    }
    writer.assert_ends(1, writer.at);
    for number in 7..20 {
        fs::write(writer.path(number), vec![0; 1 << 20]).unwrap();
    }
    writer.assert_ends(1, writer.at);
}

/// A receiver fills a recycled segment from its beginning: the page of the end, and all that follow, have old contents.
#[test]
fn what_a_recycled_segment_still_holds_is_not_read() {
    for more in [1, 50, 5000] {
        let mut writer = rebuilt(6 * MB - 4 * PAGE);
        recycle(&writer, 4, 6);
        recycle(&writer, 4, 7);
        writer.fill(6 * MB);
        // As long as those before, so that an old record begins where the next one would.
        for _ in 0..more {
            writer.record(200);
        }
        writer.assert_ends(1, writer.at);
    }
}

#[test]
fn a_record_that_is_not_whole_ends_it() {
    for length in [100, 3 * PAGE, 2 * MB] {
        let mut writer = rebuilt(5 * MB + 3 * PAGE);
        let end = writer.at;
        writer.record(length);
        writer.assert_ends(1, writer.at);
        // A byte near its end is another one; its beginning may be in an earlier segment.
        writer.put(writer.at - 20, &[0]);
        writer.assert_ends(1, end);
    }
}

fn rebuilt(end: u64) -> Writer {
    let mut writer = Writer::new(MB);
    writer.fill(end);
    writer
}

#[test]
fn a_page_that_was_lost_in_the_middle_ends_it_though_later_ones_are_there() {
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + 20 * PAGE);
    let whole = writer.at;
    writer.fill(5 * MB + 40 * PAGE);
    writer.put((whole / PAGE + 3) * PAGE, &[0; 8192]);
    let (_, end) = writer.found().unwrap();
    assert!(end > whole && end <= (whole / PAGE + 3) * PAGE, "{end:X}");
    // Half of a page: its header is right, and a record in it is not.
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + 20 * PAGE);
    let page = (writer.at / PAGE - 5) * PAGE;
    writer.put(page + 4096, &[0; 4096]);
    let (_, end) = writer.found().unwrap();
    assert!(end > page && end <= page + 4096, "{end:X}");
}

#[test]
fn a_switch_ends_its_segment() {
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + PAGE);
    writer.switch();
    assert_eq!(writer.at, 6 * MB);
    writer.assert_ends(1, 6 * MB);
    recycle(&writer, 4, 6);
    writer.assert_ends(1, 6 * MB);
    fs::remove_file(writer.path(6)).unwrap();
    writer.record(300);
    writer.assert_ends(1, writer.at);
}

#[test]
fn a_fork_in_the_middle_of_a_segment() {
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + 3 * PAGE);
    let fork = writer.at;
    // The old primary goes on, on this node, too.
    writer.fill(6 * MB + 5 * PAGE);
    let diverged = writer.at;
    writer.assert_ends(1, diverged);
    writer.at = fork;
    writer.fork(2);
    // Nothing of timeline 2 yet: what was copied is the parent's.
    let (timeline, _) = writer.found().unwrap();
    assert_eq!(timeline, 1);
    writer.before = before_of(fork);
    writer.record(42);
    writer.assert_ends(2, writer.at);
    writer.fill(7 * MB);
    writer.assert_ends(2, writer.at);
}

/// What a receiver has of it, up to there, and what the file of timeline 1 has.
#[test]
fn the_first_segment_of_a_timeline_that_was_received_in_part() {
    let fork = rebuilt(5 * MB + 6 * PAGE).at;
    for (timeline, has_history, received, before, in_part) in [
        (1, true, 5 * MB, fork, true),
        (1, true, 5 * MB + PAGE, fork, true),
        (1, true, 5 * MB + PAGE, 5 * MB + PAGE, true),
        (1, true, 5 * MB, 5 * MB, true),
        // It is whole, or all that there is.
        (1, true, fork, fork, false),
        (1, true, fork, 5 * MB, false),
        (1, true, 5 * MB + 2 * PAGE, 5 * MB + PAGE, false),
        // The timeline before went on without the younger one.
        (1, true, 5 * MB, fork + MB / 2, false),
        // PostgreSQL does not know of the timeline, or was on it already.
        (1, false, 5 * MB, fork, false),
        (2, true, 5 * MB, fork, false),
    ] {
        let mut writer = rebuilt(5 * MB + 6 * PAGE);
        let cut = |writer: &Writer, until: u64| writer.put(until, &vec![0; usize::try_from(6 * MB - until).unwrap()]);
        writer.fill(before);
        writer.at = fork;
        writer.fork(2);
        cut(&writer, received);
        if before < fork {
            writer.timeline = 1;
            cut(&writer, before);
        }
        if !has_history {
            fs::remove_file(writer.home.path().join("00000002.history")).unwrap();
        }
        let begin = Begin { timeline: Timeline(timeline), at: Lsn(4 * MB), replayed: None };
        let kind = Kind { segment_size: MB, system: Some(SystemId(SYSTEM)) };
        let found = first_segment_in_part(writer.home.path(), begin, kind).unwrap();
        let case = (timeline, has_history, received, before);
        assert_eq!(found, in_part.then(|| writer.path_of(2, 5)), "{case:X?}, forked off at {fork:X}");
    }
}

/// Where the last record before this end begins.
fn before_of(end: u64) -> u64 {
    rebuilt(end).before
}

#[test]
fn what_is_not_reached_without_a_gap_does_not_count() {
    let mut writer = Writer::new(MB);
    writer.fill(8 * MB + PAGE);
    fs::remove_file(writer.path(6)).unwrap();
    let (_, end) = writer.found().unwrap();
    assert!(end > 5 * MB && end <= 6 * MB, "{end:X}");
    assert_eq!(writer.found_from(1, 7 * MB + 40), None, "no record begins there");
    fs::remove_file(writer.path(4)).unwrap();
    assert_eq!(writer.found(), None);
}

#[test]
fn other_files_are_no_segments() {
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + PAGE);
    let next = writer.path(6);
    for other in
        [next.with_extension("partial"), next.with_extension("backup"), writer.home.path().join("archive_status")]
    {
        fs::copy(writer.path(5), other).unwrap();
    }
    fs::write(writer.home.path().join("00000002.history"), "1\t0/500000\tplanted\n").unwrap();
    writer.assert_ends(1, writer.at);
    // Of another cluster, or another size.
    let mut foreign = fs::read(writer.path(5)).unwrap();
    foreign[24] ^= 1;
    fs::write(writer.path(5), foreign).unwrap();
    let (_, end) = writer.found().unwrap();
    assert!(end <= 5 * MB);
}

/// A primary that crashed within a record writes `OVERWRITE_CONTRECORD` on the page where the rest would have been.
#[test]
fn a_record_that_was_given_up_does_not_end_it() {
    let mut writer = Writer::new(MB);
    writer.fill(5 * MB + 3 * PAGE);
    let (end, before) = (writer.at, writer.before);
    writer.record(3 * PAGE);
    // Its second page is written anew, and what follows is not there.
    let page = end.next_multiple_of(PAGE);
    for lost in 0..3 {
        writer.put(page + lost * PAGE, &[0; 8192]);
    }
    writer.assert_ends(1, end);
    (writer.at, writer.before) = (page, before);
    writer.put_header(0, 8);
    writer.record(40);
    writer.assert_ends(1, writer.at);
}

#[test]
fn a_directory_that_cannot_be_read_is_an_error_and_an_empty_one_is_not() {
    let kind = Kind { segment_size: MB, system: None };
    let begin = Begin { timeline: Timeline(1), at: Lsn(4 * MB), replayed: None };
    let home = tempfile::tempdir().unwrap();
    assert_eq!(end_of_files(home.path(), begin, kind).unwrap(), None);
    assert!(end_of_files(&home.path().join("missing"), begin, kind).is_err());
    fs::create_dir(home.path().join("000000010000000000000004")).unwrap();
    assert!(end_of_files(home.path(), begin, kind).is_err());
}

/// An archive has the first segment of a timeline that a person made and that was given up.
#[test]
fn a_timeline_that_leaves_the_line_of_what_was_replayed_is_not_gone_on_to() {
    let mut writer = Writer::new(MB);
    let begin = writer.record(200);
    writer.fill(4 * MB + MB / 2);
    let fork = writer.at;
    writer.fork(2);
    writer.fill(4 * MB + MB * 3 / 4);
    let by_hand = writer.at;
    writer.timeline = 1;
    writer.at = fork;
    writer.fill(6 * MB);
    let replayed = |timeline, end| Some(Position { timeline: Timeline(timeline), end: Lsn(end) });
    for (replayed, expected) in [
        (None, (2, by_hand)),
        (replayed(1, fork), (2, by_hand)),
        (replayed(1, fork + 1), (1, writer.at)),
        (replayed(1, 5 * MB), (1, writer.at)),
        (replayed(2, by_hand), (2, by_hand)),
    ] {
        assert_eq!(writer.found_after(1, begin, replayed), Some(expected), "{replayed:?}");
    }
}
