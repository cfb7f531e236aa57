//! The table behind the endpoint: the last value of every series, ready to be written.
//!
//! In the steady state a point costs one look-up by its series' handle and one write of 32 bytes: no allocation, no atomic. All
//! else happens at a series' first sight. Series are known by their seeded 128-bit fingerprints; handles are the fast way there.

mod admit;

use std::sync::Arc;

use pdata::prom::{Escaping, MetricNamer};
use pdata::{Metrics, Number, Point, PointFlags, PointValue};
use pipeline::{Batch, Meters, OnFailure, Payload, SourceId};

use super::cells::{ADDS, COUNTER, Cells, DEAD, DISTRIBUTION, EXEMPLARS, HELD, Place};
use super::distribution::Distribution;
use super::drops::{Drop, Drops};
use super::exemplar::Exemplars;
use super::family::Families;
use super::kin::{Kinship, NONE};
use super::kind::{Format, Update};
use super::labels::{LabelRules, LabelText};
use super::layout::{Layout, Layouts};
use super::pairs::{Pairs, Used};
use super::slots::Slots;
use super::sources::{Sources, Step};

/// How names and labels are made, and how many series there may be.
#[derive(Clone, Debug)]
pub(super) struct TableRules {
    pub(super) namer: MetricNamer,
    pub(super) labels: LabelRules,
    pub(super) max_series: usize,
    /// Seconds without a point after which a series that no receiver holds is gone; none when nothing expires.
    pub(super) expiration: Option<u32>,
    /// Whether exemplars are kept.
    pub(super) exemplars: bool,
}

impl Default for TableRules {
    fn default() -> Self {
        Self {
            namer: MetricNamer::default(),
            labels: LabelRules { scope: true, ..LabelRules::default() },
            max_series: MAX_SERIES,
            expiration: Some(300),
            exemplars: true,
        }
    }
}

/// Series at most unless the configuration says otherwise: at 400 bytes each, 800 MB.
pub(super) const MAX_SERIES: usize = 2_000_000;

/// All that the endpoint shows. One task writes, scrapes read page by page.
pub(super) struct Table {
    pub(super) rules: TableRules,
    pub(super) cells: Cells,
    pub(super) families: Families,
    pub(super) kinship: Kinship,
    pub(super) distributions: Slots<Arc<Distribution>>,
    pub(super) exemplars: Exemplars,
    pub(super) pairs: Pairs,
    pub(super) layouts: Layouts,
    pub(super) drops: Drops,
    sources: Sources,
    /// Moves on when series that were not let in may be let in now.
    generation: u32,
    /// Whether a series has ended since.
    ended: bool,
    /// Rows of ended series, in all families.
    dead: usize,
    labels: LabelText,
    text: Vec<u8>,
    ops: Vec<u8>,
}

/// A point on its way to its cell.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    metrics: &'a Metrics,
    point: &'a Point,
    source: u32,
    /// Seconds since the table was made.
    now: u32,
}

/// Rows of ended series that may wait for the next sweep, however few series live.
const DEAD_MAX: usize = 10_000;

impl Table {
    pub(super) fn new(rules: TableRules, meters: &Meters, exporter: &str) -> Self {
        Self {
            rules,
            cells: Cells::default(),
            families: Families::default(),
            kinship: Kinship::default(),
            distributions: Slots::default(),
            exemplars: Exemplars::default(),
            pairs: Pairs::new(),
            layouts: Layouts::default(),
            drops: Drops::new(meters, exporter),
            sources: Sources::default(),
            generation: 0,
            ended: false,
            dead: 0,
            labels: LabelText::default(),
            text: Vec::new(),
            ops: Vec::new(),
        }
    }

    /// Takes a batch in: at once, or, when it is a page of a collection, together with the collection's last page.
    pub(super) fn apply(&mut self, batch: &Batch, now: u32) {
        if let Payload::Metrics(metrics) = &batch.payload {
            let source = batch.collection.as_ref().and_then(|collection| self.sources.number(&collection.source));
            match batch.collection.as_ref().zip(source) {
                None => self.apply_points(metrics, NONE, now),
                Some((collection, source)) => {
                    let step = self.sources.step(source, collection, metrics, self.rules.max_series);
                    self.take_step(step, source, metrics, now);
                }
            }
        }
        self.generation = self.generation.wrapping_add(u32::from(std::mem::take(&mut self.ended)));
        // Between two sweeps a source may replace all its series many times over.
        if self.dead > DEAD_MAX.max(self.cells.live()) {
            self.tidy();
        }
        self.drops.flush();
    }

