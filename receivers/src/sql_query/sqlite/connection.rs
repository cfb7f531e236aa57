//! One connection that can only read this one database.
//!
//! `SQLITE_OPEN_READ_ONLY` alone is not enough: `VACUUM INTO` would still write a new file anywhere, and `ATTACH` would read any
//! other database. So: no attached databases, an authorizer that knows what reading is, no extensions, no trust in the schema,
//! a cap on cells, and a watch that ends a query inside SQLite.

use std::path::Path;

use pdata::UnixNanos;
use pipeline::mapping::{Cell, Record};
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{OpenFlags, Row};

use super::error::{Asked, offset, over, tell};
use super::watch::Watch;
use crate::sql_query::describe::{Column, Described, Kind, Refused};
use crate::sql_query::intake::Intake;
use crate::sql_query::pages::Handed;
use crate::sql_query::source::{NO_PARAMETER, ReadError, Reason};

/// An open database.
pub(super) struct Connection {
    sqlite: rusqlite::Connection,
    file: FileId,
}

/// What a connection is made with.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) path: std::path::PathBuf,
    pub(super) max_cell_bytes: u64,
    /// Statements that are kept prepared: as many as the receiver has queries.
    pub(super) statements: usize,
}

/// Which file a path leads to. While a connection has the file open, no other file can get its inode.
type FileId = Option<(u64, u64)>;

/// Steps of SQLite's virtual machine between looks at the watch: some 10 to 50 µs, so that deadlines are kept and looking costs
/// nothing.
const STEPS_BETWEEN_LOOKS: i32 = 1000;

/// Pragmas that only tell something.
const PRAGMAS: &[&str] = &[
    "application_id",
    "collation_list",
    "compile_options",
    "data_version",
    "database_list",
    "encoding",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "module_list",
    "page_count",
    "page_size",
    "pragma_list",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

impl Connection {
    /// Opens the database and locks the connection down.
    pub(super) fn open(settings: &Settings, watch: &Watch) -> Result<Self, ReadError> {
        let file = file_id(&settings.path)?;
        let asked = |opened| Asked {
            path: &settings.path,
            max_cell_bytes: settings.max_cell_bytes,
            over: watch.over(),
            opened,
        };
        // No SQLITE_OPEN_URI: what the path says is the path. The connection never leaves its thread.
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut sqlite =
            rusqlite::Connection::open_with_flags(&settings.path, flags).map_err(|error| tell(&error, asked(false)))?;
        lock_down(&mut sqlite, settings, watch).map_err(|error| tell(&error, asked(true)))?;
        sqlite.set_prepared_statement_cache_capacity(settings.statements);
        Ok(Self { sqlite, file })
    }

    /// Whether its path still leads to the file that it has open.
    pub(super) fn is_current(&self, settings: &Settings) -> Result<bool, ReadError> {
        Ok(self.file == file_id(&settings.path)?)
    }

    /// Begins a transaction: all that follows sees the database as the first query finds it.
    pub(super) fn begin(&self) {
        // A deferred BEGIN touches nothing, so there is nothing that could go wrong but a transaction that was left open.
        if self.in_transaction() {
            self.end();
        }
        self.sqlite.execute_batch("BEGIN").ok();
    }

    /// Whether the transaction is still open.
    pub(super) fn in_transaction(&self) -> bool {
        !self.sqlite.is_autocommit()
    }

    /// Ends the transaction. It wrote nothing, so it does not matter how.
    pub(super) fn end(&self) {
        self.sqlite.execute_batch("ROLLBACK").ok();
    }

    /// What a statement would give. Preparing reads the schema and nothing else.
    pub(super) fn describe(&self, sql: &str, settings: &Settings, watch: &Watch) -> Result<Described, Refused> {
        let statement = self.sqlite.prepare(sql).map_err(|error| {
            let (path, max_cell_bytes) = (&*settings.path, settings.max_cell_bytes);
            let told = tell(&error, Asked { path, max_cell_bytes, over: watch.over(), opened: true });
            Refused { error: told, at: offset(&error) }
        })?;
        let columns = statement.columns();
        let column =
            |column: &rusqlite::Column<'_>| Column { name: column.name().into(), kind: kind(column.decl_type()) };
        Ok(Described { columns: columns.map(|one| column(&one)).collect(), parameters: statement.parameter_count() })
    }

    /// Reads one query into `intake`.
    pub(super) fn read(
        &self,
        (sql, parameters): (&str, &[Option<Box<str>>]),
        intake: &mut Intake,
        began: UnixNanos,
        settings: &Settings,
        watch: &Watch,
    ) -> Result<(), ReadError> {
        let tell = |error: rusqlite::Error| {
            let asked = Asked {
                path: &settings.path,
                max_cell_bytes: settings.max_cell_bytes,
                over: watch.over(),
                opened: true,
            };
            tell(&error, asked)
        };
        if let Some(why) = watch.over() {
            return Err(over(Some(why)));
        }
        let mut statement = self.sqlite.prepare_cached(sql).map_err(tell)?;
        if statement.column_count() == 0 {
            return Err(ReadError::new(Reason::Statement, "the statement gives no rows; write a select"));
        }
        bind(&mut statement, parameters, intake)?;
        let mut rows = statement.raw_query();
        let mut begun = false;
        while let Some(row) = rows.next().map_err(tell)? {
            if !begun {
                // Asked for after the first step: if the schema changed, that step prepared the statement anew.
                let result: &rusqlite::Statement<'_> = row.as_ref();
                intake.begin(&result.column_names().collect::<Vec<_>>(), began)?;
                begun = true;
            }
            intake.row(&SqliteRow(row))?;
            if intake.has_enough() {
                break;
            }
            while intake.is_full() && intake.try_hand_over()? == Handed::Full {
                if !watch.wait() {
                    return Err(over(watch.over()));
                }
            }
        }
        drop(rows);
        if !begun {
            intake.begin(&statement.column_names().collect::<Vec<_>>(), began)?;
        }
        Ok(())
    }
}

/// Binds tracking values. Kept statements keep what was bound, so all of them are bound anew.
fn bind(
    statement: &mut rusqlite::Statement<'_>,
    parameters: &[Option<Box<str>>],
    intake: &Intake,
) -> Result<(), ReadError> {
    let wanted = statement.parameter_count();
    if wanted == 0 && intake.tracks() {
        return Err(ReadError::new(Reason::Statement, NO_PARAMETER));
    }
    if wanted > parameters.len() {
        let why = format!("the statement has {wanted} parameters (?) and gets {}", parameters.len());
        return Err(ReadError::new(Reason::Statement, why));
    }
    for (index, parameter) in parameters.iter().take(wanted).enumerate() {
        let number = || parameter.as_deref().and_then(|text| text.parse::<i64>().ok());
        let bound = match number().filter(|_| intake.binds_number(index)) {
            Some(number) => statement.raw_bind_parameter(index + 1, number),
            None => statement.raw_bind_parameter(index + 1, parameter.as_deref()),
        };
        bound.map_err(|error| ReadError::new(Reason::Statement, format!("a parameter cannot be bound: {error}")))?;
    }
    Ok(())
}

/// A row of SQLite as a record.
struct SqliteRow<'a>(&'a Row<'a>);

impl Record for SqliteRow<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        match self.0.get_ref(index) {
            Ok(ValueRef::Integer(int)) => Cell::Int(int),
            Ok(ValueRef::Real(double)) => Cell::Double(double),
            Ok(ValueRef::Text(text)) => Cell::Text(text),
            Ok(ValueRef::Blob(bytes)) => Cell::Bytes(bytes),
            // An index past the row cannot come: indices are made from this result's columns.
            Ok(ValueRef::Null) | Err(_) => Cell::Null,
        }
    }
}

