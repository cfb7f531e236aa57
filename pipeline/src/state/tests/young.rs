//! Young ids on their way into the tree: known at every step, whatever is broken off between two of them.

use super::clockwork::Clockwork;
use super::*;

fn bench() -> Bench {
    Bench::with(LedgerOptions { young_ids: 500, ..LedgerOptions::default() })
}

fn count(clockwork: &Clockwork, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    clockwork.store.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}

fn all_are_known(clockwork: &mut Clockwork, ids: std::ops::Range<u64>) {
    let outcomes = clockwork.commit(ids);
    assert!(outcomes.iter().all(|outcome| *outcome == Committed::Duplicate));
}

#[test]
fn an_id_is_known_at_every_step_on_its_way_into_the_tree() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    let (mut merging, mut most) = (0, 0);
    for group in 0..200 {
        // Beside twenty new ids one of every age.
        let old = (0..group * 20).step_by((group * 20 / 7).max(1) as usize);
        let outcomes = clockwork.commit((group * 20..group * 20 + 20).chain(old));
        assert!(outcomes[..20].iter().all(|outcome| *outcome == Committed::New));
        assert!(outcomes[20..].iter().all(|outcome| *outcome == Committed::Duplicate), "group {group}");
        merging += u64::from(clockwork.committer.wants_tending());
        most = most.max(clockwork.committer.ids.young().count());
    }
    assert!(merging > 20, "{merging} groups saw a merge");
    assert!(most <= 1200, "{most} ids were held in memory");
    assert!(count(&clockwork, "seen") >= 3000, "{} ids are in the tree", count(&clockwork, "seen"));
    assert!(count(&clockwork, "young") <= 60, "{} rows of young ids are left", count(&clockwork, "young"));
    assert_eq!(clockwork.committer.books.window.rows(), 4000);
}

#[test]
fn young_ids_do_not_pile_up_where_every_life_is_short() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    let mut most = 0;
    for life in 0..300 {
        clockwork.commit(life * 20..life * 20 + 20);
        clockwork = clockwork.restarted(&bench);
        most = most.max(clockwork.committer.ids.young().count());
    }
    assert!((500..1200).contains(&most), "{most} ids were held in memory");
    assert!(count(&clockwork, "seen") >= 4800, "{} ids are in the tree", count(&clockwork, "seen"));
    assert!(count(&clockwork, "young") <= 60, "{} rows of young ids are left", count(&clockwork, "young"));
    all_are_known(&mut clockwork, 0..6000);
    assert_eq!(clockwork.committer.books.window.rows(), 6000);
}

#[test]
fn a_sweep_comes_to_its_end_where_every_life_is_short() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    clockwork.commit(0..6000);
    // What begins the merge.
    clockwork.commit([6000]);
    while clockwork.committer.wants_tending() {
        clockwork.commit([]);
    }
    clockwork.wall.0 += 200 * 3600 * 1_000_000_000;
    clockwork.now += Duration::from_secs(200 * 3600);
    let mut lives = 0;
    while clockwork.committer.books.window.rows() > lives + 1 {
        lives += 1;
        clockwork.commit([6000 + lives]);
        clockwork = clockwork.restarted(&bench);
        assert!(lives < 100, "{} ids are left", clockwork.committer.books.window.rows());
    }
    assert!(lives > 10, "one step does not go over all");
    assert!(count(&clockwork, "seen") < 100, "{} ids are in the tree", count(&clockwork, "seen"));
}

#[test]
fn a_merge_that_a_restart_broke_off_goes_on_and_forgets_nothing() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    let mut broken = 0;
    for group in 0..100 {
        clockwork.commit(group * 30..group * 30 + 30);
        broken += u64::from(group % 5 == 0 && clockwork.committer.wants_tending());
        if group % 5 == 0 {
            clockwork = clockwork.restarted(&bench);
            all_are_known(&mut clockwork, 0..group * 30 + 30);
        }
    }
    assert!(broken > 2, "{broken} merges were broken off");
    while clockwork.committer.wants_tending() {
        clockwork.commit([]);
    }
    assert_eq!(clockwork.committer.books.window.rows(), 3000);
    all_are_known(&mut clockwork, 0..3000);
}

#[test]
fn what_a_failed_group_brought_is_not_remembered() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    clockwork.commit(0..600);
    // The group's last statement fails.
    let fails = "CREATE TEMP TRIGGER fails BEFORE INSERT ON meta BEGIN SELECT raise(ABORT, 'no'); END";
    clockwork.store.connection.execute_batch(fails).unwrap();
    assert!(clockwork.try_commit((600..650).map(|id| (id, None))).is_err());
    let mut clockwork = clockwork.reopened(&bench);
    let outcomes = clockwork.commit(600..650);
    assert!(outcomes.iter().all(|outcome| *outcome == Committed::New));
    all_are_known(&mut clockwork, 0..650);
}

#[test]
fn a_ledger_of_version_1_is_brought_up_to_date() {
    let bench = bench();
    let mut clockwork = Clockwork::new(&bench);
    clockwork.commit(0..50);
    // As version 1 had it: all ids in the tree, books that do not speak of young ones, no such table.
    let mut tree = clockwork.store.tree_to_write().unwrap();
    clockwork.committer.ids.young().for_each(|(id, stamp)| tree.plant(id, stamp).unwrap());
    drop(tree);
    let books = books::Books { young: 0..0, ..clockwork.committer.books.clone() };
    assert_eq!((books.merged, books.sweep), (None, None));
    let mut row = Vec::new();
    codec::seal(&mut row, &clockwork.store.key, codec::Table::Meta, 2, |out| {
        books.put(out);
        out.truncate(out.len() - 4);
    });
    let connection = &clockwork.store.connection;
    connection.execute("UPDATE meta SET row = ?1 WHERE id = 2", [row]).unwrap();
    connection.execute_batch("DROP TABLE young; PRAGMA user_version = 1").unwrap();
    drop(clockwork);
    let findings = Offline::open(bench.folder.path()).unwrap().verify().unwrap();
    assert_eq!((findings.ids, findings.problems), (50, vec![]), "read as it is");
    let mut clockwork = Clockwork::new(&bench);
    all_are_known(&mut clockwork, 0..50);
    assert_eq!(clockwork.commit([50]), [Committed::New]);
    all_are_known(&mut clockwork.restarted(&bench), 0..51);
    let findings = Offline::open(bench.folder.path()).unwrap().verify().unwrap();
    assert_eq!((findings.ids, findings.problems), (51, vec![]));
}

#[test]
fn ids_in_the_tree_are_known_however_far_the_sieve_is() {
    let bench = Bench::with(LedgerOptions { young_ids: 100, ..LedgerOptions::default() });
    let mut clockwork = Clockwork::new(&bench);
    for group in 0..40 {
        clockwork.commit(group * 250..(group + 1) * 250);
    }
    let mut clockwork = clockwork.restarted(&bench);
    // Old ones and new ones by turns: while the tree is read, and with a whole sieve until it is full and made anew.
    let (mut readings, mut was_behind) = (0, true);
    for new in 10_000..40_000 {
        let (old, newer) = (new * 7919 % 10_000, 10_000 + (new - 10_000) / 2);
        let expected = [Committed::Duplicate, Committed::New, Committed::Duplicate];
        assert_eq!(clockwork.commit([old, new, newer]), expected, "{new}");
        let behind = clockwork.committer.ids.reads_tree();
        readings += u32::from(behind && !was_behind);
        was_behind = behind;
    }
    assert!(readings >= 1, "the sieve was never full");
}
