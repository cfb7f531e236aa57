//! From what the user wrote to a metric that counts new rows.

use std::sync::Arc;

use config::{Problem, Problems};
use pdata::{Hint, Kind, Temporality};

use super::check_metric::{MetricCheck, pairs};
use super::counting::{CountedMetric, NewRows};
use super::settings::Duplicate;

impl MetricCheck<'_> {
    /// The rule of a metric with `new_rows`; `None` when something is wrong with it.
    pub(crate) fn counted(&self, problems: &mut Problems) -> Option<CountedMetric> {
        let mut found = Vec::new();
        let rule = self.count(&mut |problem| found.push(problem));
        let wrong = found.iter().any(Problem::is_error);
        problems.extend(found);
        rule.filter(|_| !wrong)
    }

    fn count(&self, tell: &mut dyn FnMut(Problem)) -> Option<CountedMetric> {
        let metric = self.metric;
        if metric.metric_name.is_empty() {
            tell(self.error("metric_name", "'metric_name' cannot be empty"));
        }
        let how = metric.new_rows.as_deref()?;
        let (Some(value), Some(kind)) = (self.new_rows(how, tell), self.counted_kind(how, tell)) else { return None };
        self.idle(how, tell);
        Some(CountedMetric {
            metric: Arc::new(pdata::Metric {
                name: metric.metric_name.as_str().into(),
                unit: metric.unit.as_str().into(),
                description: metric.description.as_str().into(),
                kind,
                hint: Hint::None,
            }),
            value,
            attributes: self.attributes(tell),
            static_attributes: pairs(&metric.static_attributes),
        })
    }

    fn new_rows(&self, how: &str, tell: &mut dyn FnMut(Problem)) -> Option<NewRows> {
        let column = self.metric.value_column.as_str();
        match (how, column) {
            ("count", "") => Some(NewRows::Count),
            ("count", _) => {
                let problem = self.error("value_column", "'value_column' means nothing beside 'new_rows: count'");
                tell(problem.with_help("leave it out, or write new_rows: add"));
                None
            }
            ("add" | "observe", "") => {
                tell(self.error("value_column", "'value_column' cannot be empty"));
                None
            }
            ("add", column) => Some(NewRows::Add { column: column.into() }),
            ("observe", column) => {
                Some(NewRows::Observe { column: column.into(), bounds: self.buckets_of_rows(tell)? })
            }
            (other, _) => {
                let problem = self.error("new_rows", format!("metric config has unsupported new_rows: '{other}'"));
                tell(problem.with_help("known are count, add and observe"));
                None
            }
        }
    }

    fn buckets_of_rows(&self, tell: &mut dyn FnMut(Problem)) -> Option<Arc<[f64]>> {
        let bounds = &self.metric.buckets;
        let finite = bounds.iter().all(|bound| bound.is_finite());
        if bounds.is_empty() || !finite || bounds.windows(2).any(|pair| pair[0] >= pair[1]) {
            let problem = self.error("buckets", "'buckets' must be numbers that rise, for 'new_rows: observe'");
            tell(problem.with_help("such as [0.1, 0.5, 1, 5]; the bucket above the last is not written"));
            return None;
        }
        Some(bounds.as_slice().into())
    }

    /// A sum that only rises, unless `monotonic: false` or another type says that it may fall; a histogram for `observe`.
    fn counted_kind(&self, how: &str, tell: &mut dyn FnMut(Problem)) -> Option<Kind> {
        let metric = self.metric;
        let falls = metric.monotonic == Some(false) || metric.data_type.as_deref() == Some("updowncounter");
        let (fits, kind): (&[&str], _) = match how {
            "observe" => (&["", "histogram"], Kind::Histogram { temporality: Temporality::Cumulative }),
            "add" if falls => (&["", "sum", "updowncounter"], Kind::UP_DOWN_COUNTER),
            "add" => (&["", "sum", "updowncounter"], Kind::COUNTER),
            _ => (&["", "sum"], Kind::COUNTER),
        };
        let data_type = metric.data_type.as_deref().unwrap_or_default();
        if !fits.contains(&data_type) {
            let problem = self.error("data_type", format!("data_type={data_type} does not go with new_rows={how}"));
            tell(problem.with_help("leave 'data_type' out"));
            return None;
        }
        if metric.aggregation.as_deref().is_some_and(|written| !["", "cumulative"].contains(&written)) {
            let problem = self.error("aggregation", "what 'new_rows' counts is cumulative");
            tell(problem.with_help("leave 'aggregation' out"));
            return None;
        }
        Some(kind)
    }

    /// Keys of metrics that show a state.
    fn idle(&self, how: &str, tell: &mut dyn FnMut(Problem)) {
        let metric = self.metric;
        for (key, written) in [
            ("state", metric.state.is_some()),
            ("bucket_columns", !metric.bucket_columns.is_empty()),
            ("count_column", !metric.count_column.is_empty()),
            ("sum_column", !metric.sum_column.is_empty()),
            ("start_ts_column", !metric.start_ts_column.is_empty()),
            ("ts_column", !metric.ts_column.is_empty()),
            ("null", metric.null.is_some()),
            ("on_duplicate", metric.on_duplicate != Duplicate::default()),
            ("value_type", metric.value_type.is_some()),
            ("monotonic", metric.monotonic.is_some() && how != "add"),
            ("buckets", !metric.buckets.is_empty() && how != "observe"),
        ] {
            if written {
                let problem = self.error(key, format!("'{key}' means nothing beside 'new_rows: {how}'"));
                tell(problem.with_help("leave it out"));
            }
        }
    }
}
