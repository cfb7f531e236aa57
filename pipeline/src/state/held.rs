//! The value of a series, and what an event does to it.

use std::sync::Arc;

use pdata::{Histogram, Kind, Number, PointValue, UnixNanos};

use super::codec::{self, Reader};

/// What an event does to one series.
#[derive(Clone, Debug, PartialEq)]
pub enum Tally {
    /// Adds to a sum. Negative or not finite amounts are refused for a counter.
    Add(Number),
    /// Sets a gauge that was true at `time`: the newest time wins, of equal times the one that arrived later.
    Set {
        /// The value.
        value: Number,
        /// When it was true, by the event's own statement; else when it arrived.
        time: UnixNanos,
    },
    /// Observes one value in a histogram. Not finite values are refused.
    Observe {
        /// The observed value.
        value: f64,
        /// Upper bounds, inclusive, strictly ascending. Other bounds than before start the histogram anew.
        bounds: Arc<[f64]>,
    },
}

/// Where a series stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// A sum.
    Sum(Number),
    /// A gauge and when it was true.
    Gauge(Number, UnixNanos),
    /// A histogram.
    Histogram(Box<Bins>),
}

/// A histogram in the making.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    bounds: Arc<[f64]>,
    counts: Box<[u64]>,
    sum: f64,
}

/// A standing with the times it needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    /// When the stream began. Survives restarts.
    pub(super) start: UnixNanos,
    /// The commit that changed it last.
    pub(super) commit: u64,
    pub(super) standing: Standing,
}

/// What a metric must be for a tally to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Counter,
    UpDown,
    Gauge,
    Histogram,
}

impl Class {
    /// The class of a kind; `None` for those that a ledger does not keep.
    pub(super) fn of(kind: Kind) -> Option<Self> {
        match kind {
            Kind::COUNTER => Some(Self::Counter),
            Kind::UP_DOWN_COUNTER => Some(Self::UpDown),
            Kind::Gauge => Some(Self::Gauge),
            Kind::Histogram { temporality: pdata::Temporality::Cumulative } => Some(Self::Histogram),
            _ => None,
        }
    }

    /// The type as people call it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDown => "updowncounter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }

    /// Says no to what would break a series for good: a counter that falls, a sum that is NaN for ever.
    pub(super) fn check(self, tally: &Tally) -> Result<(), &'static str> {
        let finite = |number: &Number| number.as_f64().is_finite();
        match (self, tally) {
            (Self::Counter, Tally::Add(amount)) if amount.as_f64() < 0.0 => Err("a counter takes no negative amount"),
            (Self::Counter | Self::UpDown, Tally::Add(amount)) if !finite(amount) => {
                Err("a sum takes finite amounts only")
            }
            (Self::Histogram, Tally::Observe { value, .. }) if !value.is_finite() => {
                Err("a histogram takes finite values only")
            }
            (Self::Counter | Self::UpDown, Tally::Add(_))
            | (Self::Gauge, Tally::Set { .. })
            | (Self::Histogram, Tally::Observe { .. }) => Ok(()),
            _ => Err("what the event does does not fit the metric's type"),
        }
    }
}

impl Held {
    /// A series before its first event.
    pub(super) fn new(start: UnixNanos, tally: &Tally) -> Self {
        let standing = match tally {
            Tally::Add(_) => Standing::Sum(Number::Int(0)),
            Tally::Set { value, time } => Standing::Gauge(*value, *time),
            Tally::Observe { bounds, .. } => Standing::Histogram(Box::new(Bins::new(bounds))),
        };
        Self { start, commit: 0, standing }
    }

    /// Counts one event in.
    pub(super) fn apply(&mut self, tally: &Tally, now: UnixNanos) {
        match (&mut self.standing, tally) {
            (Standing::Sum(sum), Tally::Add(amount)) => *sum = add(*sum, *amount),
            (Standing::Gauge(value, time), Tally::Set { value: new, time: at }) => {
                if at >= time {
                    (*value, *time) = (*new, *at);
                }
            }
            (Standing::Histogram(bins), Tally::Observe { value, bounds }) if bins.has(bounds) => bins.observe(*value),
            // Other bounds, or another type under the same name: a new stream begins.
            _ => {
                *self = Self::new(now, tally);
                if !matches!(tally, Tally::Set { .. }) {
                    self.apply(tally, now);
                }
            }
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        codec::put_varint(out, self.commit);
        codec::put_varint(out, self.start.0);
        match &self.standing {
            Standing::Sum(sum) => {
                out.push(0);
                codec::put_number(out, *sum);
            }
            Standing::Gauge(value, time) => {
                out.push(1);
                codec::put_number(out, *value);
                codec::put_varint(out, time.0);
            }
            Standing::Histogram(bins) => {
                out.push(2);
                bins.put(out);
            }
        }
    }

    pub(super) fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let (commit, start) = (reader.varint()?, reader.time()?);
        let standing = match reader.byte()? {
            0 => Standing::Sum(reader.number()?),
            1 => Standing::Gauge(reader.number()?, reader.time()?),
            2 => Standing::Histogram(Box::new(Bins::take(reader)?)),
            _ => return None,
        };
        Some(Self { start, commit, standing })
    }
}

