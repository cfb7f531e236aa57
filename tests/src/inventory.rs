//! Circuit Breaker databases: one with a few rows that a person could have written, and as many hostile ones as there are seeds.

use std::path::{Path, PathBuf};

use rusqlite::types::Value;
use rusqlite::{Connection, params};

use crate::process::folder;
use crate::{Random, repository};

/// A database, open for writing, in a folder of its own.
#[derive(Debug)]
pub struct Inventory {
    connection: Connection,
    folder: tempfile::TempDir,
}

/// What the application is doing to the database while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// Nothing: all is in the main file.
    Quiet,
    /// Rows stand in the write-ahead log only, and one transaction is open and not committed.
    InFlight,
}

/// A few rows that a person could have written, for any database.
pub(crate) const HOUSEHOLD: &str = "insert into hardware (name, role, memory_gb) values ('hive', 'hypervisor', 64), ('gate', null, 1), ('owl', 'camera', null);
     insert into compute_units (name, kind, \"CPU_cores\", memory_mb) values
       ('home', 'vm', 4, 8192), ('dns', 'container', 1, 512), ('lab', 'vm', null, null);
     insert into services (name, slug, environment, status) values
       ('Jellyfin', 'jellyfin', 'prod', 'running'), ('Pi-hole', 'pi-hole', 'prod', 'degraded'),
       ('Wiki', 'wiki', 'lab', 'stopped'), ('Git', 'git', null, 'running'), ('Old', 'old', 'lab', 'retired');
     insert into storage (name, kind, capacity_gb, used_gb) values
       ('tank', 'pool', 16000, 4000), ('boot', 'disk', 256, 64), ('share', 'share', null, null);
     insert into networks default values;
     insert into hardware_clusters default values;
     insert into external_nodes (provider, kind) values ('hetzner', 'vps'), (null, 'vps'), ('', 'vps');
     insert into misc_items default values;
     insert into docs default values;
     insert into users default values;
     insert into tags (name) values ('media');
     insert into service_dependencies (service_id) values (1);
     insert into logs (level, category) values ('info', 'auth'), ('info', 'auth'), ('warning', 'sync');";

const NAMES: &[&str] = &[
    "a",
    "a",
    "b",
    "nas",
    "",
    " ",
    " lead",
    "quote\"s",
    "back\\slash",
    "\\n",
    "new\nline",
    "carriage\rreturn",
    "tab\t",
    "日本語",
    "Ελλάδα",
    "é",
    "e\u{301}",
    "🦀",
    "\u{202e}right to left",
    "o'clock; drop table",
    "{}",
    "#",
    "le",
    "a=\"b\"",
    "0",
    "1.0",
    "NULL",
    "unknown",
    "\u{fffd}",
    "\u{7f}",
];
const STATUSES: &[Option<&str>] = &[
    Some("running"),
    Some("running"),
    Some("stopped"),
    Some("degraded"),
    Some("maintenance"),
    None,
    Some(""),
    Some("Running"),
    Some("running "),
    Some("unknown"),
    Some("dégradé"),
];

impl Inventory {
    /// All tables, no rows.
    pub fn empty() -> Self {
        let folder = folder("inventory-");
        let connection = Connection::open(folder.path().join("circuitbreaker.db")).expect("a fresh folder is writable");
        connection.pragma_update(None, "journal_mode", "wal").expect("the application runs in WAL mode");
        connection.pragma_update(None, "synchronous", "off").expect("a test survives no power cut");
        connection.execute_batch(&repository::text("tests/oracle/circuit_breaker.sql")).expect("the schema is SQL");
        Self { connection, folder }
    }

    /// A small household, every example query of the page has an answer.
    pub fn household() -> Self {
        let inventory = Self::empty();
        inventory.execute(HOUSEHOLD);
        inventory
    }

    /// Whatever a database may hold that nobody planned for, another one for each seed.
    pub fn hostile(seed: u64, traffic: Traffic) -> Self {
        let inventory = Self::empty();
        let mut random = Random::new(seed);
        if traffic == Traffic::InFlight {
            inventory.connection.pragma_update(None, "wal_autocheckpoint", 0).expect("a known pragma");
        }
        inventory.fill(&mut random);
        match traffic {
            Traffic::Quiet => inventory.checkpoint(),
            Traffic::InFlight => inventory.execute(
                "begin immediate; insert into networks default values; update services set status = 'stopped';
                 insert into hardware (name, memory_gb) values ('not committed', 1);",
            ),
        }
        inventory
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("circuitbreaker.db")
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs statements as the application would.
    ///
    /// # Panics
    /// When SQLite does not accept them.
    pub fn execute(&self, sql: &str) {
        self.connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Writes the log back into the main file.
    pub fn checkpoint(&self) {
        self.execute("pragma wal_checkpoint(truncate)");
    }

    fn fill(&self, random: &mut Random) {
        let rows = |random: &mut Random| random.pick(&[0, 0, 1, 2, 7, 40]);
        let name = |random: &mut Random| random.pick(NAMES).to_owned();
        let maybe = |random: &mut Random| (random.below(5) > 0).then(|| random.pick(NAMES).to_owned());
        // Half of the databases hold plain capacities, the other half whatever fits a cell.
        let sizes = if random.below(2) == 0 { plain_sizes() } else { hostile_sizes() };
        let size = |random: &mut Random| sizes[random.below(sizes.len())].clone();
        self.execute("begin");
        for _ in 0..rows(random) {
            let row = params![name(random), maybe(random), size(random)];
            self.insert("hardware (name, role, memory_gb) values (?, ?, ?)", row);
        }
        for _ in 0..rows(random) {
            let row = params![name(random), name(random), size(random), size(random)];
            self.insert("compute_units (name, kind, \"CPU_cores\", memory_mb) values (?, ?, ?, ?)", row);
        }
        for row in 0..rows(random) {
            let slug = format!("{row}{}", name(random));
            let row = params![name(random), slug, maybe(random), random.pick(STATUSES)];
            self.insert("services (name, slug, environment, status) values (?, ?, ?, ?)", row);
        }
        for _ in 0..rows(random) {
            let row = params![name(random), name(random), size(random), size(random)];
            self.insert("storage (name, kind, capacity_gb, used_gb) values (?, ?, ?, ?)", row);
        }
        for table in ["networks", "hardware_clusters", "misc_items", "docs", "users"] {
            for _ in 0..rows(random) {
                self.insert(&format!("{table} default values"), params![]);
            }
        }
        for row in 0..rows(random) {
            self.insert("tags (name) values (?)", params![row.to_string()]);
            self.insert("service_dependencies (service_id) values (?)", params![row]);
        }
        for _ in 0..rows(random) {
            let row = params![maybe(random), maybe(random)];
            self.insert("external_nodes (provider, kind) values (?, ?)", row);
            let row = params![random.pick(&["info", "", "unknown", "error"]), random.pick(&["auth", "", "unknown"])];
            self.insert("logs (level, category) values (?, ?)", row);
        }
        self.execute("commit");
    }

    fn insert(&self, what: &str, row: &[&dyn rusqlite::ToSql]) {
        let sql = format!("insert into {what}");
        let mut statement = self.connection.prepare_cached(&sql).expect("the schema is ours");
        statement.execute(row).expect("the schema takes any value");
    }
}

fn plain_sizes() -> Vec<Value> {
    vec![Value::Null, Value::Integer(0), Value::Integer(512), Value::Integer(16_000), Value::Real(0.25)]
}

fn hostile_sizes() -> Vec<Value> {
    let integers = [0, -5, 1 << 53, (1 << 53) + 1, 1 << 62, (1 << 62) - 1, -(1 << 62), i64::MAX, i64::MIN];
    let reals = [0.25, -0.0, 1e300, 5e-324, 1e15, f64::INFINITY];
    let mut sizes = vec![Value::Null, Value::Text("a lot".into())];
    sizes.extend(integers.map(Value::Integer));
    sizes.extend(reals.map(Value::Real));
    sizes
}
