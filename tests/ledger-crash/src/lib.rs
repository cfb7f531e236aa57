//! The judge of a ledger that is killed: what was sent, what was answered, and what must therefore be there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Random numbers that a printed seed brings back (SplitMix64).
#[derive(Debug)]
pub struct Dice(pub u64);

/// Everything that senders know.
#[derive(Debug, Default)]
pub struct Judge {
    issued: u64,
    acked: BTreeSet<u64>,
    open: BTreeSet<u64>,
    /// What happened, for the report.
    pub tally: Tally,
}

/// What a run hit. A run that hit nothing has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Kills.
    pub kills: u64,
    /// Kills before the ledger was ready.
    pub during_recovery: u64,
    /// Kills while events were unanswered.
    pub under_load: u64,
    /// Events that turned out to be on disk though their answer was lost.
    pub unanswered_but_kept: u64,
    /// Answered events that were sent again.
    pub redelivered: u64,
    /// Events answered.
    pub acked: u64,
    /// Longest time from start to ready, of 99 % of starts.
    pub ready_p99: Duration,
}

/// A running ledger.
#[derive(Debug)]
pub struct Victim {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// How a victim is run.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// The binary.
    pub binary: PathBuf,
    /// The ledger's folder.
    pub folder: PathBuf,
    /// Environment.
    pub env: Vec<(String, String)>,
}

/// A broken promise.
pub type Violation = String;

impl Dice {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }
}

impl Victim {
    /// Starts a ledger.
    ///
    /// # Panics
    /// When the process cannot be started.
    #[must_use]
    pub fn start(setting: &Setting) -> Self {
        let mut child = Command::new(&setting.binary)
            .arg(&setting.folder)
            .envs(setting.env.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test's own binary starts");
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Self { input: child.stdin.take(), child, lines }
    }

    /// Sends a line. A victim that is dead already does not mind.
    pub fn send(&mut self, line: &str) {
        if let Some(input) = &mut self.input {
            input.write_all(format!("{line}\n").as_bytes()).ok();
        }
    }

    /// The next line, if one comes in time.
    ///
    /// # Errors
    /// When none does.
    pub fn line(&self, wait: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(wait)
    }

    /// Kills it as `kill -9` does, and gives what it still had said.
    pub fn kill(mut self) -> Vec<String> {
        self.child.kill().ok();
        self.child.wait().ok();
        self.lines.iter().collect()
    }

    /// Ends it in order.
    pub fn end(mut self) -> Vec<String> {
        self.send(".");
        self.input = None;
        self.child.wait().ok();
        self.lines.iter().collect()
    }
}

impl Judge {
    /// Checks what a ledger held when it started.
    ///
    /// # Errors
    /// When something is lost, doubled, invented or half applied.
    pub fn at_start(&self, line: &str) -> Result<(), Violation> {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
        let ([events, weight, observations, damaged], true) = (&*numbers, !line.starts_with("fault")) else {
            return Err(format!("start failed: {line}"));
        };
        if *damaged > 0 {
            // A crash is no damage: what salvage makes up for, the ledger should not have let happen.
            return Err(format!("{damaged} damaged rows were found after a crash"));
        }
        let least = self.acked.len() as u64;
        let most = least + self.open.len() as u64;
        if events != observations {
            return Err(format!("half applied: {events} events, {observations} observations"));
        }
        if *events < least {
            return Err(format!("{} of {least} answered events are lost", least - events));
        }
        if *events > most {
            return Err(format!("{} events are there, {most} were sent: counted twice, or invented", events));
        }
        let acked: u64 = self.acked.iter().map(|id| id % 1000).sum();
        let open: u64 = self.open.iter().map(|id| id % 1000).sum();
        if !(acked..=acked + open).contains(weight) || (self.open.is_empty() && *weight != acked) {
            return Err(format!("weight {weight}, answered {acked}, unanswered {open}"));
        }
        Ok(())
    }

