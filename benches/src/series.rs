//! What identity costs: once where it enters, and nothing after.

use std::sync::Arc;

use pdata::{
    Attributes, AttributesBuilder, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, SeriesTable,
    UnixNanos,
};

use crate::measure::{Report, best_of};

const SERIES: usize = 100_000;

pub fn run() {
    let mut report = Report::new("Series: identity once");
    let (origin, metric) = (Arc::new(Origin::default()), Arc::new(Metric::new("http_requests", Kind::COUNTER)));
    let identity = |n: usize| Identity { origin: origin.clone(), metric: metric.clone(), attributes: ten_labels(n) };

    report.cost(
        "ten attributes packed",
        best_of(5, SERIES, || (0..SERIES).for_each(|n| drop(ten_labels(n)))),
        "series",
        None,
    );
    let first = best_of(5, SERIES, || {
        let table = SeriesTable::with_defaults();
        (0..SERIES).for_each(|n| drop(table.intern(identity(n))));
    });
    report.cost("first sight: packed, fingerprinted, interned", first, "series", Some("<= 2000 ns"));

    let table = SeriesTable::with_defaults();
    let held: Vec<_> = (0..SERIES).map(|n| table.intern(identity(n))).collect();
    let again = best_of(5, SERIES, || (0..SERIES).for_each(|n| drop(table.intern(identity(n)))));
    report.cost("the same identity again, without a memo", again, "series", None);
    report.figure("bytes interned", format!("{} per series of ten labels", table.stats().bytes / SERIES), None);

    let mut batch = Metrics::new(table.pin());
    let mut points = Vec::new();
    let ids: Vec<_> = held.iter().map(|series| batch.adopt(series)).collect();
    let steady = best_of(5, SERIES, || {
        points.clear();
        points.extend(ids.iter().map(|series| Point {
            series: *series,
            start: UnixNanos::UNSET,
            time: UnixNanos(1),
            value: PointValue::Int(1),
            flags: PointFlags::empty(),
        }));
        std::hint::black_box(&points);
    });
    report.cost("a point of a known series", steady, "point", None);
    report.figure("size of a point", format!("{} bytes", size_of::<Point>()), None);
    report.print();
}

/// Ten labels of about 250 bytes, one of them unique to the series.
pub fn ten_labels(n: usize) -> Attributes {
    thread_local!(static BUILDER: std::cell::RefCell<AttributesBuilder> = std::cell::RefCell::default());
    let unique = format!("tenant-{n:08}");
    BUILDER.with_borrow_mut(|builder| {
        for (key, value) in [
            ("tenant", unique.as_str()),
            ("region", "eu-central-1"),
            ("zone", "eu-central-1a"),
            ("cluster", "production-blue"),
            ("namespace", "payments"),
            ("service", "checkout-api"),
            ("instance", "10.12.14.16:8443"),
            ("method", "POST"),
            ("route", "/v1/orders/{id}"),
            ("status_code", "200"),
        ] {
            builder.push(key, value);
        }
        builder.finish()
    })
}
