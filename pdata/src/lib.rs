//! What flows through weir.
//!
//! The law of the data path: *a series' identity is worked out once, where it enters; after that a point is a handle and a
//! number.* [`Identity`] is the (resource, scope, metric, attributes) of the OpenTelemetry metrics data model; a [`SeriesTable`]
//! interns it as a [`Series`]; a [`Point`] names its series by a [`SeriesId`] and carries times, a value and flags.
//!
//! Invariants, kept by this crate:
//! - it does no I/O, knows no clock, no async runtime and no configuration;
//! - equal [`SeriesId`]s of one table prove equal identities; unequal ones prove nothing (eviction, second interning, inline
//!   identities). Whatever keeps *state* keys by [`Fingerprint`];
//! - a [`SeriesId`] is never given to a second identity; its slot is recycled under a new incarnation only when nobody holds
//!   the series and no [`Pin`] taken before can name it;
//! - types travel apart from names: nothing here reads meaning into a metric's name.

mod attributes;
mod fingerprint;
mod logs;
mod metric;
mod metrics;
mod number;
pub mod otlp;
pub mod prom;
mod series;
mod sight;
mod table;
mod time;
mod traces;

pub use attributes::{ArrayRef, Attributes, AttributesBuilder, MapRef, Shape, Value, ValueRef};
pub use fingerprint::{Fingerprint, Seed};
pub use logs::{LogRecord, Logs, Severity};
pub use metric::{Hint, Kind, Metric, Origin, Scope, Temporality};
pub use metrics::{Exemplar, Metrics, Point, PointFlags};
pub use number::{Buckets, ExponentialHistogram, Histogram, Number, PointValue, Quantile, Summary};
pub use series::{Identity, Series, SeriesId};
pub use sight::Sight;
pub use table::{Limits, Pin, SeriesTable, TableStats};
pub use time::UnixNanos;
pub use traces::{SpanView, Traces};
