//! Keys that all receivers have who keep a ledger.

use config::{ByteSize, ComponentId, Duration, Problem, Problems, Section};
use pipeline::state::{Durability, LedgerOptions};
use schemars::JsonSchema;
use serde::Deserialize;

/// The key `dedup`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Dedup {
    /// How long an event is remembered, 96h by default.
    pub(crate) window: Duration,
    /// Bytes that remembered events may take, 256MiB by default; past it the window shortens.
    pub(crate) max_bytes: ByteSize,
}

/// The key `durability`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DurabilityWord {
    /// An fsync before each answer.
    #[default]
    Durable,
    /// No fsync.
    Relaxed,
}

/// The smallest `dedup.max_bytes`: below it the window would be a few seconds under any load.
const DEDUP_BYTES_MIN: u64 = 64 << 10;

impl Default for Dedup {
    fn default() -> Self {
        let LedgerOptions { window, max_bytes, .. } = LedgerOptions::default();
        Self { window: Duration::from_secs(window.as_secs()), max_bytes: ByteSize::from_bytes(max_bytes) }
    }
}

/// How the ledger of a receiver with these keys is kept.
pub(crate) fn ledger_options(dedup: &Dedup, durability: DurabilityWord, max_series: usize) -> LedgerOptions {
    LedgerOptions {
        durability: match durability {
            DurabilityWord::Durable => Durability::Full,
            DurabilityWord::Relaxed => Durability::Relaxed,
        },
        window: dedup.window.get(),
        max_bytes: dedup.max_bytes.get(),
        max_series,
        ..LedgerOptions::default()
    }
}

/// What is wrong with the bounds of a ledger.
pub(crate) fn ledger_problems(section: &Section, dedup: &Dedup, max_series: usize) -> Problems {
    let mut problems = Problems::new();
    let mut wrong = |key: &str, what: String| problems.push(section.error(key, what));
    if dedup.window.is_zero() {
        wrong("dedup.window", "'window' must be longer than 0: every repeated event would count again".to_owned());
    }
    if dedup.max_bytes.get() < DEDUP_BYTES_MIN {
        wrong("dedup.max_bytes", format!("'max_bytes' must be at least {}KiB", DEDUP_BYTES_MIN >> 10));
    }
    if max_series == 0 {
        wrong("max_series", "'max_series' must be at least 1: nothing could be counted".to_owned());
    }
    problems
}

/// The extension that the key `storage` names.
///
/// # Errors
/// When it is missing, or is no component's id.
pub(crate) fn storage(section: &Section, storage: &str) -> Result<ComponentId, Problem> {
    if storage.is_empty() {
        let help =
            "configure an extension file_storage, list it under service::extensions, and write storage: file_storage";
        let what = "'storage' is missing: counters that are exact need a place on disk";
        return Err(section.error("storage", what).with_help(help));
    }
    storage.parse().map_err(|error| section.error("storage", format!("{error}")))
}

/// What is wrong with a path that requests are sent to.
pub(crate) fn path_problem(path: &str) -> Option<String> {
    let clean = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    (!path.starts_with('/') || !clean).then(|| format!("'path' must be a path that begins with '/', got {path:?}"))
}
