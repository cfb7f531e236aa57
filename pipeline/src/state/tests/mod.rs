use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pdata::{Identity, Kind, Number, PointFlags, PointValue, SeriesTable, Temporality, UnixNanos};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::fault::Refusal;
use crate::health::Health;
use crate::meter::Meters;
use crate::testing::identity;

mod clockwork;
mod damage;
mod in_memory;
mod model;
mod young;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

struct Bench {
    folder: TempDir,
    meters: Meters,
    health: Health,
    options: LedgerOptions,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        Self::with(LedgerOptions::default())
    }

    fn with(options: LedgerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, meters: Meters::unread(), health: Health::default(), options, clock: Clock::system() }
    }

    fn open(&self) -> Ledger {
        open(self.folder.path(), &self.options, &self.clock, &self.meters, &self.health)
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }
}

fn open(folder: &Path, options: &LedgerOptions, clock: &Clock, meters: &Meters, health: &Health) -> Ledger {
    Ledger::open(folder, "webhook/test", options.clone(), clock, &SeriesTable::with_defaults(), meters, health).unwrap()
}

fn counter(tenant: &str) -> Identity {
    identity("events", Kind::COUNTER, &[("tenant", tenant)])
}

fn event(ledger: &Ledger, id: u64, tenant: &str) -> Entry {
    let mut entry = Entry::new().with_id(ledger.event("test", &id.to_le_bytes()));
    entry.add(ledger.track(counter(tenant)).unwrap(), Number::Int(1));
    entry
}

fn sum(ledger: &Ledger, tenant: &str) -> i64 {
    match ledger.standing(&counter(tenant)) {
        Some(Standing::Sum(Number::Int(sum))) => sum,
        _ => 0,
    }
}

#[tokio::test]
async fn an_event_counts_once_and_shows_in_the_next_snapshot() {
    let bench = Bench::new();
    let ledger = bench.open();
    for id in 0..100 {
        assert_eq!(ledger.submit(event(&ledger, id, "a")).await, Ok(Committed::New));
        assert_eq!(sum(&ledger, "a"), id as i64 + 1);
        assert_eq!(ledger.submit(event(&ledger, id, "a")).await, Ok(Committed::Duplicate));
    }
    assert_eq!(sum(&ledger, "a"), 100);
    assert_eq!(ledger.snapshot().len(), 1);
}

#[tokio::test]
async fn series_values_and_start_times_survive_a_restart() {
    let bench = Bench::new();
    let ledger = bench.open();
    let histogram = Kind::Histogram { temporality: Temporality::Cumulative };
    let bounds: Arc<[f64]> = Arc::new([0.5, 1.0]);
    let mut entry = event(&ledger, 1, "a");
    let gauge = ledger.track(identity("state", Kind::Gauge, &[])).unwrap();
    entry.tally(gauge, Tally::Set { value: Number::Int(2), time: UnixNanos(77) });
    let seconds = ledger.track(identity("seconds", histogram, &[("job", "x")])).unwrap();
    entry.tally(seconds, Tally::Observe { value: 0.7, bounds });
    ledger.submit(entry).await.unwrap();
    let before: Vec<_> = ledger
        .snapshot()
        .series()
        .map(|(series, start, standing)| (format!("{series:?}"), start, standing.clone()))
        .collect();
    drop(ledger);
    let ledger = bench.open();
    let snapshot = ledger.snapshot();
    let after: Vec<_> =
        snapshot.series().map(|(series, start, standing)| (format!("{series:?}"), start, standing.clone())).collect();
    assert_eq!(before, after);
    assert_eq!(ledger.submit(event(&ledger, 1, "a")).await, Ok(Committed::Duplicate));
    let batches: Vec<_> = snapshot.points(UnixNanos(5), 2).collect();
    assert_eq!(batches.iter().map(|batch| batch.points.len()).collect::<Vec<_>>(), [2, 1]);
    let point = &batches[0].points[0];
    assert!(point.start.is_set() && point.time >= point.start && point.flags.has(PointFlags::HELD));
    assert_eq!(point.value, PointValue::Int(1));
}

