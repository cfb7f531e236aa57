//! A ledger seen from outside: listing, verifying, exporting. Works beside a running agent and on a copy; never writes.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use pdata::{SeriesTable, UnixNanos};
use serde_json::json;

use super::entry::Cursor;
use super::error::Trouble;
use super::files::DATABASE;
use super::held::Standing;
use super::load::{self, Beside, Loaded};
use super::salvage;
use super::store::{self, Store};
use super::window::WindowLimits;
use crate::fault::Fault;

/// A ledger opened for reading.
#[derive(Debug)]
pub struct Offline {
    store: Store,
    path: std::path::PathBuf,
}

/// One series of a ledger.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Who it is.
    pub series: pdata::Series,
    /// When its stream began.
    pub start: UnixNanos,
    /// Where it stands.
    pub standing: Standing,
}

/// What was found in a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Series with their values.
    pub series: u64,
    /// Remembered ids.
    pub ids: u64,
    /// Records that wait for export.
    pub spooled: u64,
    /// Cursors.
    pub cursors: u64,
    /// Commits since the ledger began.
    pub commits: u64,
    /// What is wrong, one line each; empty when all is well.
    pub problems: Vec<String>,
}

/// The window's limits do not matter for who only reads.
const ANY: WindowLimits = WindowLimits { length: Duration::ZERO, max_bytes: u64::MAX };

/// Lines of damage that are told; more of them tell no more.
const PROBLEMS_MAX: i64 = 100;

impl Offline {
    /// Opens the ledger at `path`: its folder, or the database itself.
    ///
    /// # Errors
    /// When there is none, or it cannot be read as one. A ledger whose first pages are damaged is one: the agent's next start
    /// puts it aside and keeps what is sound.
    pub fn open(path: &Path) -> Result<Self, Fault> {
        let path = if path.is_dir() { path.join(DATABASE) } else { path.to_owned() };
        let fault = |error: Trouble| Fault::new(format!("cannot read the ledger {}", path.display())).caused_by(error);
        let store = open(&path).map_err(fault)?;
        Ok(Self { store, path })
    }

    /// All series.
    ///
    /// # Errors
    /// When something is damaged; see [`verify`](Self::verify).
    pub fn series(&self) -> Result<Vec<Listed>, Fault> {
        let loaded = self.read()?;
        let snapshot = loaded.image.snapshot(&SeriesTable::with_defaults());
        Ok(snapshot
            .series()
            .map(|(series, start, standing)| Listed { series, start, standing: standing.clone() })
            .collect())
    }

    /// All cursors, by their keys.
    ///
    /// # Errors
    /// When something is damaged; see [`verify`](Self::verify).
    pub fn cursors(&self) -> Result<Vec<Cursor>, Fault> {
        let mut cursors: Vec<_> = self.read()?.image.cursors.into_values().map(|(_, cursor)| cursor).collect();
        cursors.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(cursors)
    }