    /// What senders send now: all that is unanswered again, some that was answered, and `new` new ones.
    pub fn load(&mut self, new: u64, dice: &mut Dice) -> Vec<u64> {
        let mut ids: Vec<u64> = self.open.iter().copied().collect();
        for _ in 0..new / 8 {
            if let Some(id) = self.acked.range(dice.below(self.issued)..).next() {
                self.tally.redelivered += 1;
                ids.push(*id);
            }
        }
        for _ in 0..new {
            self.open.insert(self.issued);
            ids.push(self.issued);
            self.issued += 1;
        }
        ids
    }

    /// Takes an answer. `retried` are the ids that had been sent before this start.
    ///
    /// # Errors
    /// When an answered event was counted again.
    pub fn answer(&mut self, line: &str, retried: &BTreeSet<u64>) -> Result<(), Violation> {
        let Some((letter, id)) = line.split_once(' ') else { return Ok(()) };
        let Ok(id) = id.parse::<u64>() else { return Ok(()) };
        match letter {
            "N" if self.acked.contains(&id) => return Err(format!("event {id} was answered before and counted again")),
            "D" if !self.acked.contains(&id) && retried.contains(&id) => self.tally.unanswered_but_kept += 1,
            "D" if !self.acked.contains(&id) => return Err(format!("event {id} is new and called a duplicate")),
            "R" => return Ok(()),
            _ => {}
        }
        self.open.remove(&id);
        self.acked.insert(id);
        self.tally.acked = self.acked.len() as u64;
        Ok(())
    }

