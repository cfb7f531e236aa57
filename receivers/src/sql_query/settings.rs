//! What the user writes: the Collector's keys of `sqlquery`, and weir's own, all of them optional.

use std::collections::BTreeMap;

use config::{ByteSize, Duration, Secret};
use schemars::JsonSchema;
use serde::Deserialize;

/// Reads databases with SQL and makes metrics and log records of the rows.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Settings {
    /// Which kind of database: `sqlite`, `postgres` or `mysql` (MariaDB too).
    pub(crate) driver: String,
    /// Where it is. For sqlite: a path or a `file:` URI; for postgres: a URL, or libpq's `name=value`; for mysql: a URL,
    /// or a datasource of Go's driver.
    pub(crate) datasource: Secret,
    /// Host of the database, for drivers of network databases; excludes `datasource`.
    pub(crate) host: String,
    /// Port of the database.
    pub(crate) port: u16,
    /// Name of the database.
    pub(crate) database: String,
    /// User.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: Secret,
    /// A file with the password, read at each connection; excludes `password`. Not for sqlite.
    pub(crate) password_file: Option<String>,
    /// Further parameters of the driver.
    pub(crate) additional_params: BTreeMap<String, serde_json::Value>,
    /// Settings for the transaction of each collection, such as `SET row_security = off`. For postgres and mysql.
    pub(crate) session: Vec<String>,
    /// Databases that are all read with the same queries; excludes the keys that name one.
    pub(crate) targets: Vec<Target>,
    /// A query whose rows drive a loop: all queries are read once for each of them. For postgres and mysql.
    pub(crate) for_each: Option<ForEach>,
    /// How agents with one configuration agree on who reads: not at all (`none`, default), by a lock on a file (`file_lock`), or by
    /// a lock in the database (`db_lock`).
    pub(crate) singleton: Singleton,
    /// With `file_lock`: the file. With sqlite it stands beside the database by default, which all who read it see.
    pub(crate) lock_file: Option<String>,
    /// With `db_lock`: for how long a holder is believed that says nothing. Default 10s, from 2s to 10m.
    pub(crate) lock_lease: Duration,
    /// The queries.
    pub(crate) queries: Vec<Query>,
    /// When to read: by an interval of its own, or when an endpoint is scraped.
    pub(crate) collection: When,
    /// How often each query is read; 10s by default. Not with `collection: on_scrape`.
    pub(crate) collection_interval: Duration,
    /// How long to wait before the first read. Default 0s: the first read begins at once (the Collector waits 1s).
    pub(crate) initial_delay: Duration,
    /// The time-out of queries that have none of their own; 0s (default): their interval, and 10s with `collection: on_scrape`.
    pub(crate) timeout: Duration,
    /// With `collection: on_scrape`: scrapes within this time of the last read get what that read found. Default 0s.
    pub(crate) min_interval: Duration,
    /// `snapshot`: all queries of one collection see one transaction. Default `none`.
    pub(crate) consistency: Consistency,
    /// What an endpoint shows of a query whose read failed: nothing (`omit`, default), the `last` success, or the scrape must
    /// `fail`.
    pub(crate) on_failure: Failure,
    /// Connections that read at the same time; 0 (default) means 4. The Collector opens as many for each query.
    pub(crate) max_open_conn: u32,
    /// A cell, and a row, may have at most this many bytes; past it the read fails. Default 1MiB.
    pub(crate) max_cell_bytes: ByteSize,
    /// Whether `weir_sql_up` and its companions stand on the data endpoint. Default true.
    pub(crate) self_metrics: bool,
    /// Attributes of the resource of all metrics and log records.
    pub(crate) resource_attributes: BTreeMap<String, String>,
    /// An extension that keeps tracking values, and what `new_rows` counts.
    pub(crate) storage: Option<String>,
    /// What is logged.
    pub(crate) telemetry: Telemetry,
}

/// A query whose rows drive a loop.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ForEach {
    /// The statement. Its columns are `$1`, `$2`, … in `session` and in the queries.
    pub(crate) sql: String,
    /// Columns that become attributes of every metric, and of the resource of every log record.
    pub(crate) attribute_columns: Vec<String>,
    /// Columns by which a row is known again that has a `tracking_column` read for it; all of them by default.
    pub(crate) key_columns: Vec<String>,
    /// How long it may take; by default as long as a query.
    pub(crate) timeout: Option<Duration>,
    /// Rows at most; past it nothing is read. Default 1000.
    pub(crate) max_rows: u32,
    /// Rows that are read for at the same time; 0 (default): as many as there are connections.
    pub(crate) max_concurrency: u32,
}

/// One of several databases.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Target {
    /// What `weir_sql_up{target}` and logs call it; its place in the list by default, from 0.
    pub(crate) name: Option<String>,
    /// As the receiver's key.
    pub(crate) datasource: Secret,
    /// As the receiver's key.
    pub(crate) host: String,
    /// As the receiver's key.
    pub(crate) port: u16,
    /// As the receiver's key.
    pub(crate) database: String,
    /// As the receiver's key.
    pub(crate) username: String,
    /// As the receiver's key.
    pub(crate) password: Secret,
    /// As the receiver's key.
    pub(crate) password_file: Option<String>,
    /// As the receiver's key.
    pub(crate) additional_params: BTreeMap<String, serde_json::Value>,
    /// Attributes of the resource of everything that comes from it; they win over the receiver's.
    pub(crate) resource_attributes: BTreeMap<String, String>,
}

