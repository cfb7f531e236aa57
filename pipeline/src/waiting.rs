//! What waits in memory, folded: of the points of a cumulative series only the last is worth sending.
//!
//! The rule is that of queues on disk: a point is left out when a later one of its series has the same start time and no earlier time.
//! Gauges, deltas, summaries, points without a start time and ends of series are always kept, and what stands before the end of a series
//! or a new start is not superseded by what stands behind it.
//!
//! It is applied as batches come, by an index of the points that a later one could supersede: work for a batch is in proportion to its points,
//! however much waits. A batch is rewritten when half of it is needless, so each point is moved at most about once. What is left
//! out stays answered for: its batch's promise ends with those of the batches that say more.

use std::collections::BTreeMap;

use hashbrown::HashMap;
use pdata::{Fingerprint, Metrics, Point, Temporality, UnixNanos};
use smallvec::SmallVec;

use crate::batch::{Batch, Payload};
use crate::inbox::Queued;
use crate::meter::{Count, Meters};
use crate::receipt::Verdict;

/// The batches that wait, and which of their points could still be superseded.
pub(crate) struct Waiting {
    /// By the order in which they came.
    held: BTreeMap<u64, Held>,
    next: u64,
    lines: HashMap<Fingerprint, Line>,
    counts: Folds,
}

/// What is counted of folding.
#[derive(Clone, Debug, Default)]
pub(crate) struct Folds {
    left_out: Count,
    passed_over: Count,
}

struct Held {
    queued: Queued,
    /// By point; empty while all are needed.
    gone: Vec<bool>,
    /// Points that are needed.
    left: usize,
    /// The last batch that answers for it too.
    tied_to: u64,
}

/// Of one series: the points since its last start or end of which a later one could supersede each, with falling times.
struct Line {
    start: UnixNanos,
    places: SmallVec<[Place; 1]>,
}

#[derive(Clone, Copy)]
struct Place {
    batch: u64,
    point: u32,
    time: UnixNanos,
}

/// Series of which it is known what waits. Points of others are kept, and counted.
const SERIES_MAX: usize = 1 << 20;
/// Points of one series that came with falling times and are still known; what came before those is kept.
const LATE_MAX: usize = 8;

impl Folds {
    pub(crate) fn new(meters: &Meters, exporter: &str) -> Self {
        let count = |name, about| meters.count(name, about, "{items}", vec![("exporter", exporter.to_owned())]);
        Self {
            left_out: count("weir_queue_folded_items", "Points that a newer one in the queue superseded."),
            passed_over: count(
                "weir_queue_unfolded_items",
                "Points that a fold passed over, since more series wait than it may know.",
            ),
        }
    }
}

impl Waiting {
    pub(crate) fn new(counts: Folds) -> Self {
        Self { held: BTreeMap::new(), next: 1, lines: HashMap::new(), counts }
    }

    /// Puts a batch behind all others, and leaves out of those what it makes needless.
    pub(crate) fn push(&mut self, queued: Queued) {
        let number = self.next;
        self.next += 1;
        let payload = queued.batch().payload.clone();
        let left = queued.batch().items();
        self.held.insert(number, Held { queued, gone: Vec::new(), left, tied_to: 0 });
        let Payload::Metrics(metrics) = payload else { return };
        let mut superseded = Vec::new();
        for (index, point) in (0..).zip(&metrics.points) {
            self.meet(&metrics, point, number, index, &mut superseded);
        }
        // A second owner would have its points copied when they are changed.
        drop(metrics);
        self.leave_out(number, &superseded);
    }

    /// The oldest batch, without what newer ones have made needless.
    pub(crate) fn pop(&mut self) -> Option<Batch> {
        let (number, mut held) = self.held.pop_first()?;
        held.squeeze();
        let batch = held.queued.into_batch();
        if let Payload::Metrics(metrics) = &batch.payload {
            for point in &metrics.points {
                self.forget(metrics, point, number);
            }
        }
        Some(batch)
    }

