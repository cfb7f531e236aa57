//! The value of one series during one read, while records are added to it.

use pdata::{Histogram, PointValue};

/// What the records of one read come to. Rare shapes are boxed: most values are plain numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Tally {
    Int(i64),
    Double(f64),
    /// A sum of whole numbers that left 64 bits on its way; it may come back into them.
    Wide(Box<i128>),
    Histogram(Box<Histogram>),
}

impl Tally {
    /// Adds another value. Whole numbers add exactly; with a double in it the sum is a double.
    pub(super) fn add(&mut self, other: Self) {
        *self = match (std::mem::replace(self, Self::Int(0)), other) {
            (Self::Int(a), Self::Int(b)) => {
                a.checked_add(b).map_or_else(|| Self::Wide(Box::new(i128::from(a) + i128::from(b))), Self::Int)
            }
            // A read has fewer than 2^63 records, so 128 bits hold any sum of 64-bit numbers.
            (Self::Wide(mut a), Self::Int(b)) | (Self::Int(b), Self::Wide(mut a)) => {
                *a += i128::from(b);
                Self::Wide(a)
            }
            (Self::Histogram(mut a), Self::Histogram(b)) => {
                add_histogram(&mut a, &b);
                Self::Histogram(a)
            }
            (Self::Histogram(a), _) | (_, Self::Histogram(a)) => Self::Histogram(a),
            (a, b) => Self::Double(a.as_f64() + b.as_f64()),
        };
    }

    /// As a point carries it: whole where it fits 64 bits, else the nearest double.
    pub(super) fn value(&self) -> PointValue {
        match self {
            Self::Int(int) => PointValue::Int(*int),
            Self::Double(double) => PointValue::Double(*double),
            Self::Wide(wide) => i64::try_from(**wide).map_or(PointValue::Double(**wide as f64), PointValue::Int),
            Self::Histogram(histogram) => PointValue::Histogram(histogram.clone()),
        }
    }

    fn as_f64(&self) -> f64 {
        match self {
            Self::Int(int) => *int as f64,
            Self::Double(double) => *double,
            Self::Wide(wide) => **wide as f64,
            Self::Histogram(_) => f64::NAN,
        }
    }
}

/// Both come from one rule, so their bounds are the same.
fn add_histogram(into: &mut Histogram, other: &Histogram) {
    into.count = into.count.saturating_add(other.count);
    into.sum = into.sum.zip(other.sum).map(|(a, b)| a + b);
    for (count, more) in into.counts.iter_mut().zip(&other.counts) {
        *count = count.saturating_add(*more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(values: &[Tally]) -> PointValue {
        let mut values = values.iter().cloned();
        let mut total = values.next().unwrap();
        values.for_each(|value| total.add(value));
        total.value()
    }

    #[test]
    fn whole_numbers_add_exactly_even_when_a_partial_sum_leaves_64_bits() {
        let large = Tally::Int(1 << 62);
        assert_eq!(
            sum(&[large.clone(), large.clone(), Tally::Int(-(1 << 62)), Tally::Int(3)]),
            PointValue::Int((1 << 62) + 3)
        );
        assert_eq!(sum(&[large.clone(), large.clone(), large]), PointValue::Double(3.0 * 4_611_686_018_427_387_904.0));
    }

    #[test]
    fn a_double_makes_the_sum_a_double() {
        assert_eq!(sum(&[Tally::Int(1), Tally::Double(0.25), Tally::Int(2)]), PointValue::Double(3.25));
    }
}
