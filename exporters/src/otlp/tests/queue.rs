//! The queue on disk before a scripted server, in stepped time.

use std::path::Path;
use std::sync::Arc;

use pdata::{Attributes, Identity, Kind, Logs, Metric, Origin, SeriesTable};
use pipeline::spool::{Kind as Holds, Offline};
use pipeline::{Batch, Health, Stop, Stopper};
use tokio::task::JoinHandle;

use super::http::partial;
use super::telemetry::gunzip;
use super::*;

/// An exporter that runs, with its queue in a folder.
pub(super) struct Rig {
    pub(super) exporter: Arc<Otlp>,
    meters: Meters,
    health: Health,
    stopper: Stopper,
    running: JoinHandle<()>,
}

impl Rig {
    pub(super) fn http(server: &Server, folder: &Path, yaml: &str) -> Self {
        Self::http_with(server, folder, "", yaml)
    }

    /// The same with other keys of the exporter.
    pub(super) fn http_with(server: &Server, folder: &Path, more: &str, queue: &str) -> Self {
        let queue = format!("sending_queue: {{storage: file_storage{queue}}}\n");
        let yaml = format!("endpoint: http://otel.example:4318\n{EXACT}{more}{queue}");
        let mut plan =
            super::super::http::check(&section("otlp_http", &yaml)).unwrap_or_else(|wrong| panic!("{wrong}"));
        plan.dial = server.dial();
        let context = BuildContext { state: Some(folder.to_owned()), ..surroundings("otlp_http") };
        Self::run(plan.ready(&context).unwrap(), context)
    }

    fn grpc(server: &Server, folder: &Path) -> Self {
        let queue = "sending_queue: {storage: file_storage}\ncompression: zstd\n";
        let yaml = format!("endpoint: otel.example:4317\ntls: {{insecure: true}}\n{EXACT}{queue}");
        let mut plan =
            super::super::grpc::check(&section("otlp_grpc", &yaml)).unwrap_or_else(|wrong| panic!("{wrong}"));
        plan.dial = server.dial();
        let context = BuildContext { state: Some(folder.to_owned()), ..surroundings("otlp_grpc") };
        Self::run(plan.ready(&context).unwrap(), context)
    }

    fn run(exporter: Otlp, context: BuildContext) -> Self {
        let exporter = Arc::new(exporter);
        let (stopper, stop) = Stop::pair();
        let ran = exporter.clone();
        let running = tokio::spawn(async move { ran.run(stop).await.unwrap() });
        Self { exporter, meters: context.meters, health: context.health, stopper, running }
    }

    pub(super) async fn stop(self) {
        self.stopper.stop();
        self.running.await.unwrap();
    }

    pub(super) fn count(&self, name: &str) -> u64 {
        count(&self.meters, name)
    }
}

/// A batch with a record of each of these tenants; its event names say which batch it is.
pub(super) fn records(id: usize, tenants: &[&str]) -> Batch {
    let record = |tenant: &&str| pdata::LogRecord {
        origin: Arc::new(Origin { resource: Attributes::from_pairs([("tenant", *tenant)]), ..Origin::default() }),
        event_name: format!("{tenant}{id}").into(),
        ..pdata::LogRecord::default()
    };
    Batch::new(Logs { records: tenants.iter().map(record).collect() }, NOW)
}

/// The event names in the bodies of the requests that the server took, in their order.
fn arrived(server: &Server, took: impl Fn(&server::Seen) -> bool) -> Vec<String> {
    let bodies = server.requests().into_iter().filter(took).map(|request| gunzip(&request.body));
    let names = |body: Vec<u8>| {
        let logs = pdata::otlp::decode_logs(&body).unwrap().data;
        logs.records.iter().map(|record| record.event_name.to_string()).collect::<Vec<_>>()
    };
    bodies.flat_map(names).collect()
}

