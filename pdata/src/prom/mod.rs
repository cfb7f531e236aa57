//! The Prometheus and OpenMetrics text formats: names, escaping, numbers. Writing lines is the business of who keeps the series.
//!
//! - names: *OTLP Metric points to Prometheus* of the OpenTelemetry specification, as Prometheus' own translator does it;
//! - escaping of names for scrapers without UTF-8: the Prometheus *escaping schemes* (`allow-utf-8`, `underscores`, `dots`,
//!   `values`), as the official encoder does it, since Prometheus un-escapes with the same code;
//! - text: *Text-based format* 0.0.4 and *OpenMetrics* 1.0.0.

mod escape;
mod names;
mod text;

pub use escape::{Escaping, is_legal_label, is_legal_metric};
pub use names::{MetricNamer, NameRole, Strategy, label_name, unit_name};
pub use text::{Number as LabelNumber, float_label, push_escaped, push_float, push_help};
