//! Adding and subtracting exponential histograms.
//!
//! Two are brought to the lower scale (halving an index merges two buckets exactly) and to the larger zero threshold. A sum keeps
//! at most [`BUCKETS_MAX`] buckets a sign: past it the scale goes down.

use pdata::{Buckets, ExponentialHistogram};

/// Buckets a sign that a sum keeps: OpenTelemetry's default, 4 % relative error over six decimal orders of magnitude.
pub(crate) const BUCKETS_MAX: i64 = 160;

/// Scales that occur (OpenTelemetry SDKs produce -10 to 20). Doubles have nothing to tell beyond.
const SCALES: std::ops::RangeInclusive<i32> = -10..=20;

/// The logarithms of the smallest and largest doubles.
const EXPONENTS: std::ops::RangeInclusive<f64> = -1075.0..=1024.0;

/// Whether scale and bucket indices stay within what doubles can express.
pub(crate) fn is_sound(histogram: &ExponentialHistogram) -> bool {
    let within = |buckets: &Buckets| {
        span(buckets).is_none_or(|(low, high)| {
            let width = (-f64::from(histogram.scale)).exp2();
            EXPONENTS.contains(&(low as f64 * width)) && EXPONENTS.contains(&((high + 1) as f64 * width))
        })
    };
    let threshold = histogram.zero_threshold;
    SCALES.contains(&histogram.scale)
        && within(&histogram.positive)
        && within(&histogram.negative)
        && threshold.is_finite()
        && threshold >= 0.0
}

/// Adds `other` to `total`.
pub(crate) fn add(total: &mut ExponentialHistogram, other: &ExponentialHistogram) {
    let mut other = other.clone();
    align(total, &mut other);
    add_buckets(&mut total.positive, &other.positive);
    add_buckets(&mut total.negative, &other.negative);
    total.zero_count = total.zero_count.saturating_add(other.zero_count);
    total.count = total.count.saturating_add(other.count);
    total.sum = total.sum.zip(other.sum).map(|(a, b)| a + b);
    total.min = total.min.zip(other.min).map(|(a, b)| a.min(b));
    total.max = total.max.zip(other.max).map(|(a, b)| a.max(b));
}

/// What was observed between two cumulative readings; `None` when the source began anew: a count fell, the resolution rose or the
/// zero bucket shrank.
pub(crate) fn difference(now: &ExponentialHistogram, before: &ExponentialHistogram) -> Option<ExponentialHistogram> {
    if now.scale > before.scale || now.zero_threshold < before.zero_threshold {
        return None;
    }
    let (mut out, mut before) = (now.clone(), before.clone());
    coarsen(&mut before, now.scale);
    widen_zero(&mut before, now.zero_threshold);
    // Widening may have taken in a whole bucket of the older reading.
    widen_zero(&mut out, before.zero_threshold);
    subtract_buckets(&mut out.positive, &before.positive)?;
    subtract_buckets(&mut out.negative, &before.negative)?;
    out.zero_count = out.zero_count.checked_sub(before.zero_count)?;
    out.count = out.count.checked_sub(before.count)?;
    out.sum = now.sum.zip(before.sum).map(|(now, before)| now - before);
    (out.min, out.max) = (None, None);
    Some(out)
}

/// Brings both to one scale and one zero threshold, so that their sum has few enough buckets.
fn align(one: &mut ExponentialHistogram, two: &mut ExponentialHistogram) {
    let mut scale = one.scale.min(two.scale);
    coarsen(one, scale);
    coarsen(two, scale);
    loop {
        let threshold = one.zero_threshold.max(two.zero_threshold);
        widen_zero(one, threshold);
        widen_zero(two, threshold);
        if one.zero_threshold == two.zero_threshold {
            break;
        }
    }
    let wide = |scale_down: i32| {
        let width = |a: &Buckets, b: &Buckets| {
            let (low, high) = match (span(a), span(b)) {
                (Some(a), Some(b)) => (a.0.min(b.0), a.1.max(b.1)),
                (Some(span), None) | (None, Some(span)) => span,
                (None, None) => return 0,
            };
            (high >> scale_down) - (low >> scale_down) + 1
        };
        width(&one.positive, &two.positive).max(width(&one.negative, &two.negative)) > BUCKETS_MAX
    };
    let down = (0..).find(|down| !wide(*down)).expect("every span ends as one or two buckets");
    scale -= down;
    coarsen(one, scale);
    coarsen(two, scale);
}

