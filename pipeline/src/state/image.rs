//! All series of a ledger in memory: what the disk holds, and what scrapes read.
//!
//! Pages of values are shared with snapshots and copied only when they change while a snapshot lives, so a scrape of a million
//! series takes a list of pointers and holds nobody back.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hashbrown::{HashMap, HashTable};
use pdata::{
    AttributesBuilder, Fingerprint, Identity, Metric, Metrics, Point, PointFlags, Series, SeriesTable, UnixNanos,
};

use super::codec::Family;
use super::entry::Cursor;
use super::held::{Held, Standing};

/// All series, by slot. Row `slot + 1` on disk is the same series.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// The last commit that it shows.
    pub(super) commit: u64,
    pub(super) cursors: Cursors,
    families: Arc<Vec<Arc<Family>>>,
    names: Vec<Arc<Vec<Name>>>,
    values: Vec<Arc<Vec<Held>>>,
    fingerprints: Vec<Fingerprint>,
    index: HashTable<u32>,
}

/// Cursors by key, with their rows.
pub(super) type Cursors = HashMap<Box<str>, (u64, Cursor)>;

/// Shared by the committer, which alone writes, and by whoever reads.
pub(super) type SharedImage = Arc<RwLock<Image>>;

/// The series of a ledger as they stood after one commit. Cheap; takes no lock while it is read.
#[derive(Debug)]
pub struct Snapshot {
    table: Arc<SeriesTable>,
    commit: u64,
    families: Arc<Vec<Arc<Family>>>,
    names: Vec<Arc<Vec<Name>>>,
    values: Vec<Arc<Vec<Held>>>,
}

/// Values by slot, in pages.
#[derive(Debug, Default)]
pub(super) struct Values(Vec<Arc<Vec<Held>>>);

/// Who a series is. Read from disk it stays packed until somebody asks.
#[derive(Debug)]
struct Name(Mutex<Told>);

#[derive(Clone, Debug)]
enum Told {
    Packed { family: u32, values: Box<[u8]> },
    Known(Series),
}

/// Series a page. A page is copied when it changes under a snapshot: 6 KiB of values.
const PAGE: usize = 128;

impl Image {
    pub(super) fn with_capacity(series: usize) -> Self {
        Self {
            names: Vec::with_capacity(series / PAGE + 1),
            values: Vec::with_capacity(series / PAGE + 1),
            fingerprints: Vec::with_capacity(series),
            index: HashTable::with_capacity(series),
            ..Self::default()
        }
    }

    pub(super) fn len(&self) -> usize {
        self.fingerprints.len()
    }

    pub(super) fn slot(&self, fingerprint: Fingerprint) -> Option<u32> {
        self.index.find(fingerprint.low(), |slot| self.fingerprints[*slot as usize] == fingerprint).copied()
    }

