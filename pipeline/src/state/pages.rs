//! Sound rows from a file that SQLite refuses: pages are read one by one, and nothing is believed but the rows' own checks.
//!
//! Layout: <https://www.sqlite.org/fileformat2.html>, sections 1.6 (b-tree pages), 2.1 (records) and 1.6.2 (overflow).

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::files::with_suffix;
use super::store::{self, PAGE_BYTES};
use super::wal::Log;

/// The pages of a database, with those of its log laid over them.
pub(super) struct Pages {
    database: File,
    log: Option<(File, HashMap<u32, u64>)>,
    count: u32,
}

/// What was found in a page.
pub(super) enum Piece<'a> {
    /// The blob of a row; its check is still to be made.
    Row {
        /// The bytes.
        bytes: &'a [u8],
        /// How it was come by.
        way: Way,
    },
    /// A remembered id and its stamp, checked.
    Id([u8; 16], u64),
    /// A place where a sound page leads to nothing readable.
    Torn,
}

/// How a row was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Its page says that it is there.
    Led,
    /// Its page does not say that it is one of a table, but would lead there if it were.
    Guessed,
    /// Every place was tried. It may be an old row that nobody has written over yet.
    Tried,
}

/// A cell's payload that is larger than this goes on in overflow pages (U - 35 in leaves of tables).
const LOCAL_MAX: usize = PAGE_BYTES - 35;
/// What then stays in the page at least (M in the file format's words).
const LOCAL_MIN: usize = (PAGE_BYTES - 12) * 32 / 255 - 23;
/// The longest row that is followed through overflow pages; doors cap bodies far below.
const ROW_MAX: usize = 64 << 20;

const TABLE_LEAF: u8 = 0x0d;
const INDEX_LEAF: u8 = 0x0a;
const INDEX_INNER: u8 = 0x02;

impl Pages {
    /// Opens a database's files as they stand.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let database = File::open(path)?;
        let mut count = u32::try_from(database.metadata()?.len() / PAGE_BYTES as u64).unwrap_or(u32::MAX);
        let mut log = None;
        let log_path = with_suffix(path, "-wal");
        if log_path.exists() {
            let file = File::open(&log_path)?;
            let pages = Log::read(&file)?.pages;
            count = count.max(pages.keys().copied().max().unwrap_or(0));
            log = Some((file, pages));
        }
        Ok(Self { database, log, count })
    }

    /// Visits all that can be found.
    pub(super) fn visit(&self, mut visit: impl FnMut(Piece<'_>)) -> io::Result<()> {
        let mut page = vec![0; PAGE_BYTES];
        let mut row = Vec::new();
        // The first page holds the schema, which we know.
        for number in 2..=self.count {
            if self.read(number, &mut page)? {
                self.visit_page(&page, &mut row, &mut visit);
            }
        }
        Ok(())
    }

    fn visit_page(&self, page: &[u8], row: &mut Vec<u8>, visit: &mut impl FnMut(Piece<'_>)) {
        let kind = page[0];
        for cell in cells(page) {
            let found = match kind {
                INDEX_LEAF => visit_id(page, cell, visit),
                INDEX_INNER => visit_id(page, cell + 4, visit),
                // An inner page, one outside all trees, or a leaf whose kind is damaged: the last is worth a guess.
                _ => self.table_cell(page, cell, row).is_some_and(|()| {
                    visit(Piece::Row { bytes: row, way: if kind == TABLE_LEAF { Way::Led } else { Way::Guessed } });
                    true
                }),
            };
            if !found && matches!(kind, TABLE_LEAF | INDEX_LEAF | INDEX_INNER) {
                visit(Piece::Torn);
            }
        }
        self.try_everywhere(page, row, visit);
    }

    /// Whatever the page's structure leads to or no longer leads to: what is a row says so itself.
    fn try_everywhere(&self, page: &[u8], row: &mut Vec<u8>, visit: &mut impl FnMut(Piece<'_>)) {
        for at in 0..PAGE_BYTES {
            if let Some((id, stamp)) = id_cell(page, at) {
                visit(Piece::Id(id, stamp));
            } else if self.table_cell(page, at, row).is_some() {
                visit(Piece::Row { bytes: row, way: Way::Tried });
            }
        }
    }

    /// The blob of a cell of a table leaf: payload length, rowid, then a record of NULL (the rowid's column) and a blob.
    fn table_cell(&self, page: &[u8], at: usize, row: &mut Vec<u8>) -> Option<()> {
        let mut rest = page.get(at..)?;
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        varint(&mut rest)?;
        if !(4..=ROW_MAX).contains(&length) {
            return None;
        }
        // Before an overflow chain is followed the record must look like ours.
        let mut record = rest;
        let header_length = usize::try_from(varint(&mut record)?).ok()?;
        let (rowid, blob) = (varint(&mut record)?, usize::try_from(varint(&mut record)?).ok()?);
        if rowid != 0 || blob < 12 || blob % 2 != 0 || header_length + (blob - 12) / 2 != length || header_length > 10 {
            return None;
        }
        self.payload(rest, length, row)?;
        row.drain(..header_length.min(row.len()));
        Some(())
    }

    fn payload(&self, rest: &[u8], length: usize, row: &mut Vec<u8>) -> Option<()> {
        row.clear();
        if length <= LOCAL_MAX {
            row.extend_from_slice(rest.get(..length)?);
            return Some(());
        }
        let local = LOCAL_MIN + (length - LOCAL_MIN) % (PAGE_BYTES - 4);
        let local = if local > LOCAL_MAX { LOCAL_MIN } else { local };
        row.extend_from_slice(rest.get(..local)?);
        let mut next = u32::from_be_bytes(*rest.get(local..)?.first_chunk()?);
        let mut page = vec![0; PAGE_BYTES];
        // Each step adds bytes, so a chain that runs in a circle ends too.
        while row.len() < length {
            if next == 0 || !self.read(next, &mut page).ok()? {
                return None;
            }
            next = u32::from_be_bytes(*page.first_chunk()?);
            let take = (length - row.len()).min(PAGE_BYTES - 4);
            row.extend_from_slice(&page[4..4 + take]);
        }
        Some(())
    }

    /// Reads a page; `false` when the file ends before it does.
    fn read(&self, number: u32, page: &mut [u8]) -> io::Result<bool> {
        let in_log = self.log.as_ref().and_then(|(log, pages)| Some((log, *pages.get(&number)?)));
        let (file, offset) =
            in_log.unwrap_or((&self.database, u64::from(number.saturating_sub(1)) * PAGE_BYTES as u64));
        match file.read_exact_at(page, offset) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Where the cells of a page begin, if it is one of a tree; as many as the page has room to name.
fn cells(page: &[u8]) -> impl Iterator<Item = usize> {
    let pointers = if page[0] == INDEX_INNER { 12 } else { 8 };
    let count = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let pointers = page[pointers..].chunks_exact(2).take(count);
    pointers.map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]])))
}

