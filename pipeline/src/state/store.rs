//! The database: its schema, its settings, and the statements of a group.

use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

use pdata::{Fingerprint, Seed};
use rusqlite::config::DbConfig;
use rusqlite::{CachedStatement, Connection, OpenFlags, OptionalExtension, Statement, params};

use super::books::Books;
use super::codec::{self, Family, Reader, Table};
use super::error::Trouble;
use super::held::Held;
use super::ledger::Durability;
use super::pages;
use super::window::WindowLimits;

/// An open database.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) connection: Connection,
    /// What rows are checked with; see [`codec::FIRST`].
    pub(super) key: Seed,
    /// The row being written; kept for its room.
    row: RefCell<Vec<u8>>,
}

/// A statement that is run many times in a group: found once, since finding it costs as much as running it.
pub(super) struct Repeated<'store>(CachedStatement<'store>);

/// A table's SQL, exactly as it must stand in the schema.
pub(super) const SCHEMA: [(&str, &str); 9] = [
    ("cursor", "CREATE TABLE cursor(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("family", "CREATE TABLE family(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    // All series of a metric hang on one row: it is kept twice, in trees of their own.
    ("family_copy", "CREATE TABLE family_copy(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("meta", "CREATE TABLE meta(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("seen", "CREATE TABLE seen(id BLOB PRIMARY KEY, stamp INTEGER NOT NULL) WITHOUT ROWID"),
    ("series", "CREATE TABLE series(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("spool", "CREATE TABLE spool(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("value", "CREATE TABLE value(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
    ("young", "CREATE TABLE young(id INTEGER PRIMARY KEY, row BLOB NOT NULL)"),
];

/// Bytes of a page. Stated, since the reader of damaged files does not believe what the file says of itself.
pub(super) const PAGE_BYTES: usize = 4096;
/// Pages that SQLite holds. Four times as many would be read less often, from the system's cache then, but a group that splits a page of
/// ids has SQLite walk over all that it holds: 90 µs for 1,000 pages.
const CACHE_KIB: i32 = 4096;
/// `PRAGMA application_id`: "weiL".
pub(super) const APPLICATION: i32 = 0x7765_694c;
/// `PRAGMA user_version`: the layout of rows. Version 1 had no table `young`.
pub(super) const VERSION: i32 = 2;
/// Pages of log after which it is carried over into the database: 8 MiB, some 20 ms to read again at start.
const CHECKPOINT_PAGES: i32 = 2000;
/// How long another process may hold the write lock (`sqlite3` in somebody's hands) before a group fails.
const BUSY: Duration = Duration::from_secs(1);

/// Ids of the rows of `meta`. The seed has two: without it no id on disk means anything.
const META_SEED: u64 = 1;
const META_SEED_COPY: u64 = 3;
const META_BOOKS: u64 = 2;

impl Store {
    /// Opens the database, or makes it with `first` as its beginning.
    pub(super) fn open(path: &Path, durability: Durability, first: &(Seed, Books)) -> Result<Self, Trouble> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        let mut store = Self { connection, key: first.0, row: RefCell::default() };
        store.settle(durability)?;
        if store.connection.is_readonly("main")? {
            // By its own header, or by the file system?
            std::fs::File::options().write(true).open(path)?;
            return Err(Trouble::damage("the database's header says that it cannot be written"));
        }
        if store.is_new()? {
            store.create(first)?;
        }
        store.upgrade()?;
        store.check_schema()?;
        store.key = read_key(&store.connection)?;
        Ok(store)
    }

    /// A database that is only read.
    pub(super) fn reading(connection: Connection, key: Seed) -> Self {
        Self { connection, key, row: RefCell::default() }
    }

    fn settle(&self, durability: Durability) -> Result<(), Trouble> {
        let connection = &self.connection;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(32);
        // After a failed commit nothing may be written by a mere close.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES as i64)?;
        let mode: String = connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(Trouble::damage(format!("the database cannot be put into WAL mode, it stays in mode {mode}")));
        }
        connection.pragma_update(None, "synchronous", durability.synchronous())?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        connection.pragma_update(None, "journal_size_limit", 32 << 20)?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(())
    }

    /// Whether nothing was ever written. A file that holds pages and names no table is damaged, not new.
    fn is_new(&self) -> Result<bool, Trouble> {
        let tables: i64 = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let pages: i64 = self.connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if tables == 0 && pages > 1 {
            return Err(Trouble::damage("the database has pages but names no table"));
        }
        Ok(tables == 0)
    }

    fn create(&self, (seed, books): &(Seed, Books)) -> Result<(), Trouble> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        for (_, sql) in SCHEMA {
            self.connection.execute_batch(sql)?;
        }
        self.connection.pragma_update(None, "application_id", APPLICATION)?;
        self.connection.pragma_update(None, "user_version", VERSION)?;
        for id in [META_SEED, META_SEED_COPY] {
            let mut row = self.row.borrow_mut();
            codec::seal(&mut row, &codec::FIRST, Table::Meta, id, |out| out.extend_from_slice(&seed.bytes()));
            self.connection.execute("INSERT INTO meta VALUES(?1, ?2)", params![id.cast_signed(), *row])?;
        }
        self.write_books(books)?;
        self.connection.execute_batch("COMMIT")?;
        Ok(())
    }

    /// Brings a ledger of version 1 up to date. Its ids are where old ones stand now too.
    fn upgrade(&self) -> Result<(), Trouble> {
        let version: i32 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let tables: i64 = self.connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        let [earlier @ .., (_, young)] = &SCHEMA;
        if version == 1 && tables == earlier.len() as i64 {
            self.connection
                .execute_batch(&format!("BEGIN IMMEDIATE; {young}; PRAGMA user_version = {VERSION}; COMMIT"))?;
        }
        Ok(())
    }

    fn check_schema(&self) -> Result<(), Trouble> {
        let version: i32 = self.connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let mut statement = self.connection.prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")?;
        let mut rows = statement.query([])?;
        let mut expected = SCHEMA.iter();
        while let Some(row) = rows.next()? {
            let found = (row.get_ref(0)?.as_str().ok(), row.get_ref(1)?.as_str().ok());
            if expected.next().map(|(name, sql)| (Some(*name), Some(*sql))) != Some(found) {
                return Err(Trouble::damage("the database does not have a ledger's tables"));
            }
        }
        if expected.next().is_some() || version != VERSION {
            return Err(Trouble::damage("the database is not laid out as a ledger"));
        }
        Ok(())
    }

    pub(super) fn read_books(&self, limits: WindowLimits) -> Result<Books, Trouble> {
        let row = read_meta(&self.connection, META_BOOKS)?;
        let reader = row.as_ref().and_then(|row| codec::unseal(row, &self.key, Table::Meta, META_BOOKS));
        let books = reader.and_then(|mut reader| Books::take(&mut reader, limits));
        books.ok_or_else(|| Trouble::damage("the books are missing or do not match their check"))
    }

    pub(super) fn begin(&self) -> Result<(), Trouble> {
        Ok(self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(|_| ())?)
    }

    /// After this returns, and with `synchronous=FULL`, the group is on disk.
    pub(super) fn commit(&self) -> Result<(), Trouble> {
        Ok(self.connection.prepare_cached("COMMIT")?.execute([]).map(|_| ())?)
    }

    pub(super) fn write_books(&self, books: &Books) -> Result<(), Trouble> {
        self.write("INSERT OR REPLACE INTO meta VALUES(?1, ?2)", Table::Meta, META_BOOKS, |out| books.put(out))
    }

    pub(super) fn write_family(&self, id: u64, family: &Family) -> Result<(), Trouble> {
        self.write("INSERT OR REPLACE INTO family VALUES(?1, ?2)", Table::Family, id, |out| family.put(out))?;
        self.write("INSERT OR REPLACE INTO family_copy VALUES(?1, ?2)", Table::Family, id, |out| family.put(out))
    }

    pub(super) fn write_series(
        &self,
        slot: u32,
        fingerprint: Fingerprint,
        family: u32,
        attributes: &pdata::Attributes,
    ) -> Result<(), Trouble> {
        let id = u64::from(slot) + 1;
        self.write("INSERT OR REPLACE INTO series VALUES(?1, ?2)", Table::Series, id, |out| {
            codec::put_fingerprint(out, fingerprint);
            codec::put_varint(out, u64::from(family));
            codec::put_values(out, attributes);
        })
    }

    /// The statement of [`write_value`](Self::write_value).
    pub(super) fn values(&self) -> Result<Repeated<'_>, Trouble> {
        Ok(Repeated(self.connection.prepare_cached("INSERT OR REPLACE INTO value VALUES(?1, ?2)")?))
    }

    pub(super) fn write_value(&self, values: &mut Repeated<'_>, slot: u32, held: &Held) -> Result<(), Trouble> {
        let id = u64::from(slot) + 1;
        self.write_by(&mut values.0, Table::Value, id, |out| held.put(out))
    }

    pub(super) fn write_cursor(&self, id: u64, commit: u64, cursor: &super::Cursor) -> Result<(), Trouble> {
        self.write("INSERT OR REPLACE INTO cursor VALUES(?1, ?2)", Table::Cursor, id, |out| {
            codec::put_varint(out, commit);
            codec::put_varint(out, cursor.token);
            codec::put_bytes(out, cursor.key.as_bytes());
            codec::put_bytes(out, &cursor.value);
        })
    }

    pub(super) fn write_spooled(&self, id: u64, record: &[u8]) -> Result<(), Trouble> {
        self.write("INSERT OR REPLACE INTO spool VALUES(?1, ?2)", Table::Spool, id, |out| out.extend_from_slice(record))
    }

    pub(super) fn discharge(&self, up_to: u64) -> Result<(), Trouble> {
        let mut statement = self.connection.prepare_cached("DELETE FROM spool WHERE id <= ?1")?;
        Ok(statement.execute([up_to.cast_signed()]).map(|_| ())?)
    }

    /// Records of the spool after a number. A damaged record is passed over and counted.
    pub(super) fn spooled(&self, after: u64, records: usize, bytes: usize) -> Result<Spooled, Trouble> {
        let mut statement = self.connection.prepare_cached("SELECT id, row FROM spool WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([after.cast_signed()])?;
        let mut spooled = Spooled::default();
        let mut taken = 0;
        while let Some(row) = rows.next()? {
            let id = row.get::<_, i64>(0)?.cast_unsigned();
            let Some(reader) =
                row.get_ref(1)?.as_blob().ok().and_then(|row| codec::unseal(row, &self.key, Table::Spool, id))
            else {
                spooled.damaged += 1;
                continue;
            };
            taken += reader.0.len();
            if spooled.records.len() >= records || (taken > bytes && !spooled.records.is_empty()) {
                break;
            }
            spooled.records.push((id, reader.0.into()));
        }
        Ok(spooled)
    }

    /// Ids in a row of `young` at most: as many as go on one page.
    pub(super) const YOUNG_IDS: usize = (PAGE_BYTES - 100) / pages::ID_CELL_BYTES;

    /// Writes a row of young ids.
    pub(super) fn write_young(&self, id: u64, ids: &[(Fingerprint, u64)]) -> Result<(), Trouble> {
        self.write("INSERT INTO young VALUES(?1, ?2)", Table::Young, id, |out| {
            ids.iter().for_each(|(id, stamp)| pages::put_id(out, &seen_key(*id), *stamp));
        })
    }

    /// Deletes the rows of `young` before `end`.
    pub(super) fn forget_young(&self, end: u64) -> Result<(), Trouble> {
        let mut statement = self.connection.prepare_cached("DELETE FROM young WHERE id < ?1")?;
        Ok(statement.execute([end.cast_signed()]).map(|_| ())?)
    }

    /// The statement of [`Repeated::knows`].
    pub(super) fn tree(&self) -> Result<Repeated<'_>, Trouble> {
        Ok(Repeated(self.connection.prepare_cached("SELECT 1 FROM seen WHERE id = ?1")?))
    }

    /// The statement of [`Repeated::plant`].
    pub(super) fn tree_to_write(&self) -> Result<Repeated<'_>, Trouble> {
        Ok(Repeated(self.connection.prepare_cached("INSERT OR IGNORE INTO seen VALUES(?1, ?2)")?))
    }

    /// Looks at up to `rows` ids after `from` and forgets those stamped before `floor`. Gives where it came to, or `None` at
    /// the end.
    pub(super) fn sweep(&self, from: Option<Fingerprint>, floor: u64, rows: usize) -> Result<Swept, Trouble> {
        let mut swept = Swept::default();
        let from = from.map(seen_key);
        let from = from.as_ref().map_or(&[][..], |key| key);
        let mut look =
            self.connection.prepare_cached("SELECT id, stamp FROM seen WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let mut found = look.query(params![from, rows as i64])?;
        let (mut seen, mut last) = (0, None);
        let mut gone = Vec::new();
        while let Some(row) = found.next()? {
            let key = row.get_ref(0)?.as_blob().unwrap_or_default();
            seen += 1;
            last = key.try_into().ok();
            match (last, open_stamp(key, row.get(1)?)) {
                (Some(_), Some(stamp)) if stamp >= floor => {}
                (Some(key), Some(stamp)) => gone.push((key, stamp)),
                _ => return Err(Trouble::damage("a remembered id does not match its check")),
            }
        }
        drop(found);
        let mut forget = self.connection.prepare_cached("DELETE FROM seen WHERE id = ?1")?;
        for (key, stamp) in gone {
            forget.execute([key])?;
            swept.forgotten.push(stamp);
        }
        swept.reached = last.as_ref().map(seen_id).filter(|_| seen == rows);
        Ok(swept)
    }

    /// Visits up to `rows` ids of the tree after `from`, or from its beginning. Gives the last one, or `None` when that was the end.
    pub(super) fn ids_after(
        &self,
        from: Option<Fingerprint>,
        rows: usize,
        mut visit: impl FnMut(Fingerprint),
    ) -> Result<Option<Fingerprint>, Trouble> {
        let from = from.map(seen_key);
        let from = from.as_ref().map_or(&[][..], |key| key);
        let mut look = self.connection.prepare_cached("SELECT id FROM seen WHERE id > ?1 ORDER BY id LIMIT ?2")?;
        let mut found = look.query(params![from, rows as i64])?;
        let (mut seen, mut last) = (0, None);
        while let Some(row) = found.next()? {
            seen += 1;
            let key = row.get_ref(0)?.as_blob().unwrap_or_default();
            let key = key.try_into().map_err(|_| Trouble::damage("a remembered id has not the length of one"))?;
            let id = seen_id(key);
            visit(id);
            last = Some(id);
        }
        Ok(last.filter(|_| seen == rows))
    }

    /// Carries the log over into the database, for a tidy end.
    pub(super) fn checkpoint(&self) -> Result<(), Trouble> {
        Ok(self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
    }

    /// Bytes of the database, the log not counted.
    pub(super) fn bytes(&self) -> Result<u64, Trouble> {
        let pages: i64 = self.connection.prepare_cached("PRAGMA page_count")?.query_row([], |row| row.get(0))?;
        Ok(pages.cast_unsigned() * PAGE_BYTES as u64)
    }

    fn write(&self, sql: &str, table: Table, id: u64, put: impl FnOnce(&mut Vec<u8>)) -> Result<(), Trouble> {
        self.write_by(&mut *self.connection.prepare_cached(sql)?, table, id, put)
    }

    fn write_by(
        &self,
        statement: &mut Statement<'_>,
        table: Table,
        id: u64,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Trouble> {
        let mut row = self.row.borrow_mut();
        codec::seal(&mut row, &self.key, table, id, put);
        statement.execute(params![id.cast_signed(), *row])?;
        Ok(())
    }
}

impl Repeated<'_> {
    /// Whether an id stands in the tree.
    pub(super) fn knows(&mut self, id: Fingerprint) -> Result<bool, Trouble> {
        Ok(self.0.exists([seen_key(id)])?)
    }

    /// Puts an id into the tree, unless it stands there already.
    pub(super) fn plant(&mut self, id: Fingerprint, stamp: u64) -> Result<(), Trouble> {
        let key = seen_key(id);
        Ok(self.0.execute(params![key, seal_stamp(&key, stamp)]).map(|_| ())?)
    }
}

/// What a step of the sweep did.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// Stamps of the ids that were forgotten.
    pub(super) forgotten: Vec<u64>,
    /// The last id looked at; `None` at the end of the table.
    pub(super) reached: Option<Fingerprint>,
}

/// Records that wait for export.
#[derive(Debug, Default)]
pub(super) struct Spooled {
    pub(super) records: Vec<(u64, Box<[u8]>)>,
    pub(super) damaged: u64,
}

/// A connection that only reads.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Trouble> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Reads the seed, from both its rows.
pub(super) fn read_key(connection: &Connection) -> Result<Seed, Trouble> {
    let read = |id| read_meta(connection, id).map(|row| row.and_then(|row| read_seed(&row)));
    let copies = read(META_SEED)?.zip(read(META_SEED_COPY)?);
    let agreed = copies.filter(|(one, other)| one == other).map(|(one, _)| one);
    agreed.ok_or_else(|| Trouble::damage("the rows of the seed are missing or do not match their check"))
}

fn read_meta(connection: &Connection, id: u64) -> Result<Option<Vec<u8>>, Trouble> {
    let mut statement = connection.prepare("SELECT row FROM meta WHERE id = ?1")?;
    Ok(statement.query_row([id.cast_signed()], |row| row.get(0)).optional()?)
}

/// The seed, if this row of `meta` holds it.
pub(super) fn read_seed(row: &[u8]) -> Option<Seed> {
    let (table, id, mut reader) = codec::open(row, &codec::FIRST)?;
    (table == Table::Meta && (id == META_SEED || id == META_SEED_COPY)).then(|| reader.fixed())?.map(Seed::from_bytes)
}

/// A row of `cursor`: the commit that wrote it, and the cursor.
pub(super) fn read_cursor(reader: &mut Reader<'_>) -> Option<(u64, super::Cursor)> {
    let (commit, token) = (reader.varint()?, reader.varint()?);
    Some((commit, super::Cursor { token, key: reader.text()?.into(), value: reader.bytes()?.into() }))
}

/// The key of an id in `seen`.
pub(super) fn seen_key(id: Fingerprint) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&id.0[0].to_be_bytes());
    key[8..].copy_from_slice(&id.0[1].to_be_bytes());
    key
}

/// The id of a key of `seen`.
pub(super) fn seen_id(key: &[u8; 16]) -> Fingerprint {
    let key = u128::from_be_bytes(*key);
    Fingerprint([(key >> 64) as u64, key as u64])
}

/// A stamp with 16 bits of check over it and its id. Stamps stay below 2^47 together: six bytes in SQLite's encoding.
pub(super) fn seal_stamp(key: &[u8], stamp: u64) -> i64 {
    let stamp = stamp.min((1 << 31) - 1 + STAMP_EPOCH).saturating_sub(STAMP_EPOCH);
    ((stamp << 16) | stamp_check(key, stamp)).cast_signed()
}

/// The stamp, when it and its id are what was written.
pub(super) fn open_stamp(key: &[u8], sealed: i64) -> Option<u64> {
    let stamp = sealed.cast_unsigned() >> 16;
    (stamp_check(key, stamp) == sealed.cast_unsigned() & 0xffff).then_some(stamp + STAMP_EPOCH)
}

/// 2020-01-01: stamps count from here, to the year 2088.
const STAMP_EPOCH: u64 = 1_577_836_800;

fn stamp_check(key: &[u8], stamp: u64) -> u64 {
    // The id is a keyed hash and uniform already: folding suffices, and every flipped bit shows.
    let fold = key.chunks(2).fold(0_u16, |fold, pair| {
        let word = pair.iter().fold(0, |word, byte| word << 8 | u16::from(*byte));
        fold.rotate_left(3) ^ word
    });
    let stamp = stamp.to_le_bytes();
    let stamp = stamp.chunks(2).fold(0_u16, |fold, pair| fold.rotate_left(5) ^ u16::from_le_bytes([pair[0], pair[1]]));
    u64::from(fold ^ stamp ^ 0x5a17)
}
