//! `kill -9` at any moment, also while the ledger recovers from the last one.
//!
//! 500 kills by default; `WEIR_TEST_KILLS=10000 cargo test --release -p ledger-crash --test kill` is the full loop.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use ledger_crash::{Setting, kill_loop};

#[test]
fn nothing_answered_is_lost_or_counted_twice_or_invented_by_kill_9() {
    let kills = std::env::var("WEIR_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(500);
    let seed = std::env::var("WEIR_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(4);
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_ledger_crash").into();
    let setting = Setting { binary, folder: folder.path().join("ledger"), env: Vec::new() };
    let tally = kill_loop(&setting, kills, seed, |_| ()).unwrap();
    #[allow(clippy::print_stdout, reason = "the report of a long loop")]
    {
        println!("{tally:?}");
    }
    assert!(tally.acked > kills, "{tally:?}");
    assert!(tally.under_load > kills / 20, "{tally:?}");
    assert!(tally.during_recovery > 0, "{tally:?}");
    assert!(tally.unanswered_but_kept > 0, "{tally:?}");
    assert!(tally.redelivered > 0, "{tally:?}");
    // Shared machines are slow now and then; the promise of 250 ms is for a machine of one's own.
    assert!(tally.ready_p99 < Duration::from_secs(2), "{tally:?}");
}