/// What is logged.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Telemetry {
    /// Logging.
    pub(crate) logs: TelemetryLogs,
}

/// Logging.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct TelemetryLogs {
    /// Whether the SQL text is logged with each read, at level debug. Default false.
    pub(crate) query: bool,
}

/// When to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum When {
    /// By an interval of its own.
    #[default]
    Interval,
    /// When an endpoint is scraped.
    OnScrape,
}

/// How agents agree on who reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Singleton {
    /// Not at all: each of them reads.
    #[default]
    None,
    /// Who holds a lock on a file reads.
    FileLock,
    /// Who holds a lock in the database reads.
    DbLock,
}

/// What the queries of one collection see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Consistency {
    /// Each its own state of the database.
    #[default]
    None,
    /// All the same.
    Snapshot,
}

/// What an endpoint shows of a failed read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Failure {
    /// Nothing.
    #[default]
    Omit,
    /// The last successful read.
    Last,
    /// The scrape fails.
    Fail,
}

/// One query.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Query {
    /// What `weir_sql_up{query}` and logs call it; its place in the list by default, from 0.
    pub(crate) name: Option<String>,
    /// The statement.
    pub(crate) sql: String,
    /// Metrics made of each row.
    pub(crate) metrics: Vec<Metric>,
    /// Log records made of each row.
    pub(crate) logs: Vec<Log>,
    /// The Collector's way to leave NULLs out silently, which is what `null: omit` does anyway.
    pub(crate) ignore_null_values: bool,
    /// A column that only grows, or several, which are compared as a row: `id`, `[at, id]`, `{name: at, type: timestamp}`. Types are
    /// `int`, `text`, `timestamp` and `uuid`; what is not written is guessed from the first row.
    pub(crate) tracking_column: Option<serde_json::Value>,
    /// Where `tracking_column` begins; a list where there are several.
    pub(crate) tracking_start_value: Option<serde_json::Value>,
    /// `miss` (default): a row that is committed after a later one was read is missed. `xmin`: rows wait until no transaction can commit
    /// one before them; postgres only.
    #[schemars(extend("enum" = ["miss", "xmin"]))]
    pub(crate) late_commits: Option<String>,
    /// How far back each read begins: a time such as `5m` for a timestamp, a number for an int.
    pub(crate) overlap: Option<serde_json::Value>,
    /// The primary key, by which rows that are read again are known. For `overlap`.
    pub(crate) key_columns: Vec<String>,
    /// Keys that are remembered at most, with `for_each` for each row; past it the overlap shortens. Default 100000, and with `for_each` as
    /// many as ten million divided by its `max_rows`, if that is less.
    pub(crate) max_keys: Option<u32>,
    /// How often this query is read; the receiver's `collection_interval` by default.
    pub(crate) collection_interval: Option<Duration>,
    /// How long this query may take; its interval by default.
    pub(crate) timeout: Option<Duration>,
    /// Rows of one read at most; past it the read fails, and one with `tracking_column` ends and the next goes on. Default 1000000.
    pub(crate) max_rows: u32,
    /// Whether a read without rows fails: a role that row-level security lets see nothing gets no error of its own. Default false.
    pub(crate) expect_rows: bool,
    /// Columns that become attributes of the resource.
    pub(crate) resource_attribute_columns: Vec<String>,
}

/// One metric of a query.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Metric {
    /// Its name.
    pub(crate) metric_name: String,
    /// The column with the value. `stateset` and `histogram` have columns of their own.
    pub(crate) value_column: String,
    /// `int` (default), `double`, or `number`: whatever each cell is.
    #[schemars(extend("enum" = ["int", "double", "number"]))]
    pub(crate) value_type: Option<String>,
    /// `gauge` (default), `sum`, `updowncounter`, `histogram`, `info` or `stateset`.
    #[schemars(extend("enum" = ["gauge", "sum", "updowncounter", "histogram", "info", "stateset"]))]
    pub(crate) data_type: Option<String>,
    /// Whether a `sum` only rises. Default false.
    pub(crate) monotonic: Option<bool>,
    /// `cumulative` (default) or `delta`, for `sum` and `histogram`.
    #[schemars(extend("enum" = ["cumulative", "delta"]))]
    pub(crate) aggregation: Option<String>,
    /// One sentence for people.
    pub(crate) description: String,
    /// UCUM unit.
    pub(crate) unit: String,
    /// For queries with `tracking_column`: each new row is counted once, across restarts. `count`: adds 1; `add`: adds `value_column`;
    /// `observe`: puts `value_column` into a histogram with `buckets`.
    #[schemars(extend("enum" = ["count", "add", "observe"]))]
    pub(crate) new_rows: Option<String>,
    /// Upper bounds of the buckets of `new_rows: observe`, ascending.
    pub(crate) buckets: Vec<f64>,
    /// Columns that become attributes.
    pub(crate) attribute_columns: Vec<String>,
    /// Attributes that every point gets.
    pub(crate) static_attributes: BTreeMap<String, String>,
    /// The column with the start time.
    pub(crate) start_ts_column: String,
    /// The column with the time.
    pub(crate) ts_column: String,
    /// The states of a `stateset`.
    pub(crate) state: Option<State>,
    /// What a NULL value does: the row makes no point (`omit`, default), the value is 0 (`zero`), the read fails (`error`).
    pub(crate) null: Option<Null>,
    /// What stands for NULL and the empty text, per attribute column.
    pub(crate) null_attributes: BTreeMap<String, String>,
    /// What becomes of two rows that make one series. Default `last`.
    pub(crate) on_duplicate: Duplicate,
    /// For `histogram`: upper bound to the column that counts the observations up to it, such as `{"0.5": le_05}`.
    pub(crate) bucket_columns: BTreeMap<String, String>,
    /// For `histogram`: the column with the number of all observations; the column of the bound `+Inf` by default.
    pub(crate) count_column: String,
    /// For `histogram`: the column with the sum of the observations.
    pub(crate) sum_column: String,
}

