//! The judge of a queue that is killed: what was sent, what was answered, what was delivered, and what must therefore be there.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use ledger_crash::{Dice, Setting, Victim, Violation};

/// Everything that the outside knows.
#[derive(Debug, Default)]
pub struct Judge {
    issued: u64,
    /// Answered, and not seen delivered.
    kept: BTreeSet<u64>,
    /// Sent, and not answered.
    open: BTreeSet<u64>,
    delivered: BTreeSet<u64>,
    /// Stored before a fold was asked for: of these what a newer one supersedes may be gone.
    old: BTreeSet<u64>,
    /// Folds that were asked for and not ended.
    folding: u64,
    /// What happened, for the report.
    pub tally: Tally,
}

/// What a run hit. A run that hit nothing has shown nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Kills.
    pub kills: u64,
    /// Kills while parcels were unanswered.
    pub under_load: u64,
    /// Parcels that turned out to be on disk though their answer was lost.
    pub unanswered_but_kept: u64,
    /// Parcels that were there again after they had been delivered.
    pub again: u64,
    /// Parcels that a fold left out.
    pub folded: u64,
    /// Kills while a fold ran.
    pub in_fold: u64,
    /// Parcels answered.
    pub acked: u64,
    /// Parcels delivered.
    pub delivered: u64,
    /// Most that waited at a start.
    pub most: u64,
    /// Starts that found nothing after something had been delivered.
    pub empty: u64,
}

impl Judge {
    /// Checks what a queue held when it started.
    ///
    /// # Errors
    /// When something is lost, invented, out of order, or called damaged.
    pub fn at_start(&mut self, line: &str) -> Result<(), Violation> {
        let numbers: Vec<u64> = line.split(' ').skip(1).filter_map(|number| number.parse().ok()).collect();
        let ([damaged, held @ ..], true) = (numbers.as_slice(), line.starts_with("ready")) else {
            return Err(format!("start failed: {line}"));
        };
        if *damaged > 0 {
            return Err(format!("{damaged} damaged places were found after a crash"));
        }
        let there: BTreeSet<u64> = held.iter().copied().collect();
        let gone: Vec<u64> = self.kept.difference(&there).copied().collect();
        let (folded, lost): (Vec<_>, Vec<_>) = gone.into_iter().partition(|id| self.is_superseded(*id, &there));
        if !lost.is_empty() {
            return Err(format!(
                "{} of {} answered parcels are lost, such as {}",
                lost.len(),
                self.kept.len(),
                lost[0]
            ));
        }
        self.tally.folded += folded.len() as u64;
        self.kept.retain(|id| there.contains(id));
        (self.old, self.folding) = (BTreeSet::new(), 0);
        self.in_order(held)?;
        for id in &there {
            let known = self.kept.contains(id) || self.delivered.contains(id);
            if self.open.remove(id) {
                self.tally.unanswered_but_kept += 1;
                self.kept.insert(*id);
            } else if !known {
                return Err(format!("{id} is invented"));
            }
            self.tally.again += u64::from(self.delivered.contains(id));
        }
        self.tally.most = self.tally.most.max(there.len() as u64);
        self.tally.empty += u64::from(there.is_empty() && !self.delivered.is_empty());
        Ok(())
    }

    /// Whether a fold may have left it out: a newer one of its series is there, or delivered.
    fn is_superseded(&self, id: u64, there: &BTreeSet<u64>) -> bool {
        let newer = |ids: &BTreeSet<u64>| ids.range(id + 1..).any(|other| series_of(*other) == series_of(id));
        self.old.contains(&id) && (newer(there) || newer(&self.delivered))
    }

    /// A fold is asked for.
    pub fn fold(&mut self) {
        self.old = self.kept.union(&self.open).copied().collect();
        self.folding += 1;
    }

    /// Those of a tenant stand in the order in which they were sent, but for such as were sent again.
    fn in_order(&self, held: &[u64]) -> Result<(), Violation> {
        let mut last: HashMap<u64, u64> = HashMap::new();
        for id in held.iter().filter(|id| !self.open.contains(id) && !self.delivered.contains(id)) {
            let before = last.insert(id % 4, *id);
            if before.is_some_and(|before| before >= *id) {
                return Err(format!("{id} stands behind {before:?}"));
            }
        }
        Ok(())
    }

