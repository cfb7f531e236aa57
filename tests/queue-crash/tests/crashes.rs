//! `kill -9` and power loss at any moment, and disks that are full or fail.
//!
//! 100 kills and 150 power failures by default; `WEIR_TEST_KILLS` and `WEIR_TEST_POWER_LOSSES` for more.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ledger_crash::{Dice, Setting, Victim, Violation, lose_power, shim};
use queue_crash::{Habit, Judge, Tally, WAIT, kill_loop};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(default)
}

#[allow(clippy::print_stdout, reason = "the report of a long loop")]
fn report(tally: &Tally) {
    println!("{tally:?}");
}

#[test]
fn nothing_answered_is_lost_by_kill_9_and_the_order_stays() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_queue_crash").into();
    let setting = Setting { binary, folder: folder.path().join("queue"), env: Vec::new() };
    let tally = kill_loop(&setting, number("WEIR_TEST_KILLS", 100), 5, Habit::Plain, |_| ()).unwrap();
    report(&tally);
    assert!(tally.acked > tally.kills && tally.delivered > tally.kills, "{tally:?}");
    assert!(tally.under_load > tally.kills / 20 && tally.unanswered_but_kept > 0, "{tally:?}");
}

struct Rig {
    _scratch: tempfile::TempDir,
    setting: Setting,
    fault: PathBuf,
    shadow: PathBuf,
}

impl Rig {
    fn new(more: &[(&str, &str)]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let (folder, shadow) = (path("queue"), path("shadow"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&shadow).unwrap();
        let pair = |key: &str, value: &Path| (key.to_owned(), value.to_str().unwrap().to_owned());
        let mut env = vec![
            pair("LD_PRELOAD", &shim(scratch.path())),
            pair("SHIM_DIR", &folder),
            pair("SHIM_SHADOW", &shadow),
            pair("SHIM_FAULT", &path("fault")),
            // A real disk takes its time: half of the kills find a group that is written and not synced.
            ("SHIM_SLOW".to_owned(), "700".to_owned()),
        ];
        env.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let setting = Setting { binary: env!("CARGO_BIN_EXE_queue_crash").into(), folder, env };
        Self { setting, fault: path("fault"), shadow, _scratch: scratch }
    }

    fn lose_power(&self, rounds: u64, seed: u64, habit: Habit) -> Result<Tally, Violation> {
        kill_loop(&self.setting, rounds, seed, habit, |dice: &mut Dice| {
            let torn = dice.below(2) == 0;
            lose_power(&self.setting.folder, &self.shadow, torn.then_some(dice));
        })
    }
}

#[test]
fn nothing_answered_is_lost_when_the_power_fails_and_no_torn_write_is_taken_for_damage() {
    let tally = Rig::new(&[]).lose_power(number("WEIR_TEST_POWER_LOSSES", 150), 11, Habit::Plain).unwrap();
    report(&tally);
    assert!(tally.acked > tally.kills && tally.under_load > 0 && tally.unanswered_but_kept > 0, "{tally:?}");
    assert!(tally.again > 0, "what was deleted and not synced comes back: {tally:?}");
}

#[test]
fn a_fold_that_is_killed_or_loses_its_power_leaves_out_only_what_is_superseded_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_queue_crash").into();
    let setting = Setting { binary, folder: folder.path().join("queue"), env: Vec::new() };
    let killed = kill_loop(&setting, number("WEIR_TEST_KILLS", 100), 17, Habit::Folds, |_| ()).unwrap();
    let unplugged = Rig::new(&[]).lose_power(number("WEIR_TEST_POWER_LOSSES", 150), 19, Habit::Folds).unwrap();
    for tally in [killed, unplugged] {
        report(&tally);
        assert!(tally.folded > 100 && tally.in_fold > 0 && tally.acked > tally.kills, "{tally:?}");
    }
    let violation = Rig::new(&[("SHIM_BLIND", "d")]).lose_power(200, 23, Habit::Folds).unwrap_err();
    assert!(is_noticed(&violation), "a build that deletes before a name is durable: {violation}");
}

