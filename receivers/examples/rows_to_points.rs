//! Measures SQLite rows to points beside a bare `SELECT` of the same rows, in CPU time of this thread.
//!
//! `cargo run --profile iter -p receivers --example rows_to_points [rows]`

#![allow(clippy::print_stdout, reason = "an example that prints its figures")]

use std::time::Duration;

use pdata::SeriesTable;
use receivers::bench::{BareSelect, RowsToPoints};

/// Best of this many rounds: a shared machine adds and never takes away.
const ROUNDS: usize = 9;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(100_000), |rows| rows.parse())?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("bench.db");
    rusqlite::Connection::open(&path)?.execute_batch(&format!(
        "create table t(id integer primary key, name text, slug text, env text, v integer);
         with recursive c(n) as (select 1 union all select n + 1 from c limit {rows})
         insert into t select n, 'service-' || n, 'slug-' || n, 'env-' || (n % 10), n * 7 from c"
    ))?;
    let sql = "select id, name, slug, env, v from t";
    let yaml = format!(
        "driver: sqlite\ndatasource: {}\nqueries:\n  - sql: {sql}\n    max_rows: {rows}\n    metrics: [{{metric_name: m, \
         value_column: v, attribute_columns: [name, slug, env]}}]\n",
        path.display()
    );
    let bare = BareSelect::new(&path, sql)?;
    let mut mapped = RowsToPoints::new(&yaml, SeriesTable::with_defaults())?;
    let first = cpu(|| mapped.read(drop).map(drop))?;
    let (mut best_bare, mut best_mapped) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        best_bare = best_bare.min(cpu(|| bare.read().map(drop))?);
        best_mapped = best_mapped.min(cpu(|| mapped.read(drop).map(drop))?);
    }
    let each = |time: Duration| time.as_nanos() as f64 / rows as f64;
    println!(
        "rows {rows}: bare SELECT {:.0} ns/row, rows to points {:.0} ns/row, first sight {:.0} ns/row",
        each(best_bare),
        each(best_mapped),
        each(first)
    );
    Ok(())
}

/// CPU time that `work` takes of this thread.
fn cpu(work: impl FnOnce() -> Result<(), String>) -> Result<Duration, Box<dyn std::error::Error>> {
    let before = thread_cpu()?;
    work()?;
    Ok(thread_cpu()? - before)
}

/// From the scheduler's own account: nanoseconds on CPU, the first number of `schedstat`.
fn thread_cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(Duration::from_nanos(text.split(' ').next().unwrap_or("0").parse()?))
}
