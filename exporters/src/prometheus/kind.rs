//! What a metric is for Prometheus.

use pdata::prom::NameRole;
use pdata::{Hint, Kind, Metric, Temporality};

/// A Prometheus type. Info and state sets exist in OpenMetrics only; text 0.0.4 calls them gauges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Exposed {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
    Info,
    StateSet,
}

/// What a point does to its series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Update {
    /// It replaces the value, unless it is older.
    Set,
    /// It adds to it: delta temporality.
    Add,
}

/// The text formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Format {
    /// Text 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposed {
    /// The type that a metric is exposed as. Its name plays no part.
    pub(super) fn of(metric: &Metric) -> Self {
        match (metric.kind, metric.hint) {
            (Kind::Sum { monotonic: true, .. }, _) => Self::Counter,
            (Kind::Gauge | Kind::Sum { .. }, Hint::Unknown) => Self::Unknown,
            (Kind::Gauge | Kind::Sum { .. }, Hint::Info) => Self::Info,
            (Kind::Gauge | Kind::Sum { .. }, Hint::StateSet) => Self::StateSet,
            (Kind::Gauge | Kind::Sum { .. }, Hint::None) => Self::Gauge,
            (Kind::Histogram { .. } | Kind::ExponentialHistogram { .. }, _) => Self::Histogram,
            (Kind::Summary, _) => Self::Summary,
        }
    }

    /// The word after `# TYPE name` in this format.
    pub(super) const fn word(self, format: Format) -> &'static str {
        match (self, format) {
            (Self::Counter, _) => "counter",
            (Self::Gauge, _) | (Self::Info | Self::StateSet, Format::Text) => "gauge",
            (Self::Histogram, _) => "histogram",
            (Self::Summary, _) => "summary",
            (Self::Unknown, Format::Text) => "untyped",
            (Self::Unknown, Format::OpenMetrics) => "unknown",
            (Self::Info, Format::OpenMetrics) => "info",
            (Self::StateSet, Format::OpenMetrics) => "stateset",
        }
    }

    /// Whether its points are numbers.
    pub(super) const fn is_number(self) -> bool {
        !matches!(self, Self::Histogram | Self::Summary)
    }

    /// What family `name` of this type may write besides `name` itself: no other family may have such a name.
    pub(super) const fn suffixes(self, format: Format) -> &'static [&'static str] {
        match (self, format) {
            (Self::Counter, Format::OpenMetrics) => &["_total", "_created"],
            (Self::Histogram, Format::OpenMetrics) => &["_bucket", "_count", "_sum", "_created"],
            (Self::Histogram, Format::Text) => &["_bucket", "_count", "_sum"],
            (Self::Summary, Format::OpenMetrics) => &["_count", "_sum", "_created"],
            (Self::Summary, Format::Text) => &["_count", "_sum"],
            (Self::Info, Format::OpenMetrics) => &["_info"],
            _ => &[],
        }
    }
}

/// What a metric's type means for its name.
pub(super) fn role(metric: &Metric) -> NameRole {
    match (metric.kind, metric.hint) {
        (Kind::Sum { monotonic: true, .. }, _) => NameRole::Counter,
        (Kind::Gauge, Hint::None) => NameRole::Gauge,
        _ => NameRole::Other,
    }
}

/// What points of a metric do to their series.
pub(super) fn update(metric: &Metric) -> Update {
    match metric.kind.temporality() {
        Some(Temporality::Delta) => Update::Add,
        Some(Temporality::Cumulative) | None => Update::Set,
    }
}
