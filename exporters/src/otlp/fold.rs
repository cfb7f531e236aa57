//! Metrics that wait, folded: of the points of a cumulative series only the last is worth sending.
//!
//! A cumulative point says all that the ones before it said, as long as the stream has not begun anew in between. So a point is left out
//! when a later one of its series has the same start time and no earlier time. Gauges (each value is news), deltas (each is an
//! addition), summaries, points without a start time (nobody could see a reset) and ends of series are always kept, and what stands
//! before the end of a series is not superseded by what stands behind it.
//!
//! It is done twice: to what waits on disk, batch by batch from the newest to the oldest, and to what is taken from there to be sent,
//! which becomes one request.

use std::collections::HashMap;
use std::sync::Arc;

use pdata::otlp::MetricsDecoder;
use pdata::{Fingerprint, Limits, Metrics, Point, Seed, SeriesTable, Temporality, UnixNanos};
use pipeline::spool::{Sieve, Sifted, Stored};
use pipeline::{BuildContext, Count, Payload};

use super::pack::{Packer, unpacked};
use crate::delivery::{Bundle, Fold};

/// Folds what one exporter has waiting.
pub(super) struct Folding {
    /// Of its own, and bounded by what it is for: series here are known while they wait.
    table: Arc<SeriesTable>,
    decoder: MetricsDecoder,
    /// Of its own too: it remembers series by the ids of that table.
    packer: Packer,
    /// Points of series beyond [`SERIES_MAX`].
    unknown: Count,
}

/// One fold of what waits on disk.
struct Sifting {
    folding: Arc<Folding>,
    newest: Newest,
}

/// The newest point that was met of each series, going backwards.
#[derive(Default)]
struct Newest {
    series: HashMap<Fingerprint, (UnixNanos, UnixNanos)>,
    /// Points of series that found no place.
    unknown: u64,
}

/// Series of which one fold knows the newest point: 80 MiB while it runs. Points of others are kept, and counted.
const SERIES_MAX: usize = 1 << 20;
/// What the table of series may take between folds; past it a series is decoded whole for each point.
const TABLE: Limits = Limits { series: 1 << 18, bytes: 64 << 20, sights: 1 << 16, idle_epochs: 2 };

impl Folding {
    pub(super) fn new(packer: Packer, context: &BuildContext) -> Self {
        let table = SeriesTable::new(Seed::random(), TABLE);
        let unknown = context.meters.count(
            "weir_queue_unfolded_items",
            "Points that a fold passed over, since more series wait than it may know.",
            "{items}",
            vec![("exporter", context.id.to_string())],
        );
        Self { decoder: MetricsDecoder::new(table.clone()), table, packer, unknown }
    }

    /// Forgets series that left.
    pub(super) fn turn(&self) {
        self.decoder.turn();
        self.table.sweep();
    }

    fn decode(&self, stored: &Stored) -> Option<Metrics> {
        let body = unpacked(&stored.body, stored.encoding).ok()?;
        let decoded = self.decoder.decode(&body).ok()?;
        // What cannot be read here may still be what the destination wants.
        (decoded.rejected == 0 && decoded.data.points.len() as u64 == stored.items).then_some(decoded.data)
    }
}

impl Fold for Folding {
    /// None also when one of them cannot be read: then they are sent as they are.
    fn join(&self, run: &[Stored]) -> Option<Bundle> {
        // Taken before anything is decoded, so that it outlives every slot that is named below.
        let pin = self.table.pin();
        let decoded = run.iter().map(|stored| self.decode(stored)).collect::<Option<Vec<_>>>()?;
        let mut newest = Newest::default();
        let mut kept: Vec<Vec<bool>> = decoded.iter().rev().map(|metrics| newest.sift(metrics)).collect();
        kept.reverse();
        let items = kept.iter().flatten().filter(|kept| **kept).count() as u64;
        let before: u64 = run.iter().map(|stored| stored.items).sum();
        if items == before {
            return None;
        }
        let mut out = Metrics::new(pin);
        let mut inline = HashMap::new();
        for (metrics, kept) in decoded.iter().zip(&kept) {
            join(&mut out, metrics, kept, &mut inline);
        }
        let body = self.packer.pack_bare(&Payload::from(out)).ok()?;
        let (first, last) = (run.first()?, run.last()?);
        let stored =
            Stored { seq: last.seq, time: first.time, encoding: self.packer.encoding(), items, body, ..last.clone() };
        Some(Bundle { stored, seqs: run.iter().map(|stored| stored.seq).collect(), folded: before - items })
    }

