//! Who cannot do his work now, though the agent runs: for readiness.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What ails components. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<BTreeMap<String, String>>>);

impl Health {
    /// `who` cannot do his work until he says that he is well, for this reason: one line.
    pub fn ill(&self, who: &str, why: impl Into<String>) {
        self.lock().insert(who.to_owned(), why.into());
    }

    /// `who` does his work again, or does not run any more.
    pub fn well(&self, who: &str) {
        self.lock().remove(who);
    }

    /// One of those who are ill, and why.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        self.lock().first_key_value().map(|(who, why)| format!("{who}: {why}"))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_complaint_stands_until_its_maker_is_well() {
        let health = Health::default();
        health.ill("otlp_http", "the disk is full");
        health.ill("otlp_http", "the disk fails");
        assert_eq!(health.complaint().unwrap(), "otlp_http: the disk fails");
        health.well("otlp_http");
        assert_eq!(health.complaint(), None);
    }
}
