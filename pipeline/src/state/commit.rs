//! A group of entries, in one transaction: worked out on the side, written, committed, and only then shown.

use std::sync::{Arc, PoisonError, RwLockReadGuard};

use hashbrown::HashMap;
use pdata::{Attributes, Fingerprint, Identity, Seed, SeriesTable, UnixNanos};
use tokio::time::Instant;

use super::books::Books;
use super::codec::Family;
use super::entry::{Change, Committed, Cursor, Entry, Place};
use super::error::Trouble;
use super::held::{Class, Held};
use super::ids::Ids;
use super::image::{Image, SharedImage};
use super::memory::Kept;
use super::store::{Repeated, Store};
use crate::fault::Refusal;

/// Writes groups. The only writer of the database and of the image.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) image: SharedImage,
    pub(super) seed: Seed,
    pub(super) table: Arc<SeriesTable>,
    pub(super) max_series: usize,
    pub(super) books: Books,
    pub(super) ids: Ids,
    families: HashMap<Vec<u8>, u32>,
    draft: Draft,
}

/// What ids and records are written on: the tables of a database, or memory.
pub(super) trait Paper {
    /// What writing may end with.
    type Error;

    /// Whether an id stands there. Younger ones are known besides.
    fn knows(&mut self, id: Fingerprint) -> Result<bool, Self::Error>;

    /// Puts a record in line.
    fn spool(&mut self, number: u64, record: &[u8]) -> Result<(), Self::Error>;

    /// Lets go of the records up to this number.
    fn discharge(&mut self, up_to: u64) -> Result<(), Self::Error>;
}

/// When a group is committed, by both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) wall: UnixNanos,
    pub(super) now: Instant,
}

/// What a committed group did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tallied {
    pub(super) new: u64,
    pub(super) duplicates: u64,
    pub(super) too_old: u64,
    /// Changes that went to an overflow series, or nowhere, since the bound on series was met.
    pub(super) overflowed: u64,
    /// Ids that were forgotten.
    pub(super) forgotten: u64,
}

/// A group in the making. Nobody sees it until its commit.
#[derive(Debug, Default)]
struct Draft {
    books: Option<Books>,
    dirty: Vec<(u32, Held)>,
    place: HashMap<u32, usize>,
    born: Vec<Born>,
    born_at: HashMap<Fingerprint, u32>,
    families: Vec<(Vec<u8>, Family)>,
    cursors: Vec<(u64, Cursor)>,
    tallied: Tallied,
}

/// A series that the group brings, with the number of its family.
#[derive(Debug)]
struct Born {
    fingerprint: Fingerprint,
    identity: Identity,
    family: u32,
}

/// Overflow series that may stand past the bound: one per metric and resource in practice.
const OVERFLOW_MAX: usize = 1024;
/// Packed attributes of one series at most; longer ones count as overflow, so that a hostile field cannot fill the disk.
const ATTRIBUTES_BYTES_MAX: usize = 8 << 10;

impl Committer {
    pub(super) fn new(
        image: SharedImage,
        seed: Seed,
        table: Arc<SeriesTable>,
        max_series: usize,
        books: Books,
        ids: Ids,
    ) -> Self {
        let mut families = HashMap::new();
        for (number, family) in read(&image).families().iter().enumerate() {
            let mut bytes = Vec::new();
            family.put(&mut bytes);
            families.insert(bytes, u32::try_from(number).expect("families are fewer than series"));
        }
        let draft = Draft::default();
        Self { image, seed, table, max_series, books, ids, families, draft }
    }