fn names(ids: std::ops::Range<usize>) -> Vec<String> {
    ids.map(|id| format!("a{id}")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_on_disk_is_answered_for_and_sent_in_order_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let down = Server::http(vec![]).ill_for(secs(9999), Reply::Refuses);
    let rig = Rig::http(&down, folder.path(), "");
    for id in 0..20 {
        rig.exporter.export(&records(id, &["a"])).await.unwrap();
    }
    tokio::time::sleep(secs(3600)).await;
    assert_eq!(rig.count("weir_queue_stored_items"), 20);
    assert_eq!(rig.count("otelcol_exporter_sent_log_records"), 0, "nothing is sent before it is");
    assert_eq!(rig.count("weir_exporter_retries_exhausted"), 0, "its age means nothing on disk");
    rig.stop().await;

    let well = Server::http(vec![]);
    let rig = Rig::http(&well, folder.path(), "");
    rig.exporter.export(&records(20, &["a"])).await.unwrap();
    tokio::time::sleep(secs(1)).await;
    assert_eq!(arrived(&well, |_| true), names(0..21));
    assert_eq!(rig.count("otelcol_exporter_sent_log_records"), 21);
    assert_eq!((rig.count("weir_queue_replayed_items"), rig.count("weir_queue_stored_items")), (20, 1));
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn grpc_frames_what_the_disk_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::grpc(vec![Reply::grpc(14)]);
    let rig = Rig::grpc(&server, folder.path());
    rig.exporter.export(&records(7, &["a"])).await.unwrap();
    tokio::time::sleep(secs(60)).await;
    let requests = server.requests();
    assert_eq!(requests.len(), 2, "UNAVAILABLE once, then taken");
    for request in requests {
        assert_eq!((request.body[0], request.headers["grpc-encoding"].to_str().unwrap()), (1, "zstd"));
        let body = super::telemetry::unzstd(&request.body[5..]);
        assert_eq!(&*pdata::otlp::decode_logs(&body).unwrap().data.records[0].event_name, "a7");
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_will_never_be_taken_becomes_a_dead_letter_and_holds_back_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::http(vec![Reply::status(200), Reply::status(400), Reply::status(200)]);
    let rig = Rig::http(&server, folder.path(), "");
    for id in 0..3 {
        rig.exporter.export(&records(id, &["a"])).await.unwrap();
    }
    tokio::time::sleep(secs(1)).await;
    assert_eq!(arrived(&server, |_| true), names(0..3));
    assert_eq!(rig.count("otelcol_exporter_sent_log_records"), 2);
    assert_eq!(rig.count("otelcol_exporter_send_failed_log_records"), 1);
    assert_eq!(rig.count("weir_queue_dead_letter_items"), 1);
    let mut dead = Vec::new();
    let offline = Offline::open(folder.path()).unwrap();
    let mut keep = |_: &str, stored: pipeline::spool::Stored| {
        dead.push((stored.note, gunzip(&stored.body)));
        Ok(())
    };
    offline.read(Holds::DeadLetters, None, &mut keep).unwrap();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].0.contains("Status Code 400"), "{}", dead[0].0);
    assert_eq!(&*pdata::otlp::decode_logs(&dead[0].1).unwrap().data.records[0].event_name, "a1");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_refused_or_floods_holds_back_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::http(vec![]).refusing(b"noisy", Reply::with(429, "retry-after", "600"));
    let queue = ", num_consumers: 1, partition: {by: tenant, queue_size: 1MiB}, queue_size: 8MiB";
    let rig = Rig::http(&server, folder.path(), queue);
    let mut refused = 0;
    for id in 0..40 {
        // One batch, three tenants: each has its part in a queue of its own.
        let flood = rig.exporter.export(&records(id, &["noisy", "a", "noisy", "b"])).await;
        refused += usize::from(flood.is_err());
        tokio::time::sleep(secs(1)).await;
    }
    assert_eq!(refused, 0);
    let took = |request: &server::Seen| !gunzip(&request.body).windows(5).any(|window| window == b"noisy");
    let names = arrived(&server, took);
    let of = |tenant: &str| names.iter().filter(|name| name.starts_with(tenant)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), (0..40).map(|id| format!("a{id}")).collect::<Vec<_>>());
    assert_eq!(of("b").len(), 40);
    let noisy = server.requests().len() - names.len();
    assert_eq!(noisy, 1, "the delay that it was told is kept, and opens no breaker for the others");
    assert_eq!(rig.count("otelcol_exporter_sent_log_records"), 80);
    assert_eq!(rig.health.complaint(), None);
    rig.stop().await;
    let held = Offline::open(folder.path()).unwrap().list().unwrap();
    let held: Vec<_> = held.into_iter().filter(|listed| listed.holding.batches > 0).collect();
    assert_eq!((held.len(), held[0].key.as_str(), held[0].holding.items), (1, "noisy", 80));
}

