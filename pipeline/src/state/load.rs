//! From disk into memory: all of it is checked, and anything that is not whole is damage.

use pdata::{Fingerprint, Seed, UnixNanos};
use rusqlite::Connection;

use super::books::Books;
use super::codec::{self, Family, Table};
use super::error::Trouble;
use super::held::Held;
use super::image::{Cursors, Image, Values};
use super::pages::{self, ID_CELL_BYTES};
use super::store::{self, Store};
use super::window::WindowLimits;

/// What a database holds besides old ids and the spool.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) books: Books,
    pub(super) image: Image,
    pub(super) young: Young,
}

/// Young ids and their stamps.
#[derive(Debug, Default)]
pub(super) struct Young {
    /// On their way into the tree.
    pub(super) merging: Vec<(Fingerprint, u64)>,
    /// Those are in the rows before this one.
    pub(super) rows_end: u64,
    pub(super) fresh: Vec<(Fingerprint, u64)>,
}

/// A database of up to this many pages (4 MiB) is checked from end to end at start, some 10 ms; of a larger one ids and spooled
/// records are checked when they are read.
const CHECKED_PAGES: i64 = 1024;

/// So many series one thread reads as fast as two.
const ALONE_MAX: u64 = 20_000;

/// Who else may write while we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beside {
    /// Nobody: the folder is locked.
    Nobody,
    /// A running agent. All is read in the transaction that the caller began.
    Agent,
}

/// Reads all series, values and cursors.
pub(super) fn load(store: &Store, limits: WindowLimits, beside: Beside) -> Result<Loaded, Trouble> {
    let pages: i64 = store.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages <= CHECKED_PAGES {
        check_all(store)?;
    }
    let books = store.read_books(limits)?;
    let series = usize::try_from(books.series).unwrap_or_default().min(1 << 26);
    let mut image = Image::with_capacity(series);
    load_families(store, &books, &mut image)?;
    load_series(store, &books, &mut image, beside)?;
    image.commit = books.commit;
    image.cursors = load_cursors(store, &books)?;
    let young = load_young(store, &books)?;
    Ok(Loaded { books, image, young })
}

/// Checks trees, ids and spooled records.
pub(super) fn check_all(store: &Store) -> Result<(), Trouble> {
    let verdict: String = store.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(Trouble::damage(verdict));
    }
    let ids = count_damaged_ids(&store.connection)?;
    if ids > 0 {
        return Err(Trouble::damage(format!("{ids} remembered ids do not match their check")));
    }
    each(&store.connection, "SELECT id, row FROM spool ORDER BY id", |id, row| {
        codec::unseal(row, &store.key, Table::Spool, id)
            .map(|_| ())
            .ok_or_else(|| Trouble::damage(format!("spooled record {id} does not match its check")))
    })
}

/// How many remembered ids are not what was written.
pub(super) fn count_damaged_ids(connection: &Connection) -> Result<u64, Trouble> {
    let mut statement = connection.prepare("SELECT id, stamp FROM seen")?;
    let mut rows = statement.query([])?;
    let mut damaged = 0;
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_blob().unwrap_or_default();
        damaged += u64::from(key.len() != 16 || store::open_stamp(key, row.get(1)?).is_none());
    }
    Ok(damaged)
}

fn load_families(store: &Store, books: &Books, image: &mut Image) -> Result<(), Trouble> {
    for (table, sql) in [
        ("family", "SELECT id, row FROM family ORDER BY id"),
        ("family_copy", "SELECT id, row FROM family_copy ORDER BY id"),
    ] {
        let mut next = 0;
        each(&store.connection, sql, |id, row| {
            let family = codec::unseal(row, &store.key, Table::Family, next).and_then(|mut row| Family::take(&mut row));
            let Some(family) = family.filter(|_| id == next) else {
                return Err(Trouble::damage(format!("row {id} of {table} does not match its check")));
            };
            if table == "family" {
                image.add_family(family);
            } else if image.families().get(next as usize).is_none_or(|known| **known != family) {
                return Err(Trouble::damage(format!("row {id} of {table} is not a copy")));
            }
            next += 1;
            Ok(())
        })?;
        whole(table, next, books.families)?;
    }
    Ok(())
}

/// Reads names and values: row n of one belongs to row n of the other. Where there are many, two threads read.
fn load_series(store: &Store, books: &Books, image: &mut Image, beside: Beside) -> Result<(), Trouble> {
    let (key, series) = (store.key, books.series);
    // A second connection sees another moment when somebody writes.
    let two = beside == Beside::Nobody && series > ALONE_MAX;
    let path = store.connection.path().filter(|_| two).map(str::to_owned);
    let (values, names) = std::thread::scope(|scope| {
        let thread =
            path.map(|path| scope.spawn(move || load_values(&store::open_to_read(path.as_ref())?, &key, series)));
        let names = load_names(store, series, image);
        let values = match thread {
            Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            None => load_values(&store.connection, &key, series),
        };
        (values, names)
    });
    names?;
    image.load_values(values?);
    Ok(())
}

