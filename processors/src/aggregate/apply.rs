//! What a point does to the state of its output.

use pdata::{Point, PointFlags, PointValue, UnixNanos};

use super::cumulative::{Sum, fell, is_monotonic_value};
use super::input::{Gain, Input, Reset};
use super::level::Level;
use super::output::{Output, Shared, State, Value};
use super::{Applied, Engine, FirstPoint, Reason, Tally};

/// The signalling NaN by which Prometheus says that a series ended.
const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

impl Engine {
    /// A point of an input that shares its output.
    pub(super) fn contribute(&mut self, index: u32, point: &Point, time: UnixNanos, stamp: u64) -> Applied {
        let inputs = &mut self.inputs.places;
        let input = &mut inputs[index as usize];
        let place = input.output;
        let Some(Output { state: State::Shared(shared), .. }) = &mut self.outputs.places[place as usize] else {
            // A shared input's output is shared; should that ever fail, its points pass rather than vanish.
            return Applied::Passed;
        };
        let ends = is_end(point);
        let held = point.flags.has(PointFlags::HELD) && !ends;
        shared.set_held(input.held, held);
        input.held = held;
        let was_live = input.live;
        let mut taken = if ends {
            end(shared, index, inputs);
            shared.end_at(time);
            Ok(())
        } else {
            let watermark = self.watermark;
            let taken = match &mut shared.value {
                Value::Cumulative(sum) => {
                    let first = self.settings.first_point;
                    accumulate(sum, input, point, time, watermark, first, &mut self.tally)
                }
                Value::Delta { sum, start, empty } => gather(sum, start, empty, input, point, time),
                Value::Level(level) => stand(level, index, inputs, point, time),
            };
            if taken.is_ok() {
                inputs[index as usize].live = true;
                shared.touch(time, watermark);
            } else if was_live != inputs[index as usize].live {
                // What it says cannot be used, and what it said before is true no more.
                shared.end_at(time);
                shared.mark_changed();
            }
            taken
        };
        let is_live = inputs[index as usize].live;
        shared.set_live(was_live, is_live);
        if taken == Err(Reason::Duplicate) && held && is_live {
            // A receiver that reads the same again says that it still holds: the output says its value again.
            shared.mark_changed();
            taken = Ok(());
        }
        match taken {
            Err(reason) if was_live == is_live => Applied::Ignored(reason),
            _ => Applied::Merged { output: place, first: std::mem::replace(&mut shared.stamp, stamp) != stamp },
        }
    }
}

pub(super) fn is_end(point: &Point) -> bool {
    let stale = |double: f64| double.to_bits() == STALE_NAN;
    point.is_end()
        || match &point.value {
            PointValue::Int(_) => false,
            PointValue::Double(double) => stale(*double),
            PointValue::Histogram(histogram) => histogram.sum.is_some_and(stale),
            PointValue::Exponential(histogram) => histogram.sum.is_some_and(stale),
            PointValue::Summary(summary) => stale(summary.sum),
        }
}

/// Keeps what passes untouched.
#[inline]
pub(super) fn pass(input: &mut Input, point: &Point, time: UnixNanos) {
    input.live = !is_end(point);
    // After its end marker nobody holds a series, whatever the marker says.
    input.held = point.flags.has(PointFlags::HELD) && input.live;
    if input.live {
        input.keep(point, time);
    }
}

/// An input has no value any more.
pub(super) fn end(shared: &mut Shared, index: u32, inputs: &mut [Input]) {
    let input = &mut inputs[index as usize];
    if !std::mem::take(&mut input.live) {
        return;
    }
    if let Value::Level(level) = &mut shared.value {
        level.leave(index, &input.last);
        shared.mark_changed();
    }
}

/// A point of a counter.
fn accumulate(
    sum: &mut Sum,
    input: &mut Input,
    point: &Point,
    time: UnixNanos,
    watermark: UnixNanos,
    first: FirstPoint,
    tally: &mut Tally,
) -> Result<(), Reason> {
    // Nearly every point: a whole number that grew, later, in the same stream. Nothing else is to be asked.
    if let (PointValue::Int(now), PointValue::Int(before)) = (&point.value, &input.last)
        && (input.known && time > input.time && point.start == input.start && now >= before)
    {
        sum.add_int(i128::from(*now) - i128::from(*before));
        (input.time, input.last) = (time, PointValue::Int(*now));
        return Ok(());
    }
    if !sum.takes(&point.value) || !is_monotonic_value(&point.value) {
        return Err(Reason::Invalid);
    }
    let (fell, same) = (fell(&point.value, &input.last), point.value == input.last);
    let mut gain = input.judge(point, time, fell, same, watermark, first);
    if gain == Gain::Difference && !sum.add_difference(&point.value, &input.last) {
        gain = Gain::Whole(Reset::ByValue);
    }
    match gain {
        Gain::Ignore(reason) => return Err(reason),
        Gain::Whole(reset) => {
            sum.add(&point.value);
            tally.resets_by_start += u64::from(reset == Reset::ByStart);
            tally.resets_by_value += u64::from(reset == Reset::ByValue);
        }
        Gain::Nothing => {
            sum.add_nothing_of(&point.value);
            tally.baselined += 1;
        }
        Gain::Difference => {}
    }
    input.advance(point, time, gain);
    Ok(())
}

/// A point of a delta stream.
fn gather(
    sum: &mut Sum,
    start: &mut UnixNanos,
    empty: &mut bool,
    input: &mut Input,
    point: &Point,
    time: UnixNanos,
) -> Result<(), Reason> {
    if !sum.takes(&point.value) {
        return Err(Reason::Invalid);
    }
    sum.add(&point.value);
    if std::mem::take(empty) || (point.start.is_set() && point.start < *start) {
        *start = point.start;
    }
    (input.time, input.known) = (input.time.max(time), true);
    Ok(())
}

/// A point of a level.
fn stand(level: &mut Level, index: u32, inputs: &mut [Input], point: &Point, time: UnixNanos) -> Result<(), Reason> {
    let input = &mut inputs[index as usize];
    if input.known && input.live && time == input.time && point.value == input.last {
        return Err(Reason::Duplicate);
    }
    // At equal times the later arrival counts: sources that date rows by a column may change a value and not its time.
    if input.known && time < input.time {
        return Err(Reason::OutOfOrder);
    }
    if !level.function().takes(&point.value) {
        // It has no value that can be used: the one before is true no more.
        if std::mem::take(&mut input.live) {
            input.time = time;
            level.leave(index, &input.last);
        }
        return Err(Reason::Invalid);
    }
    let (Some(now), before) = (point.value.number(), input.last.number()) else { return Err(Reason::Invalid) };
    let was_live = input.live;
    (input.start, input.time, input.known) = (point.start, time, true);
    input.last = now.into();
    match before.filter(|_| was_live) {
        Some(before) => level.change(index, before, now, inputs),
        None => level.enter(index, inputs),
    }
    Ok(())
}
