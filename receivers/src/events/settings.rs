//! Keys that all receivers have who keep a ledger.

use config::{ByteSize, ComponentId, Duration, Optional, Problem, Problems, Section};
use pipeline::net::{Endpoint, LimitsConfig, TlsServerConfig};
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
    /// No disk: what was counted goes with the process.
    Memory,
}

/// Where a ledger is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a folder of this extension.
    Disk(ComponentId),
    /// Nowhere but in memory.
    Memory,
}

impl Place {
    /// The extension that is asked for a folder.
    pub(crate) fn extension(&self) -> Option<ComponentId> {
        match self {
            Self::Disk(extension) => Some(extension.clone()),
            Self::Memory => None,
        }
    }
}

/// The smallest `dedup.max_bytes`: below it the window would be a few seconds under any load.
const DEDUP_BYTES_MIN: u64 = 64 << 10;
/// The shortest `flush_interval`: destinations that do not ask need no ten batches a second.
const FLUSH_MIN: std::time::Duration = std::time::Duration::from_millis(100);

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
            DurabilityWord::Memory => Durability::Memory,
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

/// Where the keys `storage` and `durability` want the ledger.
///
/// # Errors
/// When `storage` is missing, is no component's id, or stands there for nothing.
pub(crate) fn place(section: &Section, storage: &str, durability: DurabilityWord) -> Result<Place, Problem> {
    if durability == DurabilityWord::Memory {
        if !storage.is_empty() {
            let what = "'storage' and 'durability: memory' exclude each other: in memory nothing is stored";
            return Err(section.error("storage", what));
        }
        return Ok(Place::Memory);
    }
    if storage.is_empty() {
        let help = "configure an extension file_storage, list it under service::extensions, and write storage: file_storage; or write \
                    durability: memory, and counters begin anew at each start";
        let what = "'storage' is missing: counters that are exact need a place on disk";
        return Err(section.error("storage", what).with_help(help));
    }
    storage.parse().map(Place::Disk).map_err(|error| section.error("storage", format!("{error}")))
}

/// The address that the key `endpoint` names.
///
/// # Errors
/// When there is none, in the words of `missing` and with `help`; when it is no address.
pub(crate) fn endpoint(section: &Section, endpoint: &str, missing: &str, help: &str) -> Result<Endpoint, Problem> {
    if endpoint.trim().is_empty() {
        return Err(section.error("endpoint", missing).with_help(help));
    }
    endpoint.parse().map_err(|what: String| section.error("endpoint", what))
}

/// What is wrong with the keys `limits` and `tls` of a door.
pub(crate) fn door_problems(section: &Section, limits: &LimitsConfig, tls: &Optional<TlsServerConfig>) -> Problems {
    let mut problems = limits.problems(section, "limits");
    problems.extend(tls.as_ref().map(|tls| tls.problems(section, "tls")).unwrap_or_default());
    problems
}

/// What is wrong with `flush_interval`.
pub(crate) fn flush_problem(section: &Section, flush_interval: Duration) -> Option<Problem> {
    let short = flush_interval.get() < FLUSH_MIN;
    short.then(|| section.error("flush_interval", "'flush_interval' must be at least 100ms"))
}

/// What is wrong with a path that requests are sent to.
pub(crate) fn path_problem(path: &str) -> Option<String> {
    let clean = path.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'?' | b'#'));
    (!path.starts_with('/') || !clean).then(|| format!("'path' must be a path that begins with '/', got {path:?}"))
}
