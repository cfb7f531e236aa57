//! Rows that leave as log records, while the query is still being read.

use std::sync::{Arc, Mutex};

use pipeline::{Meters, Verdict};

use super::*;

/// So many rows, of some 300 bytes in memory each, without a table.
fn rows(count: u32, keys: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("x.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("create table t(v)").unwrap();
    let yaml = format!(
        "driver: sqlite
datasource: {}
self_metrics: false
collection_interval: 1h
queries:
  - sql: with recursive r(n) as (select 1 union all select n + 1 from r where n < {count}) select n, 'row' as body from r
    max_rows: 10000000
    logs: [{{body_column: body, attribute_columns: [n]}}]
    {keys}
",
        path.display()
    );
    (folder, yaml)
}

/// A receiver on this section, and what it counts.
fn run(yaml: &str) -> (Running, Meters) {
    let checked = checked(yaml);
    let open = |target| driver::open(&checked, target, pipeline::Clock::system());
    let sources = checked.targets.iter().map(open).collect();
    let meters = Arc::new(Mutex::new(None));
    let keep = meters.clone();
    let running = Running::start(checked, sources, move |context| *keep.lock().unwrap() = Some(context.meters.clone()));
    let meters = meters.lock().unwrap().take().unwrap();
    (running, meters)
}

/// What a counter of failed reads stands at, by its reason.
fn failed(meters: &Meters, reason: &str) -> u64 {
    let counts = meters.counts();
    let of = counts.iter().filter(|(name, labels, _)| {
        *name == "weir_sql_failed_reads" && labels.iter().any(|(key, value)| *key == "reason" && value == reason)
    });
    of.map(|(.., value)| value).sum()
}

#[tokio::test]
async fn rows_leave_while_the_query_is_read_and_few_pages_are_under_way() {
    let (_folder, yaml) = rows(50_000, "timeout: 1m");
    let (mut running, _) = run(&yaml);
    let mut under_way = Vec::new();
    for _ in 0..4 {
        under_way.push(running.batch().await);
    }
    let more = tokio::time::timeout(Duration::from_millis(100), running.batch()).await;
    assert!(more.is_err(), "a fifth page is under way");
    assert!(under_way.iter().all(|page| page.heap_bytes() <= 600 << 10), "{:?}", under_way[0].heap_bytes());
    let mut records: usize = under_way.iter().map(Batch::items).sum();
    under_way.into_iter().for_each(|page| page.settle(Verdict::Delivered));
    while records < 50_000 {
        let page = running.batch().await;
        records += page.items();
        page.settle(Verdict::Delivered);
    }
    assert_eq!(records, 50_000);
    running.stop().await;
}

#[tokio::test]
async fn destinations_that_take_nothing_hold_the_reading_no_longer_than_its_time() {
    let (_folder, yaml) = rows(5_000_000, "timeout: 1s");
    let (mut running, meters) = run(&yaml);
    let began = tokio::time::Instant::now();
    let mut held = vec![running.batch().await];
    while failed(&meters, "timeout") == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the read goes on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    while let Ok(page) = tokio::time::timeout(Duration::from_millis(50), running.batch()).await {
        held.push(page);
    }
    assert!((4..=5).contains(&held.len()), "{} pages", held.len());
    held.into_iter().for_each(|page| page.settle(Verdict::Delivered));
    running.stop().await;
}
