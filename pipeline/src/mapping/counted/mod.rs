//! Records to the tallies of a ledger: events that are counted, not points that are read.
//!
//! A [`CountRule`] says what a record does to one metric, by the indices of the record's cells, so events and rows of a database use the
//! same rules. [`Counted`] holds the rules of one source, and puts what a record changes into an [`Entry`]:
//!
//! - an attribute is made fit first (what stands for nothing, case, the allow-list, its longest form), and only then is it part of a
//!   series' key: a thousand unknown words that all become `other` are one series, in the memo and on disk;
//! - a series that was seen before costs one keyed hash of its attributes and a look into a bounded memo, and allocates nothing;
//! - a rule that a record does not fit (a NULL, text where a number should be, a negative amount for a counter) is passed over and
//!   counted by metric and reason; the other rules of the record still count.

mod attribute;
mod condition;
mod memo;
mod outcome;
mod rule;
mod time;

use std::sync::Arc;

use pdata::{AttributesBuilder, Identity, Number, Seed, UnixNanos};
use smallvec::SmallVec;

pub use attribute::{AllowList, CountAttribute};
pub use condition::{Condition, Test};
pub use outcome::{Applied, Skip};
pub use rule::{CountRule, CountRules, CountValue, Observed, TimeCell};

use self::memo::{Known, Memo};
use self::outcome::SkipCounts;
use super::{Cell, Record, ValueType, key, value};
use crate::fault::Fault;
use crate::meter::{Labels, Meters};
use crate::state::{Entry, Ledger, Tally};

/// Counts the records of one source.
#[derive(Debug)]
pub struct Counted {
    rules: Arc<CountRules>,
    ledger: Ledger,
    seed: Seed,
    memo: Memo,
    builder: AttributesBuilder,
    /// The attributes of the series in hand, made fit.
    key: Vec<u8>,
    text: Vec<u8>,
    counts: SkipCounts,
}

/// When a record happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// When it arrived here.
    pub received: UnixNanos,
    /// When it happened, as its sender signed or stated it.
    pub stated: Option<UnixNanos>,
}

/// How far a sender's clock may be ahead. A gauge keeps its newest value, so a time in the far future would keep it for ever:
/// beyond this the time of arrival counts.
const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(300);

/// What a record does to the series of one rule.
enum Change {
    One(Tally),
    /// One of the states, or none, is true since then.
    State(Option<usize>, UnixNanos),
}

impl Counted {
    /// Counts into `ledger` by these rules. `labels` say whose numbers the skipped ones are, such as receiver and source.
    ///
    /// # Errors
    /// When a rule's metric is none that a ledger keeps.
    pub fn new(rules: Arc<CountRules>, ledger: Ledger, meters: &Meters, labels: Labels) -> Result<Self, Fault> {
        for rule in &rules.metrics {
            let attributes = pdata::Attributes::empty();
            ledger.track(Identity { origin: rules.origin.clone(), metric: rule.metric.clone(), attributes })?;
            // Series from disk carry the words of their first day.
            ledger.describe(&rule.metric);
        }
        let counts = SkipCounts::new(meters.clone(), labels);
        Ok(Self {
            rules,
            ledger,
            seed: Seed::random(),
            memo: Memo::default(),
            builder: AttributesBuilder::default(),
            key: Vec::new(),
            text: Vec::new(),
            counts,
        })
    }

    /// Puts what a record changes into an entry, which then goes to the ledger. What it says of itself is for
    /// [`note`](Self::note), once the ledger has said that the record is new.
    pub fn apply<R: Record + ?Sized>(&mut self, record: &R, when: When, entry: &mut Entry) -> Applied {
        let rules = self.rules.clone();
        let mut applied = Applied::default();
        for (index, rule) in rules.metrics.iter().enumerate() {
            let held = rule.when.iter().all(|condition| condition.holds(record, &mut self.text));
            if !held {
                continue;
            }
            match change(rule, record, when) {
                Ok(change) => self.put(Place { index, rule, record }, change, entry, &mut applied),
                Err(skip) => applied.skipped.push((index, skip)),
            }
        }
        applied
    }

    /// Counts what was passed over.
    pub fn note(&mut self, applied: &Applied) {
        for (rule, skip) in &applied.skipped {
            self.counts.add(&self.rules.metrics[*rule].metric.name, *rule, *skip);
        }
    }