    fn sieve(self: Arc<Self>) -> Box<dyn Sieve> {
        Box::new(Sifting { folding: self, newest: Newest::default() })
    }
}

impl Sieve for Sifting {
    fn sift(&mut self, stored: &Stored) -> Sifted {
        if stored.signal != config::Signal::Metrics {
            return Sifted::Whole;
        }
        let Some(metrics) = self.folding.decode(stored) else {
            self.gap();
            return Sifted::Whole;
        };
        let kept = self.newest.sift(&metrics);
        let items = kept.iter().filter(|kept| **kept).count() as u64;
        if items == stored.items {
            return Sifted::Whole;
        }
        if items == 0 {
            return Sifted::Nothing;
        }
        // What was stored cannot be too large to be stored again.
        let packed = self.folding.packer.pack_bare(&Payload::from(metrics.only(&kept)));
        packed.map_or(Sifted::Whole, |body| Sifted::Part { encoding: self.folding.packer.encoding(), items, body })
    }

    /// It may hold the end of any series.
    fn gap(&mut self) {
        self.newest.series.clear();
    }
}

impl Drop for Sifting {
    fn drop(&mut self) {
        self.folding.unknown.add(self.newest.unknown);
    }
}

impl Newest {
    /// Which points of a batch are kept, of which everything newer has been looked at.
    fn sift(&mut self, metrics: &Metrics) -> Vec<bool> {
        let mut kept: Vec<_> = metrics.points.iter().rev().map(|point| self.keeps(metrics, point)).collect();
        kept.reverse();
        kept
    }

    fn keeps(&mut self, metrics: &Metrics, point: &Point) -> bool {
        let series = metrics.series(point.series);
        if series.metric().kind.temporality() != Some(Temporality::Cumulative) || point.start == UnixNanos::UNSET {
            return true;
        }
        let fingerprint = series.fingerprint();
        if point.is_end() {
            self.series.remove(&fingerprint);
            return true;
        }
        let known = self.series.get(&fingerprint);
        let superseded = known.is_some_and(|(start, time)| *start == point.start && *time >= point.time);
        match (superseded, known.is_some() || self.series.len() < SERIES_MAX) {
            (true, _) => return false,
            (false, true) => drop(self.series.insert(fingerprint, (point.start, point.time))),
            (false, false) => self.unknown += 1,
        }
        true
    }
}

