//! Sums that lose nothing: whole numbers in 128 bits, doubles with their rounding errors kept.

use pdata::Number;

/// A sum of numbers. Whole as long as all that was added is whole; the first double makes it double for good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Total {
    Int(i128),
    Double(Neumaier),
}

/// A sum of doubles with a running compensation (Neumaier 1974): off by about one rounding of the result, however many were
/// added, where plain addition is off by one rounding each.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Neumaier {
    sum: f64,
    lost: f64,
}

/// Doubles are exact on whole numbers up to here.
pub(crate) const EXACT_DOUBLES: f64 = 9_007_199_254_740_992.0;

impl Total {
    pub(crate) const ZERO: Self = Self::Int(0);

    pub(crate) fn of(number: Number) -> Self {
        match number {
            Number::Int(int) => Self::Int(i128::from(int)),
            Number::Double(double) => Self::Double(Neumaier::of(double)),
        }
    }

    /// The difference of two readings, exact for whole ones.
    pub(crate) fn difference(now: Number, before: Number) -> Self {
        match (now, before) {
            (Number::Int(now), Number::Int(before)) => Self::Int(i128::from(now) - i128::from(before)),
            (now, before) => Self::Double(Neumaier::of(now.as_f64() - before.as_f64())),
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Int(sum), Self::Int(other)) => *sum = sum.saturating_add(other),
            (_, other) => {
                let mut sum = self.as_double();
                sum.join(other.as_double());
                *self = Self::Double(sum);
            }
        }
    }

    pub(crate) fn subtract(&mut self, other: Self) {
        self.add(match other {
            Self::Int(int) => Self::Int(int.saturating_neg()),
            Self::Double(Neumaier { sum, lost }) => Self::Double(Neumaier { sum: -sum, lost: -lost }),
        });
    }

    pub(crate) fn as_double(self) -> Neumaier {
        match self {
            Self::Int(int) => Neumaier::of(int as f64),
            Self::Double(double) => double,
        }
    }

    pub(crate) fn as_f64(self) -> f64 {
        self.as_double().value()
    }

    pub(crate) const fn is_double(self) -> bool {
        matches!(self, Self::Double(_))
    }

    /// As a point can carry it: whole when it is whole and fits.
    pub(crate) fn number(self) -> Number {
        match self {
            Self::Int(int) => i64::try_from(int).map_or(Number::Double(int as f64), Number::Int),
            Self::Double(double) => Number::Double(double.value()),
        }
    }

    /// Whether [`number`](Self::number) says it all: a counter that went past it must begin anew.
    pub(crate) fn fits(self) -> bool {
        match self {
            Self::Int(int) => i64::try_from(int).is_ok(),
            Self::Double(double) => double.sum.abs() < EXACT_DOUBLES || double.lost == 0.0,
        }
    }
}

impl Neumaier {
    pub(crate) const fn of(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }

    pub(crate) fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        // What the addition rounded away can be worked out exactly from the larger of the two.
        self.lost += if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        self.sum = sum;
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    pub(crate) fn value(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn whole_numbers_near_the_limit_add_up_exactly() {
        let mut total = Total::ZERO;
        for _ in 0..4 {
            total.add(Total::of(Number::Int(1 << 62)));
        }
        assert_eq!(total, Total::Int(1 << 64));
        assert!(!total.fits());
        assert_eq!(total.number(), Number::Double(18_446_744_073_709_551_616.0));
        total.subtract(Total::Int(1 << 63));
        total.subtract(Total::Int(1));
        assert_eq!(total.number(), Number::Int(i64::MAX));
    }

    #[test]
    fn the_first_double_makes_it_double_for_good() {
        let mut total = Total::Int(3);
        total.add(Total::of(Number::Double(0.5)));
        total.add(Total::of(Number::Double(0.5)));
        assert_eq!(total.number(), Number::Double(4.0));
    }

    #[test]
    fn what_a_large_double_hides_comes_back() {
        let mut total = Total::of(Number::Double(1e300));
        total.add(Total::of(Number::Double(1.5)));
        total.subtract(Total::of(Number::Double(1e300)));
        assert_eq!(total.number(), Number::Double(1.5));
    }

    proptest! {
        /// Quarters are exact in i128, so the exact sum is known.
        #[test]
        fn a_long_sum_of_doubles_is_off_by_one_rounding_at_most(quarters in prop::collection::vec(1i64..1 << 50, 1..2000)) {
            let mut total = Total::ZERO;
            quarters.iter().for_each(|q| total.add(Total::of(Number::Double(*q as f64 / 4.0))));
            let exact: i128 = quarters.iter().map(|q| i128::from(*q)).sum();
            let nearest = exact as f64 / 4.0;
            prop_assert!((total.as_f64() - nearest).abs() <= nearest * f64::EPSILON);
        }
    }
}
