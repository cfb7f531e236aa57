//! One query of `sql_query`, read on every scrape, and what a user sees of it.

use std::time::Duration;

use crate::exposition::{Exposition, Sample};
use crate::{Launch, PATIENCE, Weir, at_best, within};

/// Far less than the half minute that a query sleeps which was told to stop.
pub const SOON: Duration = Duration::from_secs(12);

/// A receiver with one query, whose rows have a `name` and a `value`, with further keys of the receiver and of the query.
pub fn reading(
    driver: &str,
    datasource: impl AsRef<std::ffi::OsStr>,
    sql: &str,
    receiver: &str,
    query: &str,
) -> Launch {
    let yaml = format!(
        "
receivers:
  sql_query/judged:
    driver: {driver}
    datasource: ${{env:DATABASE}}
    collection: on_scrape
{receiver}
    queries:
      - sql: {sql:?}
{query}
        metrics: [{{metric_name: judged, value_column: value, attribute_columns: [name], value_type: number}}]
exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [sql_query/judged], exporters: [prometheus]}}}}
"
    );
    Weir::run_text(&yaml).env("DATABASE", datasource)
}

/// A scrape, taken apart.
pub fn scrape(weir: &Weir) -> Exposition {
    Exposition::read(weir.scrape().text())
}

/// `weir_sql_up` of the one query.
///
/// # Panics
/// When there is none, or more than one.
pub fn up(served: &Exposition) -> f64 {
    let found: Vec<_> = served.named("weir_sql_up").collect();
    assert_eq!(found.len(), 1, "{:?}", served.samples);
    found[0].number()
}

/// The read fails, is seen to fail, weir goes on, and the log says this.
///
/// # Panics
/// When one of these is not so.
pub fn assert_down(weir: &mut Weir, why: &str) {
    let served = scrape(weir);
    assert_eq!(up(&served), 0.0, "{why}: {:?}", served.samples);
    assert_eq!(served.named("judged").count(), 0, "on_failure is omit: {:?}", served.samples);
    assert!(weir.runs());
    within(PATIENCE, why, || weir.stderr().contains(why).then_some(()));
}

/// Name and value of what is served, sorted.
pub fn values(served: &Exposition) -> Vec<(String, String)> {
    let pair = |sample: &Sample| (sample.labels["name"].clone(), sample.value.clone());
    let mut found: Vec<_> = served.named("judged").map(pair).collect();
    found.sort();
    found
}

/// Reads end at their deadline of 300 ms: never before, and within a tenth of it unless the machine is busy.
///
/// # Panics
/// When they do not.
pub fn assert_punctual(weir: &Weir) {
    at_best(Duration::from_millis(330), "a read with a deadline of 300 ms", || {
        let served = scrape(weir);
        let took = served.named("weir_sql_duration_seconds").next().expect("it is served").number();
        assert!(took >= 0.27, "the read took {took} s");
        Duration::from_secs_f64(took)
    });
}
