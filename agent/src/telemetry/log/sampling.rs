//! Leaves out what was said often enough: a broken source must not fill a disk with one sentence.

use std::collections::HashMap;

use pdata::UnixNanos;
use tracing::callsite::Identifier;

use crate::telemetry::config::Sampling;

/// Counts lines by place in the source and component. All counts begin anew with each tick, so it holds no more than the lines
/// of one tick have of them.
pub(super) struct Sampler {
    config: Sampling,
    ends: UnixNanos,
    seen: HashMap<(Identifier, u64), u64>,
}

impl Sampler {
    pub(super) fn new(config: Sampling) -> Self {
        Self { config, ends: UnixNanos::UNSET, seen: HashMap::new() }
    }

    pub(super) fn shows(&mut self, site: Identifier, speaker: u64, now: UnixNanos) -> bool {
        if now >= self.ends {
            self.seen.clear();
            self.ends = now.plus(self.config.tick.get());
        }
        let count = self.seen.entry((site, speaker)).or_default();
        *count += 1;
        match count.checked_sub(self.config.initial) {
            None | Some(0) => true,
            Some(over) => over.checked_rem(self.config.thereafter) == Some(0),
        }
    }
}