    /// Writes a group and shows it. On an error nothing of it shows, and the connection must not be used again.
    ///
    /// # Errors
    /// When any step fails. The group may or may not be on disk then: see [`reconcile`](Self::reconcile).
    pub(super) fn commit<'a>(
        &mut self,
        store: &Store,
        entries: impl Iterator<Item = &'a Entry>,
        moment: Moment,
        outcomes: &mut Vec<Result<Committed, Refusal>>,
    ) -> Result<Tallied, Trouble> {
        outcomes.clear();
        self.forgo();
        let mut books = self.books.clone();
        books.commit += 1;
        books.window.advance(moment.wall, moment.now);
        store.begin()?;
        let mut paper = Sheet { store, tree: store.tree()? };
        for entry in entries {
            outcomes.push(self.enter(&mut paper, &mut books, entry, moment.wall)?);
        }
        drop(paper);
        self.draft.tallied.forgotten = self.ids.tend(store, &mut books)?;
        self.write(store, &mut books)?;
        self.draft.books = Some(books);
        store.commit()?;
        Ok(self.show())
    }

    /// Shows an entry at once, where nothing can fail half way.
    pub(super) fn keep(
        &mut self,
        kept: &mut Kept,
        entry: &Entry,
        wall: UnixNanos,
    ) -> (Result<Committed, Refusal>, Tallied) {
        let mut books = std::mem::take(&mut self.books);
        books.commit += 1;
        let Ok(outcome) = self.enter(kept, &mut books, entry, wall);
        self.ids.take_new().for_each(|(id, stamp)| kept.ids.insert(id, stamp));
        self.settle(&mut books);
        self.draft.books = Some(books);
        (outcome, self.show())
    }

    /// After a failed commit and a fresh connection: the books on disk say whether the group is there. Its senders were told to
    /// try again, so a group that is there answers their retries as duplicates.
    ///
    /// # Errors
    /// Damage, when the disk holds neither the group nor what was before it.
    pub(super) fn reconcile(&mut self, on_disk: &Books) -> Result<(), Trouble> {
        if on_disk.commit == self.books.commit {
            self.forgo();
            return Ok(());
        }
        if self.draft.books.as_ref().is_some_and(|books| books.commit == on_disk.commit) {
            self.show();
            return Ok(());
        }
        Err(Trouble::damage(format!("commit {} is on disk, {} was acknowledged", on_disk.commit, self.books.commit)))
    }

    /// Lets time pass without a group. What moved is on disk with the next one.
    pub(super) fn pass(&mut self, wall: UnixNanos, now: Instant) {
        self.books.window.advance(wall, now);
    }

    /// Whether ids are being merged or swept, or should be.
    pub(super) fn wants_tending(&self) -> bool {
        self.ids.want_tending(&self.books)
    }

    /// Takes the ids' numbers as they are after the file was rebuilt.
    pub(super) fn rebuilt(&mut self, books: Books) {
        self.books = books;
        self.ids.rebuilt(&self.books);
        self.draft.clear();
    }

    /// Lets go of a group that is not on disk.
    fn forgo(&mut self) {
        self.draft.clear();
        self.ids.drop_draft();
    }

    fn enter<P: Paper>(
        &mut self,
        paper: &mut P,
        books: &mut Books,
        entry: &Entry,
        wall: UnixNanos,
    ) -> Result<Result<Committed, Refusal>, P::Error> {
        if let Some(refusal) = entry.cursors.iter().find_map(|cursor| self.fence(cursor)) {
            return Ok(Err(refusal));
        }
        if let Some(id) = entry.id {
            if entry.signed.is_some_and(|signed| books.window.is_too_old(signed)) {
                self.draft.tallied.too_old += 1;
                return Ok(Ok(Committed::TooOld));
            }
            let stamp = books.window.stamp(entry.signed, wall);
            if !self.ids.remember(paper, id.0, stamp)? {
                self.draft.tallied.duplicates += 1;
                return Ok(Ok(Committed::Duplicate));
            }
            books.window.remember(stamp);
        }
        for change in &entry.changes {
            self.change(change, wall);
        }
        for record in &entry.spool {
            books.spooled += 1;
            paper.spool(books.spooled, record)?;
        }
        if let Some(up_to) = entry.discharge {
            let up_to = up_to.min(books.spooled);
            if up_to > books.discharged {
                books.discharged = up_to;
                paper.discharge(up_to)?;
            }
        }
        for cursor in &entry.cursors {
            self.move_cursor(books, cursor);
        }
        self.draft.tallied.new += 1;
        Ok(Ok(Committed::New))
    }

    fn fence(&self, cursor: &Cursor) -> Option<Refusal> {
        let image = read(&self.image);
        let drafted = self.draft.cursors.iter().rev().map(|(_, drafted)| drafted).find(|known| known.key == cursor.key);
        let known = drafted.or_else(|| image.cursors.get(&cursor.key).map(|(_, known)| known));
        if known.is_none() && image.cursors.len() + self.draft.cursors.len() >= CURSORS_MAX {
            return Some(Refusal::Reject { why: format!("a ledger keeps at most {CURSORS_MAX} cursors") });
        }
        let held = known?.token;
        (cursor.token < held).then(|| Refusal::Reject {
            why: format!("cursor {:?} is held under token {held}, not {}", cursor.key, cursor.token),
        })
    }

    fn move_cursor(&mut self, books: &mut Books, cursor: &Cursor) {
        let drafted = self.draft.cursors.iter().find(|(_, known)| known.key == cursor.key).map(|(row, _)| *row);
        let row = drafted.or_else(|| read(&self.image).cursors.get(&cursor.key).map(|(row, _)| *row));
        let row = row.unwrap_or_else(|| {
            books.cursors += 1;
            books.cursors
        });
        self.draft.cursors.push((row, cursor.clone()));
    }

    fn change(&mut self, change: &Change, wall: UnixNanos) {
        let image = self.image.clone();
        let image = read(&image);
        let Some(slot) = self.slot(&image, change, wall) else { return };
        let at = match self.draft.place.get(&slot) {
            Some(at) => *at,
            None => {
                // A slot past the image was born in this group and is dirty since.
                self.draft.dirty.push((slot, image.held(slot).clone()));
                self.draft.place.insert(slot, self.draft.dirty.len() - 1);
                self.draft.dirty.len() - 1
            }
        };
        self.draft.dirty[at].1.apply(&change.tally, wall);
    }

    /// The slot of a change's series; at first sight a new one, at the bound the overflow series'.
    fn slot(&mut self, image: &Image, change: &Change, wall: UnixNanos) -> Option<u32> {
        let (identity, fingerprint) = match &change.series.place {
            Place::Slot(slot) => return Some(*slot),
            Place::New(identity, fingerprint) => (identity, *fingerprint),
        };
        if let Some(slot) = self.known(image, fingerprint) {
            return Some(slot);
        }
        let count = image.len() + self.draft.born.len();
        if count < self.max_series && identity.attributes.heap_bytes() <= ATTRIBUTES_BYTES_MAX {
            return Some(self.bear(image, Identity::clone(identity), fingerprint, change, wall));
        }
        self.draft.tallied.overflowed += 1;
        if change.series.class == Class::Gauge {
            // One gauge for many things would tell of none.
            return None;
        }
        let overflow = Identity { attributes: overflow_attributes(), ..Identity::clone(identity) };
        let fingerprint = overflow.fingerprint(&self.seed);
        self.known(image, fingerprint).or_else(|| {
            (count < self.max_series + OVERFLOW_MAX).then(|| self.bear(image, overflow, fingerprint, change, wall))
        })
    }

    fn known(&self, image: &Image, fingerprint: Fingerprint) -> Option<u32> {
        image.slot(fingerprint).or_else(|| self.draft.born_at.get(&fingerprint).copied())
    }

    fn bear(
        &mut self,
        image: &Image,
        identity: Identity,
        fingerprint: Fingerprint,
        change: &Change,
        wall: UnixNanos,
    ) -> u32 {
        let slot = u32::try_from(image.len() + self.draft.born.len()).expect("the bound on series is below 2^32");
        let family = self.family(image, &identity);
        self.draft.born.push(Born { fingerprint, identity, family });
        self.draft.born_at.insert(fingerprint, slot);
        self.draft.dirty.push((slot, Held::new(wall, &change.tally)));
        self.draft.place.insert(slot, self.draft.dirty.len() - 1);
        slot
    }

    fn family(&mut self, image: &Image, identity: &Identity) -> u32 {
        let family = Family::of(identity);
        let mut bytes = Vec::new();
        family.put(&mut bytes);
        if let Some(number) = self.families.get(&bytes) {
            return *number;
        }
        let at = self.draft.families.iter().position(|(known, _)| *known == bytes).unwrap_or_else(|| {
            self.draft.families.push((bytes, family));
            self.draft.families.len() - 1
        });
        u32::try_from(image.families().len() + at).expect("families are fewer than series")
    }

    /// Puts in order what was drafted, and counts it in the books.
    fn settle(&mut self, books: &mut Books) {
        // In the order of rows, neighbours share a page.
        self.draft.dirty.sort_unstable_by_key(|(slot, _)| *slot);
        self.draft.dirty.iter_mut().for_each(|(_, held)| held.commit = books.commit);
        books.series += self.draft.born.len() as u64;
        books.families += self.draft.families.len() as u64;
    }

    fn write(&mut self, store: &Store, books: &mut Books) -> Result<(), Trouble> {
        self.settle(books);
        let image = self.image.clone();
        let image = read(&image);
        self.ids.write(store, books)?;
        for (at, (_, family)) in self.draft.families.iter().enumerate() {
            store.write_family((image.families().len() + at) as u64, family)?;
        }
        for (at, born) in self.draft.born.iter().enumerate() {
            let slot = u32::try_from(image.len() + at).expect("the bound on series is below 2^32");
            store.write_series(slot, born.fingerprint, born.family, &born.identity.attributes)?;
        }
        let mut values = store.values()?;
        for (slot, held) in &self.draft.dirty {
            store.write_value(&mut values, *slot, held)?;
        }
        for (row, cursor) in &self.draft.cursors {
            store.write_cursor(*row, books.commit, cursor)?;
        }
        store.write_books(books)
    }

    /// The group is on disk: whoever looks from here on sees it.
    fn show(&mut self) -> Tallied {
        let Some(books) = self.draft.books.take() else { return Tallied::default() };
        let born: Vec<_> =
            self.draft.born.drain(..).map(|born| (born.fingerprint, self.table.intern(born.identity))).collect();
        let mut image = self.image.write().unwrap_or_else(PoisonError::into_inner);
        for (bytes, family) in self.draft.families.drain(..) {
            let number = u32::try_from(image.families().len()).expect("families are fewer than series");
            self.families.insert(bytes, number);
            image.add_family(family);
        }
        let before = image.len();
        let mut born = born.into_iter();
        // Dirty slots are in order, so those that were born stand last, in the order of their birth.
        for (slot, held) in self.draft.dirty.drain(..) {
            if (slot as usize) < before {
                image.set(slot, held);
            } else if let Some((fingerprint, series)) = born.next() {
                image.bear(fingerprint, series, held);
            }
        }
        for (row, cursor) in self.draft.cursors.drain(..) {
            image.cursors.insert(cursor.key.clone(), (row, cursor));
        }
        image.commit = books.commit;
        drop(image);
        self.ids.keep(&books);
        self.books = books;
        let tallied = self.draft.tallied;
        self.draft.clear();
        tallied
    }
}

