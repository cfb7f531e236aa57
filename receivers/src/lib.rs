//! Where telemetry comes from: one file or folder a receiver, one line in [`ALL`].

use pipeline::{Factory, Receiver};

#[cfg(feature = "sql-sqlite")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "breaker")]
mod breaker;
#[cfg(any(feature = "breaker", feature = "webhook", feature = "sql-sqlite", feature = "sql-server"))]
mod events;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(any(feature = "sql-sqlite", feature = "sql-server"))]
mod sql_query;
#[cfg(feature = "webhook")]
mod webhook;
#[cfg(feature = "webhook")]
mod webhook_event;

#[cfg(feature = "webhook")]
#[doc(hidden)]
pub use webhook::measure as webhook_measure;

/// The receivers of this build.
pub const ALL: &[Factory<dyn Receiver>] = &[
    #[cfg(any(feature = "sql-sqlite", feature = "sql-server"))]
    sql_query::FACTORY,
    #[cfg(feature = "breaker")]
    breaker::FACTORY,
    #[cfg(feature = "otlp")]
    otlp::FACTORY,
    #[cfg(feature = "webhook")]
    webhook::FACTORY,
    #[cfg(feature = "webhook")]
    webhook_event::FACTORY,
];

/// Kind and cargo feature of every receiver there is, built or not.
pub const KNOWN: &[(&str, &str)] = &[
    ("sql_query", "sql-sqlite"),
    ("breaker", "breaker"),
    ("otlp", "otlp"),
    ("webhook", "webhook"),
    ("webhook_event", "webhook"),
];
