//! The table behind the endpoint and the text it writes, without a socket.

use std::sync::Arc;

use exporters::prometheus::{Exposition, TextFormat};
use pdata::{Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, SeriesId, SeriesTable, UnixNanos};
use pipeline::Batch;

use crate::measure::{Report, best_of, resident_bytes};
use crate::series::ten_labels;

/// Points of one batch, as receivers page them.
const PAGE: usize = 4096;

pub fn run() {
    let mut report = Report::new("Endpoint: ten labels a series, without a socket");
    for series in [100_000, 1_000_000] {
        if series > 100_000 && !crate::arguments::large() {
            continue;
        }
        let before = resident_bytes(std::process::id());
        let table = SeriesTable::with_defaults();
        let held = ids(&table, series);
        let interned = resident_bytes(std::process::id());
        let exposition = Exposition::with_room_for(series);
        let first = batches(&table, &held, 1);
        report.cost(
            format!("{series} series: first sight"),
            best_of(1, series, || apply(&exposition, &first)),
            "point",
            Some("2000 ns"),
        );
        drop(first);
        let steady = batches(&table, &held, 2);
        report.cost(
            format!("{series} series: steady"),
            best_of(5, series, || apply(&exposition, &steady)),
            "point",
            None,
        );
        drop(steady);
        for (name, format) in [("text", TextFormat::Text), ("OpenMetrics", TextFormat::OpenMetrics)] {
            let mut bytes = 0;
            let cost = best_of(5, series, || {
                bytes = 0;
                exposition.write(format, |piece| bytes += piece.len());
            });
            let what = format!("{series} series: written as {name}, {} bytes a line", bytes / series);
            report.cost(what, cost, "series", Some("120 ns with the socket"));
        }
        let after = resident_bytes(std::process::id());
        let per = |from: u64, to: u64| to.saturating_sub(from) / series as u64;
        let value = format!("{} bytes interned, {} bytes in all", per(before, interned), per(before, after));
        // Fewer find room in what earlier benchmarks left behind.
        if series >= 1_000_000 {
            report.figure(format!("{series} series: memory per series"), value, Some("400 bytes"));
        }
    }
    report.print();
}

fn ids(table: &Arc<SeriesTable>, series: usize) -> Vec<SeriesId> {
    let (origin, metric) = (Arc::new(Origin::default()), Arc::new(Metric::new("http_requests_in_flight", Kind::Gauge)));
    let id = |n| {
        let identity = Identity { origin: origin.clone(), metric: metric.clone(), attributes: ten_labels(n) };
        table.intern(identity).id().expect("the table has room")
    };
    (0..series).map(id).collect()
}

fn batches(table: &Arc<SeriesTable>, ids: &[SeriesId], time: u64) -> Vec<Batch> {
    let page = |ids: &[SeriesId]| {
        let mut metrics = Metrics::with_capacity(table.pin(), ids.len());
        metrics.points.extend(ids.iter().map(|series| Point {
            series: *series,
            start: UnixNanos::UNSET,
            time: UnixNanos(time),
            value: PointValue::Int(series.index() as i64 * 31),
            flags: PointFlags::empty(),
        }));
        Batch::new(metrics, UnixNanos(time))
    };
    ids.chunks(PAGE).map(page).collect()
}

fn apply(exposition: &Exposition, batches: &[Batch]) {
    batches.iter().for_each(|batch| exposition.apply(batch));
}
