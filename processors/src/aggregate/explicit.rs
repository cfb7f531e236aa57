//! Adding and subtracting histograms with explicit bounds.
//!
//! The sum of two has the bounds that both have: counts up to a common bound stay exact, and nothing is guessed. Without common
//! bounds one bucket is left, which is still a valid histogram.

use pdata::Histogram;

/// The bounds that both have. Both are strictly ascending.
pub(crate) fn common_bounds(one: &[f64], two: &[f64]) -> Vec<f64> {
    let mut rest = two;
    let mut common = Vec::new();
    for bound in one {
        rest = &rest[rest.iter().take_while(|other| *other < bound).count()..];
        if rest.first() == Some(bound) {
            common.push(*bound);
        }
    }
    common
}

/// Whether bounds and counts belong together: one count more than bounds, ascending, no NaN.
pub(crate) fn is_sound(histogram: &Histogram) -> bool {
    let Histogram { bounds, counts, .. } = histogram;
    (counts.len() == bounds.len() + 1 || (counts.is_empty() && bounds.is_empty())) && bounds.is_sorted_by(|a, b| a < b)
}

/// Merges buckets until only `bounds` are left, which must be some of the histogram's.
pub(crate) fn narrow(histogram: &mut Histogram, bounds: &[f64]) {
    give_buckets(histogram);
    if histogram.bounds == bounds {
        return;
    }
    let mut counts = vec![0u64; bounds.len() + 1];
    let mut to = 0;
    for (from, count) in histogram.counts.iter().enumerate() {
        // A bucket reaches up to its own bound; it belongs where that bound is not past the coarser one.
        let upper = histogram.bounds.get(from);
        while to < bounds.len() && upper.is_none_or(|upper| *upper > bounds[to]) {
            to += 1;
        }
        counts[to] = counts[to].saturating_add(*count);
    }
    histogram.bounds = bounds.to_vec();
    histogram.counts = counts;
}

/// A histogram without buckets has one, which holds everything.
fn give_buckets(histogram: &mut Histogram) {
    if histogram.counts.is_empty() {
        histogram.counts = vec![histogram.count];
    }
}

/// Adds `other` to `total`. Gives whether `total` lost bounds: it is another stream then.
pub(crate) fn add(total: &mut Histogram, other: &Histogram) -> bool {
    give_buckets(total);
    let mut narrowed = false;
    if total.bounds == other.bounds && !other.counts.is_empty() {
        add_counts(&mut total.counts, &other.counts);
    } else {
        let common = common_bounds(&total.bounds, &other.bounds);
        narrowed = common.len() < total.bounds.len();
        let mut other = other.clone();
        narrow(&mut other, &common);
        narrow(total, &common);
        add_counts(&mut total.counts, &other.counts);
    }
    total.count = total.count.saturating_add(other.count);
    total.sum = total.sum.zip(other.sum).map(|(a, b)| a + b);
    total.min = total.min.zip(other.min).map(|(a, b)| a.min(b));
    total.max = total.max.zip(other.max).map(|(a, b)| a.max(b));
    narrowed
}

fn add_counts(to: &mut [u64], from: &[u64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = to.saturating_add(*from));
}

/// What was observed between two cumulative readings; `None` when a count fell, which means that the source began anew.
/// Smallest and largest of a span cannot be worked out and are left out.
pub(crate) fn difference(now: &Histogram, before: &Histogram) -> Option<Histogram> {
    let mut out = now.clone();
    give_buckets(&mut out);
    if now.bounds == before.bounds && now.counts.len() == before.counts.len() {
        subtract_counts(&mut out.counts, &before.counts)?;
    } else {
        let mut before = before.clone();
        let common = common_bounds(&now.bounds, &before.bounds);
        narrow(&mut before, &common);
        narrow(&mut out, &common);
        subtract_counts(&mut out.counts, &before.counts)?;
    }
    out.count = now.count.checked_sub(before.count)?;
    out.sum = now.sum.zip(before.sum).map(|(now, before)| now - before);
    (out.min, out.max) = (None, None);
    Some(out)
}

fn subtract_counts(from: &mut [u64], what: &[u64]) -> Option<()> {
    if what.is_empty() {
        return Some(());
    }
    from.iter_mut().zip(what).try_for_each(|(from, what)| {
        *from = from.checked_sub(*what)?;
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(bounds: &[f64], counts: &[u64]) -> Histogram {
        let count = counts.iter().sum();
        Histogram {
            count,
            sum: Some(count as f64),
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
            ..Histogram::default()
        }
    }

    #[test]
    fn a_sum_has_the_bounds_that_both_have() {
        let mut total = histogram(&[1.0, 2.0, 5.0], &[1, 2, 3, 4]);
        assert!(add(&mut total, &histogram(&[0.5, 2.0, 5.0, 9.0], &[1, 1, 1, 1, 1])));
        assert_eq!(total, histogram(&[2.0, 5.0], &[5, 4, 6]));
        assert!(!add(&mut total, &histogram(&[1.0, 2.0, 5.0], &[1, 0, 0, 1])));
        assert_eq!(total, histogram(&[2.0, 5.0], &[6, 4, 7]));
    }

    #[test]
    fn without_common_bounds_one_bucket_is_left() {
        let mut total = histogram(&[1.0], &[1, 2]);
        assert!(add(&mut total, &histogram(&[2.0], &[3, 4])));
        assert_eq!(total, histogram(&[], &[10]));
        let mut bare = Histogram { count: 3, sum: Some(3.0), ..Histogram::default() };
        assert!(!add(&mut bare, &histogram(&[1.0], &[1, 1])));
        assert_eq!(bare, histogram(&[], &[5]));
    }

    #[test]
    fn a_bucket_that_fell_means_a_new_beginning() {
        let before = histogram(&[1.0], &[5, 5]);
        assert_eq!(difference(&histogram(&[1.0], &[6, 9]), &before), Some(histogram(&[1.0], &[1, 4])));
        assert_eq!(difference(&histogram(&[1.0], &[4, 9]), &before), None);
        assert_eq!(difference(&histogram(&[1.0, 2.0], &[6, 1, 8]), &before), Some(histogram(&[1.0], &[1, 4])));
    }

    fn any_histogram() -> impl Strategy<Value = Histogram> {
        let bounds = prop::sample::subsequence(vec![1.0, 2.0, 4.0, 8.0, 16.0], 0..=5);
        bounds.prop_flat_map(|bounds| {
            prop::collection::vec(0u64..1000, bounds.len() + 1).prop_map(move |counts| histogram(&bounds, &counts))
        })
    }

    fn sum(one: &Histogram, two: &Histogram) -> Histogram {
        let mut total = one.clone();
        add(&mut total, two);
        total
    }

    proptest! {
        #[test]
        fn merging_is_associative_and_commutative(a in any_histogram(), b in any_histogram(), c in any_histogram()) {
            prop_assert_eq!(sum(&sum(&a, &b), &c), sum(&a, &sum(&b, &c)));
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        }

        #[test]
        fn buckets_add_up_to_the_count(a in any_histogram(), b in any_histogram()) {
            let total = sum(&a, &b);
            prop_assert_eq!(total.counts.iter().sum::<u64>(), total.count);
            prop_assert_eq!(total.count, a.count + b.count);
        }

        #[test]
        fn what_was_added_is_the_difference(a in any_histogram(), b in any_histogram()) {
            let (mut a, mut b) = (a, b);
            let common = common_bounds(&a.bounds, &b.bounds);
            narrow(&mut a, &common);
            narrow(&mut b, &common);
            prop_assert_eq!(difference(&sum(&a, &b), &a), Some(b));
        }
    }
}
