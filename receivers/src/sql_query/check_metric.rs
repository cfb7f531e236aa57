//! From what the user wrote to the rule of one metric.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use config::{Problem, Problems, Section};
use pdata::{Hint, Kind, Temporality};
use pipeline::mapping::{
    AttributeRule, Encoding, MetricRule, OnDuplicate, OnNull, OnUnknown, StartRule, StateRule, ValueRule, ValueType,
};

use super::settings::{self, Duplicate, Metric, Null, Unknown};

/// One metric on its way to be a rule.
pub(crate) struct MetricCheck<'a> {
    pub(crate) section: &'a Section,
    /// Where it stands: `queries[0].metrics[1]`.
    pub(crate) path: &'a str,
    pub(crate) metric: &'a Metric,
    /// How often its query is read.
    pub(crate) interval: Duration,
}

/// The values of `data_type`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DataType {
    Gauge,
    Sum,
    UpDownCounter,
    Histogram,
    Info,
    StateSet,
}

impl MetricCheck<'_> {
    /// The rule; `None` when something is wrong with it.
    pub(crate) fn rule(&self, problems: &mut Problems) -> Option<MetricRule> {
        let mut found = Vec::new();
        let rule = self.build(&mut |problem| found.push(problem));
        let wrong = found.iter().any(Problem::is_error);
        problems.extend(found);
        rule.filter(|_| !wrong)
    }

    fn build(&self, tell: &mut dyn FnMut(Problem)) -> Option<MetricRule> {
        let metric = self.metric;
        if metric.metric_name.is_empty() {
            tell(self.error("metric_name", "'metric_name' cannot be empty"));
        }
        let data_type = self.data_type(tell);
        let temporality = self.temporality(data_type?, tell);
        self.foreign_keys(data_type?, tell);
        let kind = self.kind(data_type?, temporality, tell);
        let value = self.value(data_type?, tell);
        let attributes = self.attributes(tell);
        let hint = match data_type? {
            DataType::Info => Hint::Info,
            DataType::StateSet => Hint::StateSet,
            _ => Hint::None,
        };
        let optional = |column: &str| (!column.is_empty()).then(|| column.into());
        Some(MetricRule {
            metric: Arc::new(pdata::Metric {
                name: metric.metric_name.as_str().into(),
                unit: metric.unit.as_str().into(),
                description: metric.description.as_str().into(),
                kind,
                hint,
            }),
            value: value?,
            attributes,
            static_attributes: pairs(&metric.static_attributes),
            start_column: optional(&metric.start_ts_column),
            time_column: optional(&metric.ts_column),
            start: self.start(kind),
            on_duplicate: match metric.on_duplicate {
                Duplicate::Last => OnDuplicate::Last,
                Duplicate::First => OnDuplicate::First,
                Duplicate::Sum => OnDuplicate::Sum,
                Duplicate::Error => OnDuplicate::Error,
            },
        })
    }

    fn data_type(&self, tell: &mut dyn FnMut(Problem)) -> Option<DataType> {
        Some(match self.metric.data_type.as_deref() {
            None | Some("" | "gauge") => DataType::Gauge,
            Some("sum") => DataType::Sum,
            Some("updowncounter") => DataType::UpDownCounter,
            Some("histogram") => DataType::Histogram,
            Some("info") => DataType::Info,
            Some("stateset") => DataType::StateSet,
            Some(other) => {
                let message = format!("metric config has unsupported data_type: '{other}'");
                let help = "known are gauge, sum, updowncounter, histogram, info and stateset";
                tell(self.error("data_type", message).with_help(help));
                return None;
            }
        })
    }

    fn temporality(&self, data_type: DataType, tell: &mut dyn FnMut(Problem)) -> Temporality {
        let Some(aggregation) = self.metric.aggregation.as_deref().filter(|written| !written.is_empty()) else {
            return Temporality::Cumulative;
        };
        let temporality = match aggregation {
            "cumulative" => Temporality::Cumulative,
            "delta" => Temporality::Delta,
            other => {
                let message = format!("metric config has unsupported aggregation: '{other}'");
                tell(self.error("aggregation", message).with_help("known are cumulative and delta"));
                return Temporality::Cumulative;
            }
        };
        if !matches!(data_type, DataType::Sum | DataType::UpDownCounter | DataType::Histogram) {
            let written = self.metric.data_type.as_deref();
            let name = written.unwrap_or("gauge");
            let message = format!("aggregation={aggregation} but data_type={name} does not support aggregation");
            // The Collector lets it pass when data_type is left out.
            let problem = match written {
                Some(_) => self.error("aggregation", message),
                None => self.warning("aggregation", message).with_help("leave it out, or set data_type: sum"),
            };
            tell(problem);
        }
        temporality
    }

    /// Keys that mean nothing beside this data type.
    fn foreign_keys(&self, data_type: DataType, tell: &mut dyn FnMut(Problem)) {
        let metric = self.metric;
        let histogram = data_type == DataType::Histogram;
        for (key, written, home) in [
            ("state", metric.state.is_some() && data_type != DataType::StateSet, "stateset"),
            ("bucket_columns", !metric.bucket_columns.is_empty() && !histogram, "histogram"),
            ("count_column", !metric.count_column.is_empty() && !histogram, "histogram"),
            ("sum_column", !metric.sum_column.is_empty() && !histogram, "histogram"),
            ("monotonic", metric.monotonic == Some(true) && data_type == DataType::UpDownCounter, "sum"),
        ] {
            if written {
                tell(self.error(key, format!("'{key}' needs data_type: {home}")));
            }
        }
        if !metric.buckets.is_empty() {
            let help = "name the columns of the counts in 'bucket_columns'";
            tell(self.error("buckets", "'buckets' needs 'new_rows: observe'").with_help(help));
        }
        let valueless = matches!(data_type, DataType::StateSet | DataType::Histogram);
        for (key, idle) in [
            ("value_column", !metric.value_column.is_empty() && valueless),
            ("value_type", metric.value_type.is_some() && (valueless || data_type == DataType::Info)),
            ("monotonic", metric.monotonic.is_some() && !matches!(data_type, DataType::Sum | DataType::UpDownCounter)),
        ] {
            if idle {
                tell(self.warning(key, format!("'{key}' means nothing for this data_type")).with_help("leave it out"));
            }
        }
        if data_type == DataType::StateSet && metric.on_duplicate == Duplicate::Sum {
            let help = "last and first choose one of the rows; error fails the read";
            tell(self.error("on_duplicate", "states cannot be added up").with_help(help));
        }
    }

    fn kind(&self, data_type: DataType, temporality: Temporality, tell: &mut dyn FnMut(Problem)) -> Kind {
        match data_type {
            DataType::Sum => Kind::Sum { monotonic: self.metric.monotonic == Some(true), temporality },
            DataType::UpDownCounter => Kind::Sum { monotonic: false, temporality },
            DataType::Histogram => {
                if self.metric.bucket_columns.is_empty() {
                    let message = "'bucket_columns' cannot be empty for data_type: histogram";
                    let help = "name the cumulative count of each upper bound: {\"0.5\": le_05, \"+Inf\": n}";
                    tell(self.error("bucket_columns", message).with_help(help));
                }
                Kind::Histogram { temporality }
            }
            DataType::Gauge | DataType::Info | DataType::StateSet => Kind::Gauge,
        }
    }

    fn value(&self, data_type: DataType, tell: &mut dyn FnMut(Problem)) -> Option<ValueRule> {
        let null = on_null(self.metric.null);
        match data_type {
            DataType::StateSet => self.state(tell).map(ValueRule::State),
            DataType::Histogram => self.buckets(tell),
            DataType::Info => {
                let column = &self.metric.value_column;
                Some(ValueRule::Info { column: (!column.is_empty()).then(|| column.as_str().into()), null })
            }
            DataType::Gauge | DataType::Sum | DataType::UpDownCounter => {
                let column = self.metric.value_column.as_str();
                if column.is_empty() {
                    tell(self.error("value_column", "'value_column' cannot be empty"));
                }
                let read = match self.metric.value_type.as_deref() {
                    None | Some("" | "int") => ValueType::Int,
                    Some("double") => ValueType::Double,
                    Some("number") => ValueType::Number,
                    Some(other) => {
                        let message = format!("metric config has unsupported value_type: '{other}'");
                        tell(self.error("value_type", message).with_help("known are int, double and number"));
                        return None;
                    }
                };
                Some(ValueRule::Number { column: column.into(), read, null })
            }
        }
    }

    fn state(&self, tell: &mut dyn FnMut(Problem)) -> Option<StateRule> {
        let Some(state) = &self.metric.state else {
            let help = "state: {column: status, states: [running, stopped]}";
            tell(self.error("state", "'state' cannot be empty for data_type: stateset").with_help(help));
            return None;
        };
        if state.column.is_empty() {
            tell(self.error("state.column", "'state.column' cannot be empty"));
        }
        if state.states.is_empty() {
            tell(self.error("state.states", "'state.states' cannot be empty"));
        }
        let mut seen = BTreeSet::new();
        for (index, name) in state.states.iter().enumerate().filter(|(_, name)| !seen.insert(*name)) {
            tell(self.error(&format!("state.states[{index}]"), format!("the state '{name}' stands twice")));
        }
        let label = if state.label.is_empty() { &state.column } else { &state.label };
        if self.metric.attribute_columns.contains(label) || self.metric.static_attributes.contains_key(label) {
            let message = format!("'{label}' names the state and cannot be another attribute too");
            tell(
                self.error("state.label", message)
                    .with_help("take it out of the attributes, or set another state.label"),
            );
        }
        Some(StateRule {
            column: state.column.as_str().into(),
            label: label.as_str().into(),
            states: state.states.iter().map(|name| name.as_str().into()).collect(),
            encoding: match state.encoding {
                settings::Encoding::All => Encoding::All,
                settings::Encoding::Active => Encoding::Active,
            },
            unknown: match state.unknown {
                Unknown::Zeros => OnUnknown::Zeros,
                Unknown::Drop => OnUnknown::Drop,
                Unknown::Error => OnUnknown::Error,
            },
            null: self.metric.null.map(|null| on_null(Some(null))),
        })
    }

    fn buckets(&self, tell: &mut dyn FnMut(Problem)) -> Option<ValueRule> {
        let metric = self.metric;
        let mut bounds: Vec<(f64, Box<str>)> = Vec::new();
        let mut infinite: Option<&str> = None;
        for (bound, column) in &metric.bucket_columns {
            let path = format!("bucket_columns[{bound}]");
            match bound.parse::<f64>() {
                _ if column.is_empty() => tell(self.error(&path, format!("the bucket '{bound}' names no column"))),
                Ok(value) if value == f64::INFINITY => infinite = Some(column),
                Ok(value) if value.is_finite() => bounds.push((value, column.as_str().into())),
                _ => {
                    tell(self.error(&path, format!("'{bound}' is no upper bound")).with_help("write a number, or +Inf"))
                }
            }
        }
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        if bounds.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            tell(self.error("bucket_columns", "'bucket_columns' has one upper bound twice"));
        }
        let count = match (metric.count_column.as_str(), infinite) {
            ("", Some(column)) | (column, None) => column,
            (count, Some(column)) if count == column => column,
            (_, Some(_)) => {
                let message = "'count_column' and the bucket '+Inf' are the same number";
                tell(self.error("count_column", message).with_help("leave one of them out"));
                return None;
            }
        };
        if count.is_empty() {
            let message = "'count_column' cannot be empty for data_type: histogram";
            tell(self.error("count_column", message).with_help("or name a column for the bucket +Inf"));
        }
        let sum = (!metric.sum_column.is_empty()).then(|| metric.sum_column.as_str().into());
        Some(ValueRule::Buckets { bounds, count: count.into(), sum, null: on_null(metric.null) })
    }

    pub(super) fn attributes(&self, tell: &mut dyn FnMut(Problem)) -> Vec<AttributeRule> {
        let metric = self.metric;
        let path = format!("{}.attribute_columns", self.path);
        let mut rules = columns(self.section, &path, &metric.attribute_columns, tell);
        for (column, stands_for_it) in &metric.null_attributes {
            match rules.iter_mut().find(|rule| *rule.column == **column) {
                Some(rule) => rule.null = Some(stands_for_it.as_str().into()),
                None => tell(
                    self.warning(
                        &format!("null_attributes[{column}]"),
                        format!("'{column}' is none of the 'attribute_columns'"),
                    )
                    .with_help("leave it out, or add the column"),
                ),
            }
        }
        if metric.static_attributes.contains_key("") {
            tell(self.error("static_attributes", "'static_attributes' has an empty key"));
        }
        rules
    }

    /// The Collector's rule: a start time only where `aggregation` is written.
    fn start(&self, kind: Kind) -> StartRule {
        match (kind.temporality(), self.metric.aggregation.is_some()) {
            (Some(Temporality::Delta), _) => StartRule::LastRead(self.interval),
            (Some(Temporality::Cumulative), true) => StartRule::AtStart,
            _ => StartRule::Unset,
        }
    }

    pub(super) fn error(&self, key: &str, message: impl Into<String>) -> Problem {
        self.section.error(&format!("{}.{key}", self.path), self.named(message.into()))
    }

    fn warning(&self, key: &str, message: impl Into<String>) -> Problem {
        self.section.warning(&format!("{}.{key}", self.path), self.named(message.into()))
    }

    /// The Collector's two lines in one.
    fn named(&self, message: String) -> String {
        match self.metric.metric_name.as_str() {
            "" => message,
            name => format!("{message} (invalid metric config with metric_name '{name}')"),
        }
    }
}

/// Columns that become attributes of the same name.
pub(crate) fn columns(
    section: &Section,
    path: &str,
    columns: &[String],
    tell: &mut dyn FnMut(Problem),
) -> Vec<AttributeRule> {
    let mut seen = BTreeSet::new();
    for (index, column) in columns.iter().enumerate() {
        let at = format!("{path}[{index}]");
        if column.is_empty() {
            tell(section.error(&at, "a column needs a name"));
        } else if !seen.insert(column) {
            tell(section.error(&at, format!("the column '{column}' stands twice")));
        }
    }
    columns.iter().map(|column| AttributeRule { column: column.as_str().into(), null: None }).collect()
}

pub(crate) fn pairs(map: &BTreeMap<String, String>) -> Vec<(Box<str>, Box<str>)> {
    map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}

fn on_null(null: Option<Null>) -> OnNull {
    match null {
        None | Some(Null::Omit) => OnNull::Omit,
        Some(Null::Zero) => OnNull::Zero,
        Some(Null::Error) => OnNull::Error,
    }
}