/// The first and last index with a count.
fn span(buckets: &Buckets) -> Option<(i64, i64)> {
    let first = buckets.counts.iter().position(|count| *count > 0)?;
    let last = buckets.counts.iter().rposition(|count| *count > 0)?;
    let offset = i64::from(buckets.offset);
    Some((offset + first as i64, offset + last as i64))
}

/// Goes down to `scale`, without empty buckets at the ends.
fn coarsen(histogram: &mut ExponentialHistogram, scale: i32) {
    let down = histogram.scale - scale;
    for buckets in [&mut histogram.positive, &mut histogram.negative] {
        let Some((low, high)) = span(buckets) else {
            *buckets = Buckets::default();
            continue;
        };
        let (new_low, new_high) = (low >> down, high >> down);
        if down == 0 && buckets.counts.len() as i64 == high - low + 1 {
            continue;
        }
        let mut counts = vec![0u64; usize::try_from(new_high - new_low + 1).expect("the span is not negative")];
        for (index, count) in indexed(buckets) {
            let to = &mut counts[((index >> down) - new_low) as usize];
            *to = to.saturating_add(count);
        }
        *buckets = Buckets { offset: i32::try_from(new_low).expect("halving shrinks an index"), counts };
    }
    histogram.scale = scale;
}

/// Indices and counts of the buckets with a count.
fn indexed(buckets: &Buckets) -> impl Iterator<Item = (i64, u64)> {
    let offset = i64::from(buckets.offset);
    let counts = buckets.counts.iter().enumerate().filter(|(_, count)| **count > 0);
    counts.map(move |(index, count)| (offset + index as i64, *count))
}

/// Raises the zero threshold to `threshold` or, where that would cut a bucket with a count, to that bucket's upper bound.
fn widen_zero(histogram: &mut ExponentialHistogram, threshold: f64) {
    if threshold <= histogram.zero_threshold {
        return;
    }
    let bound = |index: i64| (index as f64 * (-f64::from(histogram.scale)).exp2()).exp2();
    let mut reach = threshold;
    // The bucket that one sign is cut at may be cut by the other sign's growth: twice is enough, both share their bounds.
    for _ in 0..2 {
        for buckets in [&histogram.positive, &histogram.negative] {
            for (index, _) in indexed(buckets) {
                if bound(index) < reach {
                    reach = reach.max(bound(index + 1));
                } else {
                    break;
                }
            }
        }
    }
    let mut swallowed = 0u64;
    for buckets in [&mut histogram.positive, &mut histogram.negative] {
        let offset = i64::from(buckets.offset);
        for (place, count) in buckets.counts.iter_mut().enumerate() {
            if bound(offset + place as i64) >= reach {
                break;
            }
            swallowed = swallowed.saturating_add(std::mem::take(count));
        }
    }
    histogram.zero_count = histogram.zero_count.saturating_add(swallowed);
    histogram.zero_threshold = reach;
    coarsen(histogram, histogram.scale);
}

/// Adds buckets of the same scale.
fn add_buckets(to: &mut Buckets, from: &Buckets) {
    let Some((low, high)) = span(from) else { return };
    let (to_low, to_high) = span(to).unwrap_or((low, high));
    let (all_low, all_high) = (low.min(to_low), high.max(to_high));
    if all_low < i64::from(to.offset) || all_high >= i64::from(to.offset) + to.counts.len() as i64 {
        let mut counts = vec![0u64; usize::try_from(all_high - all_low + 1).expect("the span is not negative")];
        indexed(to).for_each(|(index, count)| counts[(index - all_low) as usize] = count);
        *to = Buckets { offset: i32::try_from(all_low).expect("it is the offset of one of the two"), counts };
    }
    for (index, count) in indexed(from) {
        let place = &mut to.counts[(index - i64::from(to.offset)) as usize];
        *place = place.saturating_add(count);
    }
}

