//! The harness of the house's promises, in prose: [`Weir`] is the built binary as a user runs it, [`Prometheus`] the real
//! scraper, [`judges`] the programs that nobody here wrote, [`Inventory`] the databases that Circuit Breaker might leave us.
//!
//! Tests stand in `tests/tests/`, one file a room of promises. They know the house only from outside: its binary, its files,
//! its sockets. Everything they start has its own port and its own folder, and is ended by its own process id.

#![allow(clippy::disallowed_types, reason = "real processes live in real time")]

pub mod destination;
pub mod exposition;
pub mod http;
mod inventory;
pub mod judges;
pub mod mariadb;
pub mod orders;
pub mod otel;
pub mod postgres;
mod process;
mod prometheus;
mod random;
mod registries;
pub mod repository;
pub mod rows;
pub mod senders;
mod server;
pub mod sql;
mod wait;
mod weir;

pub use inventory::{Inventory, Traffic};
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use process::is_root;
pub use prometheus::{Prometheus, Target, Value};
pub use random::Random;
pub use wait::{PATIENCE, at_best, best, within};
pub use weir::{Launch, Outcome, Weir};
