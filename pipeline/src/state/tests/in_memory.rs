//! A ledger in memory promises what one on disk does, but for restarts.

use proptest::prelude::*;

use super::*;

fn in_memory(bench: &Bench) -> Ledger {
    Ledger::in_memory("webhook/test", &bench.options, &bench.clock, &SeriesTable::with_defaults(), &bench.meters)
}

fn level(bench: &Bench, name: &'static str) -> i64 {
    bench.meters.level(name, "", "", vec![("receiver", "webhook/test".to_owned())]).value()
}

#[tokio::test]
async fn in_memory_an_event_counts_once_and_shows_in_the_next_snapshot() {
    let bench = Bench::new();
    let ledger = in_memory(&bench);
    for id in 0..100 {
        assert_eq!(ledger.submit(event(&ledger, id, "a")).await, Ok(Committed::New));
        assert_eq!(sum(&ledger, "a"), id as i64 + 1);
        let seen = ledger.snapshot().commit();
        assert_eq!(ledger.submit(event(&ledger, id, "a")).await, Ok(Committed::Duplicate));
        assert_eq!(ledger.snapshot().points_since(seen, NOW, 10).count(), 0, "a duplicate changes nothing");
    }
    assert_eq!((sum(&ledger, "a"), ledger.state()), (100, State::Ready));
    assert_eq!((bench.count("weir_ledger_events"), bench.count("weir_ledger_duplicates")), (100, 100));
    assert_eq!(level(&bench, "weir_ledger_durability_relaxed"), 2);
    assert_eq!(std::fs::read_dir(bench.folder.path()).unwrap().count(), 0, "nothing is on disk");
}

#[tokio::test]
async fn in_memory_threads_that_count_at_once_lose_nothing() {
    let bench = Bench::new();
    let ledger = in_memory(&bench);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let ledger = &ledger;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                // Each id comes from two threads.
                let ids = (0..2000).map(|id| id + thread / 2 * 2000);
                ids.for_each(|id| drop(runtime.block_on(ledger.submit(event(ledger, id, &(id % 50).to_string())))));
            });
        }
    });
    let total: i64 = (0..50).map(|tenant| sum(&ledger, &tenant.to_string())).sum();
    assert_eq!((total, bench.count("weir_ledger_duplicates")), (4000, 4000));
}

#[tokio::test(start_paused = true)]
async fn in_memory_ids_are_forgotten_after_the_window_and_old_events_are_too_old() {
    let bench = Bench { clock: Clock::stepped(NOW), ..Bench::new() };
    let ledger = in_memory(&bench);
    for id in 0..3000 {
        ledger.submit(event(&ledger, id, "a").signed_at(NOW)).await.unwrap();
    }
    tokio::time::advance(95 * HOUR).await;
    assert_eq!(ledger.submit(event(&ledger, 0, "a").signed_at(NOW)).await, Ok(Committed::Duplicate));
    tokio::time::advance(30 * HOUR).await;
    // A scrape suffices: no event need come.
    drop(ledger.snapshot());
    assert_eq!(bench.count("weir_ledger_ids_forgotten"), 3000);
    assert_eq!(level(&bench, "weir_ledger_ids"), 0);
    assert_eq!(ledger.submit(event(&ledger, 0, "a").signed_at(NOW)).await, Ok(Committed::TooOld));
    assert_eq!(ledger.submit(event(&ledger, 0, "a")).await, Ok(Committed::New), "without a signed time");
}

#[tokio::test(start_paused = true)]
async fn in_memory_at_max_bytes_the_window_shortens_and_nobody_is_refused() {
    let options = LedgerOptions { max_bytes: 200_000, ..LedgerOptions::default() };
    let bench = Bench { clock: Clock::stepped(NOW), ..Bench::with(options) };
    let ledger = in_memory(&bench);
    for id in 0..50_000 {
        tokio::time::advance(Duration::from_millis(20)).await;
        assert_eq!(ledger.submit(event(&ledger, id, "a")).await, Ok(Committed::New));
    }
    let ids = level(&bench, "weir_ledger_ids");
    assert!((1000..3600).contains(&ids), "{ids} ids in 200,000 bytes");
    assert!(level(&bench, "weir_ledger_window_seconds") < 3600);
    assert_eq!(ledger.submit(event(&ledger, 49_999, "a")).await, Ok(Committed::Duplicate));
    assert_eq!(sum(&ledger, "a"), 50_000);
}

