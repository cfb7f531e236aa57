//! What is kept of an output series.

use pdata::{Kind, Point, PointFlags, PointValue, Series, SeriesId, Temporality, UnixNanos};

use super::cumulative::{Stream, Sum};
use super::input::Input;
use super::level::Level;
use super::{Emission, GaugeFunction};

/// One output series.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) series: Series,
    /// Inputs that are kept for it.
    pub(crate) inputs: u32,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) enum State {
    /// One input, whose points pass untouched.
    Sole(u32),
    /// Several inputs, now or once.
    Shared(Box<Shared>),
}

/// The state of an output with several inputs.
#[derive(Debug)]
pub(crate) struct Shared {
    /// When its stream began; unset for what has no start. Constant until the stream must begin anew.
    start: UnixNanos,
    /// Largest time that contributed.
    time: UnixNanos,
    /// Time of the last emitted point.
    emitted: UnixNanos,
    pub(crate) value: Value,
    /// Inputs that have a value now.
    live: u32,
    /// Inputs among all that a receiver holds.
    held: u32,
    /// Whether its points have a start at all; gauges do not.
    starts: bool,
    /// Something came since the last emission.
    changed: bool,
    /// Its end marker is out, or nothing ever was.
    ended: bool,
    /// The list of changed outputs that it stands in already.
    pub(crate) stamp: u64,
}

#[derive(Debug)]
pub(crate) enum Value {
    /// Adds up since a start.
    Cumulative(Sum),
    /// Adds up within one emission.
    Delta { sum: Sum, start: UnixNanos, empty: bool },
    /// Stands.
    Level(Level),
}

impl Shared {
    /// The state that a second input finds, given the first.
    pub(crate) fn after(first: &Input, index: u32, kind: Kind, gauge: GaugeFunction, inputs: &[Input]) -> Self {
        let mut shared = Self {
            start: first.start,
            time: first.time,
            emitted: first.time,
            value: Value::seeded(first, index, kind, gauge, inputs),
            live: u32::from(first.live),
            held: u32::from(first.held),
            starts: kind != Kind::Gauge,
            changed: false,
            ended: !first.live,
            stamp: 0,
        };
        if !first.known {
            (shared.start, shared.time, shared.emitted) = (UnixNanos::UNSET, UnixNanos::UNSET, UnixNanos::UNSET);
        }
        shared
    }

    /// Another input shares it from now on.
    pub(crate) fn join(&mut self, input: u32, output: u32, inputs: &[Input]) {
        if let Value::Level(level) = &mut self.value {
            level.join(input, output, inputs);
        }
    }

    /// A point contributed.
    pub(crate) fn touch(&mut self, time: UnixNanos, watermark: UnixNanos) {
        if self.starts && !self.emitted.is_set() && !self.start.is_set() {
            // Nothing is counted from before the watermark, whoever contributes; a late point pulls it back so that no point
            // begins after its own time.
            self.start = watermark.min(time);
        }
        self.time = self.time.max(time);
        self.changed = true;
    }

    /// An input came alive or ended.
    pub(crate) fn set_live(&mut self, was: bool, is: bool) {
        self.live = self.live + u32::from(is) - u32::from(was);
    }

    /// A receiver began or ceased to hold an input.
    pub(crate) fn set_held(&mut self, was: bool, is: bool) {
        self.held = self.held + u32::from(is) - u32::from(was);
    }

    /// The end of an input, at a time.
    pub(crate) fn end_at(&mut self, time: UnixNanos) {
        self.time = self.time.max(time);
    }

    /// Says that the value may have changed though no point came.
    pub(crate) fn mark_changed(&mut self) {
        self.changed = true;
    }

    /// What is to be emitted: a value if something came, an end marker if nobody is left.
    pub(crate) fn emit(&mut self, output: u32, inputs: &[Input], mut each: impl FnMut(Emission)) {
        let flags = if self.held > 0 { PointFlags::HELD } else { PointFlags::empty() };
        if std::mem::take(&mut self.changed)
            && let Some((start, value)) = self.value(output, inputs)
        {
            let time = self.next_time();
            each(Emission { start, time, value, flags });
            self.ended = false;
        }
        if self.live == 0 && !std::mem::replace(&mut self.ended, true) {
            let time = self.next_time();
            let flags = flags.with(PointFlags::NO_RECORDED_VALUE);
            each(Emission { start: self.start, time, value: PointValue::Double(0.0), flags });
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + match &self.value {
                Value::Cumulative(sum) | Value::Delta { sum, .. } => sum.heap_bytes(),
                Value::Level(level) => level.heap_bytes(),
            }
    }

    fn value(&mut self, output: u32, inputs: &[Input]) -> Option<(UnixNanos, PointValue)> {
        match &mut self.value {
            Value::Cumulative(sum) => {
                let (mut value, stream) = sum.emit();
                forget_extremes(&mut value);
                if stream == Stream::Anew && self.emitted.is_set() {
                    self.start = self.emitted;
                }
                Some((self.start, value))
            }
            Value::Delta { empty: true, .. } => None,
            Value::Delta { sum, start, empty } => {
                *empty = true;
                Some((std::mem::take(start), sum.take()))
            }
            Value::Level(level) => Some((self.start, level.value(output, inputs)?.into())),
        }
    }

    /// The time to emit at: later than the last, by a nanosecond if nothing later contributed.
    fn next_time(&mut self) -> UnixNanos {
        self.emitted = self.time.max(UnixNanos(self.emitted.0.saturating_add(1)));
        self.emitted
    }
}

impl Value {
    fn seeded(first: &Input, index: u32, kind: Kind, gauge: GaugeFunction, inputs: &[Input]) -> Self {
        match kind {
            Kind::Gauge => Self::level(first, index, gauge, inputs),
            Kind::Sum { monotonic: false, temporality: Temporality::Cumulative } => {
                Self::level(first, index, GaugeFunction::Sum, inputs)
            }
            kind if kind.temporality() == Some(Temporality::Delta) => {
                Self::Delta { sum: Sum::for_kind(kind), start: UnixNanos::UNSET, empty: true }
            }
            kind => {
                let mut sum = Sum::for_kind(kind);
                // What cannot be added, such as NaN, was no part of the stream.
                if first.known && sum.takes(&first.last) {
                    sum.seed(&first.last);
                }
                Self::Cumulative(sum)
            }
        }
    }

    fn level(first: &Input, index: u32, function: GaugeFunction, inputs: &[Input]) -> Self {
        let mut level = Level::new(function);
        level.join(index, first.output, inputs);
        if first.live {
            level.enter(index, inputs);
        }
        Self::Level(level)
    }
}

/// Smallest and largest since the start cannot be worked out once inputs come and go.
fn forget_extremes(value: &mut PointValue) {
    match value {
        PointValue::Histogram(histogram) => (histogram.min, histogram.max) = (None, None),
        PointValue::Exponential(histogram) => (histogram.min, histogram.max) = (None, None),
        _ => {}
    }
}

impl Output {
    /// Bytes it keeps, its identity included.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.state {
            State::Sole(_) => 0,
            State::Shared(shared) => shared.heap_bytes(),
        }
    }
}

impl Emission {
    /// As a point of a batch in which the output goes by `series`.
    pub(crate) fn point(self, series: SeriesId) -> Point {
        let Self { start, time, value, flags } = self;
        Point { series, start, time, value, flags }
    }
}
