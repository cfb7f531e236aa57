//! A ledger that is there to be killed: `ledger_crash <folder>`.
//!
//! Reads ids from standard input, one a line, submits each as an event at once, and writes one line for each answer: `N` new,
//! `D` duplicate, `O` too old, `R` refused, `A` taken without a word more, then the id. Its first line is `ready <events> <weight> <observations> <damaged rows>`,
//! what the ledger held at start; the line `?` asks for the same line again, with the state in front; `.` ends it in order.
//!
//! `WEIR_MUTANT` breaks a promise on purpose, so that the tests can show that they would notice: `early` answers before the
//! commit, `relaxed` commits with synchronous=NORMAL.

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pdata::{Identity, Kind, Number, SeriesTable, Temporality};
use pipeline::state::{Committed, Durability, Entry, Ledger, LedgerOptions, Standing, State, Tally};
use pipeline::testing::identity;
use pipeline::{Clock, Health, Meters};

/// How many counters the events spread over.
const TENANTS: u64 = 7;

fn main() {
    let folder = std::env::args().nth(1).expect("the folder is named");
    let mutant = std::env::var("WEIR_MUTANT").unwrap_or_default();
    let durability = if mutant == "relaxed" { Durability::Relaxed } else { Durability::Full };
    // Few, so that ids are on their way into the tree most of the time.
    let options = LedgerOptions { durability, young_ids: 64, ..LedgerOptions::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let (clock, table, meters) = (Clock::system(), SeriesTable::with_defaults(), Meters::unread());
    let ledger = match Ledger::open(Path::new(&folder), "crash", options, &clock, &table, &meters, &Health::default()) {
        Ok(ledger) => ledger,
        Err(fault) => return say(&format!("fault {fault}")),
    };
    say(&format!("ready {} {}", totals(&ledger), damaged(&meters)));
    let turns = Arc::new(Mutex::new(()));
    let mut tasks = Vec::new();
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.as_str() {
            "." => break,
            "?" => {
                let state = if ledger.state() == State::Ready { "up" } else { "down" };
                say(&format!("{state} {} {}", totals(&ledger), damaged(&meters)));
            }
            id => {
                let Ok(id) = id.parse() else { continue };
                let (ledger, early, out) = (ledger.clone(), mutant == "early", turns.clone());
                tasks.push(runtime.spawn(async move {
                    if early {
                        answer(&out, 'A', id);
                    }
                    let outcome = ledger.submit(event(&ledger, id)).await;
                    if !early {
                        answer(&out, letter(outcome), id);
                    }
                }));
            }
        }
    }
    for task in tasks {
        runtime.block_on(task).ok();
    }
    ledger.close();
}

fn letter(outcome: Result<Committed, pipeline::Refusal>) -> char {
    match outcome {
        Ok(Committed::New) => 'N',
        Ok(Committed::Duplicate) => 'D',
        Ok(Committed::TooOld) => 'O',
        Err(_) => 'R',
    }
}

fn answer(out: &Mutex<()>, letter: char, id: u64) {
    let _turn = out.lock();
    say(&format!("{letter} {id}"));
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that is gone ends this process anyway.
    out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).ok();
}

/// One event changes three series: what shows of one and not of another was half applied.
fn event(ledger: &Ledger, id: u64) -> Entry {
    let mut entry = Entry::new().with_id(ledger.event("crash", &id.to_le_bytes()));
    let track = |identity| ledger.track(identity).expect("these kinds are kept");
    entry.add(track(events(id % TENANTS)), Number::Int(1));
    entry.add(track(weight()), Number::Int((id % 1000).cast_signed()));
    entry.tally(track(sizes()), Tally::Observe { value: (id % 10) as f64, bounds: [2.0, 5.0].into() });
    entry
}

fn events(tenant: u64) -> Identity {
    identity("events", Kind::COUNTER, &[("tenant", &format!("t{tenant}"))])
}

fn weight() -> Identity {
    identity("weight", Kind::COUNTER, &[])
}

fn sizes() -> Identity {
    identity("sizes", Kind::Histogram { temporality: Temporality::Cumulative }, &[])
}

fn totals(ledger: &Ledger) -> String {
    let snapshot = ledger.snapshot();
    let (mut events, mut weight, mut observations) = (0, 0, 0);
    for (series, _, standing) in snapshot.series() {
        match (&*series.metric().name, standing) {
            ("events", Standing::Sum(Number::Int(sum))) => events += sum,
            ("weight", Standing::Sum(Number::Int(sum))) => weight += sum,
            (_, Standing::Histogram(bins)) => observations += bins.histogram().count,
            _ => {}
        }
    }
    format!("{events} {weight} {observations}")
}

fn damaged(meters: &Meters) -> u64 {
    let counts = meters.counts();
    counts.iter().filter(|(name, ..)| *name == "weir_ledger_damaged_rows").map(|(.., count)| count).sum()
}
