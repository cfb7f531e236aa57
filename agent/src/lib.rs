//! The agent: from a configuration to running pipelines.
//!
//! Text → document → [plans](plan) → [graph] → [running](run): one path for `weir validate`, start and reload. Everything that can
//! fail happens before a running thing is touched. [`Agent`] is all of it, for `main` and for tests; [`cli`] is the command line.

mod agent;
mod books;
pub mod cli;
pub mod extensions;
mod graph;
mod house;
mod once;
mod plan;
mod registry;
mod run;
mod storage;
pub mod telemetry;
#[cfg(test)]
mod testing;
mod time;
mod vitals;
mod wrap;

pub use agent::{Agent, DRAIN_TIMEOUT, Examined, Rejected, Reload, Source};
pub use books::Owed;
pub use once::{Collected, Print};
pub use plan::GraphPlan;
pub use registry::{Class, Registry};
pub use run::Drained;
pub use vitals::{Phase, Readiness, Vitals};
