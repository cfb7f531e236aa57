//! Histograms and summaries as they are kept between scrapes.

use pdata::{Buckets, ExponentialHistogram, Histogram, PointValue, Summary};

use super::kind::Update;

/// The last or accumulated value of one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Distribution {
    Histogram(Histogram),
    /// Downscaled so that each side has at most [`BUCKETS_MAX`] buckets. The scale of a series never rises again: bounds that once
    /// stood on the endpoint stay or are thinned out, they never shift.
    Exponential(ExponentialHistogram),
    Summary(Summary),
}

/// Buckets of one side of an exponential histogram. 160 is what SDKs send at most; four such buckets per factor of two are finer
/// than most hand-made bounds, and 40 of them span a factor of a thousand.
const BUCKETS_MAX: usize = 40;

/// The lowest scale that is kept: one bucket per factor of 2^1024, all there is.
const SCALE_MIN: i32 = -10;

/// A classic histogram seen from outside: upper bounds and cumulative counts, without the last bucket.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Classic {
    pub(super) bounds: Vec<f64>,
    pub(super) cumulative: Vec<u64>,
    pub(super) count: u64,
    pub(super) sum: Option<f64>,
}

impl Distribution {
    /// The first value of a series, or `None` when it makes no sense.
    pub(super) fn new(value: &PointValue) -> Option<Self> {
        match value {
            PointValue::Histogram(histogram) => is_sound(histogram).then(|| Self::Histogram((**histogram).clone())),
            PointValue::Exponential(histogram) => bounded((**histogram).clone(), i32::MAX).map(Self::Exponential),
            PointValue::Summary(summary) => Some(Self::Summary((**summary).clone())),
            PointValue::Int(_) | PointValue::Double(_) => None,
        }
    }

    /// The same without observations: what a first value is added to.
    pub(super) fn emptied(mut self) -> Self {
        match &mut self {
            Self::Histogram(histogram) => {
                (histogram.count, histogram.sum) = (0, Some(0.0));
                histogram.counts.fill(0);
            }
            Self::Exponential(histogram) => {
                (histogram.count, histogram.sum, histogram.zero_count) = (0, Some(0.0), 0);
                (histogram.positive, histogram.negative) = (Buckets::default(), Buckets::default());
            }
            Self::Summary(_) => {}
        }
        self
    }

    /// Takes the next value in. False when it makes no sense and nothing was changed.
    pub(super) fn take(&mut self, value: &PointValue, update: Update) -> bool {
        match (self, value, update) {
            (Self::Histogram(kept), PointValue::Histogram(new), Update::Add) if kept.bounds == new.bounds => {
                is_sound(new) && add_histogram(kept, new)
            }
            (Self::Histogram(kept), PointValue::Histogram(new), _) => {
                // Other bounds than before begin anew: Prometheus sees a reset, which is what it is.
                let sound = is_sound(new);
                if sound {
                    copy_histogram(kept, new);
                }
                sound
            }
            (Self::Exponential(kept), PointValue::Exponential(new), update) => take_exponential(kept, new, update),
            (Self::Summary(kept), PointValue::Summary(new), _) => {
                kept.clone_from(new);
                true
            }
            (kept, value, _) => Self::new(value).map(|new| *kept = new).is_some(),
        }
    }

    /// Upper bounds and cumulative counts, when it is a histogram.
    pub(super) fn write_classic(&self, out: &mut Classic) -> bool {
        out.bounds.clear();
        out.cumulative.clear();
        match self {
            Self::Histogram(histogram) => {
                let mut total = 0;
                for (bound, count) in histogram.bounds.iter().zip(&histogram.counts) {
                    total += count;
                    if bound.is_finite() {
                        out.bounds.push(*bound);
                        out.cumulative.push(total);
                    }
                }
                let all: u64 = histogram.counts.iter().sum();
                (out.count, out.sum) = (if histogram.counts.is_empty() { histogram.count } else { all }, histogram.sum);
                true
            }
            Self::Exponential(histogram) => {
                write_exponential(histogram, out);
                out.sum = histogram.sum;
                true
            }
            Self::Summary(_) => false,
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Histogram(h) => 8 * (h.bounds.len() + h.counts.len()),
                Self::Exponential(h) => 8 * (h.positive.counts.len() + h.negative.counts.len()),
                Self::Summary(s) => 16 * s.quantiles.len(),
            }
    }
}