    pub(super) fn held(&self, slot: u32) -> &Held {
        &self.values[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub(super) fn set(&mut self, slot: u32, held: Held) {
        Arc::make_mut(&mut self.values[slot as usize / PAGE])[slot as usize % PAGE] = held;
    }

    pub(super) fn families(&self) -> &Arc<Vec<Arc<Family>>> {
        &self.families
    }

    pub(super) fn add_family(&mut self, family: Family) {
        Arc::make_mut(&mut self.families).push(Arc::new(family));
    }

    /// Adds the name of a series that was read from disk; all values follow at once.
    pub(super) fn load_name(&mut self, fingerprint: Fingerprint, family: u32, values: &[u8]) {
        self.push_name(fingerprint, Told::Packed { family, values: values.into() });
    }

    /// Takes the values of all names that were read.
    pub(super) fn load_values(&mut self, values: Values) {
        debug_assert_eq!(values.0.iter().map(|page| page.len()).sum::<usize>(), self.len());
        self.values = values.0;
    }

    /// Gives a metric the description that it has by now. Not written: who configures it says so at each start.
    pub(super) fn describe(&mut self, metric: &Arc<Metric>) {
        let same = |known: &Metric| {
            (&known.name, &known.unit, known.kind, known.hint) == (&metric.name, &metric.unit, metric.kind, metric.hint)
        };
        for family in Arc::make_mut(&mut self.families) {
            if same(&family.metric) {
                Arc::make_mut(family).metric = metric.clone();
            }
        }
    }

    /// Adds a series that an event brought.
    pub(super) fn bear(&mut self, fingerprint: Fingerprint, series: Series, held: Held) {
        self.push_name(fingerprint, Told::Known(series));
        let mut values = Values(std::mem::take(&mut self.values));
        values.push(held);
        self.values = values.0;
    }

    fn push_name(&mut self, fingerprint: Fingerprint, told: Told) {
        let slot = u32::try_from(self.len()).expect("the bound on series is below 2^32");
        if self.len().is_multiple_of(PAGE) {
            self.names.push(Arc::new(Vec::with_capacity(PAGE)));
        }
        Arc::make_mut(&mut self.names[slot as usize / PAGE]).push(Name(Mutex::new(told)));
        self.fingerprints.push(fingerprint);
        let fingerprints = &self.fingerprints;
        self.index.insert_unique(fingerprint.low(), slot, |slot| fingerprints[*slot as usize].low());
    }

    pub(super) fn snapshot(&self, table: &Arc<SeriesTable>) -> Snapshot {
        Snapshot {
            table: table.clone(),
            commit: self.commit,
            families: self.families.clone(),
            names: self.names.clone(),
            values: self.values.clone(),
        }
    }

    /// The packed form of every series, for writing a new file.
    pub(super) fn packed(&self) -> impl Iterator<Item = (Fingerprint, Identity, &Held)> {
        let mut builder = AttributesBuilder::default();
        let names = self.names.iter().flat_map(|page| page.iter());
        let held = self.values.iter().flat_map(|page| page.iter());
        names
            .zip(held)
            .zip(&self.fingerprints)
            .map(move |((name, held), fingerprint)| (*fingerprint, name.identity(&self.families, &mut builder), held))
    }
}

impl Values {
    pub(super) fn push(&mut self, held: Held) {
        match self.0.last_mut().filter(|page| page.len() < PAGE) {
            Some(page) => Arc::make_mut(page).push(held),
            None => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(held);
                self.0.push(Arc::new(page));
            }
        }
    }
}

impl Snapshot {
    /// The last commit that it shows. Grows with every group; 0 before the first.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.commit
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.iter().map(|page| page.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// All series with when their streams began and where they stand.
    pub fn series(&self) -> impl Iterator<Item = (Series, UnixNanos, &Standing)> {
        self.changed_since(0).map(|(series, held)| (series, held.start, &held.standing))
    }

    /// All series as points of time `now`, at most `page` points a batch. They are marked as held: a quiet counter does not
    /// expire. At start this emits every series there is.
    pub fn points(&self, now: UnixNanos, page: usize) -> impl Iterator<Item = Metrics> {
        self.points_since(0, now, page)
    }

    /// The same for the series that changed after `commit`: for who emits after each commit.
    pub fn points_since(&self, commit: u64, now: UnixNanos, page: usize) -> impl Iterator<Item = Metrics> {
        let mut changed = self.changed_since(commit).peekable();
        std::iter::from_fn(move || {
            changed.peek()?;
            let mut metrics = Metrics::new(self.table.pin());
            for (series, held) in changed.by_ref().take(page.max(1)) {
                let point = held.point(metrics.adopt(&series), now);
                metrics.points.push(point);
            }
            Some(metrics)
        })
    }

    fn changed_since(&self, commit: u64) -> impl Iterator<Item = (Series, &Held)> {
        let mut builder = AttributesBuilder::default();
        let pages = self.names.iter().zip(&self.values);
        pages
            .flat_map(|(names, values)| names.iter().zip(values.iter()))
            .filter(move |(_, held)| commit == 0 || held.commit > commit)
            .map(move |(name, held)| (name.series(&self.families, &self.table, &mut builder), held))
    }
}

impl Held {
    fn point(&self, series: pdata::SeriesId, now: UnixNanos) -> Point {
        let start = if self.standing.is_gauge() { UnixNanos::UNSET } else { self.start };
        // A clock that was set back must not put a point before its own beginning.
        let time = now.max(start);
        Point { series, start, time, value: self.standing.value(), flags: PointFlags::HELD }
    }
}

impl Name {
    /// The series; interned and kept at the first question.
    fn series(&self, families: &[Arc<Family>], table: &SeriesTable, builder: &mut AttributesBuilder) -> Series {
        let mut told = self.lock();
        match &*told {
            Told::Known(series) => series.clone(),
            Told::Packed { family, values } => {
                let series = table.intern(unpack(families, *family, values, builder));
                *told = Told::Known(series.clone());
                series
            }
        }
    }

    fn identity(&self, families: &[Arc<Family>], builder: &mut AttributesBuilder) -> Identity {
        match &*self.lock() {
            Told::Known(series) => series.identity().clone(),
            Told::Packed { family, values } => unpack(families, *family, values, builder),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for Name {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.lock().clone()))
    }
}

fn unpack(families: &[Arc<Family>], family: u32, values: &[u8], builder: &mut AttributesBuilder) -> Identity {
    // A row with a sound check was written by us; one that still does not unpack shows as a series without attributes.
    let family = &families[family as usize];
    family.identity(values, builder).unwrap_or_else(|| Identity {
        origin: family.origin.clone(),
        metric: family.metric.clone(),
        attributes: pdata::Attributes::empty(),
    })
}
