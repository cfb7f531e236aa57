//! What relabelling costs a point: `cargo bench -p processors [-- words that the line must hold]`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use pdata::Kind;
use processors::bench::{Bench, CHAINS, Collide};

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

const SERIES: usize = 10_000;
const ROUNDS: usize = 60;

fn main() {
    println!("| what | first seen, ns | steady, ns | allocations a point | bytes a series |\n|---|---|---|---|---|");
    for (what, kind, collide) in [
        ("counters, each its own", Kind::COUNTER, Collide::Nowhere),
        ("gauges, each its own", Kind::Gauge, Collide::Nowhere),
        ("counters, ten become one", Kind::COUNTER, Collide::Tenfold),
        ("gauges, ten become one", Kind::Gauge, Collide::Tenfold),
    ] {
        for rules in CHAINS {
            measure(what, rules, kind, collide, SERIES);
        }
    }
    measure("100 k counters, each its own", 5, Kind::COUNTER, Collide::Nowhere, 100_000);
    measure("1 M counters, each its own", 5, Kind::COUNTER, Collide::Nowhere, 1_000_000);
}

fn measure(what: &str, rules: usize, kind: Kind, collide: Collide, series: usize) {
    let what = format!("{what}, {rules} rules");
    // Cargo itself passes --bench.
    if std::env::args().skip(1).any(|word| !word.starts_with("--") && !what.contains(&word)) {
        return;
    }
    let first = (0..3).map(|_| {
        let mut bench = Bench::new(rules, series, kind, collide);
        bench.fill();
        timed(|| bench.pass())
    });
    let first = first.min().unwrap_or_default();
    let mut bench = Bench::new(rules, series, kind, collide);
    let (mut steady, mut allocations) = (u64::MAX, u64::MAX);
    for round in 0..ROUNDS {
        bench.fill();
        let mut ns = 0;
        let (_, allocated) = tally::allocated(|| ns = timed(|| bench.pass()));
        if round > 2 {
            steady = steady.min(ns);
            allocations = allocations.min(allocated.count);
        }
    }
    let each = |total: u64| total as f64 / series as f64;
    println!(
        "| {what} | {:.0} | {:.1} | {:.4} | {} |",
        each(first),
        each(steady),
        each(allocations),
        bench.bytes_per_series()
    );
}

fn timed(work: impl FnOnce() -> usize) -> u64 {
    let before = cpu_ns();
    std::hint::black_box(work());
    cpu_ns() - before
}

fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
