//! Disks that are full or fail, and clocks that jump, while the ledger runs.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ledger_crash::{Dice, Judge, Setting, Victim, lose_power, shim};

const WAIT: Duration = Duration::from_secs(30);

struct Rig {
    _scratch: tempfile::TempDir,
    setting: Setting,
    fault: PathBuf,
    clock: PathBuf,
    shadow: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name);
        let (folder, shadow) = (path("ledger"), path("shadow"));
        fs::create_dir(&folder).unwrap();
        fs::create_dir(&shadow).unwrap();
        let pair = |key: &str, value: &Path| (key.to_owned(), value.to_str().unwrap().to_owned());
        let env = vec![
            pair("LD_PRELOAD", &shim(scratch.path())),
            pair("SHIM_DIR", &folder),
            pair("SHIM_SHADOW", &shadow),
            pair("SHIM_FAULT", &path("fault")),
            pair("SHIM_CLOCK", &path("clock")),
        ];
        let setting = Setting { binary: env!("CARGO_BIN_EXE_ledger_crash").into(), folder, env };
        Self { setting, fault: path("fault"), clock: path("clock"), shadow, _scratch: scratch }
    }
}

/// Sends a load and takes all its answers. Gives how many were refused.
fn load(victim: &mut Victim, judge: &mut Judge, new: u64) -> usize {
    let retried: BTreeSet<u64> = judge.open().clone();
    let ids = judge.load(new, &mut Dice(new));
    ids.iter().for_each(|id| victim.send(&id.to_string()));
    let mut refused = 0;
    for _ in &ids {
        let line = victim.line(WAIT).expect("every event is answered");
        refused += usize::from(line.starts_with('R'));
        judge.answer(&line, &retried).unwrap();
    }
    refused
}

/// The victim's own word of how it is: whether it is up, and that its totals are right.
fn ask(victim: &mut Victim, judge: &Judge) -> bool {
    victim.send("?");
    let line = victim.line(WAIT).expect("it answers");
    judge.at_start(&line).unwrap();
    line.starts_with("up")
}

fn fails_and_heals(letter: &str) {
    let (rig, mut judge) = (Rig::new(), Judge::default());
    let mut victim = Victim::start(&rig.setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
    for _ in 0..8 {
        assert_eq!(load(&mut victim, &mut judge, 50), 0);
        fs::write(&rig.fault, letter).unwrap();
        #[allow(clippy::disallowed_types, reason = "real processes live in real time")]
        let began = std::time::Instant::now();
        let refused = load(&mut victim, &mut judge, 50);
        assert!(refused >= 50, "{refused} refused");
        assert!(began.elapsed() < Duration::from_secs(1), "told after {:?}", began.elapsed());
        assert!(!ask(&mut victim, &judge), "not ready");
        std::thread::sleep(Duration::from_millis(300));
        fs::remove_file(&rig.fault).unwrap();
        #[allow(clippy::disallowed_types, reason = "real processes live in real time")]
        let began = std::time::Instant::now();
        while !ask(&mut victim, &judge) {
            assert!(began.elapsed() < Duration::from_secs(2), "not healed after 2 s");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(load(&mut victim, &mut judge, 10), 0);
        assert!(judge.open().is_empty());
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

/// A real full disk, where we may mount one.
#[test]
fn a_small_disk_that_fills_up_refuses_and_heals_when_there_is_room_again() {
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"]).arg(&disk).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        return;
    }
    let disk = Mounted(disk);
    fs::write(disk.0.join("ballast"), vec![1; 2 << 20]).unwrap();
    let setting =
        Setting { binary: env!("CARGO_BIN_EXE_ledger_crash").into(), folder: disk.0.join("ledger"), env: Vec::new() };
    let mut judge = Judge::default();
    let mut victim = Victim::start(&setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
    let mut refused = 0;
    for _ in 0..400 {
        refused += load(&mut victim, &mut judge, 100);
        if refused > 0 && !ask(&mut victim, &judge) {
            break;
        }
    }
    assert!(refused > 0, "the disk never was full");
    fs::remove_file(disk.0.join("ballast")).unwrap();
    #[allow(clippy::disallowed_types, reason = "real processes live in real time")]
    let began = std::time::Instant::now();
    while !ask(&mut victim, &judge) {
        assert!(began.elapsed() < Duration::from_secs(2), "not healed after 2 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(load(&mut victim, &mut judge, 10), 0);
    assert!(judge.open().is_empty());
    victim.kill();
    let victim = Victim::start(&setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
    victim.end();
}

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        Command::new("umount").arg(&self.0).status().ok();
    }
}

#[test]
fn a_clock_that_jumps_changes_no_count_and_forgets_nothing() {
    let (rig, mut judge) = (Rig::new(), Judge::default());
    let mut victim = Victim::start(&rig.setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
    for seconds in ["0", "-86400", "86400", "-5", "31536000", "0"] {
        fs::write(&rig.clock, seconds).unwrap();
        // A load redelivers answered events too; the judge objects when one is counted again.
        assert_eq!(load(&mut victim, &mut judge, 200), 0);
        assert!(ask(&mut victim, &judge));
    }
    assert!(judge.tally.redelivered > 100);
    victim.end();
    let victim = Victim::start(&rig.setting);
    judge.at_start(&victim.line(WAIT).unwrap()).unwrap();
}
