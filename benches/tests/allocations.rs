//! What the law of the data path promises: after a series was seen, a point costs no allocation.
//!
//! The tally counts a thread, and the test runner gives each test its own.

use exporters::prometheus::Exposition;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderValue};
use pdata::otlp::{MetricsDecoder, MetricsEncoder};
use pdata::{Histogram, Kind, Metrics, Number, Point, PointFlags, PointValue, SeriesTable, Temporality, UnixNanos};
use pipeline::Batch;
use pipeline::testing::{identity, push};
use processors::bench::{Bench, CHAINS, Collide};
use receivers::bench::RowsToPoints;
use receivers::webhook_measure::Verification;
use sha2::Sha256;

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

const POINTS: usize = 10_000;

#[test]
fn an_identity_only_hop_allocates_nothing_per_point() {
    for rules in CHAINS {
        for kind in [Kind::Gauge, Kind::COUNTER] {
            let mut bench = Bench::new(rules, POINTS, kind, Collide::Nowhere);
            for _ in 0..3 {
                bench.fill();
                bench.pass();
            }
            bench.fill();
            let (points, allocated) = tally::allocated(|| bench.pass());
            assert_eq!(points, POINTS);
            assert!(allocated.count <= 4, "{rules} rules, {kind:?}: {allocated:?} for a batch of {POINTS} points");
        }
    }
}

#[test]
fn series_that_merge_allocate_nothing_per_point() {
    let mut bench = Bench::new(5, POINTS, Kind::COUNTER, Collide::Tenfold);
    for _ in 0..3 {
        bench.fill();
        bench.pass();
    }
    bench.fill();
    let (points, allocated) = tally::allocated(|| bench.pass());
    assert_eq!(points, POINTS / 10);
    // Lists that double as they grow, once a batch.
    assert!(allocated.count <= 16, "{allocated:?} for a batch of {POINTS} points");
}

#[test]
fn the_endpoint_takes_known_points_without_allocating() {
    let table = SeriesTable::with_defaults();
    let series: Vec<_> =
        (0..POINTS).map(|n| table.intern(identity("m", Kind::Gauge, &[("tenant", &n.to_string())]))).collect();
    let batch = |time: u64| {
        let mut metrics = Metrics::new(table.pin());
        series.iter().for_each(|series| push(&mut metrics, series, Number::Int(time as i64), time));
        Batch::new(metrics, UnixNanos(time))
    };
    let exposition = Exposition::with_room_for(POINTS);
    (1..4).for_each(|time| exposition.apply(&batch(time)));
    let next = batch(4);
    let ((), allocated) = tally::allocated(|| exposition.apply(&next));
    assert!(allocated.count <= 2, "{allocated:?} for a batch of {POINTS} points");
    assert!(exposition.text().contains("m{tenant=\"17\"} 4\n"), "and it took them");
}

/// A request of OTLP with one point a series.
fn request(metrics: usize, value: fn(usize) -> PointValue, kind: Kind) -> Vec<u8> {
    let table = SeriesTable::with_defaults();
    let mut points = Metrics::new(table.pin());
    for n in 0..POINTS {
        let series = table.intern(identity(&format!("m{}", n % metrics), kind, &[("tenant", &n.to_string())]));
        let series = points.adopt(&series);
        let time = UnixNanos(1);
        points.points.push(Point { series, start: time, time, value: value(n), flags: PointFlags::empty() });
    }
    let mut body = Vec::new();
    MetricsEncoder::default().encode(&points, &mut body);
    body
}

/// Allocations while a request is decoded whose series are known.
fn decoding(body: &[u8]) -> u64 {
    let decoder = MetricsDecoder::new(SeriesTable::with_defaults());
    let decode = || decoder.decode(body).unwrap().data;
    (0..3).for_each(|_| drop(decode()));
    let (decoded, allocated) = tally::allocated(decode);
    assert_eq!(decoded.points.len(), POINTS);
    allocated.count
}

#[test]
fn a_request_of_known_series_takes_its_room_at_once() {
    let numbers = request(1, |n| PointValue::Int(n as i64), Kind::Gauge);
    assert!(decoding(&numbers) <= 4, "points, what is pending and metrics: {}", decoding(&numbers));
    let spread = request(1000, |n| PointValue::Int(n as i64), Kind::Gauge);
    assert!(decoding(&spread) <= 16, "and a list of metrics that doubles: {}", decoding(&spread));
    let histogram = |_| {
        let (bounds, counts) = ((0..11).map(f64::from).collect(), (0..12).collect());
        PointValue::Histogram(Box::new(Histogram { count: 66, bounds, counts, ..Histogram::default() }))
    };
    let histograms = decoding(&request(1, histogram, Kind::Histogram { temporality: Temporality::Cumulative }));
    assert!(histograms <= 3 * POINTS as u64 + 4, "one each for itself, its bounds and its counts: {histograms}");
}

#[test]
fn rows_of_known_series_allocate_pages_and_nothing_per_row() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch("create table rows(tenant text, value int)").unwrap();
    connection
        .execute("insert into rows with recursive n(i) as (select 1 union all select i + 1 from n where i < ?1) select 'tenant-' || i, i from n", [POINTS as i64])
        .unwrap();
    let yaml = format!(
        "driver: sqlite\ndatasource: {}\nqueries: [{{sql: 'select tenant, value from rows', metrics: [{{metric_name: m, value_column: value, attribute_columns: [tenant]}}]}}]",
        path.display()
    );
    let mut rows = RowsToPoints::new(&yaml, SeriesTable::with_defaults()).unwrap();
    for _ in 0..3 {
        rows.read(drop).unwrap();
    }
    let mut points = 0;
    let (read, allocated) = tally::allocated(|| rows.read(|page| points += page.points.len()).unwrap());
    assert_eq!((read, points), (POINTS as u64, POINTS));
    assert!(allocated.count <= 64, "{allocated:?} for {POINTS} rows");
}

#[test]
fn a_signature_is_verified_without_allocating() {
    const BODY: &[u8] = &[b'x'; 600];
    let yaml = "verify: {scheme: cycles, secrets: [another-secret-of-some-length, the-secret-of-the-sender]}";
    let verification = Verification::new(yaml).expect("it is right");
    let header = |secret: &str| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
        mac.update(BODY);
        let code: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("sha256={code}")).expect("plain text");
        headers.insert("x-cycles-signature", value);
        headers
    };
    for (secret, expected) in
        [("the-secret-of-the-sender", Ok(Some(1))), ("a-secret-that-nobody-here-has", Err("signature_bad"))]
    {
        let headers = header(secret);
        let verify = || verification.verify(&headers, BODY, UnixNanos(1)).map(|proof| proof.key);
        // The first time a key fits, its count is made.
        assert_eq!(verify(), expected);
        let (found, allocated) = tally::allocated(verify);
        assert_eq!((found, allocated.count), (expected, 0), "{secret}");
    }
}
