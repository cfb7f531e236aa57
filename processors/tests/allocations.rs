//! In the steady state a point costs no allocation, whatever the chain and whether it is merged.

use pdata::Kind;
use processors::bench::{Bench, CHAINS, Collide};

#[global_allocator]
static TALLY: tally::Tally = tally::Tally;

#[test]
fn a_known_series_passes_without_an_allocation() {
    for rules in CHAINS {
        for kind in [Kind::COUNTER, Kind::Gauge] {
            let per_batch = |collide, series: usize| {
                let mut bench = Bench::new(rules, series, kind, collide);
                (0..3).for_each(|_| {
                    bench.fill();
                    bench.pass();
                });
                bench.fill();
                tally::allocated(|| bench.pass()).1.count
            };
            // A batch itself may cost a few, for its envelope; a list of changed outputs grows by doubling.
            assert!(per_batch(Collide::Nowhere, 2_000) <= 4, "{rules} rules, {kind:?}");
            assert!(per_batch(Collide::Tenfold, 2_000) <= 16, "{rules} rules, {kind:?}, merged");
        }
    }
}