/// Bounds rise, there is one more count than bounds, and the sum of all counts is a number.
fn is_sound(histogram: &Histogram) -> bool {
    let shape = histogram.counts.len() == histogram.bounds.len() + 1
        || (histogram.counts.is_empty() && histogram.bounds.is_empty());
    shape
        && histogram.bounds.windows(2).all(|pair| pair[0] < pair[1])
        && histogram.bounds.iter().all(|bound| !bound.is_nan())
        && histogram.counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count)).is_some()
}

fn add_histogram(kept: &mut Histogram, new: &Histogram) -> bool {
    kept.counts.iter_mut().zip(&new.counts).for_each(|(kept, new)| *kept = kept.saturating_add(*new));
    kept.count = kept.count.saturating_add(new.count);
    kept.sum = kept.sum.zip(new.sum).map(|(kept, new)| kept + new);
    true
}

/// Copies into the buffers that are there.
fn copy_histogram(kept: &mut Histogram, new: &Histogram) {
    let Histogram { count, sum, min, max, bounds, counts } = new;
    (kept.count, kept.sum, kept.min, kept.max) = (*count, *sum, *min, *max);
    kept.bounds.clone_from(bounds);
    kept.counts.clone_from(counts);
}

fn take_exponential(kept: &mut ExponentialHistogram, new: &ExponentialHistogram, update: Update) -> bool {
    let Some(mut new) = bounded(new.clone(), kept.scale) else { return false };
    if update == Update::Add {
        let mut scale = new.scale;
        downscale(kept, scale);
        let (positive, negative) = ((&new.positive, &kept.positive), (&new.negative, &kept.negative));
        let too_wide = |shift| [positive, negative].iter().any(|(one, two)| joint_width(one, two, shift) > BUCKETS_MAX);
        while scale > SCALE_MIN && too_wide(new.scale.abs_diff(scale)) {
            scale -= 1;
        }
        downscale(kept, scale);
        downscale(&mut new, scale);
        new.count = new.count.saturating_add(kept.count);
        new.sum = new.sum.zip(kept.sum).map(|(new, kept)| new + kept);
        new.zero_count = new.zero_count.saturating_add(kept.zero_count);
        new.zero_threshold = new.zero_threshold.max(kept.zero_threshold);
        new.positive = merged(&new.positive, &kept.positive);
        new.negative = merged(&new.negative, &kept.negative);
    }
    *kept = new;
    true
}

/// The same histogram at a scale of at most `scale` where each side fits. `None` when its numbers make no sense.
fn bounded(mut histogram: ExponentialHistogram, scale: i32) -> Option<ExponentialHistogram> {
    let counts = histogram.positive.counts.iter().chain(&histogram.negative.counts);
    let sum = counts.chain([&histogram.zero_count]).try_fold(0_u64, |sum, count| sum.checked_add(*count));
    sum?;
    if !(-10..=20).contains(&histogram.scale) || histogram.zero_threshold.is_nan() || histogram.zero_threshold < 0.0 {
        return None;
    }
    for side in [&mut histogram.positive, &mut histogram.negative] {
        trim(side)?;
    }
    let mut wanted = histogram.scale.min(scale);
    while wanted > SCALE_MIN
        && [&histogram.positive, &histogram.negative]
            .iter()
            .any(|side| width(side, histogram.scale.abs_diff(wanted)) > BUCKETS_MAX)
    {
        wanted -= 1;
    }
    downscale(&mut histogram, wanted);
    Some(histogram)
}

/// Takes empty buckets off both ends. `None` when the last index overflows.
fn trim(side: &mut Buckets) -> Option<()> {
    let last = side.counts.iter().rposition(|count| *count > 0);
    side.counts.truncate(last.map_or(0, |last| last + 1));
    let first = side.counts.iter().position(|count| *count > 0).unwrap_or(0);
    side.counts.drain(..first);
    let offset = i64::from(side.offset) + first as i64;
    // No double lies beyond: 2^20 buckets per factor of two, 2^11 factors on each side of one.
    let far = 1_i64 << 31;
    side.offset = i32::try_from(offset).ok().filter(|_| (-far..far - side.counts.len() as i64).contains(&offset))?;
    Some(())
}

/// How many buckets a side has after `shift` halvings of the resolution.
fn width(side: &Buckets, shift: u32) -> usize {
    joint_width(side, side, shift)
}

