//! Values that add up: counters, histograms, summaries. What was added since the last emission is kept apart, because a stream
//! that must change its identity (bounds, type, overflow) begins anew with just that.

use pdata::{ExponentialHistogram, Histogram, Kind, Number, PointValue, Summary};

use super::total::{Neumaier, Total};
use super::{explicit, exponential};

/// The accumulated value of an output, and what came since it was last emitted.
#[derive(Clone, Debug)]
pub(crate) enum Sum {
    Number(Running),
    Histogram(Box<Bounded>),
    Exponential(Box<Wide>),
    Summary { count: u64, sum: Neumaier },
}

/// A running number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    total: Total,
    since: Total,
    /// Whether it turned from whole to double since the last emission, which makes it another stream.
    turned: bool,
}

/// A histogram and the part of it that was not emitted yet; both empty before the first contribution.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bounded {
    total: Option<Histogram>,
    since: Option<Histogram>,
    /// Sum of observations with its rounding errors, for as long as all contributions had one.
    sum: Neumaier,
    /// Whether the total lost bounds since the last emission, which makes it another stream.
    narrowed: bool,
}

/// An exponential histogram; it may go down in scale without becoming another stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wide {
    total: Option<ExponentialHistogram>,
    sum: Neumaier,
}

/// Whether the emitted stream goes on, or begins anew at the last emission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Same,
    Anew,
}

impl Sum {
    const ZERO: Self = Self::Number(Running { total: Total::ZERO, since: Total::ZERO, turned: false });

    /// An empty sum for values of this kind.
    pub(crate) fn for_kind(kind: Kind) -> Self {
        match kind {
            Kind::Gauge | Kind::Sum { .. } => Self::ZERO,
            Kind::Histogram { .. } => Self::Histogram(Box::default()),
            Kind::ExponentialHistogram { .. } => Self::Exponential(Box::default()),
            Kind::Summary => Self::Summary { count: 0, sum: Neumaier::default() },
        }
    }

    /// Begins with a value that was emitted already.
    pub(crate) fn seed(&mut self, value: &PointValue) {
        self.add(value);
        self.mark_emitted();
    }

    /// Takes the shape of a value (type, bounds, scale) and none of its counts.
    pub(crate) fn add_nothing_of(&mut self, value: &PointValue) {
        match (&*self, value) {
            (Self::Number(_), PointValue::Double(_)) => self.add(&PointValue::Double(0.0)),
            (Self::Histogram(_) | Self::Exponential(_), value) => {
                let mut nothing = value.clone();
                empty(&mut nothing);
                self.add(&nothing);
            }
            _ => {}
        }
    }

    /// Whether a value is of its sort and can be added.
    pub(crate) fn takes(&self, value: &PointValue) -> bool {
        match (self, value) {
            (Self::Number(_), PointValue::Int(_)) => true,
            (Self::Number(_), PointValue::Double(double)) => double.is_finite(),
            (Self::Histogram(_), PointValue::Histogram(h)) => explicit::is_sound(h) && h.sum.is_none_or(f64::is_finite),
            (Self::Exponential(_), PointValue::Exponential(h)) => {
                exponential::is_sound(h) && h.sum.is_none_or(f64::is_finite)
            }
            (Self::Summary { .. }, PointValue::Summary(summary)) => summary.sum.is_finite(),
            _ => false,
        }
    }

    /// Adds a value that it [takes](Self::takes).
    pub(crate) fn add(&mut self, value: &PointValue) {
        match (self, value) {
            (Self::Number(running), value) => running.add(value.number().map_or(Total::ZERO, Total::of)),
            (Self::Histogram(bounded), PointValue::Histogram(value)) => bounded.add(value),
            (Self::Exponential(wide), PointValue::Exponential(value)) => wide.add(value),
            (Self::Summary { count, sum }, PointValue::Summary(value)) => {
                *count = count.saturating_add(value.count);
                sum.add(value.sum);
            }
            _ => {}
        }
    }

    /// Adds a whole number to a number.
    #[inline]
    pub(crate) fn add_int(&mut self, int: i128) {
        if let Self::Number(running) = self {
            running.add(Total::Int(int));
        }
    }

    /// Adds what `now` has more than `before`. Gives whether that could be worked out; if not, the source began anew.
    pub(crate) fn add_difference(&mut self, now: &PointValue, before: &PointValue) -> bool {
        match (self, now, before) {
            (Self::Number(running), now, before) => {
                let (Some(now), Some(before)) = (now.number(), before.number()) else { return false };
                running.add(Total::difference(now, before));
                true
            }
            (Self::Histogram(bounded), PointValue::Histogram(now), PointValue::Histogram(before)) => {
                explicit::difference(now, before).is_some_and(|grown| {
                    bounded.add(&grown);
                    true
                })
            }
            (Self::Exponential(wide), PointValue::Exponential(now), PointValue::Exponential(before)) => {
                exponential::difference(now, before).is_some_and(|grown| {
                    wide.add(&grown);
                    true
                })
            }
            (Self::Summary { count, sum }, PointValue::Summary(now), PointValue::Summary(before)) => {
                let Some(grown) = now.count.checked_sub(before.count) else { return false };
                *count = count.saturating_add(grown);
                sum.add(now.sum - before.sum);
                true
            }
            _ => false,
        }
    }

    /// The value to emit, and whether its stream goes on.
    pub(crate) fn emit(&mut self) -> (PointValue, Stream) {
        let stream = self.renew();
        let value = match self {
            Self::Number(running) => running.total.number().into(),
            Self::Histogram(bounded) => PointValue::Histogram(Box::new(bounded.total.clone().unwrap_or_default())),
            Self::Exponential(wide) => PointValue::Exponential(Box::new(wide.total.clone().unwrap_or_default())),
            Self::Summary { count, sum } => {
                PointValue::Summary(Box::new(Summary { count: *count, sum: sum.value(), quantiles: Vec::new() }))
            }
        };
        self.mark_emitted();
        (value, stream)
    }