/// Subtracts buckets of the same scale; `None` when one would fall below zero.
fn subtract_buckets(from: &mut Buckets, what: &Buckets) -> Option<()> {
    let offset = i64::from(from.offset);
    indexed(what).try_for_each(|(index, count)| {
        let place = from.counts.get_mut(usize::try_from(index - offset).ok()?)?;
        *place = place.checked_sub(count)?;
        Some(())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(scale: i32, offset: i32, counts: &[u64]) -> ExponentialHistogram {
        ExponentialHistogram {
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale,
            positive: Buckets { offset, counts: counts.to_vec() },
            ..ExponentialHistogram::default()
        }
    }

    fn sum(one: &ExponentialHistogram, two: &ExponentialHistogram) -> ExponentialHistogram {
        let mut total = one.clone();
        add(&mut total, two);
        total
    }

    fn counted(histogram: &ExponentialHistogram) -> u64 {
        let buckets = [&histogram.positive, &histogram.negative];
        histogram.zero_count + buckets.iter().flat_map(|buckets| &buckets.counts).sum::<u64>()
    }

    #[test]
    fn a_sum_has_the_lower_scale() {
        let total = sum(&histogram(1, -3, &[1, 2, 3, 4]), &histogram(0, 0, &[10]));
        assert_eq!(total.scale, 0);
        assert_eq!(total.positive, Buckets { offset: -2, counts: vec![1, 5, 14] });
    }

    #[test]
    fn a_sum_keeps_160_buckets_whatever_comes() {
        let total = sum(&histogram(20, -1_000_000_000, &[1]), &histogram(20, 1_000_000_000, &[1]));
        assert!(total.positive.counts.len() as i64 <= BUCKETS_MAX);
        assert_eq!(counted(&total), 2);
        assert!(total.scale < 0);
    }

    #[test]
    fn a_wider_zero_bucket_takes_in_whole_buckets() {
        // Scale 0: buckets (1, 2], (2, 4], (4, 8].
        let mut total = histogram(0, 0, &[1, 2, 4]);
        let other =
            ExponentialHistogram { count: 8, zero_count: 8, zero_threshold: 3.0, sum: Some(0.0), ..Default::default() };
        add(&mut total, &other);
        assert_eq!((total.zero_threshold, total.zero_count), (4.0, 11));
        assert_eq!(total.positive, Buckets { offset: 2, counts: vec![4] });
        assert_eq!(total.count, 15);
    }

    #[test]
    fn a_source_may_coarsen_but_not_refine() {
        let before = histogram(1, 0, &[1, 2, 3, 4]);
        let coarser = histogram(0, 0, &[4, 9]);
        assert_eq!(difference(&coarser, &before).unwrap().positive.counts, [1, 2]);
        assert_eq!(difference(&histogram(2, 0, &[9; 8]), &before), None);
        assert_eq!(difference(&histogram(0, 0, &[4, 6]), &before), None);
        let narrower = ExponentialHistogram { zero_threshold: 0.5, ..histogram(1, 0, &[1, 2, 3, 4]) };
        assert_eq!(difference(&before, &narrower), None);
    }

    #[test]
    fn what_doubles_cannot_say_is_unsound() {
        assert!(is_sound(&histogram(0, -1074, &[1])));
        assert!(!is_sound(&histogram(0, 1024, &[1])));
        assert!(!is_sound(&histogram(21, 0, &[1])));
        assert!(!is_sound(&histogram(-11, 0, &[])));
        assert!(!is_sound(&histogram(0, i32::MAX, &[0, 1])));
        assert!(is_sound(&histogram(0, i32::MAX, &[0, 0])));
    }

    fn any_histogram() -> impl Strategy<Value = ExponentialHistogram> {
        let buckets = || {
            (-300i32..300, prop::collection::vec(0u64..50, 0..40))
                .prop_map(|(offset, counts)| Buckets { offset, counts })
        };
        (0i32..6, buckets(), buckets(), 0u64..9, prop::sample::select(vec![0.0, 0.0, 0.25, 1.0, 3.0])).prop_map(
            |(scale, positive, negative, zero_count, zero_threshold)| {
                let mut histogram =
                    ExponentialHistogram { scale, positive, negative, zero_count, ..ExponentialHistogram::default() };
                // A sound source has no counts below its own threshold.
                widen_zero(&mut histogram, zero_threshold);
                histogram.count = counted(&histogram);
                coarsen(&mut histogram, scale);
                histogram
            },
        )
    }

    /// Three sums in two orders. The cap may bite at different steps and the zero bucket may grow to different edges, of which each may cut
    /// a bucket of the other: so they are brought together as two that are to be added.
    fn in_both_orders(
        a: &ExponentialHistogram,
        b: &ExponentialHistogram,
        c: &ExponentialHistogram,
    ) -> (ExponentialHistogram, ExponentialHistogram) {
        let (mut left, mut right) = (sum(&sum(a, b), c), sum(a, &sum(b, c)));
        align(&mut left, &mut right);
        (left, right)
    }

    #[test]
    fn orders_that_leave_different_edges_of_zero_agree_when_they_are_brought_together() {
        let zero = ExponentialHistogram { scale: 3, zero_threshold: 3.0, ..ExponentialHistogram::default() };
        let far = ExponentialHistogram { zero_threshold: 3.0, ..histogram(2, 166, &[1]) };
        let near = histogram(5, 52, &[1]);
        assert_ne!(sum(&sum(&zero, &near), &far).zero_threshold, sum(&zero, &sum(&near, &far)).zero_threshold);
        let (left, right) = in_both_orders(&zero, &near, &far);
        assert_eq!((left.count, left.zero_count, left.zero_threshold), (2, 1, 4.0));
        assert_eq!((right.count, right.zero_count, right.zero_threshold), (2, 1, 4.0));
        assert_eq!(left.positive, right.positive);
    }

    proptest! {
        #[test]
        fn no_count_is_lost(a in any_histogram(), b in any_histogram()) {
            let total = sum(&a, &b);
            prop_assert_eq!(counted(&total), a.count + b.count);
            prop_assert_eq!(total.count, a.count + b.count);
            prop_assert!(total.positive.counts.len() as i64 <= BUCKETS_MAX);
        }

        #[test]
        fn merging_is_commutative(a in any_histogram(), b in any_histogram()) {
            prop_assert_eq!(sum(&a, &b), sum(&b, &a));
        }

        #[test]
        fn merging_is_associative(a in any_histogram(), b in any_histogram(), c in any_histogram()) {
            let (left, right) = in_both_orders(&a, &b, &c);
            prop_assert_eq!(left, right);
        }

        #[test]
        fn coarsening_and_merging_may_change_places(a in any_histogram(), b in any_histogram()) {
            let low = |histogram: &ExponentialHistogram| {
                let mut histogram = histogram.clone();
                coarsen(&mut histogram, -4);
                histogram
            };
            let (a, b) = (ExponentialHistogram { zero_threshold: 0.0, ..a }, ExponentialHistogram { zero_threshold: 0.0, ..b });
            prop_assert_eq!(low(&sum(&a, &b)), sum(&low(&a), &low(&b)));
        }

        #[test]
        fn what_was_added_is_the_difference(a in any_histogram(), b in any_histogram()) {
            let total = sum(&a, &b);
            let grown = difference(&total, &a).unwrap();
            prop_assert_eq!(grown.count, b.count);
            prop_assert_eq!(counted(&grown), b.count);
        }
    }
}
