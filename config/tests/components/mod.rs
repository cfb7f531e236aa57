//! Components as small as they can be to make every kind of mistake in: what a real agent's look like from here.

use std::collections::BTreeMap;

use config::{ByteSize, Document, Duration, KindInfo, Known, Optional, Problems, Secret, Section, StringList};
use serde::Deserialize;

/// The types this small agent knows.
pub(crate) fn known() -> Known {
    Known {
        receivers: vec![
            kind("sql_query", &[]),
            kind("otlp", &[]),
            KindInfo { built: false, ..kind("webhook_event", &[]) },
        ],
        processors: vec![kind("relabel", &[]), kind("batch", &[])],
        exporters: vec![kind("prometheus", &[]), kind("debug", &[]), kind("otlp_grpc", &["otlp"])],
        connectors: vec![kind("count", &[])],
        extensions: vec![kind("health_check", &[])],
    }
}

fn kind(kind: &'static str, aliases: &'static [&'static str]) -> KindInfo {
    KindInfo { kind, aliases, built: true, feature: kind }
}

/// Decodes every section whose type is known.
pub(crate) fn decode_all(document: &Document) -> Problems {
    let mut problems = Problems::new();
    for class in ["receivers", "processors", "exporters", "connectors", "extensions"] {
        for section in document.class(class) {
            problems.extend(decode(section).err().into_iter().flatten());
        }
    }
    problems.extend(document.service.telemetry.decode::<Telemetry>().err().into_iter().flatten());
    problems
}

fn decode(section: &Section) -> Result<(), Problems> {
    match config::fold_kind(section.id().kind()).as_str() {
        "sqlquery" => sql_query(section),
        "prometheus" => section.decode::<Prometheus>().map(drop),
        "relabel" => section.decode::<Relabel>().map(drop),
        "otlp" => section.decode::<Otlp>().map(drop),
        "batch" => section.decode::<Batch>().map(drop),
        "debug" => section.decode::<Debug>().map(drop),
        _ => Ok(()),
    }
}

/// A check of a component's own, as the real one makes.
fn sql_query(section: &Section) -> Result<(), Problems> {
    let config: SqlQuery = section.decode()?;
    let mut problems = Problems::new();
    if config.collection == Collection::OnScrape && section.has("collection_interval") {
        problems.push(
            section
                .error("collection_interval", "collection_interval has no meaning beside collection: on_scrape")
                .with_help("remove one of the two"),
        );
    }
    for (index, query) in config.queries.iter().enumerate() {
        if query.sql.is_empty() {
            problems.push(section.error(&format!("queries[{index}].sql"), "'query.sql' cannot be empty"));
        }
    }
    problems.into_result()
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)] // only read by serde
struct SqlQuery {
    driver: String,
    datasource: Secret,
    host: String,
    port: u16,
    password: Secret,
    collection: Collection,
    collection_interval: Duration,
    initial_delay: Duration,
    max_open_conn: u32,
    queries: Vec<Query>,
}

#[derive(Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Collection {
    #[default]
    Interval,
    OnScrape,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Query {
    sql: String,
    #[serde(default)]
    timeout: Duration,
    #[serde(default)]
    max_rows: u64,
    #[serde(default)]
    metrics: Vec<Metric>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Metric {
    metric_name: String,
    #[serde(default)]
    value_column: String,
    #[serde(default)]
    monotonic: bool,
    #[serde(default)]
    data_type: DataType,
    #[serde(default)]
    attribute_columns: Vec<String>,
    #[serde(default)]
    static_attributes: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DataType {
    #[default]
    Gauge,
    Sum,
    Stateset,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Prometheus {
    endpoint: String,
    path: String,
    namespace: String,
    const_labels: BTreeMap<String, String>,
    metric_expiration: Duration,
    max_series: u64,
    max_body: ByteSize,
    sample_ratio: f64,
    send_timestamps: bool,
    tls: Optional<Tls>,
    gates: Optional<Gates>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Tls {
    cert_file: String,
    key_file: String,
    min_version: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Gates {
    token: Secret,
    token_file: String,
    cidrs: StringList,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Relabel {
    scope: Vec<String>,
    #[serde(alias = "rules")]
    metric_relabel_configs: Vec<Rule>,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct Rule {
    #[serde(default)]
    source_labels: Vec<String>,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    target_label: String,
    #[serde(default)]
    replacement: String,
    action: Action,
    #[serde(default)]
    modulus: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Replace,
    Keep,
    Drop,
    HashMod,
    LabelDrop,
    LabelKeep,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Otlp {
    protocols: Protocols,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Protocols {
    grpc: Optional<Door>,
    http: Optional<Door>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Door {
    endpoint: String,
    max_request: ByteSize,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Batch {
    timeout: Duration,
    send_batch_size: u32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Debug {
    verbosity: Verbosity,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verbosity {
    #[default]
    Basic,
    Normal,
    Detailed,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Telemetry {
    logs: Logs,
}

#[derive(Default, Deserialize)]
#[serde(default)]
#[allow(dead_code)]
struct Logs {
    level: String,
    encoding: String,
}