/// How many buckets two sides have together after `shift` halvings of the resolution.
fn joint_width(one: &Buckets, two: &Buckets, shift: u32) -> usize {
    let ends = |side: &Buckets| {
        let first = i64::from(side.offset);
        (!side.counts.is_empty()).then(|| (first >> shift, (first + side.counts.len() as i64 - 1) >> shift))
    };
    let (first, last) = match (ends(one), ends(two)) {
        (None, None) => return 0,
        (Some(ends), None) | (None, Some(ends)) => ends,
        (Some(one), Some(two)) => (one.0.min(two.0), one.1.max(two.1)),
    };
    usize::try_from(last - first + 1).unwrap_or(usize::MAX)
}

fn downscale(histogram: &mut ExponentialHistogram, scale: i32) {
    let Some(shift) = histogram.scale.checked_sub(scale).filter(|shift| *shift > 0) else { return };
    for side in [&mut histogram.positive, &mut histogram.negative] {
        let offset = side.offset >> shift;
        let mut counts = vec![0_u64; width(side, shift.unsigned_abs())];
        for (index, count) in (i64::from(side.offset)..).zip(&side.counts) {
            counts[((index >> shift) - i64::from(offset)) as usize] += count;
        }
        *side = Buckets { offset, counts };
    }
    histogram.scale = scale;
}

/// Two sides of one scale together; the caller has made sure that they span few buckets.
fn merged(one: &Buckets, two: &Buckets) -> Buckets {
    if one.counts.is_empty() || two.counts.is_empty() {
        return if one.counts.is_empty() { two.clone() } else { one.clone() };
    }
    let offset = one.offset.min(two.offset);
    let mut counts = vec![0_u64; joint_width(one, two, 0)];
    for side in [one, two] {
        let from = side.offset.abs_diff(offset) as usize;
        for (kept, count) in counts[from..].iter_mut().zip(&side.counts) {
            *kept = kept.saturating_add(*count);
        }
    }
    Buckets { offset, counts }
}

/// From the lowest bound to the highest: negative buckets, zero, positive buckets. A negative bucket holds its lower bound and not
/// its upper one, a classic bucket the other way round; observations that stand exactly on a bound count one bucket lower.
fn write_exponential(histogram: &ExponentialHistogram, out: &mut Classic) {
    let base = |index: i64| bound(histogram.scale, index);
    let mut total = 0;
    let mut push = |bound: f64, count: u64| {
        total += count;
        if bound.is_finite() && out.bounds.last().is_none_or(|last| *last < bound) {
            out.bounds.push(bound);
            out.cumulative.push(total);
        } else if let Some(last) = out.cumulative.last_mut().filter(|_| bound.is_finite()) {
            *last = total;
        }
    };
    let negative = &histogram.negative;
    for (index, count) in negative.counts.iter().enumerate().rev() {
        push(-base(i64::from(negative.offset) + index as i64), *count);
    }
    if histogram.zero_count > 0 || !negative.counts.is_empty() {
        push(histogram.zero_threshold, histogram.zero_count);
    }
    for (index, count) in histogram.positive.counts.iter().enumerate() {
        push(base(i64::from(histogram.positive.offset) + index as i64 + 1), *count);
    }
    out.count = total;
}

