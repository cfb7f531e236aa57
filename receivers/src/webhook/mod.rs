//! Receiver `webhook`: signed events over HTTP, counted exactly once.

pub(crate) mod verify;