    fn take_step(&mut self, step: Step, source: u32, metrics: &Metrics, now: u32) {
        match step {
            Step::Wait => {}
            Step::Late => self.drops.add(Drop::Older, metrics.points.len() as u64),
            Step::Apply { pages } => {
                self.kinship.set_hidden(source, false);
                let pages = || pages.iter().map(|page| &**page).chain([metrics]);
                // What ends makes room for what begins, in whatever order they come.
                pages().for_each(|page| self.apply_ends(page));
                pages().for_each(|page| self.apply_points(page, source, now));
            }
            Step::Fail(OnFailure::Omit) => self.kinship.set_hidden(source, true),
            Step::Fail(OnFailure::Last | OnFailure::Fail) => {}
            Step::Void { points } => self.drops.add(Drop::Staging, points as u64),
        }
    }

    fn apply_ends(&mut self, metrics: &Metrics) {
        for point in metrics.points.iter().filter(|point| point.is_end()) {
            if let Place::Cell(cell) = self.place(metrics, point) {
                self.end(cell);
            }
        }
    }

    fn apply_points(&mut self, metrics: &Metrics, source: u32, now: u32) {
        for point in &metrics.points {
            let arrival = Arrival { metrics, point, source, now };
            match self.place(metrics, point) {
                Place::Cell(cell) if point.is_end() => self.end(cell),
                Place::Cell(cell) => self.take(cell, arrival),
                Place::Dropped(drop) => self.drops.add(drop, u64::from(!point.is_end())),
                Place::Unknown if point.is_end() => {}
                Place::Unknown => self.meet(arrival),
            }
        }
        if self.rules.exemplars && !metrics.exemplars.is_empty() {
            self.take_exemplars(metrics);
        }
    }

    fn place(&self, metrics: &Metrics, point: &Point) -> Place {
        if point.series.is_inline() {
            let fingerprint = metrics.inline()[point.series.index()].fingerprint();
            return self.cells.find(fingerprint).map_or(Place::Unknown, Place::Cell);
        }
        self.cells.place(point.series, self.generation)
    }

    /// A point of a series that has a cell.
    fn take(&mut self, place: u32, arrival: Arrival<'_>) {
        let Arrival { point, source, now, .. } = arrival;
        let cell = self.cells.cell_mut(place);
        let kin = self.kinship.get(cell.kin);
        if kin.source != source {
            let (family, target, update) = (kin.family, kin.target(), kin.update);
            let joined = self.kinship.join(family, target, source, update, false);
            self.kinship.leave(std::mem::replace(&mut cell.kin, joined));
        }
        let time = point.time.0;
        if time < cell.time && time != 0 && cell.flags & ADDS == 0 {
            return self.drops.add(Drop::Older, 1);
        }
        let taken = match (point.value.number(), cell.flags & DISTRIBUTION != 0) {
            (Some(number), false) if cell.flags & COUNTER != 0 && !counts(number) => Err(Drop::Invalid),
            (Some(number), false) if cell.flags & ADDS != 0 => {
                cell.add(number);
                Ok(())
            }
            (Some(number), false) => {
                cell.set(number);
                Ok(())
            }
            (None, true) => {
                let update = if cell.flags & ADDS != 0 { Update::Add } else { Update::Set };
                let kept = Arc::make_mut(&mut self.distributions[cell.bits as u32]);
                if kept.take(&point.value, update) { Ok(()) } else { Err(Drop::Malformed) }
            }
            _ => Err(Drop::Malformed),
        };
        match taken {
            Ok(()) => {
                cell.time = cell.time.max(time);
                cell.seen = if point.flags.has(PointFlags::HELD) { HELD } else { now };
            }
            Err(drop) => self.drops.add(drop, 1),
        }
    }

    /// A series has ended: its value is gone at once, its row at the next tidying.
    fn end(&mut self, place: u32) {
        let cell = *self.cells.cell(place);
        if cell.flags & DISTRIBUTION != 0 {
            self.distributions.remove(cell.bits as u32);
        }
        if cell.flags & EXEMPLARS != 0 {
            self.exemplars.remove(place);
        }
        let number = self.kinship.get(cell.kin).family;
        let family = &mut self.families.slots_mut()[number];
        family.live -= 1;
        family.dead += 1;
        self.dead += 1;
        if family.live == 0 {
            self.families.version += 1;
        }
        self.kinship.leave(cell.kin);
        self.cells.end(place);
        self.ended = true;
    }

