//! receivers
#[cfg(feature = "webhook")]
mod webhook;