    /// The ids that have no answer.
    #[must_use]
    pub fn open(&self) -> &BTreeSet<u64> {
        &self.open
    }
}

/// Starts, loads and kills a ledger `rounds` times; each start is judged, and every tenth round ends in order with all answered,
/// where the count must be exact. `crash` is what happens to the disk after a kill.
///
/// # Errors
/// The first broken promise, with the round it showed in.
pub fn kill_loop(
    setting: &Setting,
    rounds: u64,
    seed: u64,
    mut crash: impl FnMut(&mut Dice),
) -> Result<Tally, Violation> {
    let (mut judge, mut dice) = (Judge::default(), Dice(seed));
    let mut readies = Vec::new();
    for round in 0..rounds {
        let told = |violation: Violation| format!("round {round}, seed {seed}: {violation}");
        one_round(setting, round, &mut judge, &mut dice, &mut readies).map_err(told)?;
        crash(&mut dice);
    }
    let victim = Victim::start(setting);
    judge.at_start(&victim.line(WAIT).map_err(|error| format!("last start: {error}"))?)?;
    victim.kill();
    readies.sort_unstable();
    judge.tally.ready_p99 = readies.get(readies.len() * 99 / 100).copied().unwrap_or_default();
    Ok(judge.tally)
}

/// A ledger that says nothing for so long hangs. Generous: tests share their machine.
const WAIT: Duration = Duration::from_secs(60);

fn one_round(
    setting: &Setting,
    round: u64,
    judge: &mut Judge,
    dice: &mut Dice,
    readies: &mut Vec<Duration>,
) -> Result<(), Violation> {
    #[allow(clippy::disallowed_types, reason = "real processes live in real time")]
    let began = std::time::Instant::now();
    let mut victim = Victim::start(setting);
    judge.tally.kills += 1;
    if round % 10 == 3 || round % 10 == 8 {
        // During recovery: the process needs some milliseconds to its first line.
        std::thread::sleep(Duration::from_micros(dice.below(15_000)));
        let lines = victim.kill();
        judge.tally.during_recovery += u64::from(lines.is_empty());
        return lines.first().map_or(Ok(()), |line| judge.at_start(line));
    }
    let ready = victim.line(WAIT).map_err(|error| format!("no first line: {error}"))?;
    readies.push(began.elapsed());
    judge.at_start(&ready)?;
    let retried = judge.open().clone();
    for id in judge.load(60 + dice.below(100), dice) {
        victim.send(&id.to_string());
    }
    let lines = if round % 10 == 9 {
        victim.end()
    } else {
        // Mostly while answers are under way, which takes a few milliseconds; sometimes when all is quiet.
        let span = if dice.below(4) == 0 { 30_000 } else { 5_000 };
        std::thread::sleep(Duration::from_micros(dice.below(span)));
        victim.kill()
    };
    for line in lines {
        judge.answer(&line, &retried)?;
    }
    judge.tally.under_load += u64::from(!judge.open().is_empty());
    match judge.open().len() {
        open if round % 10 == 9 && open > 0 => Err(format!("ended in order with {open} events unanswered")),
        _ => Ok(()),
    }
}

/// Builds the shim, once for each test binary.
///
/// # Panics
/// When there is no C compiler.
#[must_use]
pub fn shim(folder: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shim/disk.c");
    let library = folder.join("disk.so");
    let built =
        Command::new("gcc").args(["-O2", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(built.is_ok_and(|status| status.success()), "gcc builds tests/shim/disk.c");
    library
}

/// Puts a folder back to what fsyncs had covered. With `torn`, what was done since is there in part: any sectors of 512 bytes that were
/// written, any names that were given, changed or taken away.
///
/// # Panics
/// When the test's own folders cannot be written.
pub fn lose_power(folder: &Path, shadow: &Path, torn: Option<&mut Dice>) {
    let listing = fs::read_to_string(shadow.join("folder")).unwrap_or_default();
    let synced = |inode: &str| fs::read(shadow.join(inode)).unwrap_or_default();
    let named = listing.lines().filter_map(|line| line.split_once(' '));
    let mut kept: Vec<Kept> = named
        .map(|(inode, name)| Kept { name: name.to_owned(), inode: inode.to_owned(), bytes: synced(inode) })
        .collect();
    if let Some(dice) = torn {
        tear(folder, &mut kept, dice, &synced);
    }
    for path in [folder, shadow] {
        fs::remove_dir_all(path).expect("the test's own folder");
        fs::create_dir(path).expect("the test's own folder");
    }
    let mut listing = String::new();
    for Kept { name, bytes, .. } in kept {
        let path = folder.join(&name);
        fs::write(&path, &bytes).expect("the test's own folder");
        let inode = fs::metadata(&path).expect("it was just written").ino();
        fs::write(shadow.join(inode.to_string()), &bytes).expect("the test's own folder");
        listing += &format!("{inode} {name}\n");
    }
    fs::write(shadow.join("folder"), listing).expect("the test's own folder");
}

/// A file as a power failure leaves it.
struct Kept {
    name: String,
    inode: String,
    bytes: Vec<u8>,
}

fn tear(folder: &Path, kept: &mut Vec<Kept>, dice: &mut Dice, synced: &dyn Fn(&str) -> Vec<u8>) {
    let there: Vec<_> = fs::read_dir(folder).expect("the test's own folder").flatten().collect();
    kept.retain(|kept| there.iter().any(|entry| entry.file_name() == *kept.name) || dice.below(2) == 0);
    for entry in there {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Ok(file) = fs::File::open(entry.path()) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        let inode = meta.ino().to_string();
        match kept.iter_mut().find(|known| known.name == name) {
            Some(known) if known.inode == inode => tear_sectors(&file, meta.len(), &mut known.bytes, dice),
            // The name is new, or another file's now: it is as it was, or means what an fsync covered of the new file.
            _ if dice.below(2) == 0 => {}
            Some(known) => known.bytes = synced(&inode),
            None => kept.push(Kept { name, bytes: synced(&inode), inode }),
        }
    }
}

fn tear_sectors(file: &fs::File, length: u64, bytes: &mut Vec<u8>, dice: &mut Dice) {
    for at in (0..length).step_by(512) {
        if dice.below(2) == 0 {
            continue;
        }
        let mut sector = [0; 512];
        let read = file.read_at(&mut sector, at).unwrap_or(0);
        let end = usize::try_from(at).unwrap_or(usize::MAX).saturating_add(read);
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[end - read..end].copy_from_slice(&sector[..read]);
    }
}