    /// Notes one point of the newest batch, and what it supersedes.
    fn meet(&mut self, metrics: &Metrics, point: &Point, batch: u64, index: u32, superseded: &mut Vec<Place>) {
        let Some(fingerprint) = cumulative(metrics, point) else { return };
        if point.is_end() {
            self.lines.remove(&fingerprint);
            return;
        }
        if self.lines.len() >= SERIES_MAX && !self.lines.contains_key(&fingerprint) {
            self.counts.passed_over.add(1);
            return;
        }
        let line =
            self.lines.entry(fingerprint).or_insert_with(|| Line { start: point.start, places: SmallVec::new() });
        if line.start != point.start {
            (line.start, line.places) = (point.start, SmallVec::new());
        }
        while let Some(last) = line.places.last().copied().filter(|last| last.time <= point.time) {
            line.places.pop();
            superseded.push(last);
        }
        if line.places.len() == LATE_MAX {
            line.places.remove(0);
        }
        line.places.push(Place { batch, point: index, time: point.time });
    }

    /// Leaves points out whose batches the newest one answers for from now on.
    fn leave_out(&mut self, newest: u64, superseded: &[Place]) {
        self.counts.left_out.add(superseded.len() as u64);
        let Some(mut newer) = self.held.remove(&newest) else { return };
        let mut touched = Vec::new();
        for place in superseded {
            let held = match place.batch {
                same if same == newest => &mut newer,
                other => self.held.get_mut(&other).expect("the index names what waits"),
            };
            held.leave_out(place.point);
            if held.tied_to != newest {
                held.tied_to = newest;
                touched.push(place.batch);
            }
        }
        for number in touched {
            if number == newest {
                newer.squeeze_if_it_pays(newest, &mut self.lines);
                continue;
            }
            let Some(older) = self.held.get_mut(&number) else { continue };
            newer.queued.batch_mut().stand_for(older.queued.batch());
            if older.left > 0 {
                older.squeeze_if_it_pays(number, &mut self.lines);
            } else if let Some(older) = self.held.remove(&number) {
                // Nothing is left to be said for it; those that stand for it have the last word.
                older.queued.into_batch().settle(Verdict::Delivered);
            }
        }
        self.held.insert(newest, newer);
    }

    /// A point that is taken out cannot be superseded any more.
    fn forget(&mut self, metrics: &Metrics, point: &Point, batch: u64) {
        let Some(fingerprint) = cumulative(metrics, point) else { return };
        let Some(line) = self.lines.get_mut(&fingerprint) else { return };
        line.places.retain(|place| place.batch != batch);
        if line.places.is_empty() {
            self.lines.remove(&fingerprint);
        }
    }
}

impl Held {
    fn leave_out(&mut self, point: u32) {
        if self.gone.is_empty() {
            self.gone = vec![false; self.left];
        }
        self.gone[point as usize] = true;
        self.left -= 1;
    }

    /// Rewrites it when half of it is needless, and tells the index where its points stand now.
    fn squeeze_if_it_pays(&mut self, number: u64, lines: &mut HashMap<Fingerprint, Line>) {
        if self.left * 2 > self.gone.len() {
            return;
        }
        let gone = std::mem::take(&mut self.gone);
        let Some(metrics) = self.queued.batch().metrics() else { return };
        let mut now = 0;
        for (before, point) in (0_u32..).zip(&metrics.points) {
            if gone[before as usize] {
                continue;
            }
            let line = cumulative(metrics, point).and_then(|fingerprint| lines.get_mut(&fingerprint));
            let mut places = line.into_iter().flat_map(|line| &mut line.places);
            if let Some(place) = places.find(|place| place.batch == number && place.point == before) {
                place.point = now;
            }
            now += 1;
        }
        self.gone = gone;
        self.squeeze();
    }

    /// Rewrites it without what is needless.
    fn squeeze(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        if gone.is_empty() {
            return;
        }
        let kept: Vec<_> = gone.into_iter().map(|gone| !gone).collect();
        if let Some(metrics) = self.queued.batch().metrics() {
            let less = metrics.only(&kept);
            self.queued.shrink(less);
        }
    }
}

/// Of which series it is a point, when a later one can say all that it says.
fn cumulative(metrics: &Metrics, point: &Point) -> Option<Fingerprint> {
    if point.start == UnixNanos::UNSET {
        return None;
    }
    let series = metrics.series(point.series);
    (series.metric().kind.temporality() == Some(Temporality::Cumulative)).then(|| series.fingerprint())
}

#[cfg(test)]
mod tests;
