//! The endpoint over loopback.

use std::time::Duration;

use config::Section;
use flate2::read::GzDecoder;
use pipeline::collection::{CollectionDesk, CollectionPort};
use pipeline::testing::context;
use pipeline::{Collects, Exporter, OnFailure, Stop, Stopper};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::plan;
use super::*;

/// A running exporter and a series table to feed it from.
struct Running {
    exporter: Arc<dyn Exporter>,
    address: String,
    bench: Bench,
    _stopper: Stopper,
    meters: Meters,
}

/// An answer, body decoded.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn run(yaml: &str, upstream: Vec<CollectionPort>) -> Running {
    // The listeners bind at the first lending: lending and giving back tells the port.
    let mut context = context("prometheus");
    context.upstream = upstream;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let section = Section::from_yaml("prometheus", &format!("endpoint: {free}\n{yaml}")).unwrap();
    let meters = context.meters.clone();
    let exporter: Arc<dyn Exporter> = plan(&section).unwrap().build(context).unwrap().into();
    let (stopper, stop) = Stop::pair();
    let running = exporter.clone();
    tokio::spawn(async move { running.run(stop).await });
    while TcpStream::connect(&free).await.is_err() {
        tokio::task::yield_now().await;
    }
    Running { exporter, address: free, bench: bench(), _stopper: stopper, meters }
}

impl Running {
    async fn gauge(&self, name: &str, value: i64) {
        self.exporter.export(&self.bench.feed().gauge(name, &[], value).batch()).await.unwrap();
    }

    async fn read(&self, sequence: u64, page: ReadPage, value: i64) {
        let source = SourceId("sql#0".into());
        let batch = self.bench.feed().gauge("m", &[], value).batch();
        self.exporter.export(&batch.with_collection(Collection { source, sequence, page })).await.unwrap();
    }

