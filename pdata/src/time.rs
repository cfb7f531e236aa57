//! Points in time as OTLP writes them.

/// Nanoseconds since 1970-01-01T00:00:00Z; 0 means unknown or unset (OTLP `fixed64 *_unix_nano`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// Unknown or unset.
    pub const UNSET: Self = Self(0);

    /// Whether a time is given.
    #[must_use]
    pub const fn is_set(self) -> bool {
        self.0 != 0
    }

    /// Whole milliseconds since 1970, as text exposition 0.0.4 writes times.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Seconds since 1970, as OpenMetrics writes times. Exact to about 0.2 µs in this century.
    #[must_use]
    pub fn as_seconds(self) -> f64 {
        (self.0 / 1_000_000_000) as f64 + (self.0 % 1_000_000_000) as f64 / 1e9
    }

    /// From seconds since 1970; what is negative, not finite or past the year 2554 saturates.
    #[must_use]
    pub fn from_seconds(seconds: f64) -> Self {
        // Whole seconds apart from the rest: their product would be rounded to 256 ns in this century.
        let whole = (seconds.trunc() as u64).saturating_mul(1_000_000_000);
        Self(whole.saturating_add((seconds.fract() * 1e9).round() as u64))
    }

    /// The span from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `span`, saturating.
    #[must_use]
    pub fn plus(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_keep_what_a_double_can_tell() {
        assert_eq!(UnixNanos::from_seconds(1_700_000_000.25), UnixNanos(1_700_000_000_250_000_000));
        assert_eq!(UnixNanos::from_seconds(0.5), UnixNanos(500_000_000));
        for odd in [-1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(UnixNanos::from_seconds(odd), UnixNanos(0), "{odd}");
        }
        assert_eq!(UnixNanos::from_seconds(f64::INFINITY), UnixNanos(u64::MAX));
    }

    #[test]
    fn times_are_told_in_the_units_of_both_formats() {
        let time = UnixNanos(1_700_000_000_250_000_000);
        assert_eq!((time.as_millis(), time.as_seconds()), (1_700_000_000_250, 1_700_000_000.25));
    }
}
