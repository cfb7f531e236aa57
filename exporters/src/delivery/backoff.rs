//! How long to wait before the next try.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::RetrySettings;

/// Spans that grow by a factor up to a bound, each moved at random so that many agents do not knock at the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
    multiplier: f64,
    randomization: f64,
    random: u64,
}

impl Backoff {
    pub(crate) fn new(settings: &RetrySettings) -> Self {
        Self {
            next: settings.initial_interval.get(),
            max: settings.max_interval.get(),
            multiplier: settings.multiplier,
            randomization: settings.randomization_factor,
            random: 0,
        }
    }

    /// The next span, which makes the one after it longer.
    pub(crate) fn grow(&mut self) -> Duration {
        let span = self.next;
        // Compared as numbers of seconds, so that no product can overflow a Duration.
        let grown = span.as_secs_f64() * self.multiplier.max(1.0);
        self.next = if grown >= self.max.as_secs_f64() { self.max } else { Duration::from_secs_f64(grown) };
        self.jitter(span)
    }

    /// A span moved at random by up to the factor, either way.
    pub(crate) fn jitter(&mut self, span: Duration) -> Duration {
        if self.randomization == 0.0 {
            return span;
        }
        let factor = 1.0 + self.randomization * (2.0 * self.unit() - 1.0);
        Duration::try_from_secs_f64(span.as_secs_f64() * factor).unwrap_or(span)
    }

    /// A number from 0 to 1. The hasher's keys are random per process and differ by call, which is random enough for this.
    fn unit(&mut self) -> f64 {
        self.random = RandomState::new().hash_one(self.random);
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_grow_to_their_bound() {
        let exact = RetrySettings { randomization_factor: 0.0, ..RetrySettings::default() };
        let mut backoff = Backoff::new(&exact);
        let spans: Vec<_> = (0..7).map(|_| backoff.grow().as_millis()).collect();
        assert_eq!(spans, [5_000, 7_500, 11_250, 16_875, 25_312, 30_000, 30_000]);
    }

    #[test]
    fn jitter_stays_within_the_factor_and_is_not_always_the_same() {
        let mut backoff = Backoff::new(&RetrySettings::default());
        let spans: Vec<_> = (0..200).map(|_| backoff.jitter(Duration::from_secs(30)).as_secs_f64()).collect();
        assert!(spans.iter().all(|span| (15.0..=45.0).contains(span)), "{spans:?}");
        let mean = spans.iter().sum::<f64>() / spans.len() as f64;
        assert!((25.0..35.0).contains(&mean) && spans[0] != spans[1], "{mean}");
    }

    #[test]
    fn absurd_settings_do_not_overflow() {
        let absurd = RetrySettings {
            multiplier: 1e300,
            initial_interval: config::Duration::from_secs(9_000_000_000),
            max_interval: config::Duration::from_secs(9_100_000_000),
            ..RetrySettings::default()
        };
        let mut backoff = Backoff::new(&absurd);
        assert!((0..5).all(|_| backoff.grow() > Duration::ZERO));
    }
}