/// The tables of a database, within a transaction.
struct Sheet<'store> {
    store: &'store Store,
    tree: Repeated<'store>,
}

impl Paper for Sheet<'_> {
    type Error = Trouble;

    fn knows(&mut self, id: Fingerprint) -> Result<bool, Trouble> {
        self.tree.knows(id)
    }

    fn spool(&mut self, number: u64, record: &[u8]) -> Result<(), Trouble> {
        self.store.write_spooled(number, record)
    }

    fn discharge(&mut self, up_to: u64) -> Result<(), Trouble> {
        self.store.discharge(up_to)
    }
}

/// Cursors of one ledger at most: one per query of a receiver, in practice.
pub(super) const CURSORS_MAX: usize = 10_000;

impl Draft {
    fn clear(&mut self) {
        self.books = None;
        self.dirty.clear();
        self.place.clear();
        self.born.clear();
        self.born_at.clear();
        self.families.clear();
        self.cursors.clear();
        self.tallied = Tallied::default();
    }
}

/// What marks an overflow series, in the words of the OpenTelemetry SDK specification ("cardinality limits").
fn overflow_attributes() -> Attributes {
    Attributes::from_pairs([("otel.metric.overflow", true)])
}

fn read(image: &SharedImage) -> RwLockReadGuard<'_, Image> {
    image.read().unwrap_or_else(PoisonError::into_inner)
}