impl Standing {
    /// The value as points carry it.
    #[must_use]
    pub fn value(&self) -> PointValue {
        match self {
            Self::Sum(number) | Self::Gauge(number, _) => (*number).into(),
            Self::Histogram(bins) => PointValue::Histogram(Box::new(bins.histogram())),
        }
    }

    pub(super) fn is_gauge(&self) -> bool {
        matches!(self, Self::Gauge(..))
    }

    /// What a series of this class shows when its value could not be read any more: the stream begins anew.
    pub(super) fn lost(class: Class) -> Option<Self> {
        match class {
            Class::Counter | Class::UpDown => Some(Self::Sum(Number::Int(0))),
            // A gauge or bounds cannot be guessed.
            Class::Gauge | Class::Histogram => None,
        }
    }
}

impl Bins {
    fn new(bounds: &Arc<[f64]>) -> Self {
        Self { bounds: bounds.clone(), counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    fn has(&self, bounds: &Arc<[f64]>) -> bool {
        Arc::ptr_eq(&self.bounds, bounds) || self.bounds == *bounds
    }

    fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
        self.sum += value;
    }

    /// As OTLP models it.
    #[must_use]
    pub fn histogram(&self) -> Histogram {
        Histogram {
            count: self.counts.iter().sum(),
            sum: Some(self.sum),
            min: None,
            max: None,
            bounds: self.bounds.to_vec(),
            counts: self.counts.to_vec(),
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sum.to_le_bytes());
        codec::put_varint(out, self.bounds.len() as u64);
        self.bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_le_bytes()));
        self.counts.iter().for_each(|count| codec::put_varint(out, *count));
    }

    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let sum = reader.double()?;
        let length = reader.count()?;
        let bounds = (0..length).map(|_| reader.double()).collect::<Option<_>>()?;
        let counts = (0..=length).map(|_| reader.varint()).collect::<Option<_>>()?;
        Some(Self { bounds, counts, sum })
    }
}

/// Whole numbers stay whole and stop at the end of their range; a double makes the sum a double.
fn add(sum: Number, amount: Number) -> Number {
    match (sum, amount) {
        (Number::Int(sum), Number::Int(amount)) => Number::Int(sum.saturating_add(amount)),
        (sum, amount) => Number::Double(sum.as_f64() + amount.as_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: i64, time: u64) -> Tally {
        Tally::Set { value: Number::Int(value), time: UnixNanos(time) }
    }

    fn after(tallies: &[Tally]) -> Held {
        let mut held = Held::new(UnixNanos(1), &tallies[0]);
        tallies.iter().for_each(|tally| held.apply(tally, UnixNanos(9)));
        held
    }

    #[test]
    fn of_gauges_the_newest_time_wins_and_of_equal_times_the_later_arrival() {
        let standing = |tallies: &[Tally]| after(tallies).standing;
        assert_eq!(standing(&[set(1, 10), set(2, 5)]), Standing::Gauge(Number::Int(1), UnixNanos(10)));
        assert_eq!(standing(&[set(1, 10), set(2, 10)]), Standing::Gauge(Number::Int(2), UnixNanos(10)));
    }

    #[test]
    fn a_bound_belongs_to_its_own_bucket() {
        let bounds: Arc<[f64]> = Arc::new([1.0, 5.0]);
        let observe = |value| Tally::Observe { value, bounds: bounds.clone() };
        let held = after(&[observe(1.0), observe(1.5), observe(5.0), observe(6.0)]);
        let PointValue::Histogram(histogram) = held.standing.value() else { panic!("a histogram") };
        assert_eq!((histogram.counts, histogram.count, histogram.sum), (vec![1, 2, 1], 4, Some(13.5)));
    }

    #[test]
    fn other_bounds_start_the_histogram_anew() {
        let observe = |bounds: &[f64]| Tally::Observe { value: 1.0, bounds: bounds.into() };
        let held = after(&[observe(&[1.0]), observe(&[1.0]), observe(&[2.0])]);
        assert_eq!(held.start, UnixNanos(9));
        let PointValue::Histogram(histogram) = held.standing.value() else { panic!("a histogram") };
        assert_eq!(histogram.counts, [1, 0]);
    }

    #[test]
    fn whole_sums_stay_whole_and_do_not_wrap() {
        let add = |number| Tally::Add(number);
        assert_eq!(
            after(&[add(Number::Int(i64::MAX)), add(Number::Int(2))]).standing,
            Standing::Sum(Number::Int(i64::MAX))
        );
        assert_eq!(
            after(&[add(Number::Int(1)), add(Number::Double(0.5))]).standing,
            Standing::Sum(Number::Double(1.5))
        );
    }

    #[test]
    fn what_would_break_a_series_for_good_is_refused() {
        assert!(Class::Counter.check(&Tally::Add(Number::Int(-1))).is_err());
        assert!(Class::UpDown.check(&Tally::Add(Number::Int(-1))).is_ok());
        assert!(Class::UpDown.check(&Tally::Add(Number::Double(f64::NAN))).is_err());
        assert!(Class::Gauge.check(&Tally::Add(Number::Int(1))).is_err());
        assert!(Class::Histogram.check(&Tally::Observe { value: f64::INFINITY, bounds: [].into() }).is_err());
    }
}
