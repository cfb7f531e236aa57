//! What a series measures, and where it comes from.

use crate::attributes::Attributes;

/// Name, unit, description and exact type of a metric (OTLP `Metric` without its points).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Metric {
    /// The name as the source gave it, before any exporter's suffixes.
    pub name: Box<str>,
    /// UCUM unit, such as `By` or `s`; empty when unknown.
    pub unit: Box<str>,
    /// One sentence for people; empty when unknown. Not part of a series' fingerprint.
    pub description: Box<str>,
    /// The exact type.
    pub kind: Kind,
    /// What the source said of the type beyond OTLP's kinds.
    pub hint: Hint,
}

/// The type of a metric, with what OTLP keeps beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A sampled value.
    Gauge,
    /// An addition of increments.
    Sum {
        /// Whether it only rises (a counter) or may fall (an up-down counter).
        monotonic: bool,
        /// Since the start, or since the last point.
        temporality: Temporality,
    },
    /// A histogram with explicit bounds.
    Histogram {
        /// Since the start, or since the last point.
        temporality: Temporality,
    },
    /// A histogram with exponential buckets.
    ExponentialHistogram {
        /// Since the start, or since the last point.
        temporality: Temporality,
    },
    /// Quantiles computed by the source.
    Summary,
}

/// Whether a point counts from the stream's start or from the point before (OTLP `AggregationTemporality`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// Since the last point.
    Delta,
    /// Since the start time.
    #[default]
    Cumulative,
}

/// The Prometheus type that OTLP's kinds cannot say. OTLP carries it as metadata `prometheus.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Hint {
    /// The kind says it all.
    #[default]
    None,
    /// `unknown`: the source gave no type.
    Unknown,
    /// `info`: labels are the message, the value is 1.
    Info,
    /// `stateset`: 0/1 series, one per state.
    StateSet,
}

/// Where series come from: resource and instrumentation scope. One value serves all the series of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// Attributes of the resource.
    pub resource: Attributes,
    /// Schema URL of the resource; empty when unset.
    pub resource_schema_url: Box<str>,
    /// The instrumentation scope.
    pub scope: Scope,
}

/// The instrumentation scope (OTLP `InstrumentationScope` and its schema URL).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scope {
    /// Name; empty when unset.
    pub name: Box<str>,
    /// Version; empty when unset.
    pub version: Box<str>,
    /// Schema URL; empty when unset.
    pub schema_url: Box<str>,
    /// Attributes of the scope.
    pub attributes: Attributes,
}

impl Metric {
    /// A metric with a name and a kind, and nothing else said.
    #[must_use]
    pub fn new(name: impl Into<Box<str>>, kind: Kind) -> Self {
        Self { name: name.into(), unit: "".into(), description: "".into(), kind, hint: Hint::None }
    }
}

impl Kind {
    /// A cumulative monotonic sum: what Prometheus calls a counter.
    pub const COUNTER: Self = Self::Sum { monotonic: true, temporality: Temporality::Cumulative };
    /// A cumulative sum that may fall.
    pub const UP_DOWN_COUNTER: Self = Self::Sum { monotonic: false, temporality: Temporality::Cumulative };

    /// The temporality, where the kind has one.
    #[must_use]
    pub const fn temporality(self) -> Option<Temporality> {
        match self {
            Self::Sum { temporality, .. }
            | Self::Histogram { temporality }
            | Self::ExponentialHistogram { temporality } => Some(temporality),
            Self::Gauge | Self::Summary => None,
        }
    }

    /// A small number that stands for the kind in fingerprints; it never changes its meaning.
    pub(crate) const fn code(self) -> u8 {
        const fn of(temporality: Temporality) -> u8 {
            match temporality {
                Temporality::Delta => 0,
                Temporality::Cumulative => 1,
            }
        }
        match self {
            Self::Gauge => 1,
            Self::Sum { monotonic: false, temporality } => 2 + of(temporality),
            Self::Sum { monotonic: true, temporality } => 4 + of(temporality),
            Self::Histogram { temporality } => 6 + of(temporality),
            Self::ExponentialHistogram { temporality } => 8 + of(temporality),
            Self::Summary => 10,
        }
    }
}

impl Scope {
    /// Whether nothing at all is said of the scope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.name.is_empty() && self.version.is_empty() && self.schema_url.is_empty() && self.attributes.is_empty()
    }
}
