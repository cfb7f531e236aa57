//! Metrics of a source: what the user writes, and the rules that it becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

use config::StringList;
use pdata::{Hint, Kind, Temporality};
use pipeline::mapping::TimeUnit;
use pipeline::mapping::counted::{CountRule, CountValue, Observed, TimeCell};
use schemars::JsonSchema;
use serde::Deserialize;

use super::check::Check;
use super::term::{Attribute, When};

/// One element of `metrics`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metric {
    /// Its name. Required.
    pub(super) metric_name: String,
    /// One sentence for people.
    pub(super) description: String,
    /// UCUM unit.
    pub(super) unit: String,
    /// `counter` (default), `updowncounter`, `gauge`, `histogram`, `stateset` or `info`.
    pub(super) data_type: DataType,
    /// The field with the value. A counter without one counts events.
    pub(super) value: Option<String>,
    /// What the value is multiplied with, such as 0.001 for milliseconds.
    pub(super) scale: Option<f64>,
    /// `histogram`: observes the seconds between two times, in place of `value`.
    pub(super) between: Option<Between>,
    /// `histogram`: upper bounds, ascending; the one above the last is not written.
    pub(super) buckets: Vec<f64>,
    /// `stateset`: all states that `value` may name.
    pub(super) states: Vec<String>,
    /// `stateset`: the attribute that names the state, `state` by default.
    pub(super) state_label: Option<String>,
    /// Gauges: the field that says since when it is true; the event's time by default.
    pub(super) time: Option<String>,
    /// What numbers in `time` and `between` count: `s` (default), `ms`, `us` or `ns` since 1970. Text may be RFC 3339.
    pub(super) time_unit: Unit,
    /// Conditions that must all hold.
    pub(super) when: Vec<When>,
    /// Counts things and not events: a field that names the thing, or several, of which the first that is there does. However
    /// many events tell of a thing, and through whichever sources, it counts once in this metric.
    pub(super) once_per: StringList,
    /// Fields that become attributes.
    pub(super) attributes: Vec<Attribute>,
    /// Attributes that every series gets.
    pub(super) static_attributes: BTreeMap<String, String>,
}

/// The key `between`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Between {
    /// The field with the earlier time.
    pub(super) from: String,
    /// The field with the later one.
    pub(super) to: String,
}

/// The key `data_type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum DataType {
    /// Only rises.
    #[default]
    Counter,
    /// Rises and falls.
    UpDownCounter,
    /// The newest value.
    Gauge,
    /// A distribution.
    Histogram,
    /// 0/1 series, one a state.
    StateSet,
    /// Always 1.
    Info,
}

/// What a number that stands for a time counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    /// Seconds.
    #[default]
    S,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Nanoseconds.
    Ns,
}

/// Bounds of a histogram at most; each costs eight bytes and a count in every series.
const BUCKETS_MAX: usize = 256;
/// States of a stateset at most: each is a series.
const STATES_MAX: usize = 64;
impl From<Unit> for TimeUnit {
    fn from(unit: Unit) -> Self {
        match unit {
            Unit::S => Self::Seconds,
            Unit::Ms => Self::Millis,
            Unit::Us => Self::Micros,
            Unit::Ns => Self::Nanos,
        }
    }
}

impl Metric {
    /// The rule of the metric that stands at `path`.
    pub(super) fn rule(&self, path: &str, check: &mut Check<'_>) -> Option<CountRule> {
        if self.metric_name.is_empty() {
            check.error(path, "metric_name", "'metric_name' cannot be empty");
        }
        self.foreign_keys(path, check);
        let value = self.value(path, check);
        let when = check.conditions(&format!("{path}.when"), &self.when);
        let attributes = check.attributes(&format!("{path}.attributes"), &self.attributes);
        let time = self.time.as_deref().and_then(|field| check.field(path, "time", field));
        let (kind, hint) = self.data_type.kind();
        let static_attributes: Vec<(Box<str>, Box<str>)> = pairs(&self.static_attributes);
        Some(CountRule {
            metric: Arc::new(pdata::Metric {
                name: self.metric_name.as_str().into(),
                unit: self.unit.as_str().into(),
                description: self.description.as_str().into(),
                kind,
                hint,
            }),
            value: value?,
            when,
            attributes,
            static_attributes,
            time: time.map(|cell| TimeCell { cell, unit: self.time_unit.into() }),
        })
    }

