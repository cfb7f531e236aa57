//! The series that a source holds: one place each, with what the read in progress has found for it.

use std::sync::Arc;

use hashbrown::HashTable;
use pdata::{Fingerprint, Identity, Series, SeriesId, SeriesTable, UnixNanos};

use super::tally::Tally;

/// The places of a source's series.
///
/// A record finds its place by the 128-bit keyed fingerprint of its key cells: equal fingerprints are taken for equal keys, which
/// fails once in 2^128 pairs. Most results come in the same order every time, so the place after the last one is tried before the
/// table is asked.
pub(super) struct Held {
    places: Vec<Place>,
    free: Vec<u32>,
    keys: HashTable<u32>,
    /// By series: unequal key cells may make one identity (the number 1 and the text '1', text with unequal bad UTF-8).
    identities: HashTable<u32>,
    /// Further keys of places, from such cells.
    aliases: HashTable<Alias>,
    next: usize,
    read: u32,
    counts: HeldCounts,
}

/// One series.
pub(super) struct Place {
    key: Fingerprint,
    /// `None` in a free place.
    series: Option<Series>,
    /// Beside the series so that making a point does not follow the pointer.
    id: Option<SeriesId>,
    pub(super) tally: Tally,
    pub(super) time: UnixNanos,
    pub(super) start: UnixNanos,
    /// The read that saw it last.
    seen: u32,
    /// Whether it was part of the last successful read, so that its end must be told.
    live: bool,
}

/// How many series a read has seen, and how many the last successful one had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldCounts {
    pub(super) seen: usize,
    live: usize,
    seen_live: usize,
}

struct Alias {
    key: Fingerprint,
    place: u32,
}

/// Aliases that are kept above the number of places; past it they are found again through their identity.
const ALIASES_SPARE: usize = 1024;

