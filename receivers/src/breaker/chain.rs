//! The chains of states: each signal of a breaker leaves the state that the one before has entered. Where it does not, one was lost.

use std::collections::HashMap;

use pdata::UnixNanos;

use super::signal::Signal;

/// The last state of each breaker, by instance and circuit. In memory only: after a restart a breaker's first signal tells nothing.
#[derive(Debug, Default)]
pub(super) struct Chains {
    last: HashMap<String, (usize, UnixNanos)>,
    key: String,
}

/// Breakers whose state is remembered. Past it all are forgotten and begin anew: some gaps are missed, memory is not.
const CHAINS_MAX: usize = 100_000;

impl Chains {
    /// Takes the next signal of a breaker and says whether one before it is missing. A late one is passed over: it closes a gap
    /// that was seen when its successor overtook it.
    pub(super) fn advance(&mut self, signal: &Signal<'_>) -> bool {
        write_key(&mut self.key, signal.instance.as_deref().unwrap_or_default(), &signal.circuit);
        let now = (signal.new_state, signal.time);
        match self.last.get_mut(self.key.as_str()) {
            Some((_, time)) if signal.time < *time => false,
            Some(last) => {
                let before = std::mem::replace(last, now).0;
                // A snapshot leaves no state, so it proves nothing.
                signal.old_state.is_some_and(|old| old != before)
            }
            None => {
                if self.last.len() >= CHAINS_MAX {
                    self.last.clear();
                }
                self.last.insert(self.key.clone(), now);
                false
            }
        }
    }
}

/// A text for a pair that no other pair has.
pub(super) fn write_key(key: &mut String, instance: &str, circuit: &str) {
    use std::fmt::Write as _;
    key.clear();
    write!(key, "{}:{instance}{circuit}", instance.len()).expect("a String takes all that is written");
}
