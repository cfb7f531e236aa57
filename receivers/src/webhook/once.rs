//! Metrics that count things and not events: several events of one thing count once.
//!
//! A thing is known in the ledger as an event is, by an id of its own, under the name of the metric that counts it. So sources that
//! feed one metric share what they have counted, whatever else they share.

use std::sync::Arc;

use pdata::Origin;
use pipeline::mapping::counted::{Applied, CountRule, CountRules, Counted, When};
use pipeline::mapping::{Cell, Record};
use pipeline::state::{Entry, EventId, Ledger};
use pipeline::{Fault, Meters};

use super::check::Check;
use super::field::Event;
use super::metric::{DataType, Metric};

/// A metric of things.
#[derive(Clone, Debug)]
pub(super) struct OnceRule {
    rules: Arc<CountRules>,
    /// The fields that may tell things apart; the first that is there does.
    fields: Vec<usize>,
    /// Under which name things are known: the metric's, and the attributes that all its series have.
    scope: String,
}

/// The same, at work.
#[derive(Debug)]
pub(super) struct Once {
    rule: OnceRule,
    counted: Counted,
}

impl OnceRule {
    /// The rule of a metric that stands at `path` and has the key `once_per`.
    pub(super) fn new(
        metric: &Metric,
        rule: CountRule,
        path: &str,
        origin: &Arc<Origin>,
        check: &mut Check<'_>,
    ) -> Self {
        if !matches!(metric.data_type, DataType::Counter | DataType::UpDownCounter | DataType::Histogram) {
            let help = "a gauge keeps its newest value, however often it is told";
            check.problem(path, "once_per", "'once_per' is for what is added up", Some(help));
        }
        let fields = metric.once_per.iter().enumerate();
        let fields = fields.filter_map(|(at, field)| check.field(path, &format!("once_per[{at}]"), field)).collect();
        // No source's scope begins so: names have letters.
        let mut scope = format!("\0{}", metric.metric_name);
        for (key, value) in &metric.static_attributes {
            scope.extend(["\0", key, "\0", value]);
        }
        let rules = CountRules { origin: origin.clone(), metrics: vec![rule] };
        Self { rules: Arc::new(rules), fields, scope }
    }

    /// What the thing of an event is known by; an event that names none is a thing of its own.
    fn thing(&self, event: &Event<'_>, id: &[u8], ledger: &Ledger) -> EventId {
        let named = self.fields.iter().enumerate().find(|(_, field)| event.cell(**field) != Cell::Null);
        let mut bytes = Vec::with_capacity(64);
        match named {
            Some((place, field)) => {
                bytes.extend_from_slice(&(place as u64).to_le_bytes());
                bytes.extend_from_slice(event.cell(*field).text().unwrap_or_default().as_bytes());
            }
            None => {
                bytes.extend_from_slice(&u64::MAX.to_le_bytes());
                bytes.extend_from_slice(id);
            }
        }
        ledger.event(&self.scope, &bytes)
    }
}

impl Once {
    pub(super) fn new(
        rule: OnceRule,
        ledger: &Ledger,
        meters: &Meters,
        labels: Vec<(&'static str, String)>,
    ) -> Result<Self, Fault> {
        let counted = Counted::new(rule.rules.clone(), ledger.clone(), meters, labels)?;
        Ok(Self { rule, counted })
    }

    /// The entry of an event's thing; none when the metric has no use for the event. `id` is the event's own.
    pub(super) fn entry(
        &mut self,
        event: &Event<'_>,
        when: When,
        id: &[u8],
        ledger: &Ledger,
    ) -> Option<(Entry, Applied)> {
        let mut entry = Entry::new();
        let applied = self.counted.apply(event, when, &mut entry);
        if applied.changes == 0 {
            return None;
        }
        entry = entry.with_id(self.rule.thing(event, id, ledger));
        if let Some(stated) = when.stated {
            entry = entry.signed_at(stated);
        }
        Some((entry, applied))
    }

    /// Counts what was passed over.
    pub(super) fn note(&mut self, applied: &Applied) {
        self.counted.note(applied);
    }
}