    fn put<R: Record + ?Sized>(
        &mut self,
        place: Place<'_, R>,
        change: Change,
        entry: &mut Entry,
        applied: &mut Applied,
    ) {
        let Place { index, rule, record } = place;
        self.key.clear();
        for attribute in &rule.attributes {
            if attribute.write(record, &mut self.key, &mut self.text) {
                applied.skipped.push((index, Skip::Truncated));
            }
        }
        let key = key::of(self.seed.fingerprint(&self.key), index, 0);
        let known = match self.memo.find(key) {
            Some(known) => known,
            None => {
                let known = self.series(rule);
                self.memo.insert(key, known, self.key.len())
            }
        };
        applied.changes += 1;
        match change {
            Change::One(tally) => {
                if let Some(series) = known.first() {
                    entry.tally(series.clone(), tally);
                }
            }
            Change::State(active, time) => {
                for (state, series) in known.iter().enumerate() {
                    let value = Number::Int(i64::from(active == Some(state)));
                    entry.tally(series.clone(), Tally::Set { value, time });
                }
            }
        }
    }

    /// The series of a rule with the attributes in hand: one, or one a state.
    #[cold]
    fn series(&mut self, rule: &CountRule) -> Known {
        let states = match &rule.value {
            CountValue::State { states, .. } => &**states,
            _ => &[],
        };
        let mut known = SmallVec::new();
        for state in 0..states.len().max(1) {
            rule.static_attributes.iter().for_each(|(key, value)| self.builder.push(key, &**value));
            attribute::each(&rule.attributes, &self.key, |key, value| self.builder.push(key, value));
            if let (CountValue::State { label, .. }, Some(state)) = (&rule.value, states.get(state)) {
                self.builder.push(label, &**state);
            }
            let attributes = self.builder.finish();
            let origin = self.rules.origin.clone();
            let tracked = self.ledger.track(Identity { origin, metric: rule.metric.clone(), attributes });
            // `new` has asked the ledger whether it keeps such a metric.
            known.extend(tracked.ok());
        }
        known
    }
}

/// One rule and one record.
struct Place<'a, R: ?Sized> {
    index: usize,
    rule: &'a CountRule,
    record: &'a R,
}

fn change<R: Record + ?Sized>(rule: &CountRule, record: &R, when: When) -> Result<Change, Skip> {
    let time = || when.of(rule.time, record);
    Ok(match &rule.value {
        CountValue::Add { cell, scale } => {
            let amount = match cell {
                None => Number::Int(1),
                Some(cell) => number(record.cell(*cell), *scale)?,
            };
            if amount.as_f64() < 0.0 && rule.metric.kind == pdata::Kind::COUNTER {
                return Err(Skip::Negative);
            }
            Change::One(Tally::Add(amount))
        }
        CountValue::Set { cell, scale } => {
            Change::One(Tally::Set { value: number(record.cell(*cell), *scale)?, time: time()? })
        }
        CountValue::Observe { observed, bounds } => {
            let value = match observed {
                Observed::Cell { cell, scale } => number(record.cell(*cell), *scale)?.as_f64(),
                Observed::Between { from, to } => {
                    let (from, to) = (from.read(record)?, to.read(record)?);
                    if to < from {
                        return Err(Skip::Negative);
                    }
                    to.since(from).as_secs_f64()
                }
            };
            Change::One(Tally::Observe { value, bounds: bounds.clone() })
        }
        CountValue::State { cell, states, .. } => {
            let text = match record.cell(*cell) {
                Cell::Null => return Err(Skip::Null),
                cell => value::text(cell).ok_or(Skip::Null)?.0,
            };
            let active = states.iter().position(|state| **state == *text).ok_or(Skip::UnknownState)?;
            Change::State(Some(active), time()?)
        }
        CountValue::Info => Change::One(Tally::Set { value: Number::Int(1), time: time()? }),
    })
}

fn number(cell: Cell<'_>, scale: Option<f64>) -> Result<Number, Skip> {
    if cell == Cell::Null {
        return Err(Skip::Null);
    }
    let number = value::number(cell, ValueType::Number).map_err(|_| Skip::NotANumber)?;
    let number = scale.map_or(number, |scale| Number::Double(number.as_f64() * scale));
    if number.as_f64().is_finite() { Ok(number) } else { Err(Skip::NotANumber) }
}

impl When {
    /// The time of a rule's own cell, else the stated one, else that of the arrival.
    fn of<R: Record + ?Sized>(self, cell: Option<TimeCell>, record: &R) -> Result<UnixNanos, Skip> {
        let own = match cell.map(|cell| cell.read(record)) {
            None | Some(Err(Skip::Null)) => None,
            Some(Ok(time)) => Some(time),
            Some(Err(skip)) => return Err(skip),
        };
        let latest = self.received.plus(AHEAD_MAX);
        Ok(own.or(self.stated).filter(|time| *time <= latest).unwrap_or(self.received))
    }
}

#[cfg(test)]
mod tests;
