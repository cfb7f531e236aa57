//! Flipped bytes, cut files, dropped tables.

use std::collections::HashSet;

use super::*;

/// So few that of 600 some are old, some on their way, and some young.
const YOUNG_IDS: usize = 220;

fn relaxed() -> LedgerOptions {
    LedgerOptions { durability: Durability::Relaxed, young_ids: YOUNG_IDS, ..LedgerOptions::default() }
}

/// A ledger with 120 series, 600 ids, a cursor and a spooled record, its log carried over.
async fn prepare(bench: &Bench) -> HashSet<String> {
    let ledger = bench.open();
    for group in 0..60 {
        let entries = (group * 10..group * 10 + 10).map(|id| {
            let mut entry = event(&ledger, id, &format!("tenant{}", id % 120));
            if id == 0 {
                entry = entry.with_cursor(Cursor { key: "jobs".into(), value: b"17".as_slice().into(), token: 3 });
                entry.spool(vec![7; 9000]);
            }
            ledger.submit(entry)
        });
        futures_util::future::try_join_all(entries).await.unwrap();
    }
    let lines = lines(&ledger);
    drop(ledger);
    let count = |table: &str| {
        let database = rusqlite::Connection::open(bench.folder.path().join("ledger.db")).unwrap();
        let sql = format!("SELECT count(*) FROM {table}");
        database.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert!(count("seen") > 100 && count("young") > 10, "{} old, {} rows young", count("seen"), count("young"));
    lines
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
    // `WEIR_TEST_FLIP_STEP=1` flips every byte, `WEIR_TEST_FLIP_FROM=32772` begins there.
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse().ok());
    let (step, from) = (number("WEIR_TEST_FLIP_STEP").unwrap_or(389), number("WEIR_TEST_FLIP_FROM").unwrap_or(0));
    let bench = Bench::with(relaxed());
    let before = prepare(&bench).await;
    let length = std::fs::metadata(bench.folder.path().join("ledger.db")).unwrap().len();
    assert!(length >= 64 << 10, "{length} bytes");
    let (mut rebuilt, mut lossy, mut failures) = (0, 0, Vec::new());
    // Always: the heads of all pages, where one byte decides on all that stands in them, and the file's own.
    let is_head = |at: usize| at % 4096 < 8 || at < 28;
    for at in (from..length as usize).filter(|at| at % step == 0 || is_head(*at)) {
        let folder = scratch();
        copy(bench.folder.path(), folder.path());
        let path = folder.path().join("ledger.db");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1 << (at % 11 % 8);
        std::fs::write(&path, bytes).unwrap();
        let bench = Bench { folder, ..Bench::with(bench.options.clone()) };
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
        let told = losses == 0 || bench.count("weir_ledger_damaged_rows") >= 1;
        if losses > 1 || !told {
            failures.push(format!(
                "byte {at}: {lost} series, {forgotten} ids, {cursor} cursors, {spool} records lost, told: {told}"
            ));
        }
        rebuilt += bench.count("weir_ledger_quarantined");
        lossy += losses;
    }
    assert!(failures.is_empty(), "{} bytes: {failures:#?}", failures.len());
    assert!(rebuilt > 0 && lossy > 0, "the test hit nothing: {rebuilt} rebuilt, {lossy} lossy");
}

#[tokio::test]
async fn a_database_cut_off_anywhere_starts_and_keeps_what_is_left() {
    let bench = Bench::with(relaxed());
    let before = prepare(&bench).await;
    let length = std::fs::metadata(bench.folder.path().join("ledger.db")).unwrap().len();
    for cut in (0..length).step_by(2777) {
        let folder = scratch();
        copy(bench.folder.path(), folder.path());
        let file = std::fs::File::options().write(true).open(folder.path().join("ledger.db")).unwrap();
        file.set_len(cut).unwrap();
        let bench = Bench { folder, ..Bench::with(bench.options.clone()) };
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
        let bench = Bench { folder, ..Bench::with(bench.options.clone()) };
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
async fn a_switch_of_databases_that_was_interrupted_is_finished() {
    let bench = Bench::with(relaxed());
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
async fn verify_tells_of_damage() {
    let bench = Bench::with(relaxed());
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