    fn value(&self, path: &str, check: &mut Check<'_>) -> Option<CountValue> {
        let scale = self.scale;
        if scale.is_some_and(|scale| !scale.is_finite() || scale == 0.0) {
            check.error(path, "scale", "'scale' must be a finite number other than 0");
        }
        let cell = self.value.as_deref().map(|field| check.field(path, "value", field));
        let required = |check: &mut Check<'_>, what: &str| {
            cell.unwrap_or_else(|| {
                check.error(path, "", &format!("'value' is missing: {what}"));
                None
            })
        };
        Some(match self.data_type {
            DataType::Counter | DataType::UpDownCounter => {
                CountValue::Add { cell: cell.map_or(Some(None), |cell| cell.map(Some))?, scale }
            }
            DataType::Gauge => CountValue::Set { cell: required(check, "a gauge shows a field")?, scale },
            DataType::Histogram => {
                let bounds = self.bounds(path, check)?;
                let observed = match &self.between {
                    None => Observed::Cell {
                        cell: required(check, "a histogram observes a field, or the time 'between' two")?,
                        scale,
                    },
                    Some(between) => {
                        let unit = self.time_unit.into();
                        let from = check.field(path, "between.from", &between.from);
                        let to = check.field(path, "between.to", &between.to);
                        Observed::Between { from: TimeCell { cell: from?, unit }, to: TimeCell { cell: to?, unit } }
                    }
                };
                CountValue::Observe { observed, bounds }
            }
            DataType::StateSet => {
                let cell = required(check, "the field that names the state");
                let label = self.state_label.as_deref().unwrap_or("state").into();
                CountValue::State { cell: cell?, label, states: self.states(path, check)? }
            }
            DataType::Info => CountValue::Info,
        })
    }

    fn bounds(&self, path: &str, check: &mut Check<'_>) -> Option<Arc<[f64]>> {
        let help = "such as buckets: [0.1, 1, 10]";
        let wrong = match &*self.buckets {
            [] => "'buckets' is missing: a histogram needs upper bounds".to_owned(),
            many if many.len() > BUCKETS_MAX => format!("'buckets' has {} bounds, at most {BUCKETS_MAX}", many.len()),
            bounds => match bounds.iter().position(|bound| !bound.is_finite()) {
                Some(at) => {
                    check.problem(
                        path,
                        &format!("buckets[{at}]"),
                        "a bound must be finite; +Inf is always there",
                        Some(help),
                    );
                    return None;
                }
                None => match bounds.windows(2).position(|pair| pair[0] >= pair[1]) {
                    Some(at) => {
                        let what =
                            format!("bounds must ascend, and {} does not come after {}", bounds[at + 1], bounds[at]);
                        check.problem(path, &format!("buckets[{}]", at + 1), &what, Some(help));
                        return None;
                    }
                    None => return Some(bounds.into()),
                },
            },
        };
        check.problem(path, "buckets", &wrong, Some(help));
        None
    }

    fn states(&self, path: &str, check: &mut Check<'_>) -> Option<Box<[Box<str>]>> {
        if !(1..=STATES_MAX).contains(&self.states.len()) {
            let what = format!("'states' has {} names; 1 to {STATES_MAX} would do", self.states.len());
            check.error(path, "states", &what);
            return None;
        }
        for (at, state) in self.states.iter().enumerate() {
            if self.states[..at].contains(state) {
                check.error(path, &format!("states[{at}]"), &format!("the state {state:?} is named twice"));
            }
        }
        Some(self.states.iter().map(|state| state.as_str().into()).collect())
    }

    /// Keys that mean nothing for this type: whoever wrote them expects something that will not be.
    fn foreign_keys(&self, path: &str, check: &mut Check<'_>) {
        let of = self.data_type;
        let gauge = matches!(of, DataType::Gauge | DataType::StateSet | DataType::Info);
        for (key, written, fits) in [
            ("buckets", !self.buckets.is_empty(), of == DataType::Histogram),
            ("between", self.between.is_some(), of == DataType::Histogram),
            ("states", !self.states.is_empty(), of == DataType::StateSet),
            ("state_label", self.state_label.is_some(), of == DataType::StateSet),
            ("time", self.time.is_some(), gauge),
            ("value", self.value.is_some(), of != DataType::Info),
            ("scale", self.scale.is_some(), !matches!(of, DataType::StateSet | DataType::Info)),
        ] {
            if written && !fits {
                check.error(path, key, &format!("'{key}' means nothing for data_type {}", of.word()));
            }
        }
        if self.between.is_some() && self.value.is_some() {
            check.error(path, "value", "'value' and 'between' exclude each other: both say what is observed");
        }
        if self.scale.is_some() && self.value.is_none() {
            check.error(path, "scale", "'scale' needs a 'value' to multiply");
        }
    }
}

impl DataType {
    const fn kind(self) -> (Kind, Hint) {
        match self {
            Self::Counter => (Kind::COUNTER, Hint::None),
            Self::UpDownCounter => (Kind::UP_DOWN_COUNTER, Hint::None),
            Self::Gauge => (Kind::Gauge, Hint::None),
            Self::Histogram => (Kind::Histogram { temporality: Temporality::Cumulative }, Hint::None),
            Self::StateSet => (Kind::Gauge, Hint::StateSet),
            Self::Info => (Kind::Gauge, Hint::Info),
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter => "updowncounter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::StateSet => "stateset",
            Self::Info => "info",
        }
    }
}

pub(super) fn pairs(map: &BTreeMap<String, String>) -> Vec<(Box<str>, Box<str>)> {
    map.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect()
}
