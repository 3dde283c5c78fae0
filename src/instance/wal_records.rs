//! The records of the WAL, one after the other, as recovery reads them (`xlogreader.c`): to the first that is not whole.

use std::rc::Rc;

use super::crc32c::crc32c;
use super::wal_page::{PAGE, Page, at, header_at};
use crate::types::Timeline;

const RECORD_HEADER: usize = 24;
/// The header without its checksum.
const CHECKED_HEADER: usize = 20;
/// `XLogRecordMaxSize`: what is larger was never a record.
const LONGEST_RECORD: u64 = 1020 << 20;
/// `RM_XLOG_ID` and `XLOG_SWITCH`: the rest of the segment is empty.
const RMGR_XLOG: u8 = 0;
const SWITCH: u8 = 0x40;

/// Where pages come from: `None` when there is none with a right header at that address.
pub(super) trait Pages {
    fn page(&mut self, address: u64) -> Option<Rc<Page>>;
    fn segment_size(&self) -> u64;
}

/// What a record tells of itself.
struct Record {
    prev: u64,
    end: u64,
    switches: bool,
}

/// Why a record is none.
enum Broken {
    /// The WAL ends before it.
    End,
    /// It was given up, and the WAL goes on at this page.
    GivenUp(u64),
}

/// Where the first record begins that begins on this page or a later one.
pub(super) fn first_record(pages: &mut impl Pages, address: u64) -> Option<u64> {
    let mut page = pages.page(address)?;
    while let Some(rest) = page.continued {
        let begin = page.begin(pages.segment_size());
        let next = page.address + PAGE;
        if rest <= next - begin {
            let after = (begin + rest).next_multiple_of(8);
            return Some(content_at(after, pages.segment_size()));
        }
        page = pages.page(next)?;
    }
    Some(page.begin(pages.segment_size()))
}

/// A record that would begin at the end of a page begins behind the next page's header.
fn content_at(position: u64, segment_size: u64) -> u64 {
    if position % PAGE == 0 { position + header_at(position, segment_size) } else { position }
}

/// The end of the last whole record of those that follow each other from `begin` on. `None` when there is none.
pub(super) fn end_of_records(pages: &mut impl Pages, begin: u64) -> Option<u64> {
    let (mut at, mut before, mut end, mut timeline) = (begin, None, None, Timeline(1));
    loop {
        match record(pages, at, &mut timeline) {
            Ok(record) if before.is_some_and(|before| before != record.prev) => return end,
            Ok(record) => {
                let segment_size = pages.segment_size().max(PAGE);
                let record_end = if record.switches { record.end.next_multiple_of(segment_size) } else { record.end };
                before = Some(at);
                end = Some(record_end);
                at = content_at(record_end, segment_size);
            }
            // `XLOG_OVERWRITE_CONTRECORD`: its predecessor is the last record that is whole.
            Err(Broken::GivenUp(address)) => at = content_at(address, pages.segment_size()),
            Err(Broken::End) => return end,
        }
    }
}

/// Reads one record; the timeline of its pages must not go backwards.
fn record(pages: &mut impl Pages, begin: u64, timeline: &mut Timeline) -> Result<Record, Broken> {
    let (bytes, end) = bytes_of_record(pages, begin, timeline)?;
    let header = bytes.get(..RECORD_HEADER).ok_or(Broken::End)?;
    let prev = u64::from_ne_bytes(at(header, 8).ok_or(Broken::End)?);
    let stored = u32::from_ne_bytes(at(header, CHECKED_HEADER).ok_or(Broken::End)?);
    if prev >= begin || crc32c(&[&bytes[RECORD_HEADER..], &header[..CHECKED_HEADER]]) != stored {
        return Err(Broken::End);
    }
    let switches = header[17] == RMGR_XLOG && header[16] & 0xF0 == SWITCH;
    Ok(Record { prev, end: end.next_multiple_of(8), switches })
}

/// Collects the bytes of a record over its pages, and where it ends.
fn bytes_of_record(pages: &mut impl Pages, begin: u64, timeline: &mut Timeline) -> Result<(Vec<u8>, u64), Broken> {
    let mut page = next_page(pages, begin - begin % PAGE, timeline)?;
    // A record that begins where another one goes on is none.
    if page.continued.is_some() && begin == page.begin(pages.segment_size()) {
        return Err(Broken::End);
    }
    let offset = usize::try_from(begin % PAGE).map_err(|_| Broken::End)?;
    let length = u64::from(u32::from_ne_bytes(at(&page.bytes, offset).ok_or(Broken::End)?));
    if !(RECORD_HEADER as u64..=LONGEST_RECORD).contains(&length) {
        return Err(Broken::End);
    }
    let (mut bytes, mut from) = (Vec::new(), begin);
    loop {
        let left = length - bytes.len() as u64;
        let here = left.min(page.address + PAGE - from);
        let offset = usize::try_from(from % PAGE).map_err(|_| Broken::End)?;
        let until = offset + usize::try_from(here).map_err(|_| Broken::End)?;
        bytes.extend_from_slice(page.bytes.get(offset..until).ok_or(Broken::End)?);
        if here == left {
            return Ok((bytes, from + here));
        }
        let left = left - here;
        page = next_page(pages, page.address + PAGE, timeline)?;
        if page.overwrites {
            return Err(Broken::GivenUp(page.address));
        }
        if page.continued != Some(left) {
            return Err(Broken::End);
        }
        from = page.begin(pages.segment_size());
    }
}

fn next_page(pages: &mut impl Pages, address: u64, timeline: &mut Timeline) -> Result<Rc<Page>, Broken> {
    let page = pages.page(address).filter(|page| page.timeline >= *timeline).ok_or(Broken::End)?;
    *timeline = page.timeline;
    Ok(page)
}
