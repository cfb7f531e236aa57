//! Many clients.

use std::time::Duration;

use pipeline::net::LimitsConfig;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::house::{House, read_one, until, until_closed};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_from_the_same_address_do_not_keep_good_requests_out() {
    let half_open = most_half_open();
    let house = House::open(|server| server).await;
    let address = house.address;
    let flood = tokio::spawn(async move {
        let mut streams = Vec::with_capacity(half_open);
        for n in 0..half_open {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Half of them say nothing at all. Whoever was pushed out already cannot write.
            if n % 2 == 0 {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: ").await.ok();
            }
            streams.push(stream);
        }
        streams
    });
    let mut times = Vec::new();
    let mut held = None;
    let mut flood = Some(flood);
    while times.len() < 100 {
        if flood.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
            held = Some(flood.take().expect("asked above").await.unwrap());
        }
        let began = Instant::now();
        assert_eq!(house.get("/", "").await.0, 200);
        times.push(began.elapsed());
        sleep(Duration::from_millis(2)).await;
    }
    if let Some(flood) = flood {
        held = Some(flood.await.unwrap());
    }
    times.sort();
    let (median, longest) = (times[times.len() / 2], times[times.len() - 1]);
    assert!(median < Duration::from_millis(50) && longest < Duration::from_secs(1), "{median:?}, {longest:?}");
    until(|| house.closed("half_open") as usize >= half_open - 64).await;
    drop(held);
}

#[tokio::test]
async fn a_full_house_refuses_when_nobody_is_half_open() {
    let limits = LimitsConfig { connections_per_address: 3, ..LimitsConfig::default() };
    let house = House::open(|server| server.limits(&limits)).await;
    let mut guests = Vec::new();
    for _ in 0..3 {
        let mut stream = house.knock().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        read_one(&mut stream).await;
        guests.push(stream);
    }
    until_closed(&mut house.knock().await).await;
    assert_eq!(house.count("weir_listener_connections_refused", "connections_per_address"), 1);
    // Who is in is served on, and a place that was given free is taken.
    guests[0].write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_one(&mut guests[0]).await;
    guests.pop();
    let level = house.meters.level("weir_listener_connections", "", "", vec![("exporter", "test".to_owned())]);
    until(|| level.value() == 2).await;
    assert_eq!(house.get("/", "").await.0, 200);
}

/// 8,000, or what the limit of open files allows: each needs one here and, for a moment, one in the server.
fn most_half_open() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let files =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok());
    (files.unwrap_or(1_024_usize).saturating_sub(300) / 2).clamp(100, 8_000)
}