/// By the column's affinity (sqlite.org/datatype3.html, 3.1): text affinity makes text of every number.
fn kind(declared: Option<&str>) -> Kind {
    let Some(declared) = declared else { return Kind::Unknown };
    let has = |part: &str| declared.to_ascii_uppercase().contains(part);
    match () {
        () if has("INT") => Kind::Number,
        () if has("CHAR") || has("CLOB") || has("TEXT") => Kind::Text(declared.into()),
        () if has("BLOB") => Kind::Unknown,
        () => Kind::Number,
    }
}

fn lock_down(sqlite: &mut rusqlite::Connection, settings: &Settings, watch: &Watch) -> rusqlite::Result<()> {
    let length = i32::try_from(settings.max_cell_bytes).unwrap_or(i32::MAX);
    sqlite.set_limit(Limit::SQLITE_LIMIT_LENGTH, length)?;
    sqlite.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    sqlite.set_limit(Limit::SQLITE_LIMIT_WORKER_THREADS, 0)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false)?;
    // A reader that closes last must leave the write-ahead log to its owner.
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // With it on, "CPU_cores" would be the text CPU_cores where there is no such column.
    sqlite.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    let watching = watch.clone();
    sqlite.busy_handler(Some(move |_| watching.wait()))?;
    let watching = watch.clone();
    sqlite.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || watching.over().is_some()))?;
    // Sorting on disk would need a folder to write to, which a locked-down container does not have.
    sqlite.execute_batch("PRAGMA query_only = 1; PRAGMA temp_store = memory")?;
    sqlite.authorizer(Some(|context: AuthContext<'_>| authorize(context.action)))
}

fn authorize(action: AuthAction<'_>) -> Authorization {
    let allowed = match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive | AuthAction::Transaction { .. } => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, .. } => PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name)),
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}

/// The file behind a path, which must be one that can be read like a file: a pipe would hang, a folder would confuse.
fn file_id(path: &Path) -> Result<FileId, ReadError> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => format!("the database {shown} does not exist"),
            _ => format!("the database {shown} cannot be reached: {error}"),
        };
        ReadError::new(Reason::Unavailable, why)
    })?;
    if !metadata.is_file() {
        return Err(ReadError::new(Reason::Unavailable, format!("{shown} is not a file")));
    }
    #[cfg(unix)]
    return Ok(Some((std::os::unix::fs::MetadataExt::dev(&metadata), std::os::unix::fs::MetadataExt::ino(&metadata))));
    #[cfg(not(unix))]
    Ok(None)
}
