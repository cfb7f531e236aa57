//! What rules want of a column, for drivers that can choose in which form a cell comes.

use pipeline::mapping::{MetricRule, ValueRule};

use super::intake::Intake;

/// What the rules of a query want of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Want {
    /// Nobody names it.
    Nothing,
    /// Its text, as the source writes it.
    Text,
    /// Its text, its time or its state.
    Some,
    /// Its number.
    Number,
}

impl Intake {
    /// What the rules want of a column with this name.
    pub(crate) fn want(&self, column: &str) -> Want {
        if self.takes_rows() {
            return Want::Text;
        }
        let logs = self.log_rules().iter().map(|rule| named(column, rule.columns()));
        let resource = named(column, self.rules.resource_columns.iter().map(|attribute| &attribute.column));
        let tracked = self.pages.progress.iter().map(|progress| named(column, progress.names()));
        let counted = self
            .pages
            .counted()
            .iter()
            .map(|metric| named(column, metric.columns()).max(number(column, metric.number().into_iter())));
        let metrics = self.rules.metrics.iter().map(|rule| wanted(rule, column));
        metrics.chain(logs).chain(tracked).chain(counted).fold(resource, Want::max)
    }
}

fn wanted(rule: &MetricRule, column: &str) -> Want {
    let some = named(
        column,
        rule.attributes.iter().map(|attribute| &attribute.column).chain(&rule.start_column).chain(&rule.time_column),
    );
    some.max(match &rule.value {
        ValueRule::Number { column: value, .. } => number(column, std::iter::once(value)),
        ValueRule::Info { column: value, .. } => named(column, value.iter()),
        ValueRule::State(state) => named(column, std::iter::once(&state.column)),
        ValueRule::Buckets { bounds, count, sum, .. } => {
            number(column, bounds.iter().map(|(_, bucket)| bucket).chain([count]).chain(sum))
        }
    })
}

fn named<'a, N: AsRef<str> + ?Sized + 'a>(column: &str, mut names: impl Iterator<Item = &'a N>) -> Want {
    if names.any(|name| name.as_ref() == column) { Want::Some } else { Want::Nothing }
}

fn number<'a, N: AsRef<str> + ?Sized + 'a>(column: &str, mut names: impl Iterator<Item = &'a N>) -> Want {
    if names.any(|name| name.as_ref() == column) { Want::Number } else { Want::Nothing }
}