    async fn ask(&self, method: &str, path: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nHost: w\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.unwrap();
        let split = raw.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(raw[..split].to_vec()).unwrap().to_lowercase();
        let mut body = raw[split + 4..].to_vec();
        if head.contains("transfer-encoding: chunked") {
            body = dechunk(&body);
        }
        if head.contains("content-encoding: gzip") && !body.is_empty() {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut GzDecoder::new(body.as_slice()), &mut plain).unwrap();
            body = plain;
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    async fn scrape(&self) -> Answer {
        self.ask("GET", "/metrics", "").await
    }

    fn count(&self, name: &str, label: &str) -> u64 {
        let counts = self.meters.counts();
        let found = counts.iter().find(|(n, labels, _)| *n == name && labels.iter().any(|(_, value)| value == label));
        found.map_or(0, |(_, _, value)| *value)
    }
}

fn dechunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

#[tokio::test]
async fn a_scrape_answers_in_the_format_and_encoding_that_was_asked_for() {
    let running = run("", Vec::new()).await;
    running.gauge("m", 1).await;
    let plain = running.scrape().await;
    assert_eq!((plain.status, plain.body.as_str()), (200, "# TYPE m gauge\nm 1\n"));
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8; escaping=underscores"));
    assert!(plain.head.contains("vary: accept, accept-encoding") && !plain.head.contains("content-encoding"));
    let open = running
        .ask("GET", "/metrics?x=1", "Accept: application/openmetrics-text;version=1.0.0\r\nAccept-Encoding: gzip\r\n")
        .await;
    assert_eq!(open.body, "# TYPE m gauge\nm 1\n# EOF\n");
    assert!(open.head.contains("application/openmetrics-text; version=1.0.0") && open.head.contains("encoding: gzip"));
}

#[tokio::test]
async fn other_methods_and_paths_are_told_so_and_head_has_no_body() {
    let running = run("path: /api/v1/metrics", Vec::new()).await;
    running.gauge("m", 1).await;
    let head = running.ask("HEAD", "/api/v1/metrics", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert!(head.head.contains("content-type: text/plain"));
    let post = running.ask("POST", "/api/v1/metrics", "Content-Length: 0\r\n").await;
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: get, head"));
    assert_eq!(running.ask("GET", "/metrics", "").await.status, 404);
}

#[tokio::test]
async fn a_large_page_comes_whole_plain_and_gzipped() {
    let running = run("", Vec::new()).await;
    let mut feed = running.bench.feed();
    for n in 0..20_000 {
        feed = feed.gauge("m", &[("some_label", &format!("a value of some length {n}"))], n);
    }
    running.exporter.export(&feed.batch()).await.unwrap();
    let plain = running.scrape().await;
    assert_eq!(plain.body.lines().count(), 20_001);
    assert_eq!(running.ask("GET", "/metrics", "Accept-Encoding: gzip\r\n").await.body, plain.body);
}

#[tokio::test]
async fn a_gate_that_is_set_must_be_passed_and_other_paths_do_not_tell() {
    let running = run("gates: {token: a-token-of-proper-length}", Vec::new()).await;
    assert_eq!(running.scrape().await.status, 401);
    let with = running.ask("GET", "/metrics", "Authorization: Bearer a-token-of-proper-length\r\n").await;
    assert_eq!(with.status, 200);
    assert_eq!(running.ask("GET", "/", "").await.status, 404);
}

#[tokio::test]
async fn before_the_first_round_there_is_no_page() {
    let (desk, port) = CollectionDesk::pair("sql", Collects::Interval);
    let running = run("", vec![port]).await;
    let starting = running.scrape().await;
    assert_eq!(starting.status, 503);
    assert!(starting.head.contains("retry-after: 1") && starting.body.starts_with("starting"));
    desk.first_round_done(vec![(SourceId("sql#0".into()), 1)]);
    assert_eq!(running.scrape().await.status, 503, "it was read, but not applied yet");
    running.read(1, ReadPage::Last, 5).await;
    assert_eq!(running.scrape().await.body, "# TYPE m gauge\nm 5\n");
    assert_eq!(running.count("weir_prometheus_scrapes", "starting"), 2);
}

#[tokio::test]
async fn the_grace_ends_the_wait_for_first_rounds() {
    let (_desk, port) = CollectionDesk::pair("sql", Collects::Interval);
    let running = run("startup_grace: 0s", vec![port]).await;
    assert_eq!(running.scrape().await.status, 200);
}

#[tokio::test]
async fn a_scrape_has_its_receivers_read_and_waits_until_that_was_applied() {
    let (mut desk, port) = CollectionDesk::pair("sql", Collects::OnDemand);
    let running = Arc::new(run("", vec![port]).await);
    let receiver = running.clone();
    tokio::spawn(async move {
        for sequence in 1.. {
            let demands = desk.demanded().await;
            demands.into_iter().for_each(|demand| demand.answer(vec![(SourceId("sql#0".into()), sequence)]));
            tokio::task::yield_now().await;
            receiver.read(sequence, ReadPage::Last, sequence as i64).await;
        }
    });
    for value in 1..4 {
        assert_eq!(running.scrape().await.body, format!("# TYPE m gauge\nm {value}\n"));
    }
    assert_eq!(running.ask("HEAD", "/metrics", "").await.status, 200, "which reads nothing");
    assert_eq!(running.scrape().await.body, "# TYPE m gauge\nm 4\n");
}

#[tokio::test]
async fn a_receiver_that_is_late_or_gone_costs_a_scrape_its_data_and_not_its_answer() {
    let (desk, port) = CollectionDesk::pair("sql", Collects::OnDemand);
    let running = run("", vec![port]).await;
    running.gauge("old", 1).await;
    let late = running.ask("GET", "/metrics", "X-Prometheus-Scrape-Timeout-Seconds: 0.05\r\n").await;
    assert_eq!((late.status, late.body.as_str()), (200, "# TYPE old gauge\nold 1\n"));
    drop(desk);
    assert_eq!(running.scrape().await.status, 200);
    let unmet = |reason| running.count("weir_prometheus_unmet_demands", reason);
    assert_eq!((unmet("late"), unmet("gone")), (1, 1));
}

#[tokio::test]
async fn a_source_whose_failure_fails_the_scrape_is_named() {
    let running = run("", Vec::new()).await;
    running.read(1, ReadPage::Failed(OnFailure::Fail), 0).await;
    let failed = running.scrape().await;
    assert_eq!((failed.status, failed.body.as_str()), (503, "the last read of sql#0 failed\n"));
    running.read(2, ReadPage::Last, 1).await;
    assert_eq!(running.scrape().await.status, 200);
}

#[tokio::test]
async fn series_expire_by_the_clock_with_no_scrape() {
    let mut context = context("prometheus");
    tokio::time::pause();
    context.clock = pipeline::Clock::stepped(UnixNanos(1));
    let section = Section::from_yaml("prometheus", "endpoint: 127.0.0.1:0\nmetric_expiration: 20s").unwrap();
    let meters = context.meters.clone();
    let exporter: Arc<dyn Exporter> = plan(&section).unwrap().build(context).unwrap().into();
    let level = meters.level("weir_prometheus_series", "", "", vec![("exporter", "prometheus".to_owned())]);
    let (_stopper, stop) = Stop::pair();
    let running = exporter.clone();
    tokio::spawn(async move { running.run(stop).await });
    let bench = bench();
    exporter.export(&bench.feed().gauge("m", &[], 1).batch()).await.unwrap();
    assert_eq!(level.value(), 1);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(level.value(), 1);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(level.value(), 0);
}
