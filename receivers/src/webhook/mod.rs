//! Receiver `webhook`: events that other systems send over HTTP, verified and counted exactly once.

#[doc(hidden)]
pub mod measure;
pub(crate) mod verify;
