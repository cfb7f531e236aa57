//! What SQLite says, for whoever runs the agent.

use std::path::Path;

use rusqlite::ErrorCode;
use rusqlite::ffi;

use super::watch::Over;
use crate::sql_query::source::{ReadError, Reason};

/// What was asked when the error came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) path: &'a Path,
    pub(super) max_cell_bytes: u64,
    /// Why the watch ended the query, if it did.
    pub(super) over: Option<Over>,
    /// Whether the file itself had been opened by then.
    pub(super) opened: bool,
}

/// Says what is wrong and, where it is known, what to do.
pub(super) fn tell(error: &rusqlite::Error, asked: Asked<'_>) -> ReadError {
    let path = asked.path.display();
    let code = error.sqlite_error();
    match code.map(|error| error.code) {
        Some(ErrorCode::OperationInterrupted) => return over(asked.over),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            return match asked.over {
                Some(Over::Cancelled) => over(asked.over),
                _ => ReadError::new(
                    Reason::Locked,
                    format!("the database {path} stayed locked by another process until the deadline"),
                ),
            };
        }
        _ => {}
    }
    let extended = code.map_or(0, |error| error.extended_code);
    let (reason, why) = match code.map(|error| error.code) {
        Some(ErrorCode::NotADatabase) => {
            (Reason::Corrupt, format!("{path} is not a SQLite database (or an encrypted one)"))
        }
        Some(ErrorCode::DatabaseCorrupt) => (
            Reason::Corrupt,
            format!("the database {path} is damaged or cut off: {error}; check it with PRAGMA integrity_check"),
        ),
        Some(ErrorCode::SystemIoFailure) if extended == ffi::SQLITE_IOERR_SHORT_READ => {
            (Reason::Corrupt, format!("the database {path} is cut off: {error}"))
        }
        Some(ErrorCode::SystemIoFailure) => {
            (Reason::Unavailable, format!("the database {path} cannot be read: {error}"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => (Reason::Unavailable, cannot_open(error, asked, extended)),
        Some(ErrorCode::PermissionDenied) => {
            (Reason::Unavailable, format!("the database {path} may not be read by the user that weir runs as"))
        }
        Some(ErrorCode::TooBig) => {
            (Reason::Limit, format!("a cell or row is larger than {} bytes (max_cell_bytes)", asked.max_cell_bytes))
        }
        Some(ErrorCode::AuthorizationForStatementDenied) => (
            Reason::Statement,
            format!("the statement does more than read this database, which is all it may do: {error}"),
        ),
        Some(ErrorCode::Unknown) if error.to_string().contains("too many attached") => {
            (Reason::Statement, "the statement attaches another database; it may only read this one".to_owned())
        }
        _ => (Reason::Statement, statement(error)),
    };
    ReadError::new(reason, why)
}

/// Where in the statement SQLite stumbled, in characters.
pub(super) fn offset(error: &rusqlite::Error) -> Option<usize> {
    let rusqlite::Error::SqlInputError { sql, offset, .. } = error else { return None };
    let before = sql.get(..usize::try_from(*offset).ok()?)?;
    Some(before.chars().count())
}

/// The watch ended a query.
pub(super) fn over(over: Option<Over>) -> ReadError {
    match over {
        Some(Over::Cancelled) => {
            ReadError::new(Reason::Stopped, "the read was interrupted: nobody waits for it any more")
        }
        _ => ReadError::new(Reason::Timeout, "the time was up before the query was (timeout)"),
    }
}

fn statement(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::MultipleStatement => "only one statement can be read; write one query each".to_owned(),
        rusqlite::Error::SqlInputError { msg, sql, offset, .. } => {
            let near = usize::try_from(*offset).ok().and_then(|offset| sql.get(offset..)).unwrap_or("");
            let near: String = near.chars().take(30).take_while(|c| *c != '\n').collect();
            if near.is_empty() || msg.contains("near ") { msg.clone() } else { format!("{msg}, at `{near}`") }
        }
        other => other.to_string(),
    }
}

/// A database in WAL mode needs its `-shm` file, and a reader that finds none makes it: the usual trap of a sidecar whose volume
/// is mounted read-only. Nothing here may open the file to look: closing it again would drop the locks that other connections of
/// this process hold on it.
fn cannot_open(error: &rusqlite::Error, asked: Asked<'_>, extended: i32) -> String {
    let path = asked.path.display();
    if extended == ffi::SQLITE_READONLY_ROLLBACK || extended == ffi::SQLITE_READONLY_RECOVERY {
        return format!(
            "an unfinished write to {path} must be rolled back first, which a reader cannot do; start the application that \
             owns the database once"
        );
    }
    if !asked.opened {
        return format!(
            "the database {path} cannot be opened ({error}); the user that weir runs as must be able to read it"
        );
    }
    let mut shared = asked.path.as_os_str().to_owned();
    shared.push("-shm");
    if std::path::Path::new(&shared).exists() {
        return format!(
            "the database {path} is in WAL mode and its -shm file cannot be used ({error}): readers write to it too; mount the \
             volume read-write and run weir as a user that may write there"
        );
    }
    format!(
        "the database {path} is in WAL mode, its -shm file is not there, and weir cannot make it ({error}): mount the volume \
         read-write, or keep the application that owns the database running"
    )
}