#[tokio::test(start_paused = true)]
async fn a_stop_sends_what_the_destination_takes_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::http(vec![]);
    let rig = Rig::http(&server, folder.path(), "");
    let table = SeriesTable::with_defaults();
    let mut metrics = pdata::Metrics::new(table.pin());
    let series = table.intern(Identity {
        origin: Arc::default(),
        metric: Arc::new(Metric::new("m", Kind::Gauge)),
        attributes: Attributes::default(),
    });
    pipeline::testing::push(&mut metrics, &series, pdata::Number::Int(1), 1);
    rig.exporter.export(&Batch::new(metrics, NOW)).await.unwrap();
    rig.stop().await;
    assert_eq!(server.requests().len(), 1);

    let hanging = Server::http(vec![]).ill_for(secs(9999), Reply::Hangs);
    let rig = Rig::http(&hanging, folder.path(), "");
    rig.exporter.export(&records(1, &["a"])).await.unwrap();
    let began = tokio::time::Instant::now();
    rig.stop().await;
    assert!(began.elapsed() <= secs(3), "{:?}", began.elapsed());
    assert_eq!(Offline::open(folder.path()).unwrap().list().unwrap()[0].holding.items, 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_a_counter_one_point_when_what_waits_is_folded() {
    let folder = tempfile::tempdir().unwrap();
    let down = Server::http(vec![]).ill_for(secs(100_000), Reply::Refuses);
    let rig = Rig::http(&down, folder.path(), ", fold_superseded: true");
    let table = SeriesTable::with_defaults();
    for round in 1..=360_u64 {
        let mut metrics = pdata::Metrics::new(table.pin());
        for name in ["a", "b", "c"] {
            let series = table.intern(pipeline::testing::identity(name, Kind::COUNTER, &[]));
            pipeline::testing::push(&mut metrics, &series, pdata::Number::Int(round as i64), round);
            metrics.points.last_mut().unwrap().start = pdata::UnixNanos(1);
        }
        rig.exporter.export(&Batch::new(metrics, NOW)).await.unwrap();
        tokio::time::sleep(secs(10)).await;
    }
    rig.stop().await;
    let well = Server::http(vec![]);
    let rig = Rig::http(&well, folder.path(), ", fold_superseded: true");
    tokio::time::sleep(secs(5)).await;
    let requests = well.requests();
    assert_eq!(requests.len(), 1, "an hour in one request");
    let decoder = pdata::otlp::MetricsDecoder::new(SeriesTable::with_defaults());
    let points = decoder.decode(&gunzip(&requests[0].body)).unwrap().data.points;
    assert_eq!(points.iter().map(|point| point.time.0).collect::<Vec<_>>(), [360, 360, 360]);
    let (sent, folded) = (rig.count("otelcol_exporter_sent_metric_points"), rig.count("weir_queue_folded_items"));
    assert_eq!((sent, folded, rig.count("weir_queue_replayed_items")), (3, 1077, 1080));
    rig.stop().await;
    assert_eq!(Offline::open(folder.path()).unwrap().list().unwrap(), [], "what was left out is done too");
}

/// A round of an agent that counts: 400 counters and a gauge, each of whose points says which series it is of.
fn round(table: &Arc<SeriesTable>, round: u64) -> Batch {
    let mut metrics = pdata::Metrics::new(table.pin());
    // What the table met first is not what waits: ids of this table mean nothing in a fold's.
    for place in (0..=400_i64).rev() {
        let kind = if place == 0 { Kind::Gauge } else { Kind::COUNTER };
        let series = table.intern(pipeline::testing::identity("m", kind, &[("place", &place.to_string())]));
        pipeline::testing::push(&mut metrics, &series, pdata::Number::Int(place), round);
        metrics.points.last_mut().unwrap().start = pdata::UnixNanos(1);
    }
    Batch::new(metrics, NOW)
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_any_length_costs_about_one_point_per_series_on_disk_and_loses_no_last_value() {
    const ROUNDS: u64 = 1500;
    let folder = tempfile::tempdir().unwrap();
    let down = Server::http(vec![]).ill_for(secs(1_000_000), Reply::Refuses);
    // Files of 64 KiB. Unfolded, what comes would fill the queue five times.
    let queue = ", fold_superseded: true, queue_size: 1MiB";
    let rig = Rig::http(&down, folder.path(), queue);
    let table = SeriesTable::with_defaults();
    let mut most = [0; 2];
    for number in 1..=ROUNDS {
        rig.exporter.export(&round(&table, number)).await.expect("there is always room");
        tokio::time::sleep(secs(10)).await;
        let bytes = rig.meters.level("weir_queue_bytes", "", "", vec![("exporter", "otlp_http".to_owned())]).value();
        let half = &mut most[usize::from(number > ROUNDS / 2)];
        *half = bytes.max(*half);
    }
    assert!(most[0] < 450 << 10 && most[1] < 450 << 10, "{most:?}: the first file, the last, and what a fold leaves");
    assert_eq!(rig.count("weir_queue_stored_items"), 401 * ROUNDS);
    let folded = rig.count("weir_queue_folded_items");
    rig.stop().await;
    let held = Offline::open(folder.path()).unwrap().list().unwrap()[0].holding;
    assert_eq!(held.items + folded, 401 * ROUNDS, "what is not there was counted");

    let well = Server::http(vec![]);
    let rig = Rig::http(&well, folder.path(), queue);
    while Offline::open(folder.path()).unwrap().list().unwrap().iter().any(|listed| listed.holding.batches > 0) {
        tokio::time::sleep(secs(1)).await;
    }
    let decoder = pdata::otlp::MetricsDecoder::new(SeriesTable::with_defaults());
    let (mut last, mut gauges) = (std::collections::BTreeMap::new(), Vec::new());
    for request in well.requests() {
        let metrics = decoder.decode(&gunzip(&request.body)).unwrap().data;
        for point in &metrics.points {
            let place = metrics.series(point.series).identity().attributes.get("place").unwrap().to_string();
            assert_eq!(point.value, pdata::Number::Int(place.parse().unwrap()).into(), "a point keeps its series");
            if place == "0" {
                gauges.push(point.time.0);
            } else if let Some(before) = last.insert(place, point.time.0) {
                assert!(before < point.time.0, "in order");
            }
        }
    }
    assert_eq!(last.into_values().collect::<Vec<_>>(), [ROUNDS; 400]);
    assert_eq!(gauges, (1..=ROUNDS).collect::<Vec<_>>(), "every value of a gauge is news");
    let (sent, more) = (rig.count("otelcol_exporter_sent_metric_points"), rig.count("weir_queue_folded_items"));
    assert_eq!(sent + more, held.items);
    rig.stop().await;
}

/// A batch of so many small records that share an origin.
fn many(id: usize, records: u64, origin: &Arc<Origin>) -> Batch {
    let event_name: Box<str> = format!("a{id}").into();
    let record = pdata::LogRecord { origin: origin.clone(), event_name, ..pdata::LogRecord::default() };
    Batch::new(Logs { records: vec![record; records as usize] }, NOW)
}

/// Some minutes of illness at a thousand records a second, then health.
#[allow(clippy::print_stdout, reason = "figures, for who runs it for hours")]
async fn outage(minutes: u64, reply: Reply, what: &str) {
    const EVENTS: u64 = 1000;
    let folder = tempfile::tempdir().unwrap();
    let span = secs(minutes * 60);
    let server = Server::http(vec![]).ill_for(span, reply).counting();
    let rig = Rig::http(&server, folder.path(), ", block_on_overflow: true");
    let (began, origin) = (tokio::time::Instant::now(), Arc::default());
    let batches = minutes * 60;
    let (mut early, mut most) = (0, 0);
    for id in 0..batches {
        tokio::time::sleep_until(began + secs(id)).await;
        rig.exporter.export(&many(id as usize, EVENTS, &origin)).await.unwrap();
        if id == 60 {
            early = resident();
        }
        most = resident().max(most);
    }
    let labels = vec![("exporter", "otlp_http".to_owned())];
    let waits = rig.meters.level("weir_queue_bytes", "", "", labels).value() >> 10;
    assert!(waits > 0, "{what}: it waits on disk");
    let total = batches * EVENTS;
    let catching_up = tokio::time::Instant::now();
    while rig.count("otelcol_exporter_sent_log_records") < total {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(catching_up.elapsed() < span / 5, "{what}: catches up in a fifth of the time");
        most = resident().max(most);
    }
    let caught_up = catching_up.elapsed();
    let (seen, order) = server.counted();
    assert!(order, "{what}: in the order of their first delivery");
    assert_eq!(seen, total, "{what}: each arrives, once");
    let tries = server.tries_in(span);
    assert!(tries as u64 <= minutes * 60 / 9, "{what}: {tries} tries");
    let grown = most.saturating_sub(early) >> 10;
    println!(
        "{what}: {total} records, {waits} KiB waited, {tries} tries; caught up in {caught_up:?}; grew by {grown} KiB"
    );
    // Of one process: it says something of this test only when no other runs beside it.
    assert!(asked_minutes().is_none() || grown <= 8 << 10, "{what}: resident memory grew by {grown} KiB");
    rig.stop().await;
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// `WEIR_TEST_OUTAGE_MINUTES=360` for the whole of it, and for its memory: one at a time (`--test-threads=1`).
fn asked_minutes() -> Option<u64> {
    std::env::var("WEIR_TEST_OUTAGE_MINUTES").ok().and_then(|minutes| minutes.parse().ok())
}

/// One test each, so that they run side by side.
mod an_outage_of_every_kind_loses_nothing_and_is_caught_up_with {
    use super::*;

    async fn of(reply: Reply, what: &str) {
        outage(asked_minutes().unwrap_or(5), reply, what).await;
    }

    #[tokio::test(start_paused = true)]
    async fn refuses() {
        of(Reply::Refuses, "refuses").await;
    }

    #[tokio::test(start_paused = true)]
    async fn hangs() {
        of(Reply::Hangs, "hangs").await;
    }

    #[tokio::test(start_paused = true)]
    async fn breaks_off() {
        of(Reply::Breaks, "breaks off").await;
    }

    #[tokio::test(start_paused = true)]
    async fn status_503_with_a_delay() {
        of(Reply::with(503, "retry-after", "30"), "503 with a delay").await;
    }

    #[tokio::test(start_paused = true)]
    async fn status_429_with_a_delay() {
        of(Reply::with(429, "retry-after", "30"), "429 with a delay").await;
    }

    #[tokio::test(start_paused = true)]
    async fn status_401() {
        of(Reply::status(401), "401").await;
    }

    /// A destination that takes every request and refuses some of its records: nothing waits, and the books know each record.
    #[tokio::test(start_paused = true)]
    async fn partial_success() {
        const REFUSED: u64 = 7;
        let folder = tempfile::tempdir().unwrap();
        let server = Server::http(vec![]).refusing(b"a", partial(REFUSED as i64, "too old")).counting();
        let rig = Rig::http(&server, folder.path(), ", block_on_overflow: true");
        let (began, origin) = (tokio::time::Instant::now(), Arc::default());
        let batches = 60 * asked_minutes().unwrap_or(5);
        let (mut early, mut most) = (0, 0);
        for id in 0..batches {
            tokio::time::sleep_until(began + secs(id)).await;
            rig.exporter.export(&many(id as usize, 1000, &origin)).await.unwrap();
            if id == 60 {
                early = resident();
            }
            most = resident().max(most);
        }
        tokio::time::sleep(secs(10)).await;
        let (seen, order) = server.counted();
        assert!(order, "each batch in its order, once");
        assert_eq!(
            (seen, server.tries_in(secs(batches + 10)) as u64),
            (1000 * batches, batches),
            "nothing is tried again"
        );
        let counts = ["otelcol_exporter_sent_log_records", "weir_exporter_rejected_items"].map(|name| rig.count(name));
        assert_eq!(counts, [(1000 - REFUSED) * batches, REFUSED * batches]);
        assert_eq!(rig.count("weir_queue_stored_items"), 1000 * batches);
        assert!(asked_minutes().is_none() || most.saturating_sub(early) <= 8 << 20, "{early} to {most} bytes resident");
        rig.stop().await;
    }
}
