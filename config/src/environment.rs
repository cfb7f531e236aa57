//! Where `${env:NAME}` looks.

use std::collections::BTreeMap;

/// Variables by name.
pub trait Environment {
    /// The value of a variable, `None` when it is not set; empty is set.
    fn var(&self, name: &str) -> Option<String>;
}

/// The variables of this process. A value that is not UTF-8 has its bad bytes replaced.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

/// Variables from a map, for tests and for documentation snippets.
#[derive(Clone, Default)]
pub struct MapEnvironment {
    vars: BTreeMap<String, String>,
}

impl MapEnvironment {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets one more variable.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }
}

impl Environment for ProcessEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }
}

impl Environment for MapEnvironment {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for MapEnvironment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(vars: I) -> Self {
        Self { vars: vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }
}

impl std::fmt::Debug for MapEnvironment {
    /// Names only: values may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.vars.keys()).finish()
    }
}
