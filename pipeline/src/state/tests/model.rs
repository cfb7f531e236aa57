//! The committer without its thread, where time stands in the test's hand: the window, and everything against a plain model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
        self.committer.commit(&self.store, entries.iter(), moment, &mut outcomes).unwrap();
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
                clockwork.committer.commit(&clockwork.store, entries.iter(), moment, &mut outcomes).unwrap();
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