    /// New parcels.
    pub fn load(&mut self, new: u64) -> Vec<u64> {
        let ids: Vec<_> = (self.issued..self.issued + new).collect();
        self.issued += new;
        self.open.extend(&ids);
        ids
    }

    /// Takes what a victim says. True for a refusal.
    pub fn hear(&mut self, line: &str) -> bool {
        if line == "F" {
            self.folding -= 1;
        }
        let Some((letter, id)) = line.split_once(' ') else { return false };
        let Ok(id) = id.parse::<u64>() else { return false };
        match letter {
            "A" => {
                self.open.remove(&id);
                self.tally.acked += 1;
                // It may have been delivered before its answer was heard.
                if !self.delivered.contains(&id) {
                    self.kept.insert(id);
                }
            }
            "T" => {
                self.open.remove(&id);
                self.kept.remove(&id);
                self.delivered.insert(id);
                self.tally.delivered += 1;
            }
            _ => return letter == "R",
        }
        false
    }

    /// Parcels without an answer.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }
}

/// Parcels of a series supersede each other. One tenant has each.
#[must_use]
pub const fn series_of(id: u64) -> u64 {
    id % 20
}

/// A queue that says nothing for so long hangs. Generous: tests share their machine.
pub const WAIT: Duration = Duration::from_secs(60);

/// What is done with a queue beside storing and delivering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Nothing: what waits grows long.
    Plain,
    /// What waits is folded now and then.
    Folds,
    /// All that waits is delivered now and then, so that starts find nothing but positions.
    Drains,
}

/// Starts, loads and kills a queue `rounds` times; each start is judged. `crash` is what happens to the disk after a kill.
///
/// # Errors
/// The first broken promise, with the round it showed in.
pub fn kill_loop(
    setting: &Setting,
    rounds: u64,
    seed: u64,
    habit: Habit,
    mut crash: impl FnMut(&mut Dice),
) -> Result<Tally, Violation> {
    let (mut judge, mut dice) = (Judge::default(), Dice(seed));
    for round in 0..rounds {
        let told = |violation: Violation| format!("round {round}, seed {seed}: {violation}");
        one_round(setting, &mut judge, &mut dice, habit).map_err(told)?;
        crash(&mut dice);
    }
    let victim = Victim::start(setting);
    let last = victim.line(WAIT).map_err(|error| format!("last start: {error}"))?;
    judge.at_start(&last)?;
    victim.kill();
    Ok(judge.tally)
}

fn one_round(setting: &Setting, judge: &mut Judge, dice: &mut Dice, habit: Habit) -> Result<(), Violation> {
    let mut victim = Victim::start(setting);
    judge.tally.kills += 1;
    let ready = victim.line(WAIT).map_err(|error| format!("no first line: {error}"))?;
    judge.at_start(&ready)?;
    let drains = habit == Habit::Drains && dice.below(3) == 0;
    if drains {
        drain(&mut victim, judge)?;
    }
    if habit == Habit::Folds && dice.below(3) == 0 {
        judge.fold();
        victim.send("f");
    }
    // What was drained stays empty half the time.
    let new = if drains && dice.below(2) == 0 { 0 } else { 10 + dice.below(60) };
    for id in judge.load(new) {
        victim.send(&id.to_string());
        if dice.below(12) == 0 {
            victim.send("d");
        }
    }
    let lines = if dice.below(12) == 0 {
        victim.end()
    } else {
        let span = if dice.below(4) == 0 { 40_000 } else { 8_000 };
        std::thread::sleep(Duration::from_micros(dice.below(span)));
        victim.kill()
    };
    for line in lines {
        judge.hear(&line);
    }
    judge.tally.in_fold += judge.folding;
    judge.tally.under_load += u64::from(judge.open() > 0);
    Ok(())
}

/// Has all that waits delivered.
fn drain(victim: &mut Victim, judge: &mut Judge) -> Result<(), Violation> {
    victim.send("e");
    loop {
        let line = victim.line(WAIT).map_err(|error| format!("not empty: {error}"))?;
        if line == "E" {
            return Ok(());
        }
        judge.hear(&line);
    }
}