fn join(out: &mut Metrics, metrics: &Metrics, kept: &[bool], inline: &mut HashMap<Fingerprint, pdata::SeriesId>) {
    let mut places = Vec::with_capacity(kept.len());
    for (point, kept) in metrics.points.iter().zip(kept) {
        places.push(kept.then_some(out.points.len() as u32));
        if !kept {
            continue;
        }
        let series = metrics.series(point.series);
        let id = match series.id() {
            Some(id) => id,
            None => *inline.entry(series.fingerprint()).or_insert_with(|| out.adopt(&series)),
        };
        out.points.push(Point { series: id, ..point.clone() });
    }
    for exemplar in &metrics.exemplars {
        if let Some(point) = places.get(exemplar.point as usize).copied().flatten() {
            out.exemplars.push(pdata::Exemplar { point, ..exemplar.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use pdata::{Kind, Number, PointFlags};
    use pipeline::spool::Encoding;
    use pipeline::testing::identity;

    use super::super::pack::{Compression, CompressionParams, Form};
    use super::*;

    const COUNTER: Kind = Kind::COUNTER;
    const DELTA: Kind = Kind::Sum { monotonic: true, temporality: Temporality::Delta };

    /// Name, kind, start, time, value; a negative value ends the series.
    type Line = (&'static str, Kind, u64, u64, i64);

    fn folding() -> Arc<Folding> {
        let packer = Packer::new(Compression::Gzip, &CompressionParams::default(), Form::Protobuf).unwrap();
        Arc::new(Folding::new(packer, &pipeline::testing::context("otlp_http")))
    }

    fn stored(folding: &Folding, seq: u64, lines: &[Line]) -> Stored {
        let table = SeriesTable::with_defaults();
        let mut metrics = Metrics::new(table.pin());
        for (name, kind, start, time, value) in lines {
            let series = table.intern(identity(name, *kind, &[]));
            let id = metrics.adopt(&series);
            let flags = if *value < 0 { PointFlags::NO_RECORDED_VALUE } else { PointFlags::empty() };
            metrics.points.push(Point {
                series: id,
                start: UnixNanos(*start),
                time: UnixNanos(*time),
                value: Number::Int((*value).max(0)).into(),
                flags,
            });
        }
        let packer = folding.packer.twin().unwrap();
        let body = packer.pack_bare(&Payload::from(metrics)).unwrap();
        let (items, signal) = (lines.len() as u64, config::Signal::Metrics);
        Stored { seq, time: seq, signal, encoding: Encoding::Gzip, items, note: String::new(), body }
    }

    /// The points of each series after a fold, in their order, and how many were left out. Sifted one by one the same are left.
    fn fold(batches: &[&[Line]]) -> Option<(Vec<(String, u64)>, u64)> {
        let folding = folding();
        let run: Vec<_> = (1..).zip(batches).map(|(seq, lines)| stored(&folding, seq, lines)).collect();
        let mut sifted: Vec<_> = sift(&folding, &run).iter().flat_map(|stored| lines(&folding, stored)).collect();
        let Some(bundle) = folding.join(&run) else {
            assert_eq!(sifted.len(), batches.iter().map(|lines| lines.len()).sum::<usize>());
            return None;
        };
        assert_eq!(bundle.seqs, (1..=run.len() as u64).collect::<Vec<_>>());
        let mut joined = lines(&folding, &bundle.stored);
        // A request nests points by metric.
        sifted.sort();
        joined.sort();
        assert_eq!(sifted, joined);
        Some((joined, bundle.folded))
    }

    fn lines(folding: &Folding, stored: &Stored) -> Vec<(String, u64)> {
        let metrics = folding.decode(stored).unwrap();
        let line = |point: &Point| (metrics.series(point.series).metric().name.to_string(), point.time.0);
        metrics.points.iter().map(line).collect()
    }

    fn sift(folding: &Arc<Folding>, run: &[Stored]) -> Vec<Stored> {
        let mut sieve = folding.clone().sieve();
        let mut left = Vec::new();
        for stored in run.iter().rev() {
            match sieve.sift(stored) {
                Sifted::Whole => left.insert(0, stored.clone()),
                Sifted::Part { encoding, items, body } => {
                    left.insert(0, Stored { encoding, items, body, ..stored.clone() });
                }
                Sifted::Nothing => {}
            }
        }
        left
    }

    fn named(lines: &[(&str, u64)]) -> Vec<(String, u64)> {
        lines.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect()
    }

    #[test]
    fn of_a_cumulative_series_the_last_point_is_left() {
        let found = fold(&[
            &[("a", COUNTER, 1, 10, 5), ("b", COUNTER, 1, 10, 5)],
            &[("a", COUNTER, 1, 20, 6)],
            &[("a", COUNTER, 1, 30, 7), ("b", COUNTER, 1, 30, 8)],
        ]);
        assert_eq!(found, Some((named(&[("a", 30), ("b", 30)]), 3)));
    }

    #[test]
    fn a_stream_that_began_anew_keeps_its_last_point_from_before() {
        let found = fold(&[
            &[("a", COUNTER, 1, 10, 5)],
            &[("a", COUNTER, 1, 20, 9)],
            &[("a", COUNTER, 25, 30, 1)],
            &[("a", COUNTER, 25, 40, 2)],
        ]);
        assert_eq!(found, Some((named(&[("a", 20), ("a", 40)]), 2)));
    }

    #[test]
    fn an_end_is_kept_and_so_is_the_last_value_before_it() {
        let found = fold(&[
            &[("a", COUNTER, 1, 10, 5)],
            &[("a", COUNTER, 1, 20, 9)],
            &[("a", COUNTER, 1, 30, -1)],
            &[("a", COUNTER, 1, 40, 9)],
        ]);
        assert_eq!(found, Some((named(&[("a", 20), ("a", 30), ("a", 40)]), 1)));
    }

    #[test]
    fn gauges_deltas_points_without_a_start_and_late_points_are_never_left_out() {
        let lines: [&[Line]; 2] = [
            &[("g", Kind::Gauge, 1, 10, 5), ("d", DELTA, 1, 10, 5), ("s", COUNTER, 0, 10, 5), ("l", COUNTER, 1, 30, 5)],
            &[("g", Kind::Gauge, 1, 20, 5), ("d", DELTA, 1, 20, 5), ("s", COUNTER, 0, 20, 5), ("l", COUNTER, 1, 20, 5)],
        ];
        assert_eq!(fold(&lines), None, "nothing to fold");
    }

    #[test]
    fn what_cannot_be_read_is_sent_as_it_is() {
        let folding = folding();
        let mut run =
            vec![stored(&folding, 1, &[("a", COUNTER, 1, 10, 5)]), stored(&folding, 2, &[("a", COUNTER, 1, 20, 5)])];
        assert!(folding.join(&run).is_some());
        run[0].body = bytes::Bytes::from_static(b"no gzip");
        assert!(folding.join(&run).is_none());
    }

    #[test]
    fn of_a_batch_that_is_written_anew_the_exemplars_go_with_their_points() {
        let folding = folding();
        let table = SeriesTable::with_defaults();
        let mut metrics = Metrics::new(table.pin());
        for (place, name) in ["a", "b", "c"].into_iter().enumerate() {
            let id = metrics.adopt(&table.intern(identity(name, COUNTER, &[])));
            let (start, time, flags) = (UnixNanos(1), UnixNanos(10), PointFlags::empty());
            metrics.points.push(Point { series: id, start, time, value: Number::Int(place as i64).into(), flags });
            let (point, value) = (place as u32, Number::Int(place as i64));
            let (trace_id, span_id, filtered_attributes) = ([1; 16], [2; 8], pdata::Attributes::default());
            metrics.exemplars.push(pdata::Exemplar { point, time, value, trace_id, span_id, filtered_attributes });
        }
        let body = folding.packer.twin().unwrap().pack_bare(&Payload::from(metrics)).unwrap();
        let first = Stored { body, items: 3, ..stored(&folding, 1, &[("x", COUNTER, 1, 10, 5)]) };
        let left = sift(&folding, &[first, stored(&folding, 2, &[("a", COUNTER, 1, 20, 5), ("c", COUNTER, 2, 20, 5)])]);
        let metrics = folding.decode(&left[0]).unwrap();
        assert_eq!(lines(&folding, &left[0]), named(&[("b", 10), ("c", 10)]));
        for exemplar in &metrics.exemplars {
            assert_eq!(metrics.points[exemplar.point as usize].value, exemplar.value.into());
        }
        assert_eq!(metrics.exemplars.len(), 2);
    }

    #[test]
    fn nothing_is_left_out_across_a_batch_that_cannot_be_read() {
        let folding = folding();
        let mut run: Vec<_> = (1..=4).map(|seq| stored(&folding, seq, &[("a", COUNTER, 1, seq * 10, 5)])).collect();
        run[2].body = bytes::Bytes::from_static(b"no gzip");
        let left: Vec<_> = sift(&folding, &run).iter().map(|stored| stored.seq).collect();
        assert_eq!(left, [2, 3, 4]);
    }

    #[test]
    fn series_beyond_the_bound_are_kept_and_counted() {
        let mut newest = Newest::default();
        let table = SeriesTable::with_defaults();
        let mut metrics = Metrics::new(table.pin());
        for name in ["a", "a", "b", "b"] {
            pipeline::testing::push(&mut metrics, &table.intern(identity(name, COUNTER, &[])), Number::Int(1), 1);
            metrics.points.last_mut().unwrap().start = UnixNanos(1);
        }
        let full = (0..SERIES_MAX as u64 - 1).map(|number| (Fingerprint([number, 0]), (UnixNanos(1), UnixNanos(1))));
        newest.series.extend(full);
        assert_eq!(newest.sift(&metrics), [true, true, false, true]);
        assert_eq!(newest.unknown, 2);
    }
}