#[tokio::test]
async fn only_what_changed_is_emitted_after_a_commit() {
    let bench = Bench::new();
    let ledger = bench.open();
    ledger.submit(event(&ledger, 1, "a")).await.unwrap();
    let seen = ledger.snapshot().commit();
    ledger.submit(event(&ledger, 2, "b")).await.unwrap();
    let names: Vec<_> = ledger
        .snapshot()
        .points_since(seen, NOW, 10)
        .flat_map(|batch| {
            batch.points.iter().map(|point| format!("{:?}", batch.series(point.series))).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(names, [r#"events{"tenant": Str("b")}"#]);
}

#[tokio::test]
async fn series_from_disk_take_the_words_that_their_metric_has_now() {
    let bench = Bench::new();
    let ledger = bench.open();
    ledger.submit(event(&ledger, 1, "a")).await.unwrap();
    drop(ledger);
    let ledger = bench.open();
    let metric =
        pdata::Metric { description: "events by tenant".into(), ..pdata::Metric::new("events", Kind::COUNTER) };
    ledger.describe(&Arc::new(metric.clone()));
    let described = |ledger: &Ledger| {
        ledger.snapshot().series().map(|(series, ..)| series.metric().description.clone()).collect::<Vec<_>>()
    };
    assert_eq!(described(&ledger), ["events by tenant".into()]);
    let reworded = Identity { metric: Arc::new(metric), ..counter("a") };
    let mut entry = Entry::new();
    entry.add(ledger.track(reworded).unwrap(), Number::Int(1));
    ledger.submit(entry).await.unwrap();
    assert_eq!(sum(&ledger, "a"), 2, "it is the same series");
}

#[tokio::test]
async fn past_the_bound_sums_count_into_the_overflow_series_and_nothing_is_lost() {
    let bench = Bench::with(LedgerOptions { max_series: 3, ..LedgerOptions::default() });
    let ledger = bench.open();
    for id in 0..50 {
        ledger.submit(event(&ledger, id, &format!("hostile{id}"))).await.unwrap();
    }
    let mut gauge = Entry::new();
    gauge.tally(
        ledger.track(identity("state", Kind::Gauge, &[])).unwrap(),
        Tally::Set { value: Number::Int(1), time: NOW },
    );
    ledger.submit(gauge).await.unwrap();
    let snapshot = ledger.snapshot();
    assert_eq!(snapshot.len(), 4);
    let total: f64 = snapshot.series().map(|(.., standing)| standing.value().number().unwrap().as_f64()).sum();
    assert_eq!(total, 50.0);
    let overflow =
        Identity { attributes: pdata::Attributes::from_pairs([("otel.metric.overflow", true)]), ..counter("") };
    assert_eq!(ledger.standing(&overflow), Some(Standing::Sum(Number::Int(47))));
    assert_eq!(bench.count("weir_ledger_overflowed"), 48);
}

#[tokio::test]
async fn what_no_retry_makes_better_is_rejected_and_changes_nothing() {
    let bench = Bench::new();
    let ledger = bench.open();
    let mut entry = event(&ledger, 1, "a");
    entry.add(ledger.track(counter("a")).unwrap(), Number::Int(-1));
    assert!(matches!(ledger.submit(entry).await, Err(Refusal::Reject { .. })));
    assert_eq!(ledger.submit(event(&ledger, 1, "a")).await, Ok(Committed::New));
    let fault = ledger.track(identity("quantiles", Kind::Summary, &[])).unwrap_err().to_string();
    assert_eq!(fault, "a ledger cannot keep quantiles, which is a Summary");
}

#[tokio::test]
async fn a_cursor_moves_with_its_entry_and_never_under_a_lower_token() {
    let bench = Bench::new();
    let ledger = bench.open();
    let cursor = |value: &str, token| Cursor { key: "jobs".into(), value: value.as_bytes().into(), token };
    ledger.submit(event(&ledger, 1, "a").with_cursor(cursor("1", 5))).await.unwrap();
    let fenced = ledger.submit(event(&ledger, 2, "a").with_cursor(cursor("2", 4))).await;
    assert_eq!(fenced, Err(Refusal::Reject { why: r#"cursor "jobs" is held under token 5, not 4"#.into() }));
    assert_eq!(sum(&ledger, "a"), 1);
    ledger.save(cursor("3", 6)).await.unwrap();
    drop(ledger);
    assert_eq!(bench.open().cursor("jobs"), Some(cursor("3", 6)));
}

#[tokio::test]
async fn spooled_records_keep_their_numbers_until_they_are_discharged() {
    let bench = Bench::new();
    let ledger = bench.open();
    for id in 0..5 {
        let mut entry = event(&ledger, id, "a");
        entry.spool(vec![id as u8; 5000]);
        ledger.submit(entry.clone()).await.unwrap();
        ledger.submit(entry).await.unwrap();
    }
    let two = ledger.spooled(0, 2, usize::MAX).await.unwrap();
    assert_eq!(two.iter().map(|(number, record)| (*number, record[0])).collect::<Vec<_>>(), [(1, 0), (2, 1)]);
    assert_eq!(ledger.spooled(2, 9, 6000).await.unwrap().len(), 1);
    ledger.submit(Entry::new().discharge(4)).await.unwrap();
    drop(ledger);
    let ledger = bench.open();
    let left = ledger.spooled(0, 9, usize::MAX).await.unwrap();
    assert_eq!(left, [(5, vec![4_u8; 5000].into())]);
    let mut entry = Entry::new();
    entry.spool(*b"six");
    ledger.submit(entry).await.unwrap();
    assert_eq!(ledger.spooled(5, 9, usize::MAX).await.unwrap()[0].0, 6);
}

#[tokio::test]
async fn a_second_process_is_refused_in_clear_words() {
    let bench = Bench::new();
    let _ledger = bench.open();
    let second = Ledger::open(
        bench.folder.path(),
        "webhook/b",
        LedgerOptions::default(),
        &bench.clock,
        &SeriesTable::with_defaults(),
        &bench.meters,
        &bench.health,
    );
    let expected = format!("webhook/b: the ledger in {} is in use by another process", bench.folder.path().display());
    assert_eq!(second.unwrap_err().to_string(), expected);
}

#[tokio::test]
async fn a_hundred_waiters_share_few_commits_and_each_gets_its_own_answer() {
    let bench = Bench::new();
    let ledger = bench.open();
    let tasks: Vec<_> = (0..2000)
        .map(|id| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.submit(event(&ledger, id % 1000, "a")).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for task in tasks {
        new += usize::from(task.await.unwrap() == Committed::New);
    }
    assert_eq!((new, sum(&ledger, "a")), (1000, 1000));
    assert!(bench.count("weir_ledger_commits") < 500, "{} commits", bench.count("weir_ledger_commits"));
}

#[tokio::test]
async fn somebody_elses_lock_refuses_for_as_long_as_it_is_held() {
    let bench = Bench::new();
    let ledger = bench.open();
    ledger.submit(event(&ledger, 1, "a")).await.unwrap();
    let other = rusqlite::Connection::open(bench.folder.path().join("ledger.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(ledger.submit(event(&ledger, 2, "a")).await, Err(Refusal::Retry { .. })));
    assert!(matches!(ledger.state(), State::NotReady { .. }));
    assert!(bench.health.complaint().unwrap().starts_with("webhook/test: "));
    other.execute_batch("ROLLBACK").unwrap();
    while bench.health.complaint().is_some() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(ledger.state(), State::Ready);
    assert_eq!(ledger.submit(event(&ledger, 2, "a")).await, Ok(Committed::New));
    assert_eq!((sum(&ledger, "a"), bench.count("weir_ledger_quarantined")), (2, 0));
}

#[tokio::test]
async fn who_finds_the_queue_full_waits_and_is_served() {
    let bench = Bench::with(LedgerOptions { queue_bytes: 1000, group_entries: 3, ..LedgerOptions::default() });
    let ledger = bench.open();
    let mut entries: Vec<_> = (0..200).map(|id| event(&ledger, id, "a")).collect();
    entries[7].spool(vec![0; 5000]);
    let outcomes = futures_util::future::join_all(entries.into_iter().map(|entry| ledger.submit(entry))).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Committed::New)));
    ledger.close();
    assert!(matches!(ledger.submit(Entry::new()).await, Err(Refusal::Retry { .. })));
    assert_eq!(ledger.state(), State::NotReady { why: "the ledger is closed".into() });
}

#[tokio::test]
async fn offline_lists_verifies_and_exports_beside_a_running_ledger() {
    let bench = Bench::new();
    let ledger = bench.open();
    ledger.submit(event(&ledger, 1, "a")).await.unwrap();
    ledger.save(Cursor { key: "jobs".into(), value: b"17".as_slice().into(), token: 3 }).await.unwrap();
    let offline = Offline::open(bench.folder.path()).unwrap();
    let listed = offline.series().unwrap();
    assert_eq!((listed.len(), &listed[0].standing), (1, &Standing::Sum(Number::Int(1))));
    let findings = offline.verify().unwrap();
    assert_eq!((findings.series, findings.ids, findings.cursors, findings.problems.len()), (1, 1, 1, 0));
    let mut out = Vec::new();
    offline.export(&mut out).unwrap();
    let lines: Vec<serde_json::Value> =
        String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["metric"], "events");
    assert_eq!((&lines[0]["attributes"]["tenant"], &lines[0]["value"]), (&"a".into(), &1.into()));
    assert_eq!(lines[1]["cursor"], "jobs");
    ledger.submit(event(&ledger, 2, "a")).await.unwrap();
    assert_eq!(offline.series().unwrap()[0].standing, Standing::Sum(Number::Int(2)));
}
