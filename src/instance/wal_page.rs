//! The header of a WAL page, as `xlog_internal.h` of PostgreSQL 12 to 18 has it, in the machine's byte order.
//!
//! A file of the future that was only made in advance is zero, or has the pages of the older segment that it was made of:
//! their addresses tell.

use super::ControlData;
use crate::types::{SystemId, Timeline};

/// The size of a page (`XLOG_BLCKSZ`), which a build may change: a segment's first page tells it.
pub(super) const PAGE: u64 = 8192;
pub(super) const PAGE_HEADER: u64 = 24;
/// The header of a segment's first page.
pub(super) const LONG_PAGE_HEADER: u64 = 40;

const FIRST_IS_CONTRECORD: u16 = 0x0001;
const LONG_HEADER: u16 = 0x0002;
const FIRST_IS_OVERWRITE_CONTRECORD: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// What the pages of an instance have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub segment_size: u64,
    /// Not checked where it is not known.
    pub system: Option<SystemId>,
}

impl Kind {
    /// By the control file.
    pub(super) fn of(control: &ControlData) -> Kind {
        Kind { segment_size: control.segment_size, system: Some(control.system) }
    }
}

/// A page whose header is right for its place.
#[derive(Clone, Debug)]
pub(super) struct Page {
    pub address: u64,
    pub timeline: Timeline,
    /// So many bytes of a record that began before; none when a record begins here.
    pub continued: Option<u64>,
    /// The record that began before was never ended, and what begins here takes its place.
    pub overwrites: bool,
    pub bytes: Vec<u8>,
}

/// The bytes of a header at the place of an integer of `N` bytes.
pub(super) fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset.checked_add(N)?)?.try_into().ok()
}

impl Page {
    /// Reads a page that should have this address and be of no younger timeline. `None` when it is another.
    pub(super) fn read(bytes: Vec<u8>, address: u64, youngest: Timeline, kind: Kind) -> Option<Page> {
        let info = u16::from_ne_bytes(at(&bytes, 2)?);
        let timeline = Timeline(u32::from_ne_bytes(at(&bytes, 4)?));
        let fits = u64::from_ne_bytes(at(&bytes, 8)?) == address && info & !ALL_FLAGS == 0;
        let in_line = timeline >= Timeline(1) && timeline <= youngest;
        let begins_segment = address % kind.segment_size.max(PAGE) == 0;
        if !fits || !in_line || begins_segment != (info & LONG_HEADER != 0) {
            return None;
        }
        if begins_segment && !is_of(&bytes, kind)? {
            return None;
        }
        let rest = u64::from(u32::from_ne_bytes(at(&bytes, 16)?));
        let continued = (info & FIRST_IS_CONTRECORD != 0).then_some(rest);
        Some(Page { address, timeline, continued, overwrites: info & FIRST_IS_OVERWRITE_CONTRECORD != 0, bytes })
    }

    /// Where its contents begin.
    pub(super) fn begin(&self, segment_size: u64) -> u64 {
        self.address + header_at(self.address, segment_size)
    }
}

/// The length of the header of the page at this address.
pub(super) fn header_at(address: u64, segment_size: u64) -> u64 {
    if address % segment_size.max(PAGE) == 0 { LONG_PAGE_HEADER } else { PAGE_HEADER }
}

/// What only the header of a segment's first page has.
fn is_of(bytes: &[u8], kind: Kind) -> Option<bool> {
    let system = u64::from_ne_bytes(at(bytes, 24)?);
    let segment_size = u64::from(u32::from_ne_bytes(at(bytes, 32)?));
    let page = u64::from(u32::from_ne_bytes(at(bytes, 36)?));
    let same_system = kind.system.is_none_or(|SystemId(ours)| ours == system);
    Some(same_system && segment_size == kind.segment_size && page == PAGE)
}
