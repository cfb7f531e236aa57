//! The doors, with real sockets: slow clients, floods, gates, TLS, stops.
#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod flood;
mod gates;
mod heads;
mod house;
mod slow;
mod stop;
mod streams;
mod tls;
