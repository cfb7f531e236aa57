//! The agent's own telemetry: counts in plain atomics on the hot path, read by opentelemetry when somebody asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;

/// Makes counts and levels. Clones share one registry; a name is one instrument, however many components use it.
#[derive(Clone)]
pub struct Meters(Arc<Inner>);

/// A number that only rises. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Count(Arc<Line<AtomicU64>>);

/// A number that rises and falls. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Level(Arc<Line<AtomicI64>>);

/// A number with a cache line of its own: what one core counts must not slow down what another one counts.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Line<T>(T);

/// Labels of a count or level: a handful of words that come from the configuration, never from requests (rule S4 of the
/// project's security rules: no request-controlled text in own telemetry).
pub type Labels = Vec<(&'static str, String)>;

struct Inner {
    meter: Option<Meter>,
    counts: Mutex<Registry<Count>>,
    levels: Mutex<Registry<Level>>,
}

/// Per name: the readings, and the list that the instrument's callback reads.
type Registry<T> = BTreeMap<&'static str, Readings<T>>;
type Readings<T> = Arc<Mutex<Vec<(Labels, T)>>>;

impl Meters {
    /// Counts that are exported through `meter`.
    #[must_use]
    pub fn new(meter: Meter) -> Self {
        Self::build(Some(meter))
    }

    /// Counts that nobody exports: for tests and `--once`.
    #[must_use]
    pub fn unread() -> Self {
        Self::build(None)
    }

    fn build(meter: Option<Meter>) -> Self {
        Self(Arc::new(Inner { meter, counts: Mutex::default(), levels: Mutex::default() }))
    }

    /// The count with this name and these labels; the same one when asked twice. `unit` is UCUM, such as `By` or `{points}`.
    #[must_use]
    pub fn count(&self, name: &'static str, about: &'static str, unit: &'static str, labels: Labels) -> Count {
        let (list, new) = enlist(&self.0.counts, name);
        if let (true, Some(meter)) = (new, &self.0.meter) {
            let list = list.clone();
            meter
                .u64_observable_counter(name)
                .with_description(about)
                .with_unit(unit)
                .with_callback(move |observer| {
                    read(&list, |labels, count: &Count| observer.observe(count.value(), labels))
                })
                .build();
        }
        reading(&list, labels)
    }

    /// The level with this name and these labels; the same one when asked twice.
    #[must_use]
    pub fn level(&self, name: &'static str, about: &'static str, unit: &'static str, labels: Labels) -> Level {
        let (list, new) = enlist(&self.0.levels, name);
        if let (true, Some(meter)) = (new, &self.0.meter) {
            let list = list.clone();
            meter
                .i64_observable_gauge(name)
                .with_description(about)
                .with_unit(unit)
                .with_callback(move |observer| {
                    read(&list, |labels, level: &Level| observer.observe(level.value(), labels))
                })
                .build();
        }
        reading(&list, labels)
    }

    /// All counts as they stand, for tests and for comparing the books.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, Labels, u64)> {
        let registry = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = Vec::new();
        for (name, list) in registry.iter() {
            let list = list.lock().unwrap_or_else(PoisonError::into_inner);
            all.extend(list.iter().map(|(labels, count)| (*name, labels.clone(), count.value())));
        }
        all
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.counts().into_iter().map(|(name, labels, value)| ((name, labels), value))).finish()
    }
}

impl Count {
    /// Adds.
    pub fn add(&self, n: u64) {
        // A write takes the line from all other cores, also when it adds nothing.
        if n > 0 {
            self.0.0.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// What it counts by now.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

impl Level {
    /// Sets.
    pub fn set(&self, value: i64) {
        self.0.0.store(value, Ordering::Relaxed);
    }

    /// Adds; `n` may be negative.
    pub fn add(&self, n: i64) {
        self.0.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Where it stands.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.0.load(Ordering::Relaxed)
    }
}

fn enlist<T>(registry: &Mutex<Registry<T>>, name: &'static str) -> (Readings<T>, bool) {
    let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
    let new = !registry.contains_key(name);
    (registry.entry(name).or_default().clone(), new)
}

fn reading<T: Clone + Default>(list: &Mutex<Vec<(Labels, T)>>, labels: Labels) -> T {
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = list.iter().find(|(known, _)| *known == labels) {
        return known.clone();
    }
    let new = T::default();
    list.push((labels, new.clone()));
    new
}

fn read<T>(list: &Mutex<Vec<(Labels, T)>>, mut observe: impl FnMut(&[KeyValue], &T)) {
    for (labels, value) in list.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let labels: Vec<_> = labels.iter().map(|(key, value)| KeyValue::new(*key, value.clone())).collect();
        observe(&labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_the_same_count() {
        let meters = Meters::unread();
        let labels = || vec![("receiver", "sql".to_owned())];
        meters.count("a", "", "", labels()).add(2);
        meters.count("a", "", "", labels()).add(3);
        meters.count("a", "", "", vec![]).add(7);
        assert_eq!(meters.counts(), [("a", labels(), 5), ("a", vec![], 7)]);
    }
}
