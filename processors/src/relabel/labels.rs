//! A label set while rules change it.

use std::borrow::Cow;

/// The labels a chain of rules sees and changes: those it began with, and what was set since.
///
/// The order in which [`snapshot`](Self::snapshot) gives them is that of Prometheus' label builder, which `labelmap` makes
/// visible when two labels map to one name: untouched labels by name, then set ones in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Labels<'a> {
    /// By name in byte order, none twice, none empty.
    base: Vec<Base<'a>>,
    set: Vec<(String, String)>,
}

#[derive(Debug)]
struct Base<'a> {
    name: &'a str,
    value: Cow<'a, str>,
    /// Deleted, or overruled by one that was set.
    gone: bool,
}

impl<'a> Labels<'a> {
    /// Labels from pairs in any order. Empty values are no labels; of equal names the first wins.
    pub(crate) fn new(pairs: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> Self {
        let mut base: Vec<_> = pairs
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| Base { name, value, gone: false })
            .collect();
        if !base.is_sorted_by(|a, b| a.name < b.name) {
            base.sort_by(|a, b| a.name.cmp(b.name));
            base.dedup_by(|b, a| a.name == b.name);
        }
        Self { base, set: Vec::new() }
    }

    /// A label's value; empty when it is not there.
    pub(crate) fn get(&self, name: &str) -> &str {
        if let Some((_, value)) = self.set.iter().find(|(known, _)| known == name) {
            return value;
        }
        self.base.iter().find(|label| label.name == name && !label.gone).map_or("", |label| &label.value)
    }

    /// Sets a label; an empty value deletes it.
    pub(crate) fn set(&mut self, name: &str, value: String) {
        if value.is_empty() {
            return self.delete(name);
        }
        if let Some((_, known)) = self.set.iter_mut().find(|(known, _)| known == name) {
            *known = value;
            return;
        }
        self.hide(name);
        self.set.push((name.to_owned(), value));
    }

    /// Deletes a label, if it is there.
    pub(crate) fn delete(&mut self, name: &str) {
        self.set.retain(|(known, _)| known != name);
        self.hide(name);
    }

    /// Names and values as they stand.
    pub(crate) fn snapshot(&self) -> Vec<(String, String)> {
        self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// Deletes the labels whose name does not pass.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) {
        for label in self.base.iter_mut().filter(|label| !label.gone) {
            label.gone = !keep(label.name);
        }
        self.set.retain(|(name, _)| keep(name));
    }

    /// Names and values: untouched ones first, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let base = self.base.iter().filter(|label| !label.gone).map(|label| (label.name, &*label.value));
        base.chain(self.set.iter().map(|(name, value)| (&**name, &**value)))
    }

    /// Names and values of what was set and is still there.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.set.iter().map(|(name, value)| (&**name, &**value))
    }

    fn hide(&mut self, name: &str) {
        if let Some(label) = self.base.iter_mut().find(|label| label.name == name) {
            label.gone = true;
        }
    }
}
