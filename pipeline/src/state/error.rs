//! What can go wrong below the ledger, sorted by what is to be done about it.

use rusqlite::ErrorCode;

/// A failed step of the store.
#[derive(Debug)]
pub(super) struct Trouble {
    pub(super) kind: TroubleKind,
    pub(super) why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TroubleKind {
    /// The bytes are not what was written: put the file aside and pick what is sound.
    Damage,
    /// The disk is full: try again when it is not.
    Full,
    /// Input or output failed: try again, and trust no page that was not written anew.
    Failing,
    /// The surroundings do not let us (somebody else's lock, a right that is missing): try again.
    Surroundings,
}

impl Trouble {
    pub(super) fn damage(why: impl Into<String>) -> Self {
        Self { kind: TroubleKind::Damage, why: why.into() }
    }

    pub(super) fn is_damage(&self) -> bool {
        self.kind == TroubleKind::Damage
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Trouble {}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let damage = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => {
                matches!(
                    failure.code,
                    // A schema that does not parse, or a table that is gone, comes as "unknown" (SQLITE_ERROR).
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown | ErrorCode::TooBig
                )
            }
            // Our own statements are sound: a column of another type is damage.
            _ => true,
        };
        let kind = match error.sqlite_error_code() {
            _ if damage => TroubleKind::Damage,
            Some(ErrorCode::DiskFull) => TroubleKind::Full,
            Some(ErrorCode::SystemIoFailure) => TroubleKind::Failing,
            _ => TroubleKind::Surroundings,
        };
        Self { kind, why: error.to_string() }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self { kind: TroubleKind::Surroundings, why: error.to_string() }
    }
}
