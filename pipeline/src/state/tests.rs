use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pdata::{Identity, Kind, Number, PointFlags, PointValue, SeriesTable, Temporality, UnixNanos};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::fault::Refusal;
use crate::meter::Meters;
use crate::testing::identity;

const HOUR: Duration = Duration::from_secs(3600);
const NOW: UnixNanos = UnixNanos(1_800_000_000_000_000_000);

struct Bench {
    folder: TempDir,
    meters: Meters,
    options: LedgerOptions,
    clock: Clock,
}

impl Bench {
    fn new() -> Self {
        Self::with(LedgerOptions::default())
    }

    fn with(options: LedgerOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, meters: Meters::unread(), options, clock: Clock::system() }
    }

    fn open(&self) -> Ledger {
        open(self.folder.path(), &self.options, &self.clock, &self.meters)
    }

    fn count(&self, name: &str) -> u64 {
        self.meters.counts().iter().filter(|(known, ..)| *known == name).map(|(.., value)| value).sum()
    }
}

fn open(folder: &Path, options: &LedgerOptions, clock: &Clock, meters: &Meters) -> Ledger {
    Ledger::open(folder, "webhook/test", options.clone(), clock, &SeriesTable::with_defaults(), meters).unwrap()
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
async fn at_max_bytes_the_window_shortens_and_nobody_is_refused() {
    let bench = Bench::with(LedgerOptions { max_bytes: 200_000, ..LedgerOptions::default() });
    let mut clockwork = Clockwork::new(&bench);
    // 50,000 ids of 42 bytes want ten times the room.
    for id in 0..50_000_u64 {
        clockwork.wall = clockwork.wall.plus(Duration::from_millis(20));
        if id % 100 == 99 {
            clockwork.commit(id - 99..=id);
        }
    }
    let rows = clockwork.committer.books.window.rows();
    assert!(rows * window::ROW_BYTES <= 210_000, "{rows} ids");
    assert!(clockwork.committer.books.window.real_length(clockwork.wall) < HOUR);
    let bytes = clockwork.store.bytes().unwrap();
    assert!(bytes < 600_000, "the file has {bytes} bytes");
}

/// The committer without its thread: time stands in the test's hand.
struct Clockwork {
    committer: commit::Committer,
    store: store::Store,
    wall: UnixNanos,
    now: tokio::time::Instant,
}

impl Clockwork {
    fn new(bench: &Bench) -> Self {
        let seed = pdata::Seed::from_bytes([1; 16]);
        let first = (seed, load::empty(bench.options.window_limits(), NOW));
        let store = store::Store::open(&bench.folder.path().join("ledger.db"), Durability::Relaxed, &first).unwrap();
        let table = SeriesTable::with_defaults();
        let committer = commit::Committer::new(Default::default(), seed, table, 1000, first.1);
        Self { committer, store, wall: NOW, now: tokio::time::Instant::now() }
    }

    fn commit(&mut self, ids: impl IntoIterator<Item = u64>) -> Vec<Committed> {
        self.commit_signed(ids.into_iter().map(|id| (id, None)))
    }

    fn commit_signed(&mut self, ids: impl Iterator<Item = (u64, Option<UnixNanos>)>) -> Vec<Committed> {
        let entries: Vec<_> = ids
            .map(|(id, signed)| Entry {
                id: Some(EventId(self.committer.seed.fingerprint(&id.to_le_bytes()))),
                signed,
                ..Entry::new()
            })
            .collect();
        let mut outcomes = Vec::new();
        let moment = commit::Moment { wall: self.wall, now: self.now };
        self.committer.commit(&mut self.store, entries.iter(), moment, &mut outcomes).unwrap();
        outcomes.into_iter().map(Result::unwrap).collect()
    }

    fn pass(&mut self, span: Duration) {
        (self.wall, self.now) = (self.wall.plus(span), self.now + span);
    }
}

#[test]
fn ids_are_forgotten_after_the_window_in_steps_and_old_events_are_too_old() {
    let bench = Bench::new();
    let mut clockwork = Clockwork::new(&bench);
    let signed = |ids: std::ops::Range<u64>, at| ids.map(move |id| (id, Some(at)));
    clockwork.commit_signed(signed(0..3000, NOW));
    clockwork.pass(95 * HOUR);
    assert_eq!(clockwork.commit_signed(signed(0..1, NOW)), [Committed::Duplicate]);
    clockwork.pass(30 * HOUR);
    clockwork.commit([9999]);
    let mut steps = 1;
    while clockwork.committer.wants_sweep() {
        clockwork.commit([10_000 + steps]);
        steps += 1;
    }
    assert!(steps > 5, "{steps} steps");
    assert_eq!(clockwork.committer.books.window.rows(), steps);
    assert_eq!(clockwork.commit_signed(signed(0..1, NOW)), [Committed::TooOld]);
    assert_eq!(clockwork.commit([0]), [Committed::New], "without a signed time there is no such guard");
}

#[test]
fn ids_take_no_more_than_the_window_reckons_with() {
    let bench = Bench::new();
    let mut clockwork = Clockwork::new(&bench);
    for group in 0..20 {
        clockwork.commit(group * 1000..(group + 1) * 1000);
    }
    let sql = "SELECT sum(pgsize) FROM dbstat WHERE name = 'seen'";
    let bytes: i64 = clockwork.store.connection.query_row(sql, [], |row| row.get(0)).unwrap();
    let each = bytes as f64 / 20_000.0;
    assert!((24.0..=window::ROW_BYTES as f64).contains(&each), "{each} bytes an id");
}

#[derive(Clone, Debug)]
enum Op {
    /// Ids, each with a tenant and maybe a signed age in hours.
    Group(Vec<(u8, u8, Option<u8>)>),
    /// Hours that pass.
    Pass(u8),
    /// Hours that the wall clock jumps, while no time passes.
    Jump(i16),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => proptest::collection::vec((any::<u8>(), 0_u8..6, proptest::option::of(0_u8..120)), 0..12).prop_map(Op::Group),
        2 => (0_u8..20).prop_map(Op::Pass),
        1 => (-200_i16..200).prop_map(Op::Jump),
        1 => Just(Op::Restart),
    ]
}