    fn take_exemplars(&mut self, metrics: &Metrics) {
        for exemplar in &metrics.exemplars {
            let Some(point) = metrics.points.get(exemplar.point as usize).filter(|point| !point.is_end()) else {
                continue;
            };
            let Place::Cell(place) = self.place(metrics, point) else { continue };
            let cell = self.cells.cell_mut(place);
            let bounds = match &point.value {
                PointValue::Int(_) | PointValue::Double(_) if cell.flags & COUNTER != 0 => None,
                _ if cell.flags & DISTRIBUTION != 0 => Some(&*self.distributions[cell.bits as u32]),
                _ => continue,
            };
            if self.exemplars.put(place, exemplar, bounds, self.rules.labels.strategy) {
                cell.flags |= EXEMPLARS;
            } else {
                self.drops.add(Drop::Exemplar, 1);
            }
        }
    }

    /// Ends the series among `places` that nobody holds and that have been silent for too long.
    pub(super) fn expire(&mut self, places: std::ops::Range<u32>, now: u32) {
        let Some(expiration) = self.rules.expiration else { return };
        for place in places.start..places.end.min(self.cells.places().end) {
            let cell = self.cells.cell(place);
            if cell.flags & DEAD == 0 && cell.seen != HELD && now.saturating_sub(cell.seen) > expiration {
                self.end(place);
            }
        }
    }

    /// Takes the rows of ended series out, and families without rows; lets those try again that were not let in.
    pub(super) fn tidy(&mut self) {
        let untidy: Vec<u32> =
            self.families.slots().iter().filter(|(_, family)| family.dead > 0).map(|(number, _)| number).collect();
        for number in untidy {
            self.tidy_family(number);
        }
        if self.pairs.is_crowded() {
            let mut used = Used::none();
            self.families.slots().iter().for_each(|(_, family)| family.leaves.note(&mut used));
            self.pairs.retain(&used);
        }
        self.generation = self.generation.wrapping_add(1);
    }

    fn tidy_family(&mut self, number: u32) {
        let family = &mut self.families.slots_mut()[number];
        let cells = &self.cells;
        let dead = |place: u32| cells.cell(place).flags & DEAD != 0;
        let rows = family.leaves.as_slice().iter().flat_map(|leaf| leaf.cells().iter().copied());
        let gone: Vec<u32> = rows.filter(|place| dead(*place)).collect();
        family.leaves.retain(|place| !dead(place));
        family.dead = 0;
        self.dead -= gone.len();
        gone.into_iter().for_each(|place| self.cells.free(place));
        self.remove_family_if_empty(number);
    }

    fn remove_family_if_empty(&mut self, number: u32) {
        let family = &self.families.slots()[number];
        if family.live == 0 && family.dead == 0 {
            self.families.remove(number);
        }
    }

    /// The layout of a format and scheme. Families that cannot be shown are told of once.
    pub(super) fn layout(&mut self, format: Format, escaping: Escaping) -> Arc<Layout> {
        let targets = !self.kinship.targets().is_empty();
        let (layout, new) = self.layouts.get(&self.families, targets, format, escaping);
        for hidden in layout.hidden.iter().filter(|_| new) {
            let because_of = hidden.because_of.and_then(|other| self.families.slots().get(other));
            let other = because_of.map_or_else(|| "target_info".to_owned(), |other| other.name.to_string());
            let Some(family) = self.families.slots_mut().get_mut(hidden.family) else { continue };
            if !std::mem::replace(&mut family.told, true) {
                let word = family.kind.word(Format::OpenMetrics);
                tracing::warn!(metric = %family.name, r#type = word, because_of = %other, "a metric is not shown: its name is taken");
            }
        }
        layout
    }

    /// Whether this read of a source, or a later one, has been applied or has failed.
    pub(super) fn is_done(&self, source: &SourceId, sequence: u64) -> bool {
        self.sources.is_done(source, sequence)
    }

    /// The source whose failure fails every scrape.
    pub(super) fn failing(&self) -> Option<&SourceId> {
        self.sources.failing()
    }

    /// Bytes on the heap, as far as they can be told.
    pub(super) fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes()
            + self.families.heap_bytes()
            + self.pairs.heap_bytes()
            + self.distributions.iter().map(|(_, distribution)| distribution.heap_bytes()).sum::<usize>()
    }
}

/// Whether a number may be a counter's.
fn counts(number: Number) -> bool {
    match number {
        Number::Int(int) => int >= 0,
        Number::Double(double) => double >= 0.0,
    }
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("series", &self.cells.live()).finish_non_exhaustive()
    }
}