#[test]
fn in_memory_ids_take_no_more_than_the_window_reckons_with() {
    // Sizes at which the tables have just grown, and others.
    for ids in [115_000_u64, 150_000, 229_000, 230_000, 400_000] {
        let mut set = memory::IdSet::default();
        let seed = pdata::Seed::from_bytes([7; 16]);
        (0..ids).for_each(|id| set.insert(seed.fingerprint(&id.to_le_bytes()), id));
        let each = set.bytes() as f64 / ids as f64;
        assert!((28.0..=memory::ROW_BYTES as f64).contains(&each), "{each} bytes an id of {ids}");
    }
}

#[derive(Clone, Debug)]
struct Event {
    id: Option<u8>,
    tenant: u8,
    amount: i8,
    signed_hours_ago: Option<u8>,
    record: bool,
    discharge: Option<u8>,
    cursor: Option<(u8, u8)>,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    use proptest::option::of;
    // 96 hours are the window to the second, and the two begin in different ones.
    let hours = of((0_u8..120).prop_filter("on the edge", |hours| *hours != 96));
    let event = (of(0_u8..40), 0_u8..6, -1_i8..4, hours, any::<bool>(), of(0_u8..30), of((0_u8..3, 0_u8..4)));
    let event = event.prop_map(|(id, tenant, amount, signed_hours_ago, record, discharge, cursor)| Event {
        id,
        tenant,
        amount,
        signed_hours_ago,
        record,
        discharge,
        cursor,
    });
    proptest::collection::vec(event, 0..80)
}

impl Event {
    fn entry(&self, ledger: &Ledger, now: UnixNanos) -> Entry {
        let mut entry = Entry::new();
        if let Some(id) = self.id {
            entry = entry.with_id(ledger.event("test", &[id]));
        }
        if let Some(hours) = self.signed_hours_ago {
            entry = entry.signed_at(UnixNanos(now.0 - u64::from(hours) * 3_600_000_000_000));
        }
        entry.add(ledger.track(counter(&self.tenant.to_string())).unwrap(), Number::Int(self.amount.into()));
        if self.record {
            entry.spool(vec![self.tenant; 10]);
        }
        if let Some(up_to) = self.discharge {
            entry = entry.discharge(up_to.into());
        }
        if let Some((key, token)) = self.cursor {
            let (key, value) = (key.to_string().into(), [self.tenant].into());
            entry = entry.with_cursor(Cursor { key, value, token: token.into() });
        }
        entry
    }
}

async fn same(events: Vec<Event>) {
    let bench = Bench::with(LedgerOptions { max_series: 4, ..LedgerOptions::default() });
    let other = Bench::with(bench.options.clone());
    let (disk, memory) = (bench.open(), in_memory(&other));
    let now = bench.clock.wall();
    for event in &events {
        let on_disk = disk.submit(event.entry(&disk, now)).await;
        assert_eq!(memory.submit(event.entry(&memory, now)).await, on_disk, "{event:?}");
    }
    let standings = |ledger: &Ledger| {
        let snapshot = ledger.snapshot();
        snapshot.series().map(|(series, _, standing)| (format!("{series:?}"), standing.clone())).collect::<Vec<_>>()
    };
    assert_eq!(standings(&memory), standings(&disk));
    for (after, records, bytes) in [(0, 100, usize::MAX), (3, 2, usize::MAX), (0, 100, 25), (1, 100, 0), (0, 0, 5)] {
        let waits = memory.spooled(after, records, bytes).await.unwrap();
        assert_eq!(waits, disk.spooled(after, records, bytes).await.unwrap(), "{after} {records} {bytes}");
    }
    for key in ["0", "1", "2"] {
        assert_eq!(memory.cursor(key), disk.cursor(key));
    }
    for name in ["weir_ledger_events", "weir_ledger_duplicates", "weir_ledger_too_old", "weir_ledger_overflowed"] {
        assert_eq!(other.count(name), bench.count(name), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn in_memory_a_ledger_answers_as_one_on_disk_does(events in events()) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(same(events));
    }
}
