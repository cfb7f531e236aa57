//! After damage: what is sound moves to a new file, the damaged one is put aside, and what is missing is counted.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use pdata::{AttributesBuilder, Fingerprint, Seed, UnixNanos};
use rusqlite::params;

use super::books::Books;
use super::codec::{self, Family, Table};
use super::entry::Cursor;
use super::error::Trouble;
use super::files::Folder;
use super::held::{Class, Held, Standing};
use super::ids::Ids;
use super::image::Image;
use super::ledger::Durability;
use super::load;
use super::pages::{Pages, Piece, Way};
use super::store::{self, Store};
use super::window::WindowLimits;

/// What is known of a ledger without its file.
#[derive(Debug)]
pub(super) enum Known<'a> {
    /// At start: nothing.
    Nothing,
    /// While running: series, cursors and young ids are in memory and need not be found.
    Memory { seed: Seed, books: &'a Books, image: &'a Image, ids: &'a Ids },
}

/// Rows of a damaged file that are sound, the newest of each.
#[derive(Default)]
struct Found {
    books: Option<Books>,
    families: BTreeMap<u64, Family>,
    series: BTreeMap<u64, (Fingerprint, u32, Box<[u8]>)>,
    values: HashMap<u64, (Held, Way)>,
    cursors: HashMap<Box<str>, (u64, Cursor)>,
    /// Places where there was something that can no longer be read.
    torn: u64,
}

/// What a rebuild lost, as far as it can be known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Rows that are gone or began anew. At least 1: a file is not rebuilt for nothing.
    pub(super) rows: u64,
}

/// Builds a sound database from the damaged one and puts it in its place.
pub(super) fn rebuild(
    folder: &Folder,
    known: &Known<'_>,
    limits: WindowLimits,
    wall: UnixNanos,
) -> Result<(Losses, Books), Trouble> {
    let path = folder.database();
    let pages = Pages::open(&path)?;
    let seed = match known {
        Known::Memory { seed, .. } => *seed,
        Known::Nothing => find_seed(&pages)?.or_else(|| folder.seed()).unwrap_or_else(Seed::random),
    };
    let mut found = Found::read(&pages, &seed, limits)?;
    let mut losses = Losses::default();
    let building = folder.building()?;
    let books = found.books.clone().unwrap_or_else(|| load::empty(limits, wall));
    let mut books = match known {
        Known::Memory { books, .. } => {
            Books { spooled: books.spooled, discharged: books.discharged, ..(*books).clone() }
        }
        Known::Nothing => books,
    };
    let expected = (books.series, books.cursors, books.window.rows());
    books.series = 0;
    books.families = 0;
    books.cursors = 0;
    (books.young, books.merged, books.sweep) = (0..0, None, None);
    let mut store = Store::open(&building, Durability::Full, &(seed, books.clone()))?;
    store.begin()?;
    match known {
        Known::Memory { image, ids, .. } => {
            write_memory(&mut store, &mut books, image)?;
            ids.young().try_for_each(|(id, stamp)| copy_id(&store, &store::seen_key(id), stamp))?;
        }
        Known::Nothing => {
            found.write_series(&mut store, &mut books, wall, &mut losses)?;
            found.write_cursors(&mut store, &mut books)?;
        }
    }
    let ids = copy_ids_and_spool(&pages, &mut store, &mut books, &seed)?;
    // The books of a power loss may lag; more than they tell is no loss.
    losses.rows += expected.0.saturating_sub(books.series) + expected.1.saturating_sub(books.cursors);
    losses.rows += expected.2.saturating_sub(ids);
    losses.rows = losses.rows.max(found.torn).max(1);
    books.commit += 1;
    store.write_books(&books)?;
    store.commit()?;
    store.checkpoint()?;
    drop(store);
    folder.declare()?;
    folder.exchange(wall.0 / 1_000_000_000)?;
    Ok((losses, books))
}