/// 2^(index / 2^scale).
fn bound(scale: i32, index: i64) -> f64 {
    if scale <= 0 {
        return (index as f64 * f64::from(scale.unsigned_abs()).exp2()).exp2();
    }
    // The whole part apart, so that powers of two come out exactly.
    let (whole, part) = (index >> scale, index & ((1 << scale) - 1));
    (part as f64 / f64::from(1_u32 << scale)).exp2() * (whole as f64).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exponential(scale: i32, offset: i32, counts: &[u64]) -> PointValue {
        PointValue::Exponential(Box::new(ExponentialHistogram {
            count: counts.iter().sum(),
            sum: Some(1.0),
            scale,
            positive: Buckets { offset, counts: counts.to_vec() },
            ..ExponentialHistogram::default()
        }))
    }

    fn histogram(bounds: &[f64], counts: &[u64]) -> PointValue {
        PointValue::Histogram(Box::new(Histogram {
            count: counts.iter().sum(),
            sum: Some(2.0),
            bounds: bounds.to_vec(),
            counts: counts.to_vec(),
            ..Histogram::default()
        }))
    }

    fn classic(distribution: &Distribution) -> Classic {
        let mut out = Classic::default();
        assert!(distribution.write_classic(&mut out));
        out
    }

    #[test]
    fn delta_histograms_add_up_and_begin_anew_with_other_bounds() {
        let mut kept = Distribution::new(&histogram(&[1.0, 2.0], &[1, 2, 3])).unwrap();
        assert!(kept.take(&histogram(&[1.0, 2.0], &[1, 0, 1]), Update::Add));
        let expected = Classic { bounds: vec![1.0, 2.0], cumulative: vec![2, 4], count: 8, sum: Some(4.0) };
        assert_eq!(classic(&kept), expected);
        assert!(kept.take(&histogram(&[5.0], &[1, 0]), Update::Add));
        assert_eq!(classic(&kept).count, 1);
    }

    #[test]
    fn histograms_that_make_no_sense_change_nothing() {
        let mut kept = Distribution::new(&histogram(&[1.0], &[1, 2])).unwrap();
        for bad in [histogram(&[2.0, 1.0], &[0, 0, 0]), histogram(&[1.0], &[1]), histogram(&[f64::NAN], &[0, 0])] {
            assert!(!kept.take(&bad, Update::Set) && Distribution::new(&bad).is_none());
        }
        assert_eq!(classic(&kept).count, 3);
    }

    #[test]
    fn an_explicit_last_bound_of_infinity_is_not_written_twice() {
        let kept = Distribution::new(&histogram(&[1.0, f64::INFINITY], &[1, 2, 0])).unwrap();
        assert_eq!(classic(&kept), Classic { bounds: vec![1.0], cumulative: vec![1], count: 3, sum: Some(2.0) });
    }

    #[test]
    fn exponential_buckets_become_classic_ones() {
        let kept = Distribution::new(&exponential(0, -1, &[1, 2, 4])).unwrap();
        assert_eq!(classic(&kept).bounds, [1.0, 2.0, 4.0]);
        assert_eq!(classic(&kept).cumulative, [1, 3, 7]);
        let kept = Distribution::new(&exponential(1, 0, &[1, 1])).unwrap();
        assert_eq!(classic(&kept).bounds, [2f64.sqrt(), 2.0]);
    }

    #[test]
    fn negative_and_zero_observations_keep_their_places() {
        let value = ExponentialHistogram {
            zero_count: 5,
            zero_threshold: 0.25,
            positive: Buckets { offset: 0, counts: vec![1] },
            negative: Buckets { offset: 0, counts: vec![2, 3] },
            ..ExponentialHistogram::default()
        };
        let kept = Distribution::new(&PointValue::Exponential(Box::new(value))).unwrap();
        assert_eq!(classic(&kept).bounds, [-2.0, -1.0, 0.25, 2.0]);
        assert_eq!(classic(&kept).cumulative, [3, 5, 10, 11]);
    }

    #[test]
    fn the_number_of_buckets_is_bounded_and_the_scale_never_rises_again() {
        let mut kept = Distribution::new(&exponential(5, 0, &[1; 160])).unwrap();
        let coarse = classic(&kept);
        assert!(coarse.bounds.len() <= BUCKETS_MAX && coarse.count == 160);
        assert!(kept.take(&exponential(5, 0, &[1; 2]), Update::Set));
        assert!(coarse.bounds.contains(&classic(&kept).bounds[0]));
    }

    #[test]
    fn wild_offsets_and_scales_are_refused_or_bounded() {
        assert!(Distribution::new(&exponential(40, 0, &[1])).is_none());
        assert!(Distribution::new(&exponential(0, i32::MAX, &[1, 1])).is_none());
        let mut kept = Distribution::new(&exponential(20, i32::MIN, &[1])).unwrap();
        assert!(kept.take(&exponential(20, i32::MAX - 2, &[1]), Update::Add));
        assert_eq!(classic(&kept).count, 2);
    }

    proptest::proptest! {
        #[test]
        fn no_observation_is_lost_by_adding(rounds in proptest::collection::vec((-4i32..8, -200i32..200, proptest::collection::vec(0u64..9, 0..60)), 1..8)) {
            let mut kept: Option<Distribution> = None;
            let mut total = 0;
            for (scale, offset, counts) in rounds {
                total += counts.iter().sum::<u64>();
                let value = exponential(scale, offset, &counts);
                match &mut kept {
                    None => kept = Distribution::new(&value),
                    Some(kept) => proptest::prop_assert!(kept.take(&value, Update::Add)),
                }
            }
            let classic = classic(&kept.unwrap());
            proptest::prop_assert_eq!(classic.count, total);
            proptest::prop_assert!(classic.bounds.windows(2).all(|pair| pair[0] < pair[1]));
            proptest::prop_assert!(classic.cumulative.windows(2).all(|pair| pair[0] <= pair[1]));
            proptest::prop_assert!(classic.bounds.len() <= 2 * BUCKETS_MAX + 1);
        }
    }
}
