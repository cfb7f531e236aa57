mod properties;
mod scenarios;

use std::sync::Arc;

use pdata::{Fingerprint, Kind, Number, Point, PointFlags, PointValue, Series, SeriesTable, UnixNanos};
use pipeline::testing::identity;

use super::*;

/// An engine with one output, and what it said last.
struct Rig {
    engine: Engine,
    table: Arc<SeriesTable>,
    output: Series,
    id: pdata::SeriesId,
    changed: Vec<u32>,
    stamp: u64,
    said: Vec<Emission>,
}

impl Rig {
    fn new(kind: Kind, settings: Settings, now: u64) -> Self {
        let table = SeriesTable::with_defaults();
        let output = table.intern(identity("out", kind, &[]));
        let id = output.id().unwrap();
        let engine = Engine::new(settings, UnixNanos(now));
        let mut rig = Self { engine, table, output, id, changed: Vec::new(), stamp: 1, said: Vec::new() };
        // Two inputs that say nothing make the output shared from the start.
        rig.engine.join(input(u64::MAX), &rig.output);
        rig.engine.join(input(u64::MAX - 1), &rig.output);
        rig
    }

    fn apply(&mut self, number: u64, start: u64, time: u64, value: impl Into<PointValue>) -> Applied {
        let Joined::Input(index) = self.engine.join(input(number), &self.output) else { panic!("no room") };
        let (start, time) = (UnixNanos(start), UnixNanos(time));
        let point = Point { series: self.id, start, time, value: value.into(), flags: PointFlags::empty() };
        let applied = self.engine.apply(index, &point, UnixNanos(1), self.stamp);
        if let Applied::Merged { output, first: true } = applied {
            self.changed.push(output);
        }
        applied
    }

    /// What the output says now, if anything changed.
    fn flush(&mut self) -> Option<Emission> {
        let said = &mut self.said;
        let before = said.len();
        self.engine.flush(&mut self.changed, |_, _, emission| said.push(emission));
        self.stamp += 1;
        assert!(said.len() <= before + 1, "one point an output and flush");
        said[before..].last().cloned()
    }
}

const SETTINGS: Settings = Settings {
    collision: Collision::Reaggregate,
    gauge: GaugeFunction::Max,
    first_point: FirstPoint::Auto,
    inputs_max: 1_000_000,
    idle_sweeps: 10,
};

fn input(number: u64) -> Fingerprint {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Fingerprint([mixed, mixed.rotate_left(17)])
}

fn number(emission: &Emission) -> Number {
    emission.value.number().unwrap()
}

#[test]
fn an_output_whose_inputs_are_gone_frees_its_place() {
    let mut rig = Rig::new(Kind::COUNTER, SETTINGS, 1);
    rig.apply(1, 2, 3, Number::Int(4));
    rig.flush();
    let mut ends = Vec::new();
    (0..11).for_each(|_| rig.engine.sweep(|series, emission| ends.push((series.clone(), emission))));
    assert_eq!(ends.len(), 1);
    assert!(ends[0].1.flags.has(PointFlags::NO_RECORDED_VALUE));
    let sizes = rig.engine.sizes();
    assert_eq!((sizes.inputs, sizes.outputs), (0, 0));
    // Places are used again, and nothing of before is left in them.
    rig.engine.join(input(8), &rig.table.intern(identity("other", Kind::COUNTER, &[])));
    rig.engine.join(input(9), &rig.output);
    rig.engine.join(input(10), &rig.output);
    rig.apply(9, 3, 5, Number::Int(7));
    let emission = rig.flush().unwrap();
    assert_eq!((emission.start, number(&emission)), (UnixNanos(3), Number::Int(7)));
}

#[test]
fn an_input_is_64_bytes() {
    assert_eq!(size_of::<Input>(), 64);
}
