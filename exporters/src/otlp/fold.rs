//! Metrics that wait, folded: of the points of a cumulative series only the last is worth sending.
//!
//! A cumulative point says all that the ones before it said, as long as the stream has not begun anew in between. So a point is left out
//! when a later one of its series has the same start time and no earlier time. Gauges (each value is news), deltas (each is an
//! addition), summaries, points without a start time (nobody could see a reset) and ends of series are always kept, and what stands
//! before the end of a series is not superseded by what stands behind it.

use std::collections::HashMap;
use std::sync::Arc;

use pdata::otlp::MetricsDecoder;
use pdata::{Fingerprint, Metrics, Point, SeriesTable, Temporality, UnixNanos};
use pipeline::Payload;
use pipeline::spool::Stored;

use super::pack::{Packer, unpacked};
use crate::delivery::Bundle;

/// Folds what one exporter has waiting.
pub(super) struct Folding {
    table: Arc<SeriesTable>,
    decoder: MetricsDecoder,
    packer: Arc<Packer>,
}

/// The newest point that was met of each series, going backwards.
type Newest = HashMap<Fingerprint, (UnixNanos, UnixNanos)>;

impl Folding {
    pub(super) fn new(packer: Arc<Packer>) -> Self {
        let table = SeriesTable::with_defaults();
        Self { decoder: MetricsDecoder::new(table.clone()), table, packer }
    }

    /// One request from several that follow each other; none when there is nothing to fold, or one of them cannot be read: then they are
    /// sent as they are.
    pub(super) fn fold(&self, run: &[Stored]) -> Option<Bundle> {
        // Taken before anything is decoded, so that it outlives every slot that is named below.
        let pin = self.table.pin();
        let decoded = run.iter().map(|stored| self.decode(stored)).collect::<Option<Vec<_>>>()?;
        let mut newest = Newest::new();
        let mut kept: Vec<Vec<bool>> = decoded.iter().rev().map(|metrics| keep(metrics, &mut newest)).collect();
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

/// Which points of a batch are kept, of which everything newer has been looked at.
fn keep(metrics: &Metrics, newest: &mut Newest) -> Vec<bool> {
    let mut kept: Vec<_> = metrics.points.iter().rev().map(|point| is_kept(metrics, point, newest)).collect();
    kept.reverse();
    kept
}

fn is_kept(metrics: &Metrics, point: &Point, newest: &mut Newest) -> bool {
    let series = metrics.series(point.series);
    if series.metric().kind.temporality() != Some(Temporality::Cumulative) || point.start == UnixNanos::UNSET {
        return true;
    }
    if point.is_end() {
        newest.remove(&series.fingerprint());
        return true;
    }
    let superseded =
        newest.get(&series.fingerprint()).is_some_and(|(start, time)| *start == point.start && *time >= point.time);
    if !superseded {
        newest.insert(series.fingerprint(), (point.start, point.time));
    }
    !superseded
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

    use super::super::pack::{Compression, CompressionParams};
    use super::*;

    const COUNTER: Kind = Kind::COUNTER;
    const DELTA: Kind = Kind::Sum { monotonic: true, temporality: Temporality::Delta };

    /// Name, kind, start, time, value; a negative value ends the series.
    type Line = (&'static str, Kind, u64, u64, i64);

    fn folding() -> Folding {
        let params = CompressionParams::default();
        Folding::new(Arc::new(Packer::new(Compression::Gzip, &params, false).unwrap()))
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
        let body = folding.packer.pack_bare(&Payload::from(metrics)).unwrap();
        let (items, signal) = (lines.len() as u64, config::Signal::Metrics);
        Stored { seq, time: seq, signal, encoding: Encoding::Gzip, items, note: String::new(), body }
    }

    /// The values of each series after a fold, in their order, and how many were left out.
    fn fold(batches: &[&[Line]]) -> Option<(Vec<(String, u64)>, u64)> {
        let folding = folding();
        let run: Vec<_> = (1..).zip(batches).map(|(seq, lines)| stored(&folding, seq, lines)).collect();
        let bundle = folding.fold(&run)?;
        assert_eq!(bundle.seqs, (1..=run.len() as u64).collect::<Vec<_>>());
        let metrics = folding.decode(&bundle.stored).unwrap();
        let line = |point: &Point| (metrics.series(point.series).metric().name.to_string(), point.time.0);
        Some((metrics.points.iter().map(line).collect(), bundle.folded))
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
        assert!(folding.fold(&run).is_some());
        run[0].body = bytes::Bytes::from_static(b"no gzip");
        assert!(folding.fold(&run).is_none());
    }
}
