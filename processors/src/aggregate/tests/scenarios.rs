//! Fleets of counters over hours, with what happens to them: the increase that the output reports is held against what anyone
//! could have observed.

use super::*;

/// A small generator, so that a scenario is the same on every machine (Steele, Lea, Flood 2014: SplitMix).
struct Random(u64);

/// What happens to the counters in a tick, as chances.
#[derive(Clone, Copy, Default)]
struct Weather {
    restarts: f64,
    /// Growth in the tick after a restart, in ticks: above 1 the new value may pass the old.
    refill: f64,
    churn: f64,
    /// Points do not arrive for this many ticks.
    gaps: f64,
    gap_ticks: u64,
    late: f64,
    /// All counters are older than the engine.
    old: bool,
}

struct Source {
    number: u64,
    start: u64,
    value: f64,
    rate: f64,
    silent_until: u64,
    /// Growth that no point has told yet; lost with the source.
    untold: f64,
}

const TICK: u64 = 15_000_000_000;
const TICKS: u64 = 240;
const SOURCES: u64 = 200;

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The error of the reported increase, relative to the true one.
fn error(weather: Weather, idle_sweeps: u32, seed: u64) -> f64 {
    let mut random = Random(seed);
    let began = 1_000 * TICK;
    let mut rig = Rig::new(Kind::COUNTER, Settings { idle_sweeps, ..SETTINGS }, began);
    let mut numbers = 0..;
    let mut source = |random: &mut Random, start: u64, value: f64| Source {
        number: numbers.next().unwrap(),
        start,
        value,
        rate: 1.0 + (random.unit() * 99.0).floor(),
        silent_until: 0,
        untold: 0.0,
    };
    let mut sources: Vec<_> =
        (0..SOURCES).map(|_| source(&mut random, 10, if weather.old { 1e6 } else { 0.0 })).collect();
    let mut truth = 0.0;
    let mut late = Vec::new();
    for tick in 0..TICKS {
        let now = began + tick * TICK;
        late.drain(..).for_each(|(number, start, time, value)| {
            rig.apply(number, start, time, Number::Double(value));
        });
        for one in &mut sources {
            // What happens between two readings happens in the middle.
            if tick > 0 && random.unit() < weather.restarts {
                (one.start, one.value) = (now - TICK / 2, (one.rate * weather.refill * random.unit()).floor());
                one.untold = one.value;
            } else if tick > 0 && random.unit() < weather.churn {
                *one = source(&mut random, now - TICK / 2, 0.0);
                (one.value, one.untold) = (one.rate, one.rate);
            } else if tick > 0 {
                one.value += one.rate;
                one.untold += one.rate;
            }
            // What happens before a source is first seen, nobody can know.
            if tick > one.silent_until && random.unit() < weather.gaps {
                one.silent_until = tick + weather.gap_ticks;
            }
            if tick < one.silent_until {
                continue;
            }
            truth += std::mem::take(&mut one.untold);
            if random.unit() < weather.late {
                late.push((one.number, one.start, now, one.value));
            } else {
                rig.apply(one.number, one.start, now, Number::Double(one.value));
            }
        }
        rig.flush();
        rig.engine.sweep(|_, _| {});
    }
    // Whoever is silent at the end speaks once more, so that nothing is outstanding.
    for one in &sources {
        truth += one.untold;
        rig.apply(one.number, one.start, began + TICKS * TICK, Number::Double(one.value));
    }
    let said = rig.flush().map_or(0.0, |emission| number(&emission).as_f64());
    (said - truth) / truth
}

/// The worst of five seeds.
fn worst(weather: Weather, idle_sweeps: u32) -> (f64, f64) {
    let errors = (1..=5).map(|seed| error(weather, idle_sweeps, seed));
    errors.fold((f64::MAX, f64::MIN), |(low, high), error| (low.min(error), high.max(error)))
}

#[test]
fn reported_increases_stay_within_their_bounds_and_never_above_the_truth() {
    let old = Weather { old: true, refill: 0.5, ..Weather::default() };
    let table = [
        ("steady", old, 0.0),
        ("restarts", Weather { restarts: 0.02, ..old }, 0.0),
        // The new value passes the old before anyone looks: only the start time tells.
        ("fast refill", Weather { restarts: 0.02, refill: 500.0, old: false, ..old }, 0.0),
        ("churn", Weather { churn: 0.02, ..old }, 0.0),
        ("short-lived", Weather { churn: 0.2, ..old }, 0.0),
        ("gaps shorter than the memory", Weather { gaps: 0.01, gap_ticks: 8, ..old }, 0.0),
        // A late point of a source that restarts meanwhile is never seen.
        ("late points", Weather { late: 0.05, restarts: 0.02, ..old }, 0.002),
        (
            "everything",
            Weather { restarts: 0.02, churn: 0.02, gaps: 0.01, gap_ticks: 8, late: 0.05, refill: 5.0, old: true },
            0.002,
        ),
    ];
    for (name, weather, bound) in table {
        let (low, high) = worst(weather, 20);
        assert!(high <= 1e-12, "{name}: reported {high:+.5} above the truth");
        assert!(low >= -bound - 1e-12, "{name}: reported {low:+.5} below the truth, {bound} is allowed");
    }
}

#[test]
fn gaps_longer_than_the_memory_lose_and_never_invent() {
    // Forgotten after 5 ticks, silent for 8 to 15: what happened unobserved is lost, and nothing is counted twice.
    for gap_ticks in [8, 15] {
        let weather = Weather { gaps: 0.01, gap_ticks, old: true, refill: 0.5, ..Weather::default() };
        let (low, high) = worst(weather, 5);
        assert!(high <= 1e-12, "{gap_ticks}: {high:+.5}");
        assert!(low > -0.15, "{gap_ticks}: {low:+.5}");
    }
}

#[test]
fn a_new_source_under_watch_counts_although_others_were_forgotten() {
    // The watermark is the forgotten inputs' last point, not the time of forgetting: newcomers are not taken for old ones.
    let weather = Weather { churn: 0.2, old: true, ..Weather::default() };
    let (low, high) = worst(weather, 5);
    assert!(high <= 1e-12 && low > -0.001, "{low:+.5} {high:+.5}");
}
