//! Databases that cannot be read as they should: weir says so where the data is, stays up, and reads again when they heal.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tests::exposition::Exposition;
use tests::sql::{assert_down, scrape, up};
use tests::{Inventory, Launch, PATIENCE, at_best, http, within};

/// One query over one database, read on every scrape, with further keys of the receiver and of the query.
fn reading(database: &Path, sql: &str, receiver: &str, query: &str) -> Launch {
    tests::sql::reading("sqlite", database, sql, receiver, query)
}

const HARDWARE: &str = "select name, memory_gb as value from hardware where memory_gb is not null";

#[test]
fn a_failing_read_shows_weir_sql_up_0_and_heals() {
    let inventory = Inventory::household();
    let mut weir = reading(&inventory.path(), HARDWARE, "", "").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    inventory.execute("alter table hardware rename to gone");
    assert_down(&mut weir, "reading failed");
    assert!(weir.stderr().contains("hardware"), "the log names what is missing: {}", weir.stderr());
    inventory.execute("alter table gone rename to hardware");
    let served = scrape(&weir);
    assert_eq!((up(&served), served.named("judged").count()), (1.0, 2));
}

#[test]
fn on_failure_decides_what_the_endpoint_shows() {
    let inventory = Inventory::household();
    let last = reading(&inventory.path(), HARDWARE, "    on_failure: last", "").start();
    let fail = reading(&inventory.path(), HARDWARE, "    on_failure: fail", "").start();
    let before = scrape(&last);
    scrape(&fail);
    inventory.execute("alter table hardware rename to gone");
    let after = scrape(&last);
    assert_eq!(up(&after), 0.0);
    assert_eq!(before.named("judged").collect::<Vec<_>>(), after.named("judged").collect::<Vec<_>>());
    let status = fail.get(&[http::TEXT]).status;
    assert!(status >= 500, "on_failure: fail answered {status}");
    inventory.execute("alter table gone rename to hardware");
    assert_eq!(fail.get(&[http::TEXT]).status, 200);
}

#[test]
fn a_replaced_file_is_noticed() {
    let [old, new] = [Inventory::household(), Inventory::household()];
    new.execute("update hardware set memory_gb = 7");
    for inventory in [&old, &new] {
        inventory.execute("pragma journal_mode = delete");
    }
    let weir = reading(&old.path(), HARDWARE, "", "").start();
    assert_eq!(scrape(&weir).value("judged", &[("name", "hive")]), Some(64.0));
    std::fs::rename(new.path(), old.path()).expect("both are in target/");
    assert_eq!(scrape(&weir).value("judged", &[("name", "hive")]), Some(7.0));
}

#[test]
fn a_removed_file_is_noticed_and_found_again() {
    let inventory = Inventory::household();
    inventory.execute("pragma journal_mode = delete");
    let away = inventory.folder().join("away.db");
    let mut weir = reading(&inventory.path(), HARDWARE, "", "").start();
    std::fs::rename(inventory.path(), &away).expect("a file can be renamed");
    assert_down(&mut weir, "reading failed");
    std::fs::rename(&away, inventory.path()).expect("a file can be renamed");
    assert_eq!(up(&scrape(&weir)), 1.0);
}

#[test]
fn unreadable_files_are_told_apart() {
    let folder = Inventory::empty();
    let at = |name: &str| folder.folder().join(name);
    std::fs::write(at("text.db"), "this is no database, but it is long enough to look like one".repeat(99))
        .expect("writable");
    std::fs::create_dir(at("folder.db")).expect("writable");
    let whole = Inventory::household();
    whole.execute("pragma journal_mode = delete");
    let bytes = std::fs::read(whole.path()).expect("readable");
    std::fs::write(at("truncated.db"), &bytes[..bytes.len() / 2 + 100]).expect("writable");
    for name in ["text.db", "folder.db", "truncated.db", "missing.db"] {
        let mut weir = reading(&at(name), HARDWARE, "", "").start();
        assert_down(&mut weir, "reading failed");
        assert!(weir.stderr().contains("sql_query/judged"), "{name}: the log names the receiver: {}", weir.stderr());
    }
    assert!(!at("missing.db").exists(), "a missing database is not made");
}

#[test]
fn a_locked_database_costs_its_time_out_and_no_more() {
    let inventory = Inventory::household();
    inventory.execute("pragma journal_mode = delete");
    let mut weir = reading(&inventory.path(), HARDWARE, "", "        timeout: 500ms").start();
    assert_eq!(up(&scrape(&weir)), 1.0);
    inventory.execute("begin exclusive");
    let response = weir.scrape();
    assert_eq!(up(&Exposition::read(response.text())), 0.0);
    assert!(response.took < Duration::from_secs(8), "a scrape may take 10 s, and this one took {:?}", response.took);
    inventory.execute("rollback");
    assert_eq!(up(&scrape(&weir)), 1.0);
    assert!(weir.runs());
}

