//! Values of points.

/// The value of a point. Numbers stand in place; the rest is boxed, since most points are numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum PointValue {
    /// A whole number, exact over the whole range of `i64`.
    Int(i64),
    /// A double.
    Double(f64),
    /// A histogram with explicit bounds.
    Histogram(Box<Histogram>),
    /// A histogram with exponential buckets.
    Exponential(Box<ExponentialHistogram>),
    /// Quantiles computed by the source.
    Summary(Box<Summary>),
}

/// A number that is exactly what the source gave: whole or double.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A whole number.
    Int(i64),
    /// A double.
    Double(f64),
}

/// A histogram with explicit bounds (OTLP `HistogramDataPoint`). `counts.len() == bounds.len() + 1`, or both are empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations, when known.
    pub sum: Option<f64>,
    /// Smallest observation, when known.
    pub min: Option<f64>,
    /// Largest observation, when known.
    pub max: Option<f64>,
    /// Upper bounds, inclusive, strictly ascending; the last bucket reaches to +Inf.
    pub bounds: Vec<f64>,
    /// Observations per bucket, not cumulative.
    pub counts: Vec<u64>,
}

/// A histogram with exponential buckets (OTLP `ExponentialHistogramDataPoint`). Bucket i of `positive` holds
/// (base^(offset+i), base^(offset+i+1)] with base = 2^(2^-scale).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExponentialHistogram {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations, when known.
    pub sum: Option<f64>,
    /// Smallest observation, when known.
    pub min: Option<f64>,
    /// Largest observation, when known.
    pub max: Option<f64>,
    /// Resolution: 2^scale buckets per doubling.
    pub scale: i32,
    /// Observations within the zero threshold.
    pub zero_count: u64,
    /// Absolute values up to this count as zero.
    pub zero_threshold: f64,
    /// Buckets of positive observations.
    pub positive: Buckets,
    /// Buckets of negative observations, by absolute value.
    pub negative: Buckets,
}

/// A run of exponential buckets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Index of the first bucket.
    pub offset: i32,
    /// Observations per bucket, not cumulative.
    pub counts: Vec<u64>,
}

/// Quantiles computed by the source (OTLP `SummaryDataPoint`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Number of observations.
    pub count: u64,
    /// Sum of the observations.
    pub sum: f64,
    /// Quantiles, ascending.
    pub quantiles: Vec<Quantile>,
}

/// One quantile of a summary.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantile {
    /// From 0 to 1.
    pub quantile: f64,
    /// Its value.
    pub value: f64,
}

impl Number {
    /// The nearest double.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Double(double) => double,
        }
    }
}

impl PointValue {
    /// The number, when it is one.
    #[must_use]
    pub const fn number(&self) -> Option<Number> {
        match self {
            Self::Int(int) => Some(Number::Int(*int)),
            Self::Double(double) => Some(Number::Double(*double)),
            _ => None,
        }
    }

    /// Bytes on the heap, for budgets.
    #[must_use]
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Int(_) | Self::Double(_) => 0,
            Self::Histogram(h) => size_of::<Histogram>() + 8 * (h.bounds.len() + h.counts.len()),
            Self::Exponential(h) => {
                size_of::<ExponentialHistogram>() + 8 * (h.positive.counts.len() + h.negative.counts.len())
            }
            Self::Summary(s) => size_of::<Summary>() + size_of::<Quantile>() * s.quantiles.len(),
        }
    }
}

impl From<Number> for PointValue {
    fn from(number: Number) -> Self {
        match number {
            Number::Int(int) => Self::Int(int),
            Number::Double(double) => Self::Double(double),
        }
    }
}
