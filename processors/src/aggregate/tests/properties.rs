//! What holds for every stream of points.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One reading of a counter that lives under watch: which, how much it grew, and whether it began anew before.
#[derive(Clone, Debug)]
struct Reading {
    input: u64,
    growth: u32,
    anew: bool,
    flush: bool,
}

fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let reading = (0u64..6, 0u32..1000, prop::bool::weighted(0.1), any::<bool>());
    let reading = reading.prop_map(|(input, growth, anew, flush)| Reading { input, growth, anew, flush });
    prop::collection::vec(reading, 1..120)
}

#[derive(Clone, Copy, Default)]
struct State {
    start: u64,
    value: i64,
}

/// The points of readings, with rising times: input, start, time, value.
fn points(readings: &[Reading]) -> Vec<(u64, u64, u64, i64)> {
    let mut states: BTreeMap<u64, State> = BTreeMap::new();
    let mut time = 1_000;
    let points = readings.iter().map(|reading| {
        time += 10;
        let state = states.entry(reading.input).or_insert(State { start: time - 5, value: 0 });
        if reading.anew {
            *state = State { start: time - 5, value: 0 };
        }
        state.value += i64::from(reading.growth);
        (reading.input, state.start, time, state.value)
    });
    points.collect()
}

/// The increase that a consumer reads from a stream: resets where the start moves.
fn increase(said: &[Emission]) -> f64 {
    let (mut sum, mut last): (f64, Option<(UnixNanos, f64)>) = (0.0, None);
    for emission in said {
        let value = number(emission).as_f64();
        sum += match last {
            Some((start, before)) if start == emission.start => value - before,
            _ => value,
        };
        last = Some((emission.start, value));
    }
    sum
}

proptest! {
    #[test]
    fn the_sum_of_increases_in_is_the_sum_of_increases_out(readings in readings()) {
        let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 500);
        for (reading, (number, start, time, value)) in readings.iter().zip(points(&readings)) {
            rig.apply(number, start, time, Number::Int(value));
            if reading.flush {
                rig.flush();
            }
        }
        rig.flush();
        let expected: u64 = readings.iter().map(|reading| u64::from(reading.growth)).sum();
        prop_assert_eq!(increase(&rig.said), expected as f64);
    }

    #[test]
    fn an_output_never_falls_and_its_times_rise(readings in readings()) {
        let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 500);
        for (number, start, time, value) in points(&readings) {
            rig.apply(number, start, time, Number::Int(value));
            rig.flush();
        }
        for pair in rig.said.windows(2) {
            prop_assert!(pair[0].time < pair[1].time);
            prop_assert_eq!(pair[0].start, pair[1].start);
            prop_assert!(number(&pair[0]).as_f64() <= number(&pair[1]).as_f64());
        }
    }

    #[test]
    fn how_points_are_batched_and_how_inputs_interleave_changes_nothing_in_the_end(
        readings in readings(),
        shuffle in any::<u64>(),
    ) {
        let in_order = points(&readings);
        // Another order that keeps each input's own: inputs one after another, beginning with any.
        let mut grouped = in_order.clone();
        grouped.sort_by_key(|(input, _, time, _)| (input.wrapping_add(shuffle) % 6, *time));
        let last = |points: &[(u64, u64, u64, i64)], often: bool| {
            let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 500);
            for (number, start, time, value) in points {
                rig.apply(*number, *start, *time, Number::Int(*value));
                if often {
                    rig.flush();
                }
            }
            rig.flush();
            rig.said.last().map(|emission| (emission.start, number(emission)))
        };
        prop_assert_eq!(last(&in_order, true), last(&grouped, false));
    }

    #[test]
    fn what_is_sent_twice_counts_once(readings in readings(), from in 0usize..100) {
        let points = points(&readings);
        let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 500);
        for (number, start, time, value) in points.iter().chain(&points[from.min(points.len())..]).chain(&points) {
            rig.apply(*number, *start, *time, Number::Int(*value));
        }
        rig.flush();
        let expected: i64 = readings.iter().map(|reading| i64::from(reading.growth)).sum();
        prop_assert_eq!(number(rig.said.last().unwrap()), Number::Int(expected));
    }

    #[test]
    fn gauges_are_what_their_live_inputs_say_whatever_the_order(
        rounds in prop::collection::vec((0u64..5, -100i64..100, prop::bool::weighted(0.2)), 1..80),
    ) {
        for function in [GaugeFunction::Max, GaugeFunction::Min, GaugeFunction::Sum, GaugeFunction::Last] {
            let mut rig = Rig::new(Kind::Gauge, Settings { gauge: function, ..SETTINGS }, 500);
            let mut live: BTreeMap<u64, (u64, i64)> = BTreeMap::new();
            for (time, (input, value, ends)) in (1_000..).zip(&rounds) {
                if *ends {
                    live.remove(input);
                    rig.apply(*input, 0, time, Number::Double(f64::from_bits(0x7ff0_0000_0000_0002)));
                } else {
                    live.insert(*input, (time, *value));
                    rig.apply(*input, 0, time, Number::Int(*value));
                }
                let expected = match function {
                    GaugeFunction::Max => live.values().map(|(_, value)| *value).max(),
                    GaugeFunction::Min => live.values().map(|(_, value)| *value).min(),
                    GaugeFunction::Last => live.values().max().map(|(_, value)| *value),
                    _ => (!live.is_empty()).then(|| live.values().map(|(_, value)| value).sum()),
                };
                match (rig.flush(), expected) {
                    (Some(said), Some(expected)) => prop_assert_eq!(number(&said), Number::Int(expected)),
                    (Some(said), None) => prop_assert!(said.flags.has(PointFlags::NO_RECORDED_VALUE)),
                    // An input that was gone already ended again.
                    (None, _) => prop_assert!(*ends),
                }
            }
        }
    }

    #[test]
    fn forgetting_an_input_takes_nothing_from_a_counter(values in prop::collection::vec(1i64..1000, 2..6)) {
        let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 500);
        for (input, value) in (0..).zip(&values) {
            rig.apply(input, 600, 1_000, Number::Int(*value));
        }
        rig.flush();
        for step in 0..15 {
            // One input stays.
            rig.apply(0, 600, 1_001 + step, Number::Int(values[0]));
            rig.flush();
            rig.engine.sweep(|_, emission| panic!("nothing is said: {emission:?}"));
        }
        prop_assert_eq!(rig.engine.sizes().inputs, 1);
        prop_assert_eq!(number(rig.said.last().unwrap()), Number::Int(values.iter().sum()));
    }
}