fn load_names(store: &Store, series: u64, image: &mut Image) -> Result<(), Trouble> {
    let families = image.families().len();
    let mut next = 1;
    each(&store.connection, "SELECT id, row FROM series ORDER BY id", |id, row| {
        let name = codec::unseal(row, &store.key, Table::Series, next).and_then(take_name);
        let Some((fingerprint, family, values)) = name.filter(|name| id == next && (name.1 as usize) < families) else {
            return Err(Trouble::damage(format!("row {id} of series does not match its check")));
        };
        image.load_name(fingerprint, family, values);
        next += 1;
        Ok(())
    })?;
    whole("series", next - 1, series)
}

fn load_values(connection: &Connection, key: &Seed, series: u64) -> Result<Values, Trouble> {
    let mut values = Values::default();
    let mut next = 1;
    each(connection, "SELECT id, row FROM value ORDER BY id", |id, row| {
        let held = codec::unseal(row, key, Table::Value, next).and_then(|mut row| Held::take(&mut row));
        let Some(held) = held.filter(|_| id == next) else {
            return Err(Trouble::damage(format!("row {id} of value does not match its check")));
        };
        values.push(held);
        next += 1;
        Ok(())
    })?;
    whole("value", next - 1, series)?;
    Ok(values)
}

fn whole(table: &str, found: u64, expected: u64) -> Result<(), Trouble> {
    match found == expected {
        true => Ok(()),
        false => Err(Trouble::damage(format!("{table} has {found} rows of {expected}"))),
    }
}

/// A row of `series`: fingerprint, family, packed attribute values.
pub(super) fn take_name(mut row: codec::Reader<'_>) -> Option<(Fingerprint, u32, &[u8])> {
    Some((row.fingerprint()?, u32::try_from(row.varint()?).ok()?, row.0))
}

fn load_young(store: &Store, books: &Books) -> Result<Young, Trouble> {
    let rows_end = books.merged.map_or(0, |merged| merged.rows_end);
    let (mut young, mut next) = (Young { rows_end, ..Young::default() }, books.young.start);
    if books.young.is_empty() {
        // As in a ledger of version 1, which has no such table.
        return Ok(young);
    }
    each(&store.connection, "SELECT id, row FROM young ORDER BY id", |id, row| {
        let ids = codec::unseal(row, &store.key, Table::Young, next).and_then(|row| take_young(row.0));
        let Some(ids) = ids.filter(|_| id == next) else {
            return Err(Trouble::damage(format!("row {id} of young does not match its check")));
        };
        if next < rows_end {
            young.merging.extend(ids)
        } else {
            young.fresh.extend(ids)
        }
        next += 1;
        Ok(())
    })?;
    whole("young", next, books.young.end)?;
    Ok(young)
}

/// A row of `young`: ids with their stamps.
fn take_young(row: &[u8]) -> Option<Vec<(Fingerprint, u64)>> {
    let cells = row.chunks(ID_CELL_BYTES);
    cells.map(|cell| pages::id_cell(cell, 0).map(|(key, stamp)| (store::seen_id(&key), stamp))).collect()
}

fn load_cursors(store: &Store, books: &Books) -> Result<Cursors, Trouble> {
    let mut cursors = Cursors::new();
    each(&store.connection, "SELECT id, row FROM cursor ORDER BY id", |id, row| {
        let row = codec::unseal(row, &store.key, Table::Cursor, id);
        let Some((_, cursor)) = row.and_then(|mut row| store::read_cursor(&mut row)) else {
            return Err(Trouble::damage(format!("row {id} of cursor does not match its check")));
        };
        cursors.insert(cursor.key.clone(), (id, cursor));
        Ok(())
    })?;
    whole("cursor", cursors.len() as u64, books.cursors)?;
    Ok(cursors)
}

fn each(
    connection: &Connection,
    sql: &str,
    mut visit: impl FnMut(u64, &[u8]) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get::<_, i64>(0)?.cast_unsigned();
        visit(id, row.get_ref(1)?.as_blob().unwrap_or_default())?;
    }
    Ok(())
}

/// An empty ledger that begins now.
pub(super) fn empty(limits: WindowLimits, wall: UnixNanos) -> Books {
    Books::new(super::window::Window::new(limits.length, limits.max_bytes, wall))
}
