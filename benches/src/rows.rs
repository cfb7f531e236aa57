//! SQLite rows to points, beside a bare `SELECT` in the same process.

use pdata::SeriesTable;
use receivers::bench::{BareSelect, RowsToPoints};

use crate::measure::{Report, best_of};

const ROWS: usize = 100_000;
const SQL: &str = "select region, service, tenant, kind, value from rows";

pub fn run() {
    let mut report = Report::new("SQLite: rows to points, 100 k rows of five columns");
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("rows.db");
    fill(&path).expect("SQLite can write a temporary file");
    let bare = BareSelect::new(&path, SQL).expect("the statement is valid");
    let floor = best_of(7, ROWS, || {
        bare.read().expect("the file is there");
    });
    report.cost("bare SELECT, every cell looked at", floor, "row", None);
    let yaml = format!(
        "driver: sqlite\ndatasource: {}\nqueries:\n- sql: {SQL}\n  metrics:\n  - {{metric_name: m, value_column: value, attribute_columns: [region, service, tenant, kind]}}",
        path.display()
    );
    let mut rows = RowsToPoints::new(&yaml, SeriesTable::with_defaults()).expect("the section is valid");
    let mut read = || {
        rows.read(|page| drop(std::hint::black_box(page))).expect("the file is there");
    };
    report.cost("rows to points, first collection", best_of(1, ROWS, &mut read), "row", None);
    let steady = best_of(7, ROWS, read);
    report.cost("rows to points, steady", steady, "row", Some("600 ns"));
    report.figure("steady against bare", format!("{:.2}x", steady.ns / floor.ns), None);
    report.print();
}

fn fill(path: &std::path::Path) -> rusqlite::Result<()> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.execute_batch("create table rows(region text, service text, tenant text, kind text, value int)")?;
    let transaction = connection.transaction()?;
    for n in 0..ROWS as i64 {
        let row =
            (["eu", "us", "ap"][n as usize % 3], format!("service-{}", n % 50), format!("tenant-{n:07}"), "vm", n);
        transaction.prepare_cached("insert into rows values(?1, ?2, ?3, ?4, ?5)")?.execute(row)?;
    }
    transaction.commit()
}
