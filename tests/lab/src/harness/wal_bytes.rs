//! The client's rows in the bytes of WAL segments, found without a server.
//!
//! A row of `lab.rows` has two fixed columns, `client integer` and `n bigint`. In a tuple they lie one behind the other with
//! four bytes of padding between them (`n` is aligned to 8), in the insert's record as well as in the image of a page.

use std::collections::BTreeSet;

/// The page of WAL: XLOG_BLCKSZ as it is built everywhere.
const PAGE: usize = 8192;
/// `SizeOfXLogShortPHD` and `SizeOfXLogLongPHD` of `access/xlog_internal.h`.
const SHORT_HEADER: usize = 24;
const LONG_HEADER: usize = 40;
/// `XLP_LONG_HEADER`, a bit of `xlp_info`, which lies behind the two bytes of `xlp_magic`.
const IS_LONG: u8 = 0x02;
const INFO: usize = 2;

/// Of records, in bytes.
const ALIGNMENT: u64 = 8;
/// As the lab's instances are made.
const SEGMENT: u64 = 16 << 20;

const ROW: usize = 16;
const N: usize = 8;

/// Records without the page headers that cut through them. Segments that follow each other may be joined afterwards.
pub(super) fn records(segment: &[u8]) -> Vec<u8> {
    let mut records = Vec::with_capacity(segment.len());
    for page in segment.chunks(PAGE) {
        let is_long = page.get(INFO).is_some_and(|info| info & IS_LONG != 0);
        let header = if is_long { LONG_HEADER } else { SHORT_HEADER };
        records.extend_from_slice(page.get(header..).unwrap_or_default());
    }
    records
}

/// Where a record of that length ends that begins there: the headers of the pages that it crosses lie in between.
pub(super) fn end_of(start: u64, length: u64) -> u64 {
    let page = PAGE as u64;
    let (mut at, mut left) = (start, length);
    loop {
        let room = page - at % page;
        if left <= room {
            return (at + left).next_multiple_of(ALIGNMENT);
        }
        left -= room;
        at += room;
        at += if at % SEGMENT == 0 { LONG_HEADER as u64 } else { SHORT_HEADER as u64 };
    }
}

/// The numbers of that client's rows.
pub(super) fn rows_of(client: i32, records: &[u8]) -> BTreeSet<i64> {
    let mut mark = [0; N];
    mark[..4].copy_from_slice(&client.to_le_bytes());
    let rows = records.windows(ROW).filter(|row| row.starts_with(&mark));
    rows.filter_map(|row| Some(i64::from_le_bytes(row.get(N..)?.try_into().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: i32, n: i64) -> Vec<u8> {
        [&client.to_le_bytes()[..], &[0; 4], &n.to_le_bytes()].concat()
    }

    /// WAL as PostgreSQL would lay it out: a long header on the first page, short ones on the others.
    fn segment(records: &[u8]) -> Vec<u8> {
        let (first, others) = records.split_at(records.len().min(PAGE - LONG_HEADER));
        let mut segment = vec![0; LONG_HEADER];
        segment[INFO] = IS_LONG;
        segment.extend_from_slice(first);
        for page in others.chunks(PAGE - SHORT_HEADER) {
            segment.extend_from_slice(&[9; SHORT_HEADER]);
            segment.extend_from_slice(page);
        }
        segment
    }

    #[test]
    fn rows_are_found_wherever_they_lie() {
        let bytes = [vec![7; 3], row(5, 1), vec![7; 30], row(5, 2), row(6, 3)].concat();
        assert_eq!(rows_of(5, &bytes), BTreeSet::from([1, 2]));
        assert_eq!(rows_of(6, &bytes), BTreeSet::from([3]));
        assert_eq!(rows_of(9, &bytes), BTreeSet::new());
    }

    #[test]
    fn a_row_that_a_page_header_cuts_is_whole_again() {
        let before = vec![7; PAGE - LONG_HEADER - 10];
        let bytes = segment(&[before, row(5, 1), vec![7; PAGE], row(5, 2)].concat());
        assert!(!rows_of(5, &bytes).contains(&1));
        assert_eq!(rows_of(5, &records(&bytes)), BTreeSet::from([1, 2]));
    }

    #[test]
    fn a_record_ends_behind_the_headers_that_cut_it() {
        assert_eq!(end_of(0x157_2090, 63), 0x157_20D0);
        assert_eq!(end_of(0x2000 - 16, 40), 0x2000 + 24 + 24);
        assert_eq!(end_of(SEGMENT - 8, 16), SEGMENT + 40 + 8);
        assert_eq!(end_of(0x2000 + 24, 2 * 8192), 0x2000 + 2 * 8192 + 24 + 24 + 24);
    }

    #[test]
    fn the_end_of_a_file_is_no_row() {
        assert_eq!(rows_of(5, &row(5, 1)[..15]), BTreeSet::new());
        assert_eq!(records(&[0; 10]), Vec::<u8>::new());
    }
}