#[test]
fn a_query_that_never_ends_is_ended() {
    let endless = "with recursive n(i) as (values (1) union all select i + 1 from n) select 'never' as name, count(*) as value from n";
    let inventory = Inventory::household();
    let mut weir = reading(&inventory.path(), endless, "", "        timeout: 500ms").start();
    let response = weir.scrape();
    assert_eq!(up(&Exposition::read(response.text())), 0.0);
    assert!(response.took < Duration::from_secs(8), "a scrape may take 10 s, and this one took {:?}", response.took);
    let outcome = weir.runs().then(|| weir.stop()).expect("it runs");
    assert_eq!(outcome.code(), 0, "and it can be stopped: {}", outcome.stderr);
}

#[test]
fn a_query_without_a_time_out_ends_with_the_scrape() {
    let endless = "with recursive n(i) as (values (1) union all select i + 1 from n) select 'never' as name, count(*) as value from n";
    let inventory = Inventory::household();
    let weir = reading(&inventory.path(), endless, "", "").start();
    at_best(Duration::from_millis(1_100), "a scrape that waits for 1 s", || {
        weir.get(&[http::TEXT, ("X-Prometheus-Scrape-Timeout-Seconds", "1")]).took
    });
}

#[test]
fn too_many_rows_fail_the_collection_and_say_so() {
    let inventory = Inventory::household();
    let many = "with recursive n(i) as (values (1) union all select i + 1 from n where i < 1001) select 'row ' || i as name, i as value from n";
    let mut weir = reading(&inventory.path(), many, "", "        max_rows: 1000").start();
    assert_down(&mut weir, "reading failed");
    assert!(weir.stderr().contains("max_rows"), "the log names the limit: {}", weir.stderr());
}

#[test]
fn a_cell_of_a_hundred_megabytes_costs_no_memory() {
    let inventory = Inventory::household();
    inventory.execute("insert into hardware (name, memory_gb) values (cast(zeroblob(104857600) as text), 1)");
    let mut weir = reading(&inventory.path(), HARDWARE, "", "").start();
    assert_down(&mut weir, "reading failed");
    let resident = weir.resident_mib();
    assert!(resident < 64.0, "{resident:.0} MiB are resident");
}

#[test]
fn a_bomb_made_by_the_query_costs_no_memory() {
    let inventory = Inventory::household();
    let bomb = "select hex(zeroblob(400000000)) as name, 1 as value";
    let mut weir = reading(&inventory.path(), bomb, "", "        timeout: 2s").start();
    assert_down(&mut weir, "reading failed");
    let resident = weir.resident_mib();
    assert!(resident < 64.0, "{resident:.0} MiB are resident");
}

#[test]
fn a_missing_column_is_named_with_its_query() {
    let inventory = Inventory::household();
    let mut weir = reading(&inventory.path(), "select name from hardware", "", "").start();
    assert_down(&mut weir, "reading failed");
    within(PATIENCE, "the log to name the column", || weir.stderr().contains("value").then_some(()));
}

#[test]
fn the_database_is_never_written_to() {
    let inventory = Inventory::household();
    inventory.execute("pragma journal_mode = delete");
    let before = std::fs::read(inventory.path()).expect("readable");
    for sql in [
        "insert into tags (name) values ('x') returning name, id as value",
        "delete from hardware returning name, id as value",
        "select name, id as value from tags; drop table hardware",
        "attach database '/tmp/elsewhere.db' as elsewhere",
        "vacuum into 'copy.db'",
        "pragma journal_mode = wal",
    ] {
        let launch = reading(&inventory.path(), sql, "", "");
        // Refusing to start is as good as refusing to read.
        let mut weir = launch.start();
        assert!(scrape(&weir).named("weir_sql_up").all(|up| up.number() == 0.0), "{sql}");
        assert!(weir.runs());
        assert_eq!(std::fs::read(inventory.path()).expect("readable"), before, "{sql}");
    }
}

#[test]
fn rows_that_come_and_go_leave_nothing_behind() {
    let inventory = Inventory::household();
    let weir = reading(&inventory.path(), HARDWARE, "", "").start();
    let writer = Connection::open(inventory.path()).expect("the database is there");
    for round in 0..50 {
        writer
            .execute_batch(&format!(
                "delete from hardware; insert into hardware (name, memory_gb) values ('box {round}', 1)"
            ))
            .expect("writable");
        let served = scrape(&weir);
        let names: Vec<_> = served.named("judged").map(|sample| sample.labels["name"].clone()).collect();
        assert_eq!(names, [format!("box {round}")]);
    }
}