    /// Takes the value and begins again from nothing: for windows.
    pub(crate) fn take(&mut self) -> PointValue {
        let (value, _) = self.emit();
        *self = match self {
            Self::Number(_) => Self::ZERO,
            Self::Histogram(_) => Self::Histogram(Box::default()),
            Self::Exponential(_) => Self::Exponential(Box::default()),
            Self::Summary { .. } => Self::Summary { count: 0, sum: Neumaier::default() },
        };
        value
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Number(_) | Self::Summary { .. } => 0,
            Self::Histogram(bounded) => {
                let buckets = [&bounded.total, &bounded.since].into_iter().flatten();
                size_of::<Bounded>() + buckets.map(|h| 8 * (h.bounds.len() + h.counts.len())).sum::<usize>()
            }
            Self::Exponential(wide) => {
                let runs = wide.total.iter().map(|h| 8 * (h.positive.counts.len() + h.negative.counts.len()));
                size_of::<Wide>() + runs.sum::<usize>()
            }
        }
    }

    /// Begins anew with what came since the last emission, when the value so far cannot go on as the same stream.
    fn renew(&mut self) -> Stream {
        match self {
            Self::Number(running) => running.renew(),
            Self::Histogram(bounded) => bounded.renew(),
            Self::Exponential(_) | Self::Summary { .. } => Stream::Same,
        }
    }

    fn mark_emitted(&mut self) {
        match self {
            Self::Number(running) => {
                running.since = if running.total.is_double() { Total::of(Number::Double(0.0)) } else { Total::ZERO };
                running.turned = false;
            }
            Self::Histogram(bounded) => (bounded.since, bounded.narrowed) = (None, false),
            Self::Exponential(_) | Self::Summary { .. } => {}
        }
    }
}

impl Running {
    fn add(&mut self, number: Total) {
        self.turned |= number.is_double() && !self.total.is_double();
        self.total.add(number);
        self.since.add(number);
    }

    fn renew(&mut self) -> Stream {
        if self.total.fits() && !self.turned {
            return Stream::Same;
        }
        // What grew past i64 within one emission can only be said as a double.
        self.total = if self.since.fits() { self.since } else { Total::Double(self.since.as_double()) };
        Stream::Anew
    }
}

impl Bounded {
    fn add(&mut self, value: &Histogram) {
        add_to(&mut self.since, value, |since, value| {
            explicit::add(since, value);
        });
        let Self { total, sum, narrowed, .. } = self;
        sum.add(value.sum.unwrap_or(0.0));
        add_to(total, value, |total, value| *narrowed |= explicit::add(total, value));
        if let Some(total) = total {
            total.sum = total.sum.map(|_| sum.value());
        }
    }

    fn renew(&mut self) -> Stream {
        if !self.narrowed {
            return Stream::Same;
        }
        let (Some(total), Some(mut since)) = (&self.total, self.since.clone()) else { return Stream::Same };
        explicit::narrow(&mut since, &total.bounds);
        // Once one contribution had no sum, the output has none.
        since.sum = total.sum.and(since.sum);
        self.sum = Neumaier::of(since.sum.unwrap_or(0.0));
        self.total = Some(since);
        Stream::Anew
    }
}

impl Wide {
    fn add(&mut self, value: &ExponentialHistogram) {
        self.sum.add(value.sum.unwrap_or(0.0));
        add_to(&mut self.total, value, exponential::add);
        if let Some(total) = &mut self.total {
            total.sum = total.sum.map(|_| self.sum.value());
        }
    }
}

fn add_to<T: Clone>(place: &mut Option<T>, value: &T, add: impl FnOnce(&mut T, &T)) {
    match place {
        Some(place) => add(place, value),
        None => *place = Some(value.clone()),
    }
}

/// Leaves a histogram's shape and takes its counts.
fn empty(value: &mut PointValue) {
    match value {
        PointValue::Histogram(histogram) => {
            histogram.counts.fill(0);
            (histogram.count, histogram.min, histogram.max) = (0, None, None);
            histogram.sum = histogram.sum.map(|_| 0.0);
        }
        PointValue::Exponential(histogram) => {
            (histogram.positive, histogram.negative) = Default::default();
            (histogram.count, histogram.zero_count, histogram.min, histogram.max) = (0, 0, None, None);
            histogram.sum = histogram.sum.map(|_| 0.0);
        }
        _ => {}
    }
}

/// Whether a monotonic value fell.
pub(crate) fn fell(now: &PointValue, before: &PointValue) -> bool {
    match (now, before) {
        (PointValue::Histogram(now), PointValue::Histogram(before)) => now.count < before.count,
        (PointValue::Exponential(now), PointValue::Exponential(before)) => now.count < before.count,
        (PointValue::Summary(now), PointValue::Summary(before)) => now.count < before.count,
        (now, before) => match (now.number(), before.number()) {
            (Some(Number::Int(now)), Some(Number::Int(before))) => now < before,
            (Some(now), Some(before)) => now.as_f64() < before.as_f64(),
            // Another sort of value: nothing of the old is left.
            _ => true,
        },
    }
}

/// Whether a value of a monotonic number is one at all.
pub(crate) fn is_monotonic_value(value: &PointValue) -> bool {
    match value {
        PointValue::Int(int) => *int >= 0,
        PointValue::Double(double) => *double >= 0.0,
        _ => true,
    }
}
