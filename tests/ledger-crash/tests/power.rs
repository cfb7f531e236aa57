//! Power loss: after each kill the disk goes back to what fsyncs had covered, in part torn.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;

use ledger_crash::{Dice, Setting, Tally, Violation, kill_loop, lose_power, shim};

fn run(mutant: &str, rounds: u64, seed: u64) -> Result<Tally, Violation> {
    let scratch = tempfile::tempdir().unwrap();
    let (folder, shadow) = (scratch.path().join("ledger"), scratch.path().join("shadow"));
    fs::create_dir(&folder).unwrap();
    fs::create_dir(&shadow).unwrap();
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let env = vec![
        pair("LD_PRELOAD", shim(scratch.path()).to_str().unwrap()),
        pair("SHIM_DIR", folder.to_str().unwrap()),
        pair("SHIM_SHADOW", shadow.to_str().unwrap()),
        // A real disk takes its time: many kills find a commit that is written and not synced.
        ("SHIM_SLOW".to_owned(), "500".to_owned()),
        pair("WEIR_MUTANT", mutant),
    ];
    let setting = Setting { binary: env!("CARGO_BIN_EXE_ledger_crash").into(), folder: folder.clone(), env };
    kill_loop(&setting, rounds, seed, |dice: &mut Dice| {
        let torn = dice.below(2) == 0;
        lose_power(&folder, &shadow, torn.then_some(dice));
    })
}

fn rounds() -> u64 {
    std::env::var("WEIR_TEST_POWER_LOSSES").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(200)
}

#[test]
fn nothing_answered_is_lost_when_the_power_fails() {
    let tally = run("", rounds(), 11).unwrap();
    #[allow(clippy::print_stdout, reason = "the report of a long loop")]
    {
        println!("{tally:?}");
    }
    assert!(tally.acked > rounds() && tally.under_load > 0 && tally.unanswered_but_kept > 0, "{tally:?}");
}

#[test]
fn a_commit_without_fsync_would_be_noticed() {
    let violation = run("relaxed", 200, 12).unwrap_err();
    assert!(violation.contains("lost") || violation.contains("twice"), "{violation}");
}

#[test]
fn an_answer_before_the_commit_would_be_noticed() {
    let violation = run("early", 200, 13).unwrap_err();
    assert!(violation.contains("lost"), "{violation}");
}
