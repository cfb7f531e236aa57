//! Chains of relabel rules: in the steady state one look-up a point, whatever their length.

use pdata::Kind;
use processors::bench::{Bench, CHAINS, Collide};

use crate::measure::{Cost, Report, best_of};

pub fn run() {
    let mut report = Report::new("Relabel: a point through a chain of rules");
    for series in [10_000, 100_000] {
        for rules in CHAINS {
            let (first, steady) = pass(rules, series, Kind::Gauge, Collide::Nowhere);
            let goal = (series == 10_000).then_some("30 ns");
            report.cost(format!("{rules} rules, {series} series, steady"), steady, "point", goal);
            report.cost(format!("{rules} rules, {series} series, first seen"), first, "point", None);
        }
    }
    let (_, counters) = pass(5, 10_000, Kind::COUNTER, Collide::Nowhere);
    report.cost("5 rules, 10000 counters, none merge, steady", counters, "point", None);
    let (_, merged) = pass(5, 10_000, Kind::COUNTER, Collide::Tenfold);
    report.cost("5 rules, 10000 counters, ten become one, steady", merged, "point", None);
    report.print();
}

fn pass(rules: usize, series: usize, kind: Kind, collide: Collide) -> (Cost, Cost) {
    let mut bench = Bench::new(rules, series, kind, collide);
    bench.fill();
    let first = best_of(1, series, || {
        bench.pass();
    });
    let mut steady = Cost { ns: f64::INFINITY, allocations: 0.0 };
    for _ in 0..9 {
        bench.fill();
        let round = best_of(1, series, || {
            bench.pass();
        });
        steady = if round.ns < steady.ns { round } else { steady };
    }
    (first, steady)
}
