//! What is kept of an input series, and what its next point means.

use pdata::{ExponentialHistogram, Fingerprint, Histogram, Point, PointValue, Summary, UnixNanos};

use super::{FirstPoint, Reason};

/// One input series: 64 bytes, and its buckets if it is a histogram. Plain data.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) fingerprint: Fingerprint,
    /// Its output; [`VACANT`] marks a free place.
    pub(crate) output: u32,
    /// The sweep in which it was last heard of.
    pub(crate) seen: u32,
    /// Start of its stream, as the last point said.
    pub(crate) start: UnixNanos,
    /// Time of its last point.
    pub(crate) time: UnixNanos,
    /// Its last value; means nothing before [`known`](Self::known).
    pub(crate) last: PointValue,
    pub(crate) role: Role,
    /// Whether a value is kept.
    pub(crate) known: bool,
    /// Whether it has a value now: its last point was no end marker.
    pub(crate) live: bool,
    /// Whether a receiver holds it and will send its end marker.
    pub(crate) held: bool,
}

/// What an input is to its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The only one: its points pass untouched, and what was passed is kept so that a second one can join.
    Sole,
    /// One of several, or once one of several: its points go into the output's state.
    Shared,
    /// One too many, where collisions are rejected.
    Rejected,
}

/// What a point of a cumulative stream adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gain {
    /// All of its value: the stream began under watch, or anew.
    Whole(Reset),
    /// What it has more than the last point.
    Difference,
    /// Nothing: its history belongs to somebody else.
    Nothing,
    /// The point says nothing new.
    Ignore(Reason),
}

/// Why a stream counts from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It is a new one.
    Born,
    /// Its start time moved past its last point.
    ByStart,
    /// Its value fell.
    ByValue,
}

pub(crate) const VACANT: u32 = u32::MAX;

impl Input {
    pub(crate) fn new(fingerprint: Fingerprint, output: u32, seen: u32, role: Role) -> Self {
        Self {
            fingerprint,
            output,
            seen,
            start: UnixNanos::UNSET,
            time: UnixNanos::UNSET,
            last: PointValue::Int(0),
            role,
            known: false,
            live: false,
            held: false,
        }
    }

    pub(crate) const fn is_vacant(&self) -> bool {
        self.output == VACANT
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.last.heap_bytes()
    }

    /// Keeps a point that passed untouched. Allocates only when a histogram grows.
    pub(crate) fn keep(&mut self, point: &Point, time: UnixNanos) {
        // At equal times the later arrival is what is shown.
        if !self.known || time >= self.time {
            (self.start, self.time, self.known) = (point.start, time, true);
            store(&mut self.last, &point.value);
        }
    }

    /// Keeps a point that was counted. The start of a stream moves with a reset only: jitter is none.
    pub(crate) fn advance(&mut self, point: &Point, time: UnixNanos, gain: Gain) {
        if !self.known || matches!(gain, Gain::Whole(_)) || !self.start.is_set() {
            self.start = point.start;
        }
        (self.time, self.known) = (time, true);
        store(&mut self.last, &point.value);
    }

    /// What a point of a monotonic cumulative stream adds, given whether its value fell and whether it is the same as before.
    pub(crate) fn judge(
        &self,
        point: &Point,
        time: UnixNanos,
        fell: bool,
        same: bool,
        watermark: UnixNanos,
        first: FirstPoint,
    ) -> Gain {
        let start = point.start;
        if !self.known {
            return match first {
                FirstPoint::Zero => Gain::Whole(Reset::Born),
                // A start at the point's own time is OTLP's way to say that the start is unknown.
                FirstPoint::Auto if start.is_set() && start != time && start >= watermark => Gain::Whole(Reset::Born),
                FirstPoint::Auto | FirstPoint::Baseline => Gain::Nothing,
            };
        }
        if time <= self.time {
            return Gain::Ignore(if time == self.time && same { Reason::Duplicate } else { Reason::OutOfOrder });
        }
        if start > self.start && start >= self.time {
            return Gain::Whole(Reset::ByStart);
        }
        if start < self.start && start.is_set() {
            return Gain::Ignore(Reason::Overlap);
        }
        if fell { Gain::Whole(Reset::ByValue) } else { Gain::Difference }
    }
}

/// Copies a value into a place, using its buffers again.
fn store(place: &mut PointValue, value: &PointValue) {
    match (place, value) {
        // Nearly all: nothing to be dropped, nothing to be cloned.
        (PointValue::Int(place), PointValue::Int(value)) => *place = *value,
        (PointValue::Double(place), PointValue::Double(value)) => *place = *value,
        (PointValue::Histogram(place), PointValue::Histogram(value)) => copy_histogram(place, value),
        (PointValue::Exponential(place), PointValue::Exponential(value)) => copy_exponential(place, value),
        (PointValue::Summary(place), PointValue::Summary(value)) => {
            // Quantiles are never merged, so they need not be kept.
            **place = Summary { count: value.count, sum: value.sum, quantiles: Vec::new() };
        }
        (place, value) => *place = value.clone(),
    }
}

fn copy_histogram(place: &mut Histogram, value: &Histogram) {
    let Histogram { count, sum, min, max, bounds, counts } = value;
    (place.count, place.sum, place.min, place.max) = (*count, *sum, *min, *max);
    place.bounds.clone_from(bounds);
    place.counts.clone_from(counts);
}

fn copy_exponential(place: &mut ExponentialHistogram, value: &ExponentialHistogram) {
    let ExponentialHistogram { count, sum, min, max, scale, zero_count, zero_threshold, positive, negative } = value;
    (place.count, place.sum, place.min, place.max) = (*count, *sum, *min, *max);
    (place.scale, place.zero_count, place.zero_threshold) = (*scale, *zero_count, *zero_threshold);
    (place.positive.offset, place.negative.offset) = (positive.offset, negative.offset);
    place.positive.counts.clone_from(&positive.counts);
    place.negative.counts.clone_from(&negative.counts);
}