impl Held {
    pub(super) fn new() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            keys: HashTable::new(),
            identities: HashTable::new(),
            aliases: HashTable::new(),
            next: 0,
            read: 0,
            counts: HeldCounts::default(),
        }
    }

    /// Begins a read: nothing is seen yet.
    pub(super) fn begin(&mut self) {
        // 0 stands for "never": after 2^32 reads a place would have to be unseen for as long to be mistaken.
        self.read = self.read.wrapping_add(1).max(1);
        self.next = 0;
        self.counts = HeldCounts { seen: 0, seen_live: 0, ..self.counts };
    }

    /// The place of a key, if it has one.
    pub(super) fn find(&mut self, key: Fingerprint) -> Option<usize> {
        if let Some(place) = self.places.get(self.next)
            && place.key == key
            && place.series.is_some()
        {
            self.next += 1;
            return Some(self.next - 1);
        }
        let places = &self.places;
        let found = self.keys.find(key.low(), |place| places[*place as usize].key == key).copied();
        let found =
            found.or_else(|| self.aliases.find(key.low(), |alias| alias.key == key).map(|alias| alias.place))?;
        self.next = found as usize + 1;
        Some(found as usize)
    }

    /// A place for a key that has none: the place of its identity, or a new one.
    #[cold]
    pub(super) fn insert(&mut self, key: Fingerprint, identity: Identity, table: &SeriesTable) -> usize {
        let series = table.intern(identity);
        let fingerprint = series.fingerprint();
        let places = &self.places;
        let is_same = |place: &u32| places[*place as usize].fingerprint() == fingerprint;
        if let Some(known) = self.identities.find(fingerprint.low(), is_same).copied() {
            self.aliases.insert_unique(key.low(), Alias { key, place: known }, |alias| alias.key.low());
            return known as usize;
        }
        let place = Place {
            key,
            id: series.id(),
            series: Some(series),
            tally: Tally::Int(0),
            time: UnixNanos::UNSET,
            start: UnixNanos::UNSET,
            seen: 0,
            live: false,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.places[index as usize] = place;
                index
            }
            None => {
                self.places.push(place);
                u32::try_from(self.places.len() - 1).expect("max_rows bounds the series of a source below 2^32")
            }
        };
        let places = &self.places;
        self.keys.insert_unique(key.low(), index, |place| places[*place as usize].key.low());
        self.identities.insert_unique(fingerprint.low(), index, |place| places[*place as usize].fingerprint().low());
        self.next = index as usize + 1;
        index as usize
    }

    pub(super) fn place(&mut self, index: usize) -> &mut Place {
        &mut self.places[index]
    }

    pub(super) fn is_seen(&self, index: usize) -> bool {
        self.places[index].seen == self.read
    }

    /// Marks a place as seen by this read.
    pub(super) fn see(&mut self, index: usize) {
        let place = &mut self.places[index];
        place.seen = self.read;
        self.counts.seen += 1;
        self.counts.seen_live += usize::from(place.live);
    }

    /// Takes that back.
    pub(super) fn unsee(&mut self, index: usize) {
        let place = &mut self.places[index];
        if place.seen == self.read {
            place.seen = 0;
            self.counts.seen -= 1;
            self.counts.seen_live -= usize::from(place.live);
        }
    }

    /// Series that this read has seen.
    pub(super) fn seen(&self) -> usize {
        self.counts.seen
    }

    /// Series of the last successful read that this one has not seen.
    pub(super) fn gone(&self) -> usize {
        self.counts.live - self.counts.seen_live
    }

    /// The next seen place at or after `from`.
    pub(super) fn next_seen(&self, from: usize) -> Option<(usize, &Place)> {
        self.next_where(from, |place| place.seen == self.read)
    }

    /// The next place at or after `from` whose series is gone.
    pub(super) fn next_gone(&self, from: usize) -> Option<(usize, &Place)> {
        self.next_where(from, |place| place.live && place.seen != self.read)
    }

    fn next_where(&self, from: usize, wanted: impl Fn(&Place) -> bool) -> Option<(usize, &Place)> {
        let rest = self.places.get(from..)?;
        let offset = rest.iter().position(|place| place.series.is_some() && wanted(place))?;
        Some((from + offset, &rest[offset]))
    }

    /// Ends a successful read: what was seen is live, the rest is let go.
    pub(super) fn commit(&mut self) {
        let dead = self.places.len() - self.free.len() - self.counts.seen;
        for index in 0..self.places.len() {
            let place = &mut self.places[index];
            place.live = place.seen == self.read && place.series.is_some();
            if dead > 0 && !place.live {
                self.free(index);
            }
        }
        self.counts.live = self.counts.seen;
        if self.aliases.len() > self.places.len() - self.free.len() + ALIASES_SPARE {
            self.aliases.clear();
        }
    }

    fn free(&mut self, index: usize) {
        let place = &mut self.places[index];
        let Some(series) = place.series.take() else { return };
        let (key, fingerprint) = (place.key, series.fingerprint());
        place.seen = 0;
        place.tally = Tally::Int(0);
        let number = index as u32;
        for (table, hash) in [(&mut self.keys, key.low()), (&mut self.identities, fingerprint.low())] {
            if let Ok(entry) = table.find_entry(hash, |candidate| *candidate == number) {
                entry.remove();
            }
        }
        if !self.aliases.is_empty() {
            self.aliases.retain(|alias| alias.place != number);
        }
        self.free.push(number);
    }
}

impl Place {
    pub(super) fn series(&self) -> &Series {
        self.series.as_ref().expect("only taken places are walked")
    }

    pub(super) fn id(&self) -> Option<SeriesId> {
        self.id
    }

    fn fingerprint(&self) -> Fingerprint {
        self.series.as_ref().map_or(Fingerprint::default(), Series::fingerprint)
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("places", &self.places.len()).field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The origins of a source's series: few, shared by many series, found by their resource.
#[derive(Debug, Default)]
pub(super) struct Origins(Vec<Arc<pdata::Origin>>);

/// Origins that are shared; past it each series has its own. A scan at first sights only.
const ORIGINS_MAX: usize = 256;

impl Origins {
    pub(super) fn of(&mut self, resource: pdata::Attributes) -> Arc<pdata::Origin> {
        if let Some(known) = self.0.iter().find(|origin| origin.resource == resource) {
            return known.clone();
        }
        let origin = Arc::new(pdata::Origin { resource, ..pdata::Origin::default() });
        if self.0.len() >= ORIGINS_MAX {
            self.0.retain(|origin| Arc::strong_count(origin) > 1);
        }
        if self.0.len() < ORIGINS_MAX {
            self.0.push(origin.clone());
        }
        origin
    }
}
