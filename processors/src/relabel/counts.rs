//! What the processor counts of itself.

use pipeline::{Count, Level, Meters};

use super::memo::{Dropped, Memo};
use crate::aggregate::{Engine, Reason};

/// Counts and levels of one processor.
#[derive(Debug)]
pub(crate) struct Counts {
    dropped: [Count; Cause::ALL.len()],
    merged: Count,
    created: Count,
    evaluated: Count,
    unremembered: Count,
    untracked: Count,
    resets_by_start: Count,
    resets_by_value: Count,
    baselined: Count,
    memo_series: Level,
    input_series: Level,
    output_series: Level,
    shared_series: Level,
    bytes: Level,
}

/// What happened to the points of one batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    dropped: [u64; Cause::ALL.len()],
    /// Points that became part of an output.
    pub(crate) merged: u64,
    /// Points that outputs gave.
    pub(crate) created: u64,
    /// Times that the rules were worked out.
    pub(crate) evaluated: u64,
    /// Decisions that the memo had no room for.
    pub(crate) unremembered: u64,
    /// Series whose points pass without state.
    pub(crate) untracked: u64,
}

/// Why a point is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Rule,
    Nameless,
    /// [`Dropped::Refused`].
    Refused,
    Duplicate,
    OutOfOrder,
    Overlap,
    Invalid,
    Collision,
}

impl Cause {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Rule, "rule"),
        (Self::Nameless, "nameless"),
        (Self::Refused, "refused_input"),
        (Self::Duplicate, "duplicate"),
        (Self::OutOfOrder, "out_of_order"),
        (Self::Overlap, "overlap"),
        (Self::Invalid, "invalid"),
        (Self::Collision, "collision"),
    ];
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Duplicate => Self::Duplicate,
            Reason::OutOfOrder => Self::OutOfOrder,
            Reason::Overlap => Self::Overlap,
            Reason::Invalid => Self::Invalid,
            Reason::Collision => Self::Collision,
        }
    }
}

impl From<Dropped> for Cause {
    fn from(dropped: Dropped) -> Self {
        match dropped {
            Dropped::Rule => Self::Rule,
            Dropped::Nameless => Self::Nameless,
            Dropped::Refused => Self::Refused,
        }
    }
}

impl Tally {
    /// Counts one dropped point.
    pub(crate) fn drop_for(&mut self, cause: impl Into<Cause>) {
        self.dropped[cause.into() as usize] += 1;
    }
}

impl Counts {
    pub(crate) fn new(meters: &Meters, id: &str) -> Self {
        let labels = || vec![("processor", id.to_owned())];
        let count = |name, about, unit| meters.count(name, about, unit, labels());
        let level = |name, about, unit| meters.level(name, about, unit, labels());
        let labelled = |name, about, key, value: &str| {
            meters.count(name, about, "{datapoints}", vec![("processor", id.to_owned()), (key, value.to_owned())])
        };
        let resets = |by| labelled("weir_relabel_resets", "Inputs that began anew.", "by", by);
        Self {
            dropped: Cause::ALL.map(|(_, cause)| {
                labelled("weir_relabel_dropped_points", "Points dropped, by cause.", "reason", cause)
            }),
            merged: count("weir_relabel_merged_points", "Points that became part of an output.", "{datapoints}"),
            created: count("weir_relabel_created_points", "Points of outputs with several inputs.", "{datapoints}"),
            evaluated: count("weir_relabel_evaluations", "Times that the rules were worked out.", "{series}"),
            unremembered: count("weir_relabel_memo_full", "Decisions that the memo had no room for.", "{series}"),
            untracked: count(
                "weir_relabel_untracked_series",
                "Series passed without state because max_input_series is reached; asked again each turn.",
                "{series}",
            ),
            resets_by_start: resets("start"),
            resets_by_value: resets("value"),
            baselined: count("weir_relabel_baselined_inputs", "Counters whose history was left out.", "{series}"),
            memo_series: level("weir_relabel_memo_series", "Series whose decision is remembered.", "{series}"),
            input_series: level("weir_relabel_input_series", "Input series with state.", "{series}"),
            output_series: level("weir_relabel_output_series", "Output series with state.", "{series}"),
            shared_series: level("weir_relabel_merged_series", "Output series with several inputs.", "{series}"),
            bytes: level("weir_relabel_state_bytes", "Bytes of memo and state.", "By"),
        }
    }

    /// Adds what a batch brought.
    pub(crate) fn add(&self, tally: &Tally, engine: Option<&mut Engine>) {
        let add = |count: &Count, n: u64| {
            if n > 0 {
                count.add(n);
            }
        };
        self.dropped.iter().zip(tally.dropped).for_each(|(count, n)| add(count, n));
        add(&self.merged, tally.merged);
        add(&self.created, tally.created);
        add(&self.evaluated, tally.evaluated);
        add(&self.unremembered, tally.unremembered);
        add(&self.untracked, tally.untracked);
        if let Some(engine) = engine {
            let tally = engine.take_tally();
            add(&self.resets_by_start, tally.resets_by_start);
            add(&self.resets_by_value, tally.resets_by_value);
            add(&self.baselined, tally.baselined);
        }
    }

    /// Says how much is kept.
    pub(crate) fn measure(&self, memo: &Memo, engine: Option<&Engine>) {
        let sizes = engine.map(Engine::sizes).unwrap_or_default();
        let set = |level: &Level, value: usize| level.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.memo_series, memo.len());
        set(&self.input_series, sizes.inputs);
        set(&self.output_series, sizes.outputs);
        set(&self.shared_series, sizes.shared);
        set(&self.bytes, memo.heap_bytes() + sizes.bytes);
    }
}