/// The last resort: an empty ledger in place of one that cannot be read at all.
pub(super) fn start_over(folder: &Folder, limits: WindowLimits, wall: UnixNanos) -> Result<Losses, Trouble> {
    let seed = folder.seed().unwrap_or_else(Seed::random);
    let store = Store::open(&folder.building()?, Durability::Full, &(seed, load::empty(limits, wall)))?;
    store.checkpoint()?;
    drop(store);
    folder.declare()?;
    folder.exchange(wall.0 / 1_000_000_000)?;
    Ok(Losses { rows: 1 })
}

/// The seed, from a page that leads to it.
fn find_seed(pages: &Pages) -> Result<Option<Seed>, Trouble> {
    let mut seed = None;
    pages.visit(|piece| {
        if let Piece::Row { bytes, way: Way::Led | Way::Guessed } = piece {
            seed = seed.or_else(|| store::read_seed(bytes));
        }
    })?;
    Ok(seed)
}

impl Found {
    fn read(pages: &Pages, seed: &Seed, limits: WindowLimits) -> Result<Self, Trouble> {
        let mut found = Self::default();
        pages.visit(|piece| match piece {
            Piece::Torn => found.torn += 1,
            Piece::Row { bytes, way } => {
                if found.take(bytes, way, seed, limits).is_none()
                    && way == Way::Led
                    && store::read_seed(bytes).is_none()
                {
                    found.torn += 1;
                }
            }
            Piece::Id(..) => {}
        })?;
        Ok(found)
    }

    /// Takes a row, unless a newer one of its kind was found.
    fn take(&mut self, row: &[u8], way: Way, key: &Seed, limits: WindowLimits) -> Option<()> {
        let (table, id, mut reader) = codec::open(row, key)?;
        match table {
            Table::Meta => {
                let books = Books::take(&mut reader, limits)?;
                if self.books.as_ref().is_none_or(|known| known.commit < books.commit) {
                    self.books = Some(books);
                }
            }
            Table::Family => {
                self.families.insert(id, Family::take(&mut reader)?);
            }
            Table::Series => {
                let (fingerprint, family, values) = load::take_name(reader)?;
                self.series.insert(id, (fingerprint, family, values.into()));
            }
            Table::Value => {
                let held = Held::take(&mut reader)?;
                let newer = |(known, _): &(Held, Way)| {
                    known.commit < held.commit || (way != Way::Tried && known.commit == held.commit)
                };
                if self.values.get(&id).is_none_or(newer) {
                    self.values.insert(id, (held, way));
                }
            }
            Table::Cursor => {
                let (commit, cursor) = store::read_cursor(&mut reader)?;
                if self.cursors.get(&cursor.key).is_none_or(|(known, _)| *known <= commit) {
                    self.cursors.insert(cursor.key.clone(), (commit, cursor));
                }
            }
            Table::Spool | Table::Young => {}
        }
        Some(())
    }

    /// A value that was come by in a roundabout way, where another could not be read, may be an older one: what may fall must
    /// begin anew.
    fn believe(&self, held: Held, way: Way, wall: UnixNanos) -> Held {
        let doubtful = way == Way::Tried && self.torn > 0 && !held.standing.is_gauge();
        if doubtful { Held { start: wall, ..held } } else { held }
    }

    /// Writes the series that have a name and a value, numbered anew. A counter without a value begins anew, in plain sight of
    /// a new start time; a gauge or histogram without a value comes back with its next event.
    fn write_series(
        &mut self,
        store: &mut Store,
        books: &mut Books,
        wall: UnixNanos,
        losses: &mut Losses,
    ) -> Result<(), Trouble> {
        let mut numbers = HashMap::new();
        let mut builder = AttributesBuilder::default();
        for (id, (fingerprint, family, values)) in std::mem::take(&mut self.series) {
            let Some(kept) = self.families.get(&u64::from(family)) else { continue };
            let Some(identity) = kept.identity(&values, &mut builder) else { continue };
            let held = self.values.remove(&id).map(|(held, way)| self.believe(held, way, wall)).or_else(|| {
                losses.rows += 1;
                let standing = Standing::lost(Class::of(kept.metric.kind)?)?;
                Some(Held { start: wall, commit: books.commit, standing })
            });
            let Some(held) = held else {
                // Counted above, and again as missing: the books tell of it too.
                losses.rows -= 1;
                continue;
            };
            let number = match numbers.get(&family) {
                Some(number) => *number,
                None => {
                    let number = u32::try_from(books.families).expect("families are fewer than series");
                    store.write_family(books.families, kept)?;
                    books.families += 1;
                    numbers.insert(family, number);
                    number
                }
            };
            let slot = u32::try_from(books.series).expect("the bound on series is below 2^32");
            store.write_series(slot, fingerprint, number, &identity.attributes)?;
            store.write_value(&mut store.values()?, slot, &held)?;
            books.series += 1;
        }
        Ok(())
    }