fn visit_id(page: &[u8], at: usize, visit: &mut impl FnMut(Piece<'_>)) -> bool {
    let found = id_cell(page, at);
    if let Some((id, stamp)) = found {
        visit(Piece::Id(id, stamp));
    }
    found.is_some()
}

/// Bytes of an id in a row of `young`.
pub(super) const ID_CELL_BYTES: usize = 26;

/// Writes an id as it stands in a cell of `seen`, so that it is found wherever it is, and by itself.
pub(super) fn put_id(out: &mut Vec<u8>, id: &[u8; 16], stamp: u64) {
    out.extend_from_slice(&[25, 3, 44, 5]);
    out.extend_from_slice(id);
    out.extend_from_slice(&store::seal_stamp(id, stamp).to_be_bytes()[2..]);
}

/// A cell of `seen`: payload length, then a record of a blob of 16 bytes and a whole number.
pub(super) fn id_cell(page: &[u8], at: usize) -> Option<([u8; 16], u64)> {
    let cell = page.get(at..)?;
    let (head, rest) = cell.split_first_chunk::<4>()?;
    let [length, 3, 44, serial] = *head else { return None };
    let width = match serial {
        1..=4 => usize::from(serial),
        5 => 6,
        6 => 8,
        _ => return None,
    };
    if usize::from(length) != 3 + 16 + width {
        return None;
    }
    let (id, rest) = rest.split_first_chunk::<16>()?;
    let number = rest.get(..width)?.iter().fold(0_i64, |number, byte| number << 8 | i64::from(*byte));
    Some((*id, store::open_stamp(id, number)?))
}

/// SQLite's varint: seven bits a byte, the highest first; a ninth byte counts whole.
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for at in 0..9 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        if at == 8 {
            return Some(value << 8 | u64::from(*byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if *byte < 0x80 {
            return Some(value);
        }
    }
    None
}
