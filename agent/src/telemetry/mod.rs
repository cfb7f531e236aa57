//! The agent's own telemetry: `service.telemetry` of the configuration, with the Collector's keys.

mod config;
pub mod endpoint;
pub mod log;
pub mod meters;
mod process;
mod settings;

pub use config::Config;
pub use settings::{Endpoint, LogSettings, Settings};
