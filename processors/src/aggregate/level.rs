//! Values that stand: gauges, and sums that may fall. An output is worked out from what its inputs that are alive say now.

use pdata::{Number, PointValue};

use super::GaugeFunction;
use super::input::Input;
use super::total::Total;

/// The value of an output over the last values of its live inputs.
///
/// Sums are kept up to date with each point. The extremes and the latest are worked out again when the input that holds
/// them changes for the worse; a look over all inputs then, and only then.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    function: GaugeFunction,
    /// Whole and double values apart, so that a double that leaves leaves the sum whole.
    ints: Total,
    doubles: Total,
    int_count: u64,
    double_count: u64,
    /// The input that stands for all, for max, min and last.
    best: Option<u32>,
    stale: bool,
    /// Who has contributed: places among the inputs. May name some that left; pruned when it is walked.
    members: Vec<u32>,
    /// Whether a member may be named twice, because its place was used again.
    untidy: bool,
}

impl Level {
    pub(crate) fn new(function: GaugeFunction) -> Self {
        Self {
            function,
            ints: Total::ZERO,
            doubles: Total::of(Number::Double(0.0)),
            int_count: 0,
            double_count: 0,
            best: None,
            stale: false,
            members: Vec::new(),
            untidy: false,
        }
    }

    /// How values are put together.
    pub(crate) const fn function(&self) -> GaugeFunction {
        self.function
    }

    /// A new contributor to the output at this place.
    pub(crate) fn join(&mut self, input: u32, output: u32, inputs: &[Input]) {
        if self.is_additive() {
            return;
        }
        if self.members.len() == self.members.capacity() {
            // Before it grows, what has left makes room.
            self.tidy(output, inputs);
        }
        self.members.push(input);
        self.untidy = true;
    }

    /// An input has a value now.
    pub(crate) fn enter(&mut self, index: u32, inputs: &[Input]) {
        let input = &inputs[index as usize];
        let Some(number) = input.last.number() else { return };
        self.add(number);
        self.challenge(index, inputs);
    }

    /// An input has no value any more; `last` was its last.
    pub(crate) fn leave(&mut self, index: u32, last: &PointValue) {
        let Some(number) = last.number() else { return };
        self.subtract(number);
        if self.best == Some(index) {
            self.mark_stale();
        }
    }

    /// An input that has a value has another one now.
    #[inline]
    pub(crate) fn change(&mut self, index: u32, before: Number, now: Number, inputs: &[Input]) {
        if self.is_additive() {
            self.subtract(before);
            self.add(now);
            return;
        }
        let worse = match self.function {
            GaugeFunction::Max => compare(now, before).is_lt(),
            GaugeFunction::Min => compare(now, before).is_gt(),
            _ => false,
        };
        if self.best != Some(index) {
            self.challenge(index, inputs);
        } else if worse {
            self.mark_stale();
        }
    }

    /// The value, unless nobody is left.
    pub(crate) fn value(&mut self, output: u32, inputs: &[Input]) -> Option<Number> {
        let count = self.int_count + self.double_count;
        if count == 0 {
            return None;
        }
        match self.function {
            GaugeFunction::Sum => Some(self.sum().number()),
            GaugeFunction::Avg => Some(Number::Double(self.sum().as_f64() / count as f64)),
            _ => {
                if self.stale {
                    self.look(output, inputs);
                }
                inputs[self.best? as usize].last.number()
            }
        }
    }

    /// Says that inputs may have left without a word.
    pub(crate) fn mark_stale(&mut self) {
        (self.best, self.stale) = (None, true);
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.members.capacity() * size_of::<u32>()
    }

    fn is_additive(&self) -> bool {
        matches!(self.function, GaugeFunction::Sum | GaugeFunction::Avg)
    }

    fn sum(&self) -> Total {
        let mut sum = self.ints;
        if self.double_count > 0 {
            sum.add(self.doubles);
        }
        sum
    }

    fn add(&mut self, number: Number) {
        let additive = self.is_additive();
        let (total, count) = self.place(number);
        if additive {
            total.add(Total::of(number));
        }
        *count += 1;
    }

    fn subtract(&mut self, number: Number) {
        let additive = self.is_additive();
        let (total, count) = self.place(number);
        *count -= 1;
        if additive {
            total.subtract(Total::of(number));
        }
        if additive && *count == 0 {
            // Rounding errors leave with the last one.
            *total = Total::of(if total.is_double() { Number::Double(0.0) } else { Number::Int(0) });
        }
    }

    fn place(&mut self, number: Number) -> (&mut Total, &mut u64) {
        match number {
            Number::Double(_) if self.is_additive() => (&mut self.doubles, &mut self.double_count),
            // What stands for all is looked at where it is: who does not add up needs one count and no sum.
            _ => (&mut self.ints, &mut self.int_count),
        }
    }

    /// An input may stand for the output better than who does. While nobody does for sure, a look over all decides later.
    fn challenge(&mut self, index: u32, inputs: &[Input]) {
        if self.is_additive() || self.stale {
            return;
        }
        if self.best.is_none_or(|best| self.prefers(&inputs[index as usize], &inputs[best as usize])) {
            self.best = Some(index);
        }
    }

    /// Whether `one` stands for the output rather than `two`. Total and independent of the order of arrival.
    #[inline]
    fn prefers(&self, one: &Input, two: &Input) -> bool {
        let order = match self.function {
            GaugeFunction::Last => one.time.cmp(&two.time).then_with(|| one.fingerprint.cmp(&two.fingerprint)),
            GaugeFunction::Min => compare(value(two), value(one)),
            _ => compare(value(one), value(two)),
        };
        order.is_ge()
    }

    fn look(&mut self, output: u32, inputs: &[Input]) {
        if std::mem::take(&mut self.untidy) {
            self.tidy(output, inputs);
        }
        let mut best: Option<u32> = None;
        for member in self.members.iter().copied() {
            let input = &inputs[member as usize];
            let counts = input.live && input.output == output;
            if counts && best.is_none_or(|best| self.prefers(input, &inputs[best as usize])) {
                best = Some(member);
            }
        }
        (self.best, self.stale) = (best, false);
    }

    fn tidy(&mut self, output: u32, inputs: &[Input]) {
        self.members.retain(|member| inputs[*member as usize].output == output);
        self.members.sort_unstable();
        self.members.dedup();
    }
}

/// What an input of a level says.
#[inline]
fn value(input: &Input) -> Number {
    input.last.number().unwrap_or(Number::Int(0))
}

/// Numbers in order, whole ones exactly even where doubles cannot tell them apart.
#[inline]
fn compare(one: Number, two: Number) -> std::cmp::Ordering {
    match (one, two) {
        (Number::Int(one), Number::Int(two)) => one.cmp(&two),
        (one, two) => one.as_f64().total_cmp(&two.as_f64()),
    }
}