#[test]
fn nothing_answered_is_lost_that_comes_after_everything_was_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let binary = env!("CARGO_BIN_EXE_queue_crash").into();
    let setting = Setting { binary, folder: folder.path().join("queue"), env: Vec::new() };
    let killed = kill_loop(&setting, number("WEIR_TEST_KILLS", 100), 29, Habit::Drains, |_| ()).unwrap();
    let unplugged = Rig::new(&[]).lose_power(number("WEIR_TEST_POWER_LOSSES", 150), 31, Habit::Drains).unwrap();
    // Whether a start after a power failure finds an empty queue is up to the moment of the last sync: what was delivered may be
    // back. The kills see to it that there are such starts.
    assert!(killed.empty > killed.kills / 20, "{killed:?}");
    for tally in [killed, unplugged] {
        report(&tally);
        assert!(tally.acked > tally.kills, "{tally:?}");
    }
}

#[test]
fn builds_that_answer_early_or_sync_no_file_or_no_folder_would_be_noticed() {
    for mutant in [("WEIR_MUTANT", "early"), ("SHIM_BLIND", "f"), ("SHIM_BLIND", "d")] {
        let violation = Rig::new(&[mutant]).lose_power(200, 13, Habit::Plain).unwrap_err();
        assert!(is_noticed(&violation), "{mutant:?}: {violation}");
    }
}

/// What was answered and never synced is gone, or comes back torn: which of both is the disk's choice.
fn is_noticed(violation: &str) -> bool {
    violation.contains("lost") || violation.contains("damaged")
}

/// Sends a load and takes all its answers. Gives how many were refused.
fn load(victim: &mut Victim, judge: &mut Judge, new: u64) -> usize {
    let ids = judge.load(new);
    ids.iter().for_each(|id| victim.send(&id.to_string()));
    ids.iter().filter(|_| judge.hear(&victim.line(WAIT).expect("every parcel is answered"))).count()
}

fn is_up(victim: &mut Victim) -> bool {
    victim.send("?");
    victim.line(WAIT).expect("it answers") == "up"
}

#[allow(clippy::disallowed_types, reason = "real processes live in real time")]
fn now() -> std::time::Instant {
    std::time::Instant::now()
}

fn fails_and_heals(letter: &str) {
    let (rig, mut judge) = (Rig::new(&[]), Judge::default());
    let mut victim = Victim::start(&rig.setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
    for _ in 0..5 {
        assert_eq!(load(&mut victim, &mut judge, 40), 0);
        fs::write(&rig.fault, letter).unwrap();
        let began = now();
        assert_eq!(load(&mut victim, &mut judge, 40), 40, "all are refused");
        assert!(!is_up(&mut victim), "not ready");
        assert!(began.elapsed() < Duration::from_secs(1), "told after {:?}", began.elapsed());
        std::thread::sleep(Duration::from_millis(300));
        assert!(!is_up(&mut victim), "still not ready");
        fs::remove_file(&rig.fault).unwrap();
        let began = now();
        while !is_up(&mut victim) {
            assert!(began.elapsed() < Duration::from_secs(2), "not healed after 2 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(load(&mut victim, &mut judge, 10), 0);
    }
    // What was answered after the fault must also survive the power: no page that an fsync refused was believed.
    victim.kill();
    lose_power(&rig.setting.folder, &rig.shadow, None);
    let victim = Victim::start(&rig.setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
}

#[test]
fn a_full_disk_refuses_at_once_and_heals_without_a_restart() {
    fails_and_heals("n");
}

#[test]
fn a_disk_that_fails_writes_refuses_at_once_and_heals_without_a_restart() {
    fails_and_heals("w");
}

#[test]
fn a_disk_that_fails_fsyncs_refuses_at_once_and_believes_no_page_afterwards() {
    fails_and_heals("f");
}
