//! OTLP requests to points of interned series, and back.

use std::sync::Arc;

use pdata::otlp::{MetricsDecoder, MetricsEncoder};
use pdata::{Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, SeriesTable, UnixNanos};

use crate::measure::{Report, best_of};
use crate::series::ten_labels;

/// Points of one request, as the goals of the project have it.
const POINTS: usize = 1000;

pub fn run() {
    let mut report = Report::new("OTLP: 1000 points of ten attributes a request");
    for series in [10_000, 100_000, 1_000_000] {
        if series > 100_000 && !crate::arguments::large() {
            continue;
        }
        let bodies = requests(series);
        let bytes: usize = bodies.iter().map(Vec::len).sum();
        let table = SeriesTable::with_defaults();
        let decoder = MetricsDecoder::new(table);
        let decode = || {
            for body in &bodies {
                std::hint::black_box(decoder.decode(body).expect("our own encoder wrote it"));
            }
        };
        report.cost(format!("{series} series: decode, first sight"), best_of(1, series, decode), "point", None);
        report.cost(format!("{series} series: decode, second sight"), best_of(1, series, decode), "point", None);
        report.cost(
            format!("{series} series: decode, steady ({} bytes a point)", bytes / series),
            best_of(5, series, decode),
            "point",
            Some("76 to 92 ns floor"),
        );
        let batches: Vec<Metrics> = bodies.iter().map(|body| decoder.decode(body).expect("ours").data).collect();
        let (mut encoder, mut out) = (MetricsEncoder::default(), Vec::new());
        let mut encode = || {
            for batch in &batches {
                out.clear();
                encoder.encode(batch, &mut out);
            }
        };
        encode();
        report.cost(format!("{series} series: encode, steady"), best_of(5, series, encode), "point", None);
    }
    report.print();
}

fn requests(series: usize) -> Vec<Vec<u8>> {
    let table = SeriesTable::with_defaults();
    let (origin, metric) = (Arc::new(Origin::default()), Arc::new(Metric::new("http.server.requests", Kind::COUNTER)));
    let mut encoder = MetricsEncoder::default();
    let request = |first: usize| {
        let mut metrics = Metrics::new(table.pin());
        for n in first..first + POINTS {
            let identity = Identity { origin: origin.clone(), metric: metric.clone(), attributes: ten_labels(n) };
            let series = metrics.adopt(&table.intern(identity));
            let (start, time) = (UnixNanos(1), UnixNanos(1_700_000_000_000_000_000 + n as u64));
            metrics.points.push(Point {
                series,
                start,
                time,
                value: PointValue::Int(n as i64),
                flags: PointFlags::empty(),
            });
        }
        let mut body = Vec::new();
        encoder.encode(&metrics, &mut body);
        body
    };
    (0..series).step_by(POINTS).map(request).collect()
}
