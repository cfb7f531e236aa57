//! First sights: a series gets a cell and a row, or is told why not.

use std::sync::Arc;

use pdata::{Number, Series};

use super::{Arrival, Table, counts};
use crate::prometheus::cells::{ADDS, CELLS_MAX, COUNTER, DEAD, DISTRIBUTION, HELD};
use crate::prometheus::distribution::Distribution;
use crate::prometheus::drops::Drop;
use crate::prometheus::family::Unnamed;
use crate::prometheus::kind::{Exposed, Update, update};

/// How long the owner of a name and labels must have been silent, in seconds, before another series with the same name and labels
/// takes its place: longer than the usual scrape interval of a minute, so that two living sources do not take turns.
const TAKEOVER: u32 = 90;

impl Table {
    /// A point of a series that has no cell, or whose handle is new.
    pub(super) fn meet(&mut self, arrival: Arrival<'_>) {
        if self.cells.live() >= self.rules.max_series.min(CELLS_MAX) && arrival.point.series.is_inline() {
            return self.refuse(arrival, None, Drop::MaxSeries);
        }
        let series = arrival.metrics.series(arrival.point.series);
        let place = match self.cells.find(series.fingerprint()) {
            Some(place) => Ok(place),
            None => self.admit(&series, arrival),
        };
        match place {
            Ok(place) => {
                if let Some(id) = series.id() {
                    self.cells.bind(id, place);
                }
                self.take(place, arrival);
            }
            Err(drop) => self.refuse(arrival, Some(&series), drop),
        }
    }

    fn refuse(&mut self, arrival: Arrival<'_>, series: Option<&Series>, drop: Drop) {
        self.drops.add(drop, 1);
        // What is wrong with a value is forgotten with the value; what is wrong with an identity stays for a while.
        let lasting = matches!(drop, Drop::MaxSeries | Drop::Families | Drop::Name | Drop::Duplicate);
        if lasting && !arrival.point.series.is_inline() {
            self.cells.bind_drop(arrival.point.series, drop, self.generation);
        }
        self.drops.log(drop, || series.map_or_else(String::new, |series| format!("{series:?}")));
    }

    /// Gives a new series a cell and a row.
    fn admit(&mut self, series: &Series, arrival: Arrival<'_>) -> Result<u32, Drop> {
        let identity = series.identity();
        let kind = Exposed::of(&identity.metric);
        let update = update(&identity.metric);
        let distribution = match (arrival.point.value.number(), kind.is_number()) {
            (Some(number), true) if kind == Exposed::Counter && !counts(number) => return Err(Drop::Invalid),
            (Some(_), true) => None,
            (None, false) => Some(Distribution::new(&arrival.point.value).ok_or(Drop::Malformed)?),
            _ => return Err(Drop::Malformed),
        };
        if self.cells.live() >= self.rules.max_series.min(CELLS_MAX) {
            return Err(Drop::MaxSeries);
        }
        let family = self.families.of(&identity.metric, &self.rules.namer).map_err(|unnamed| match unnamed {
            Unnamed::Name => Drop::Name,
            Unnamed::Full => Drop::Families,
        })?;
        let target = self.kinship.targets_mut().of(&identity.origin, &self.rules.labels);
        self.labels.of_series(&self.rules.labels, &identity.origin, &identity.attributes, kind);
        let kin = self.kinship.join(family, target, arrival.source, update, false);
        let flags = flags(kind, update, distribution.is_some());
        let admitted = self.insert_row(family, series, kin, flags, arrival.now);
        match admitted {
            Ok(place) => self.set_first(place, distribution),
            Err(_) => {
                self.kinship.leave(kin);
                self.remove_family_if_empty(family);
            }
        }
        admitted
    }

    /// A fresh cell holds nothing: the point itself is taken in afterwards, as any other.
    fn set_first(&mut self, place: u32, distribution: Option<Distribution>) {
        match distribution {
            Some(distribution) => {
                let empty = distribution.emptied();
                self.cells.cell_mut(place).bits = u64::from(self.distributions.insert(Arc::new(empty)));
            }
            None => self.cells.cell_mut(place).set(Number::Int(0)),
        }
    }

    fn insert_row(&mut self, number: u32, series: &Series, kin: u32, flags: u32, now: u32) -> Result<u32, Drop> {
        let family = &mut self.families.slots_mut()[number];
        self.labels.write(family.is_foreign());
        let found = family.leaves.find(self.labels.text().as_bytes(), self.pairs.texts(), &mut self.text);
        let place = match found {
            Err(position) => {
                self.ops.clear();
                self.pairs.encode(self.labels.pairs(), &mut self.ops);
                let place = self.cells.insert(series.fingerprint(), kin, flags);
                family.leaves.insert(position, &self.ops, place);
                place
            }
            Ok(position) => {
                let other = family.leaves.cell(position);
                let cell = *self.cells.cell(other);
                if cell.flags & DEAD == 0 {
                    if cell.seen == HELD || now.saturating_sub(cell.seen) <= TAKEOVER {
                        return Err(Drop::Duplicate);
                    }
                    self.end(other);
                }
                let family = &mut self.families.slots_mut()[number];
                let place = self.cells.insert(series.fingerprint(), kin, flags);
                family.leaves.replace(position, place);
                family.dead -= 1;
                self.dead -= 1;
                self.cells.free(other);
                place
            }
        };
        let family = &mut self.families.slots_mut()[number];
        family.live += 1;
        let foreign = self.labels.is_foreign() && !family.foreign_labels;
        let stateless = family.kind == Exposed::StateSet && !family.stateless && !self.labels.has(&family.name);
        family.foreign_labels |= foreign;
        family.stateless |= stateless;
        if family.live == 1 || foreign || stateless {
            self.families.version += 1;
        }
        Ok(place)
    }
}

fn flags(kind: Exposed, update: Update, distribution: bool) -> u32 {
    let mut flags = 0;
    for (set, flag) in
        [(kind == Exposed::Counter, COUNTER), (update == Update::Add, ADDS), (distribution, DISTRIBUTION)]
    {
        flags |= if set { flag } else { 0 };
    }
    flags
}
