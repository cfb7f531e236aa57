//! The same SQLite with the same settings, alone: ids and counters in groups, nothing around them.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

const SPAN: Duration = Duration::from_secs(2);

/// Events a second when each commit holds so many.
pub fn rate(folder: &Path, group: usize) -> f64 {
    let mut connection = Connection::open(folder.join("alone.db")).expect("SQLite can create a file");
    connection
        .execute_batch(
            "pragma journal_mode=wal; pragma synchronous=full;
             create table seen(id blob primary key, at int) without rowid;
             create table counter(series integer primary key, n int)",
        )
        .expect("the statements are valid");
    let (began, mut events) = (Instant::now(), 0_u64);
    while began.elapsed() < SPAN {
        let transaction = connection.transaction().expect("nobody else uses the database");
        {
            let mut seen = transaction.prepare_cached("insert or ignore into seen values(?1, ?2)").expect("valid");
            let mut count = transaction
                .prepare_cached("insert into counter values(?1, 1) on conflict(series) do update set n = n + 1")
                .expect("valid");
            for _ in 0..group {
                events += 1;
                // Ids as hashes are: in no order.
                let id = u128::from(events).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_le_bytes();
                seen.execute(params![id, events as i64]).expect("the row fits");
                count.execute([events as i64 % 400]).expect("the row fits");
            }
        }
        transaction.commit().expect("the disk has room");
    }
    events as f64 / began.elapsed().as_secs_f64()
}
