//! What became of a record, and the count of what did not fit.

use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::meter::{Count, Labels, Meters};

/// What a record did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rules that it fitted.
    pub changes: usize,
    /// What did not fit, by the rule's index.
    pub skipped: SmallVec<[(usize, Skip); 2]>,
}

/// Why a rule did not count a record, or not as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Skip {
    /// The value is not there.
    Null,
    /// The value is no finite number.
    NotANumber,
    /// A time cannot be read, or lies outside 1970 to 2500.
    NotATime,
    /// A counter's amount, or the time between two times, is negative.
    Negative,
    /// It is none of the known states.
    UnknownState,
    /// Counted, with an attribute that was cut to its longest form.
    Truncated,
}

/// Counts by rule and reason; a count is made when it is first needed.
#[derive(Debug)]
pub(super) struct SkipCounts {
    meters: Meters,
    labels: Labels,
    counts: HashMap<(usize, Skip), Count>,
}

impl Skip {
    /// The word for labels.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::NotANumber => "not_a_number",
            Self::NotATime => "not_a_time",
            Self::Negative => "negative",
            Self::UnknownState => "unknown_state",
            Self::Truncated => "truncated",
        }
    }
}

impl SkipCounts {
    pub(super) fn new(meters: Meters, labels: Labels) -> Self {
        Self { meters, labels, counts: HashMap::new() }
    }

    pub(super) fn add(&mut self, metric: &str, rule: usize, skip: Skip) {
        let Self { meters, labels, counts } = self;
        let count = counts.entry((rule, skip)).or_insert_with(|| {
            let mut labels = labels.clone();
            labels.extend([("metric", metric.to_owned()), ("reason", skip.word().to_owned())]);
            let about = "Records that a metric's rule did not fit, by reason; truncated ones were counted with a shorter attribute.";
            meters.count("weir_mapping_skipped", about, "{records}", labels)
        });
        count.add(1);
    }
}
