//! Why points are not shown, counted.

use pipeline::{Count, Meters};

/// Why a point was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// There are `max_series` already.
    MaxSeries,
    /// There are as many families as can be.
    Families,
    /// Nothing is left of the metric's name after translation.
    Name,
    /// Another series has the same name and labels after translation.
    Duplicate,
    /// A counter that is negative or not a number.
    Invalid,
    /// A histogram whose parts do not fit together, or a value that does not fit its metric's type.
    Malformed,
    /// A newer value stands there already.
    Older,
    /// A collection of more points than may be staged.
    Staging,
    /// An exemplar past the bound on exemplars.
    Exemplar,
}

const REASONS: [(Drop, &str); 9] = [
    (Drop::MaxSeries, "max_series"),
    (Drop::Families, "max_families"),
    (Drop::Name, "name"),
    (Drop::Duplicate, "duplicate"),
    (Drop::Invalid, "invalid"),
    (Drop::Malformed, "malformed"),
    (Drop::Older, "older"),
    (Drop::Staging, "staging"),
    (Drop::Exemplar, "exemplar"),
];

/// Drops of one batch, added to the counters at its end: the hot path touches no atomic.
#[derive(Debug)]
pub(super) struct Drops {
    pending: [u64; REASONS.len()],
    counts: [Count; REASONS.len()],
    /// Which reasons were logged: each once, with an example.
    logged: [bool; REASONS.len()],
    exporter: String,
}

impl Drop {
    pub(super) fn code(self) -> u32 {
        self as u32
    }

    pub(super) fn from_code(code: u32) -> Self {
        REASONS[code as usize % REASONS.len()].0
    }

    fn word(self) -> &'static str {
        REASONS[self as usize].1
    }
}

impl Drops {
    pub(super) fn new(meters: &Meters, exporter: &str) -> Self {
        let counts = REASONS.map(|(_, reason)| {
            meters.count(
                "weir_prometheus_dropped_points",
                "Points that a prometheus exporter does not show, by reason.",
                "{datapoints}",
                vec![("exporter", exporter.to_owned()), ("reason", reason.to_owned())],
            )
        });
        let pending = [0; REASONS.len()];
        Self { pending, counts, logged: [false; REASONS.len()], exporter: exporter.to_owned() }
    }

    pub(super) fn add(&mut self, drop: Drop, points: u64) {
        self.pending[drop as usize] += points;
    }

    /// Logs the first drop of each reason, with an example; the counters tell the rest.
    pub(super) fn log(&mut self, drop: Drop, example: impl FnOnce() -> String) {
        if !std::mem::replace(&mut self.logged[drop as usize], true) {
            tracing::warn!(
                exporter = %self.exporter,
                reason = drop.word(),
                example = %example(),
                "a point is not shown; more for this reason are counted in weir_prometheus_dropped_points"
            );
        }
    }

    /// Adds what is pending to the counters.
    pub(super) fn flush(&mut self) {
        for (pending, count) in self.pending.iter_mut().zip(&self.counts) {
            if *pending > 0 {
                count.add(std::mem::take(pending));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_codes() {
        for (index, (drop, _)) in REASONS.iter().enumerate() {
            assert_eq!(*drop as usize, index);
            assert_eq!(Drop::from_code(drop.code()), *drop);
        }
    }
}