    fn write_cursors(&mut self, store: &mut Store, books: &mut Books) -> Result<(), Trouble> {
        for (_, (commit, cursor)) in std::mem::take(&mut self.cursors) {
            books.cursors += 1;
            store.write_cursor(books.cursors, commit, &cursor)?;
        }
        Ok(())
    }
}

/// Series and cursors as memory holds them: slots stay what they are.
fn write_memory(store: &mut Store, books: &mut Books, image: &Image) -> Result<(), Trouble> {
    let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
    for family in image.families().iter() {
        let number = u32::try_from(books.families).expect("families are fewer than series");
        store.write_family(books.families, family)?;
        numbers.entry(undescribed(Family::clone(family))).or_insert(number);
        books.families += 1;
    }
    for (slot, (fingerprint, identity, held)) in image.packed().enumerate() {
        let slot = u32::try_from(slot).expect("the bound on series is below 2^32");
        let family =
            *numbers.get(&undescribed(Family::of(&identity))).expect("every series has its family in the image");
        store.write_series(slot, fingerprint, family, &identity.attributes)?;
        store.write_value(&mut store.values()?, slot, held)?;
    }
    books.series = image.len() as u64;
    for (row, cursor) in image.cursors.values() {
        store.write_cursor(*row, books.commit, cursor)?;
    }
    books.cursors = image.cursors.len() as u64;
    Ok(())
}

/// A family's bytes without its description, which may have been reworded since a series took it.
fn undescribed(mut family: Family) -> Vec<u8> {
    Arc::make_mut(&mut family.metric).description = "".into();
    let mut bytes = Vec::new();
    family.put(&mut bytes);
    bytes
}

/// Ids and records stream from file to file: there may be millions. Gives how many ids there are.
fn copy_ids_and_spool(pages: &Pages, store: &mut Store, books: &mut Books, seed: &Seed) -> Result<u64, Trouble> {
    let mut failed = Ok(());
    let mut spooled = books.spooled;
    pages.visit(|piece| {
        let step = match piece {
            Piece::Id(id, stamp) => copy_id(store, &id, stamp),
            Piece::Row { bytes, .. } => match codec::open(bytes, seed) {
                Some((Table::Spool, id, record)) if id > books.discharged => {
                    spooled = spooled.max(id);
                    store.write_spooled(id, record.0)
                }
                _ => Ok(()),
            },
            Piece::Torn => Ok(()),
        };
        if let (Ok(()), Err(error)) = (&failed, step) {
            failed = Err(error);
        }
    })?;
    failed?;
    books.spooled = spooled;
    Ok(store.connection.query_row("SELECT count(*) FROM seen", [], |row| row.get::<_, i64>(0))?.cast_unsigned())
}

fn copy_id(store: &Store, id: &[u8; 16], stamp: u64) -> Result<(), Trouble> {
    // Of two stamps the later stays: to remember too long is safe.
    let sql = "INSERT INTO seen VALUES(?1, ?2) ON CONFLICT(id) DO UPDATE SET stamp = max(stamp, excluded.stamp)";
    let mut statement = store.connection.prepare_cached(sql)?;
    Ok(statement.execute(params![id, store::seal_stamp(id, stamp)]).map(|_| ())?)
}

/// Whether the log tells of damage that SQLite would pass over in silence.
pub(super) fn log_is_damaged(database: &Path) -> Result<bool, Trouble> {
    match std::fs::File::open(super::files::with_suffix(database, "-wal")) {
        Ok(file) => Ok(super::wal::Log::read(&file)?.damaged > 0),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}
