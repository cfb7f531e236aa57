//! State names of known libraries, and which of the common names each of them stands for. A preset is that and nothing else.

use schemars::JsonSchema;
use serde::Deserialize;

/// A library whose states are known by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Preset {
    /// fluxgate (Python), all versions.
    #[default]
    Fluxgate,
    /// resilience4j (Java), `CircuitBreaker.State`.
    Resilience4j,
    /// pybreaker (Python), `CircuitBreaker.current_state`.
    Pybreaker,
    /// opossum (Node.js), its events `close`, `open`, `halfOpen` as states.
    Opossum,
    /// sony/gobreaker (Go), `State.String()`.
    Gobreaker,
    /// Polly (.NET), `CircuitState`.
    Polly,
}

impl Preset {
    /// The names, in the order the library defines them.
    pub(super) const fn states(self) -> &'static [&'static str] {
        match self {
            Self::Fluxgate => &["closed", "open", "half_open", "metrics_only", "disabled", "forced_open"],
            Self::Resilience4j => &["DISABLED", "METRICS_ONLY", "CLOSED", "OPEN", "FORCED_OPEN", "HALF_OPEN"],
            Self::Pybreaker => &["open", "closed", "half-open"],
            Self::Opossum => &["closed", "open", "halfOpen"],
            Self::Gobreaker => &["closed", "half-open", "open"],
            Self::Polly => &["Closed", "Open", "HalfOpen", "Isolated"],
        }
    }

    /// The common names for them, in the same order: fluxgate's, which has a name for every state of the others.
    pub(super) const fn common(self) -> &'static [&'static str] {
        match self {
            Self::Fluxgate => self.states(),
            Self::Resilience4j => &["disabled", "metrics_only", "closed", "open", "forced_open", "half_open"],
            Self::Pybreaker => &["open", "closed", "half_open"],
            Self::Opossum => &["closed", "open", "half_open"],
            Self::Gobreaker => &["closed", "half_open", "open"],
            Self::Polly => &["closed", "open", "half_open", "forced_open"],
        }
    }
}