/// The states of a `stateset`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct State {
    /// The column with the state.
    pub(crate) column: String,
    /// The attribute that names the state; the column's name by default.
    pub(crate) label: String,
    /// All states, compared exactly.
    pub(crate) states: Vec<String>,
    /// `all` (default): one 0/1 series a state; `active`: one series, of the active state.
    pub(crate) encoding: Encoding,
    /// A state outside the list, or NULL: all states are 0 (`zeros`, default), the row is left out (`drop`), the read fails
    /// (`error`).
    pub(crate) unknown: Unknown,
}

/// What a NULL value does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Null {
    /// No point.
    Omit,
    /// 0.
    Zero,
    /// The read fails.
    Error,
}

/// What becomes of two rows that make one series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Duplicate {
    /// The later row counts.
    #[default]
    Last,
    /// The earlier row counts.
    First,
    /// They add up.
    Sum,
    /// The read fails.
    Error,
}

/// Which states have a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Encoding {
    /// All of them.
    #[default]
    All,
    /// The active one.
    Active,
}

/// What a state outside the list does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unknown {
    /// All states are 0.
    #[default]
    Zeros,
    /// The row is left out.
    Drop,
    /// The read fails.
    Error,
}

/// Log records of a query.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct Log {
    /// The column with the body.
    pub(crate) body_column: String,
    /// Columns that become attributes.
    pub(crate) attribute_columns: Vec<String>,
    /// Attributes that every record gets.
    pub(crate) static_attributes: BTreeMap<String, String>,
    /// The column with the time when it happened.
    pub(crate) ts_column: String,
    /// The column with the severity: a number of 1 to 24, or a word such as `warn`.
    pub(crate) severity_column: String,
    /// Cells of the severity column that mean something else, such as `{"3": error}`.
    pub(crate) severities: BTreeMap<String, serde_json::Value>,
    /// The column with the name of the event.
    pub(crate) event_name_column: String,
    /// The column with the trace id: 32 hexadecimal digits or 16 bytes.
    pub(crate) trace_id_column: String,
    /// The column with the span id: 16 hexadecimal digits or 8 bytes.
    pub(crate) span_id_column: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            driver: String::new(),
            datasource: Secret::default(),
            host: String::new(),
            port: 0,
            database: String::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            additional_params: BTreeMap::new(),
            session: Vec::new(),
            targets: Vec::new(),
            for_each: None,
            singleton: Singleton::default(),
            lock_file: None,
            lock_lease: Duration::from_secs(10),
            queries: Vec::new(),
            collection: When::default(),
            collection_interval: Duration::from_secs(10),
            initial_delay: Duration::ZERO,
            timeout: Duration::ZERO,
            min_interval: Duration::ZERO,
            consistency: Consistency::default(),
            on_failure: Failure::default(),
            max_open_conn: 0,
            max_cell_bytes: ByteSize::from_bytes(1 << 20),
            self_metrics: true,
            resource_attributes: BTreeMap::new(),
            storage: None,
            telemetry: Telemetry::default(),
        }
    }
}

impl Default for ForEach {
    fn default() -> Self {
        Self {
            sql: String::new(),
            attribute_columns: Vec::new(),
            key_columns: Vec::new(),
            timeout: None,
            max_rows: 1000,
            max_concurrency: 0,
        }
    }
}

impl Default for Query {
    fn default() -> Self {
        Self {
            name: None,
            sql: String::new(),
            metrics: Vec::new(),
            logs: Vec::new(),
            ignore_null_values: false,
            tracking_column: None,
            tracking_start_value: None,
            late_commits: None,
            overlap: None,
            key_columns: Vec::new(),
            max_keys: None,
            collection_interval: None,
            timeout: None,
            max_rows: 1_000_000,
            expect_rows: false,
            resource_attribute_columns: Vec::new(),
        }
    }
}