    /// Checks everything: SQLite's own integrity check, every row's check, every count, and the log.
    ///
    /// # Errors
    /// When the files cannot be read at all.
    pub fn verify(&self) -> Result<Findings, Fault> {
        let mut findings = Findings::default();
        let fault = |error: rusqlite::Error| self.fault(error);
        if salvage::log_is_damaged(&self.path).map_err(|trouble| self.fault(trouble))? {
            findings.problems.push("the log holds damaged transactions".into());
        }
        let connection = &self.store.connection;
        let mut check = connection.prepare(&format!("PRAGMA integrity_check({PROBLEMS_MAX})")).map_err(fault)?;
        match check.query_map([], |row| row.get::<_, String>(0)).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(lines) => findings.problems.extend(lines.into_iter().filter(|line| line != "ok")),
            Err(error) => findings.problems.push(error.to_string()),
        }
        match self.load() {
            Ok(loaded) => {
                findings.series = loaded.books.series;
                findings.cursors = loaded.books.cursors;
                findings.commits = loaded.books.commit;
                findings.ids = self.young_alone(&loaded).unwrap_or_default();
            }
            Err(trouble) => findings.problems.push(trouble.to_string()),
        }
        if let Err(trouble) = load::check_all(&self.store) {
            findings.problems.push(trouble.to_string());
        }
        findings.ids += self.count("SELECT count(*) FROM seen");
        findings.spooled = self.count("SELECT count(*) FROM spool");
        findings.problems.dedup();
        Ok(findings)
    }

    /// Writes all series and cursors as JSON, one object a line.
    ///
    /// # Errors
    /// When something is damaged or `out` does not take it.
    pub fn export(&self, out: &mut dyn Write) -> Result<(), Fault> {
        let loaded = self.read()?;
        let snapshot = loaded.image.snapshot(&SeriesTable::with_defaults());
        let mut line = |value: serde_json::Value| writeln!(out, "{value}").map_err(|error| self.fault(error));
        for (series, start, standing) in snapshot.series() {
            line(json_series(&series, start, standing))?;
        }
        for (_, cursor) in loaded.image.cursors.values() {
            let value = String::from_utf8_lossy(&cursor.value);
            line(json!({ "cursor": cursor.key, "value": value, "token": cursor.token }))?;
        }
        Ok(())
    }

    fn read(&self) -> Result<Loaded, Fault> {
        self.load().map_err(|trouble| self.fault(trouble))
    }

    fn load(&self) -> Result<Loaded, Trouble> {
        // All tables must be read as of one commit.
        let connection = &self.store.connection;
        connection.execute_batch("BEGIN")?;
        let loaded = load::load(&self.store, ANY, Beside::Agent);
        connection.execute_batch("COMMIT")?;
        loaded
    }

    /// How many young ids are not among the old ones as well, on their way there.
    fn young_alone(&self, loaded: &Loaded) -> Result<u64, Trouble> {
        let mut tree = self.store.tree()?;
        loaded
            .young
            .merging
            .iter()
            .chain(&loaded.young.fresh)
            .try_fold(0, |alone, (id, _)| Ok(alone + u64::from(!tree.knows(*id)?)))
    }

    fn count(&self, sql: &str) -> u64 {
        // A damaged tree may not be countable; integrity_check has said so.
        self.store.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap_or_default().cast_unsigned()
    }

    fn fault(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Fault {
        Fault::new(format!("cannot read the ledger {}", self.path.display())).caused_by(error)
    }
}

fn open(path: &Path) -> Result<Store, Trouble> {
    let connection = store::open_to_read(path)?;
    let key = store::read_key(&connection)?;
    Ok(Store::reading(connection, key))
}

fn json_series(series: &pdata::Series, start: UnixNanos, standing: &Standing) -> serde_json::Value {
    let metric = series.metric();
    let attributes: serde_json::Map<_, _> =
        series.attributes().iter().map(|(key, value)| (key.to_owned(), json_value(value))).collect();
    let mut line = json!({
        "metric": metric.name,
        "unit": metric.unit,
        "type": super::held::Class::of(metric.kind).map_or("unknown", super::held::Class::word),
        "attributes": attributes,
        "start_unix_nano": start.0,
    });
    let number = |number: &pdata::Number| match number {
        pdata::Number::Int(int) => json!(int),
        pdata::Number::Double(double) => json!(double),
    };
    match standing {
        Standing::Sum(sum) => line["value"] = number(sum),
        Standing::Gauge(value, time) => {
            line["value"] = number(value);
            line["time_unix_nano"] = json!(time.0);
        }
        Standing::Histogram(bins) => {
            let histogram = bins.histogram();
            line["count"] = json!(histogram.count);
            line["sum"] = json!(histogram.sum);
            line["bounds"] = json!(histogram.bounds);
            line["counts"] = json!(histogram.counts);
        }
    }
    line
}

fn json_value(value: pdata::ValueRef<'_>) -> serde_json::Value {
    match value {
        pdata::ValueRef::Bool(flag) => json!(flag),
        pdata::ValueRef::Int(int) => json!(int),
        pdata::ValueRef::Double(double) => json!(double),
        other => json!(other.to_string()),
    }
}
