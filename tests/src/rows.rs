//! Rows that leave as log records, and sessions that write them late: bodies are `way:id`, so that each record says how it was read, and
//! which row it is.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{PATIENCE, Postgres};

/// How often each row was passed in each way.
pub fn passed(told: &Path) -> BTreeMap<String, BTreeMap<u64, u32>> {
    let mut passed: BTreeMap<String, BTreeMap<u64, u32>> = BTreeMap::new();
    let text = std::fs::read_to_string(told).unwrap_or_default();
    // Its last line may be in the making.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in whole.lines() {
        let body = line.trim_matches('"').split(['"', '{', ' ']).next().unwrap_or_default();
        let Some((way, id)) = body.split_once(':') else { continue };
        let id = id.parse().unwrap_or_else(|_| panic!("{line}"));
        *passed.entry(way.to_owned()).or_default().entry(id).or_default() += 1;
    }
    passed
}

/// How many of these rows were never passed, and how many more than once.
pub fn missed_and_doubled(passed: &BTreeMap<u64, u32>, rows: &[u64]) -> (usize, usize) {
    let missed = rows.iter().filter(|id| !passed.contains_key(id)).count();
    (missed, passed.values().filter(|times| **times > 1).count())
}

/// Waits until this many rows have been passed in this way, or that is not going to happen.
pub fn settle(told: &Path, ways: &[&str], rows: usize) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let passed = passed(told);
        if ways.iter().all(|way| passed.get(*way).is_some_and(|passed| passed.len() >= rows)) {
            // What comes twice comes soon.
            sleep(Duration::from_millis(300));
            return;
        }
        sleep(Duration::from_millis(50));
    }
}

/// A cheap source of numbers that look random.
pub fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Has so many sessions write side by side, one transaction a round: each waits a little before and after it inserts, and one of ten
/// rolls back, so that rows are often committed after those with later ids. `insert`: a statement with `$round` in it.
pub fn write_late(server: &Postgres, database: &str, sessions: usize, rounds: usize, insert: &str) {
    std::thread::scope(|scope| {
        for session in 0..sessions {
            scope.spawn(move || {
                let mut seed = session as u64 + 1;
                let round = |round: usize| {
                    let mut wait = || random(&mut seed) % 12;
                    let (before, after) = (wait(), wait());
                    let end = if random(&mut seed).is_multiple_of(10) { "rollback" } else { "commit" };
                    let insert = insert.replace("$round", &round.to_string());
                    format!(
                        "begin; select pg_sleep(0.001 * {before}); {insert}; select pg_sleep(0.001 * {after}); {end};\n"
                    )
                };
                let script: String = (0..rounds).map(round).collect();
                // From a file, psql sends one statement after another: in one message, all would begin at one time.
                let script = server.file(&format!("{database}{session}.sql"), &script);
                server.execute(database, &format!("\\i {}", script.display()));
            });
        }
    });
}
