//! Families: what shares a name and a type.

use std::sync::Arc;

use hashbrown::HashMap;
use pdata::Metric;
use pdata::prom::{MetricNamer, is_legal_metric};

use super::kind::{Exposed, role};
use super::leaf::Leaves;
use super::slots::Slots;

/// The series of one exposed name and type.
pub(super) struct Family {
    /// The name after translation, before escaping.
    pub(super) name: Box<str>,
    pub(super) kind: Exposed,
    /// The unit of the metric that came first; others of the same name and type keep their points and lose their word.
    pub(super) unit: Box<str>,
    /// Its description.
    pub(super) help: Box<str>,
    /// When it came: of families that cannot stand beside each other the one that came first is shown.
    pub(super) serial: u64,
    pub(super) leaves: Leaves,
    /// Rows whose series lives.
    pub(super) live: u32,
    /// Rows whose series has ended and that were not taken out yet.
    pub(super) dead: u32,
    /// Whether a label's name is outside the classic grammar.
    pub(super) foreign_labels: bool,
    /// Whether it is a state set of which a series lacks the label named like the family.
    pub(super) stateless: bool,
    /// Whether somebody was told that it cannot be shown.
    pub(super) told: bool,
}

/// All families.
#[derive(Default)]
pub(super) struct Families {
    slots: Slots<Family>,
    by_name: HashMap<(Box<str>, Exposed), u32>,
    next_serial: u64,
    /// Metrics seen last and their families, by address: naming a metric costs a microsecond, and many series share one.
    recent: HashMap<usize, Recent>,
    /// Rises whenever the names on the endpoint may have changed.
    pub(super) version: u64,
}

/// Families at most. The largest known applications expose some thousands.
pub(super) const FAMILIES_MAX: usize = 65_536;

/// Metrics remembered by address; past it all are forgotten at once.
const RECENT_MAX: usize = 1024;

/// A metric, its family and the family's serial. Holding the metric keeps its address from being used again.
type Recent = (Arc<Metric>, u32, u64);

/// Why there is no family for a metric.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// Nothing is left of its name.
    Name,
    /// There are too many.
    Full,
}

impl Families {
    /// The family of a metric, made when there is none.
    pub(super) fn of(&mut self, metric: &Arc<Metric>, namer: &MetricNamer) -> Result<u32, Unnamed> {
        let address = Arc::as_ptr(metric) as usize;
        if let Some((_, family, serial)) = self.recent.get(&address)
            && self.slots.get(*family).is_some_and(|family| family.serial == *serial)
        {
            return Ok(*family);
        }
        let kind = Exposed::of(metric);
        let name = namer.name(&metric.name, &metric.unit, role(metric)).ok_or(Unnamed::Name)?;
        let key = (name.into_boxed_str(), kind);
        let family = match self.by_name.get(&key) {
            Some(family) => *family,
            None if self.slots.len() >= FAMILIES_MAX => return Err(Unnamed::Full),
            None => self.insert(key, metric),
        };
        if self.recent.len() >= RECENT_MAX {
            self.recent.clear();
        }
        self.recent.insert(address, (metric.clone(), family, self.slots[family].serial));
        Ok(family)
    }

    fn insert(&mut self, key: (Box<str>, Exposed), metric: &Metric) -> u32 {
        self.next_serial += 1;
        self.version += 1;
        let family = self.slots.insert(Family {
            name: key.0.clone(),
            kind: key.1,
            unit: metric.unit.clone(),
            help: metric.description.clone(),
            serial: self.next_serial,
            leaves: Leaves::default(),
            live: 0,
            dead: 0,
            foreign_labels: false,
            stateless: false,
            told: false,
        });
        self.by_name.insert(key, family);
        family
    }

    /// Takes a family away that has no rows.
    pub(super) fn remove(&mut self, family: u32) {
        if let Some(family) = self.slots.remove(family) {
            self.by_name.remove(&(family.name, family.kind));
            self.version += 1;
        }
    }

    pub(super) fn slots(&self) -> &Slots<Family> {
        &self.slots
    }

    pub(super) fn slots_mut(&mut self) -> &mut Slots<Family> {
        &mut self.slots
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let family = |(_, family): (u32, &Family)| {
            size_of::<Family>() + 2 * family.name.len() + family.help.len() + family.leaves.heap_bytes()
        };
        self.slots.iter().map(family).sum()
    }
}

impl Family {
    /// Whether its name has to be quoted or escaped.
    pub(super) fn is_foreign(&self) -> bool {
        !is_legal_metric(&self.name)
    }
}
