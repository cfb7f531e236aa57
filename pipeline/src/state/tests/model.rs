//! The committer against time: the window, and everything against a plain model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::clockwork::Clockwork;
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

#[test]
fn ids_are_forgotten_after_the_window_in_steps_and_old_events_are_too_old() {
    // All in memory when their time comes; most in the tree; all in the tree.
    for young_ids in [32_768, 800, 10] {
        ids_are_forgotten(young_ids);
    }
}

fn ids_are_forgotten(young_ids: usize) {
    let bench = Bench::with(LedgerOptions { young_ids, ..LedgerOptions::default() });
    let mut clockwork = Clockwork::new(&bench);
    let signed = |ids: std::ops::Range<u64>, at| ids.map(move |id| (id, Some(at)));
    clockwork.commit_signed(signed(0..3000, NOW));
    clockwork.pass(95 * HOUR);
    assert_eq!(clockwork.commit_signed(signed(0..1, NOW)), [Committed::Duplicate]);
    clockwork.pass(30 * HOUR);
    clockwork.commit([9999]);
    let mut steps = 1;
    while clockwork.committer.wants_tending() {
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
    for young_ids in [32_768, 2000] {
        let bench = Bench::with(LedgerOptions { young_ids, ..LedgerOptions::default() });
        let mut clockwork = Clockwork::new(&bench);
        for group in 0..20 {
            clockwork.commit(group * 1000..(group + 1) * 1000);
        }
        let sql = "SELECT sum(pgsize) FROM dbstat WHERE name IN ('seen', 'young')";
        let bytes: i64 = clockwork.store.connection.query_row(sql, [], |row| row.get(0)).unwrap();
        let each = bytes as f64 / 20_000.0;
        assert!((24.0..=window::ROW_BYTES as f64).contains(&each), "{each} bytes an id");
    }
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
    // So few that merges are always under way.
    let bench = Bench::with(LedgerOptions { young_ids: 20, ..LedgerOptions::default() });
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
            Op::Restart => clockwork = clockwork.restarted(&bench),
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
