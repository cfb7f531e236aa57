//! receivers
mod breaker;
#[cfg(feature = "webhook")]
mod webhook;