/// What a ledger promises, in the plainest words: an id seen less than 76.8 h of running time ago is a duplicate; a counter is
/// the number of times that the answer was "new".
#[derive(Default)]
struct Model {
    counts: BTreeMap<u8, i64>,
    /// Id → running hours at which it was seen last as new, and the largest signed time that it had.
    seen: BTreeMap<u8, (u64, Option<UnixNanos>)>,
    /// Series in the order of their birth.
    born: Vec<u8>,
}

fn run_model(ops: &[Op]) -> Result<(), TestCaseError> {
    let bench = Bench::new();
    let mut clockwork = Clockwork::new(&bench);
    let (mut model, mut running) = (Model::default(), 0_u64);
    let mut outcomes = Vec::new();
    for op in ops {
        match op {
            Op::Pass(hours) => {
                clockwork.pass(u32::from(*hours) * HOUR);
                running += u64::from(*hours);
            }
            Op::Jump(hours) => {
                let nanos = i64::from(*hours) * 3_600_000_000_000;
                clockwork.wall = UnixNanos(clockwork.wall.0.saturating_add_signed(nanos));
            }
            Op::Restart => {
                let Clockwork { committer, store, wall, now } = clockwork;
                drop(store);
                let first = (committer.seed, load::empty(bench.options.window_limits(), wall));
                let path = bench.folder.path().join("ledger.db");
                let store = store::Store::open(&path, Durability::Relaxed, &first).unwrap();
                let loaded = load::load(&store, bench.options.window_limits(), load::Beside::Nobody).unwrap();
                let (image, table) = (Arc::new(std::sync::RwLock::new(loaded.image)), SeriesTable::with_defaults());
                let committer = commit::Committer::new(image, committer.seed, table, 1000, loaded.books);
                clockwork = Clockwork { committer, store, wall, now };
            }
            Op::Group(events) => {
                let wall = clockwork.wall;
                let entries: Vec<_> = events
                    .iter()
                    .map(|(id, tenant, age)| {
                        let series = counter(&tenant.to_string());
                        let fingerprint = series.fingerprint(&clockwork.committer.seed);
                        let tracked = Tracked {
                            place: entry::Place::New(Arc::new(series), fingerprint),
                            class: held::Class::Counter,
                        };
                        let mut entry =
                            Entry::new().with_id(EventId(clockwork.committer.seed.fingerprint(&id.to_le_bytes())));
                        entry.signed = age.map(|age| UnixNanos(wall.0 - u64::from(age) * 3_600_000_000_000));
                        entry.add(tracked, Number::Int(1));
                        entry
                    })
                    .collect();
                let moment = commit::Moment { wall, now: clockwork.now };
                clockwork.committer.commit(&mut clockwork.store, entries.iter(), moment, &mut outcomes).unwrap();
                for (((id, tenant, _), entry), outcome) in events.iter().zip(&entries).zip(&outcomes) {
                    let known = model.seen.get(id).copied();
                    match outcome.as_ref().unwrap() {
                        Committed::New => {
                            if let Some((seen, before)) = known {
                                prop_assert!(running - seen >= 76, "forgotten after {} h", running - seen);
                                prop_assert!(entry.signed.is_none() || entry.signed > before, "counted twice");
                            }
                            *model.counts.entry(*tenant).or_default() += 1;
                            if !model.born.contains(tenant) {
                                model.born.push(*tenant);
                            }
                            model.seen.insert(*id, (running, entry.signed));
                        }
                        Committed::Duplicate => prop_assert!(known.is_some(), "a duplicate of nothing"),
                        Committed::TooOld => prop_assert!(entry.signed.is_some()),
                    }
                }
            }
        }
        let image = clockwork.committer.image.read().unwrap();
        let shown: Vec<_> = image.packed().map(|(_, identity, held)| (identity, held.standing.clone())).collect();
        let expected: Vec<_> = model
            .born
            .iter()
            .map(|tenant| (counter(&tenant.to_string()), Standing::Sum(Number::Int(model.counts[tenant]))))
            .collect();
        prop_assert_eq!(shown, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_does_what_the_plain_model_does(ops in proptest::collection::vec(op(), 0..80)) {
        run_model(&ops)?;
    }
}

/// A ledger with 120 series, 600 ids, a cursor and a spooled record, its log carried over.
async fn prepare(bench: &Bench) -> HashSet<String> {
    let ledger = bench.open();
    for id in 0..600 {
        let mut entry = event(&ledger, id, &format!("tenant{}", id % 120));
        if id == 0 {
            entry = entry.with_cursor(Cursor { key: "jobs".into(), value: b"17".as_slice().into(), token: 3 });
            entry.spool(vec![7; 9000]);
        }
        ledger.submit(entry).await.unwrap();
    }
    lines(&ledger)
}

fn lines(ledger: &Ledger) -> HashSet<String> {
    ledger.snapshot().series().map(|(series, start, standing)| format!("{series:?} {start:?} {standing:?}")).collect()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// In memory, since nothing here is about the disk.
fn scratch() -> TempDir {
    tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).unwrap()
}

#[tokio::test]
async fn whatever_byte_is_flipped_one_row_is_lost_at_most_and_that_is_told() {
    // `WEIR_TEST_FLIP_STEP=1` flips every byte.
    let step = std::env::var("WEIR_TEST_FLIP_STEP").ok().and_then(|step| step.parse().ok()).unwrap_or(389);
    let bench = Bench::with(LedgerOptions { durability: Durability::Relaxed, ..LedgerOptions::default() });
    let before = prepare(&bench).await;
    let length = std::fs::metadata(bench.folder.path().join("ledger.db")).unwrap().len();
    assert!(length >= 64 << 10, "{length} bytes");
    let (mut rebuilt, mut lossy) = (0, 0);
    for at in (0..length as usize).step_by(step) {
        let folder = scratch();
        copy(bench.folder.path(), folder.path());
        let path = folder.path().join("ledger.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&path, bytes).unwrap();
        let bench = Bench { folder, meters: Meters::unread(), options: bench.options.clone(), clock: Clock::system() };
        let ledger = bench.open();
        let lost = before.difference(&lines(&ledger)).count();
        let mut forgotten = 0;
        let ids = (0..600).map(|id| {
            let id = ledger.event("test", &(id as u64).to_le_bytes());
            ledger.submit(Entry::new().with_id(id))
        });
        for outcome in futures_util::future::join_all(ids).await {
            forgotten += usize::from(outcome.unwrap() == Committed::New);
        }
        let cursor = usize::from(ledger.cursor("jobs").is_none_or(|cursor| *cursor.value != *b"17"));
        let spool = usize::from(ledger.spooled(0, 9, usize::MAX).await.unwrap().len() != 1);
        let losses = lost + forgotten + cursor + spool;
        assert!(losses <= 1, "byte {at}: {lost} series, {forgotten} ids, {cursor} cursors, {spool} records lost");
        assert!(losses == 0 || bench.count("weir_ledger_damaged_rows") >= 1, "byte {at}: a loss was not told");
        rebuilt += bench.count("weir_ledger_quarantined");
        lossy += losses;
    }
    assert!(rebuilt > 0 && (lossy > 0 || step > 100), "the test hit nothing: {rebuilt} rebuilt, {lossy} lossy");
}

#[tokio::test]
async fn a_database_cut_off_anywhere_starts_and_keeps_what_is_left() {
    let bench = Bench::with(LedgerOptions { durability: Durability::Relaxed, ..LedgerOptions::default() });
    let before = prepare(&bench).await;
    let length = std::fs::metadata(bench.folder.path().join("ledger.db")).unwrap().len();
    for cut in (0..length).step_by(2777) {
        let folder = scratch();
        copy(bench.folder.path(), folder.path());
        let file = std::fs::File::options().write(true).open(folder.path().join("ledger.db")).unwrap();
        file.set_len(cut).unwrap();
        let bench = Bench { folder, meters: Meters::unread(), options: bench.options.clone(), clock: Clock::system() };
        let ledger = bench.open();
        let kept = before.intersection(&lines(&ledger)).count();
        assert!(kept == before.len() || bench.count("weir_ledger_damaged_rows") > 0, "cut at {cut} was not told");
        assert_eq!(ledger.submit(event(&ledger, 9999, "new")).await, Ok(Committed::New));
    }
}

#[tokio::test]
async fn damage_in_the_log_is_told_and_what_is_sound_is_kept() {
    let bench = Bench::new();
    let ledger = bench.open();
    for id in 0..60 {
        ledger.submit(event(&ledger, id, &format!("tenant{id}"))).await.unwrap();
    }
    // As a killed process leaves it: the log stands.
    let killed = scratch();
    copy(bench.folder.path(), killed.path());
    let before = lines(&ledger);
    let length = std::fs::metadata(killed.path().join("ledger.db-wal")).unwrap().len();
    let mut told = 0;
    for at in (0..length as usize).step_by(9973) {
        let folder = scratch();
        copy(killed.path(), folder.path());
        let path = folder.path().join("ledger.db-wal");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 0x40;
        std::fs::write(&path, bytes).unwrap();
        let bench = Bench { folder, meters: Meters::unread(), options: bench.options.clone(), clock: Clock::system() };
        let ledger = bench.open();
        let after = lines(&ledger);
        let lost = before.difference(&after).count();
        told += bench.count("weir_ledger_quarantined");
        // The last transaction looks the same torn and damaged; all others are told apart.
        assert!(lost <= 2, "byte {at} of the log: {lost} series lost");
        assert!(lost <= 1 || bench.count("weir_ledger_damaged_rows") > 0, "byte {at} of the log: a loss was not told");
    }
    assert!(told > 5, "{told} told");
}

#[tokio::test]
async fn damage_while_running_costs_one_group_and_no_count() {
    let bench = Bench::new();
    let ledger = bench.open();
    for id in 0..500 {
        let mut entry = event(&ledger, id, &format!("tenant{}", id % 50));
        entry.spool(id.to_le_bytes());
        ledger.submit(entry).await.unwrap();
    }
    let before = lines(&ledger);
    let vandal = rusqlite::Connection::open(bench.folder.path().join("ledger.db")).unwrap();
    vandal.execute_batch("DROP TABLE value; DROP TABLE meta;").unwrap();
    drop(vandal);
    let struck = ledger.submit(event(&ledger, 500, "tenant0")).await;
    assert!(matches!(struck, Err(Refusal::Retry { .. })), "{struck:?}");
    assert_eq!(ledger.state(), State::Ready);
    assert_eq!(lines(&ledger), before);
    assert_eq!(bench.count("weir_ledger_quarantined"), 1);
    for id in 0..500 {
        assert_eq!(ledger.submit(event(&ledger, id, "other")).await, Ok(Committed::Duplicate));
    }
    assert_eq!(ledger.spooled(0, 1000, usize::MAX).await.unwrap().len(), 500);
    assert_eq!(ledger.submit(event(&ledger, 500, "tenant0")).await, Ok(Committed::New));
    drop(ledger);
    assert_eq!(sum(&bench.open(), "tenant0"), 11);
    assert_eq!(bench.count("weir_ledger_quarantined"), 1, "the rebuilt database is sound");
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
    other.execute_batch("ROLLBACK").unwrap();
    let mut watch = ledger.watch();
    watch.wait_for(|state| *state == State::Ready).await.unwrap();
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
async fn a_switch_of_databases_that_was_interrupted_is_finished() {
    let bench = Bench::with(LedgerOptions { durability: Durability::Relaxed, ..LedgerOptions::default() });
    let before = prepare(&bench).await;
    let path = |name: &str| bench.folder.path().join(name);
    // As it stands between the declaration of the new database and the renames.
    std::fs::copy(path("ledger.db"), path("ledger.db.next")).unwrap();
    std::fs::write(path("ledger.db"), b"damaged").unwrap();
    std::fs::write(path("ledger.db-wal"), b"a log of the damaged one").unwrap();
    assert_eq!(lines(&bench.open()), before);
    let aside = std::fs::read_dir(bench.folder.path()).unwrap().filter_map(Result::ok);
    let aside = aside.filter(|entry| entry.file_name().to_string_lossy().contains("corrupt")).count();
    assert_eq!(aside, 2, "the damaged database and its log are kept");
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

#[tokio::test]
async fn verify_tells_of_damage() {
    let bench = Bench::new();
    prepare(&bench).await;
    let path = bench.folder.path().join("ledger.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // All copies of the name: some are left over from where the row stood before.
    let places: Vec<_> = (0..bytes.len() - 9).filter(|at| bytes[*at..].starts_with(b"tenant100")).collect();
    places.iter().for_each(|at| bytes[*at] ^= 1);
    std::fs::write(&path, bytes).unwrap();
    let findings = Offline::open(bench.folder.path()).unwrap().verify().unwrap();
    assert!(findings.problems.iter().any(|problem| problem.contains("does not match its check")), "{findings:?}");
}
