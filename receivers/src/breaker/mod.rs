//! Receiver `breaker`: signals of circuit breakers, counted exactly once.

mod preset;
mod signal;
