//! Maps the records of one source to points.

use std::sync::Arc;

use pdata::{
    AttributesBuilder, Fingerprint, Histogram, Identity, Metrics, Number, Point, PointFlags, PointValue, Seed,
    SeriesTable, UnixNanos,
};

use super::columns::{Columns, MetricColumns, ValueColumns};
use super::held::{Held, Origins};
use super::outcome::{MapCounts, MapError};
use super::rule::{
    AttributeRule, Encoding, MetricRule, OnDuplicate, OnNull, OnUnknown, StartRule, StateRule, ValueRule,
};
use super::tally::Tally;
use super::{Cell, Record, histogram, key, value};

/// What a source's records become. Immutable; shared by whoever maps that source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MapperRules {
    /// The metrics that each record may make.
    pub metrics: Vec<MetricRule>,
    /// Attributes of the resource that every series gets. A column of the same name wins.
    pub resource: Vec<(Box<str>, Box<str>)>,
    /// Columns that become attributes of the resource.
    pub resource_columns: Vec<AttributeRule>,
    /// Records of one read at most; past it the read fails. 0: no limit.
    pub max_records: usize,
}

/// Maps the records of one source to points, and knows which series its last successful read had.
///
/// One read: [`begin`](Self::begin), [`record`](Self::record) for each record, then either [`next_page`](Self::next_page) until
/// the last page and [`commit`](Self::commit), or nothing: an abandoned read leaves no trace.
pub struct Mapper {
    rules: Arc<MapperRules>,
    table: Arc<SeriesTable>,
    seed: Seed,
    /// The rules against the columns of the last result.
    fit: Option<Box<Fit>>,
    held: Held,
    origins: Origins,
    builder: AttributesBuilder,
    keys: Vec<Fingerprint>,
    scratch: Vec<u8>,
    started: UnixNanos,
    /// When the read began.
    time: UnixNanos,
    last_success: UnixNanos,
    walk: Walk,
    counts: MapCounts,
}

/// Rules, and where their columns stand in a result.
struct Fit {
    rules: Arc<MapperRules>,
    columns: Columns,
}

/// Where the making of pages stands.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    place: usize,
    /// Points still to come.
    values: usize,
    ends: usize,
}

/// Points in a page: large enough that a page's own cost (a channel hop, a lock) vanishes, 192 KiB in memory.
pub const PAGE_POINTS: usize = 4096;

impl Mapper {
    /// A mapper, made at `started`, that holds nothing yet. Its series live in `table`.
    #[must_use]
    pub fn new(rules: Arc<MapperRules>, table: Arc<SeriesTable>, started: UnixNanos) -> Self {
        Self {
            seed: *table.seed(),
            rules,
            table,
            fit: None,
            held: Held::new(),
            origins: Origins::default(),
            builder: AttributesBuilder::default(),
            keys: Vec::new(),
            scratch: Vec::new(),
            started,
            time: UnixNanos::UNSET,
            last_success: UnixNanos::UNSET,
            walk: Walk::default(),
            counts: MapCounts::default(),
        }
    }

    /// Begins a read at `time` of a result with these columns.
    ///
    /// # Errors
    /// When a rule names a column that is not among them.
    pub fn begin(&mut self, names: &[&str], time: UnixNanos) -> Result<(), MapError> {
        self.counts = MapCounts::default();
        self.time = time;
        self.held.begin();
        if self.fit.as_ref().is_none_or(|fit| !fit.columns.fits(names)) {
            self.fit = None;
            let columns = Columns::new(names, &self.rules.resource_columns, &self.rules.metrics)?;
            self.fit = Some(Box::new(Fit { rules: self.rules.clone(), columns }));
        }
        Ok(())
    }

    /// Takes one record.
    ///
    /// # Errors
    /// When the read must fail as a whole. A cell that cannot be read costs its point only, and is counted.
    pub fn record<R: Record + ?Sized>(&mut self, record: &R) -> Result<(), MapError> {
        if self.rules.max_records > 0 && self.counts.records >= self.rules.max_records as u64 {
            return Err(MapError::TooMany(self.rules.max_records));
        }
        self.counts.records += 1;
        // Taken out for the time of the record, so that rules can be read while places are written: a pointer, and no count.
        let fit = self.fit.take().expect("a read begins before its records come");
        let Fit { rules, columns } = &*fit;
        self.keys.clear();
        for list in &columns.keys {
            self.keys.push(key::fingerprint(list, record, &self.seed, &mut self.scratch));
        }
        let mut metrics = columns.metrics.iter().zip(&rules.metrics).enumerate();
        let result = metrics.try_for_each(|(index, (columns_of, rule))| {
            let sight = Sight { record, rule, index, columns: columns_of, key: &columns.keys[columns_of.key] };
            self.point(&sight)
        });
        self.fit = Some(fit);
        result
    }

    fn point<R: Record + ?Sized>(&mut self, sight: &Sight<'_, R>) -> Result<(), MapError> {
        let rule = sight.rule;
        match (&rule.value, &sight.columns.value) {
            (ValueRule::Number { read, null, column }, ValueColumns::One(index)) => {
                let number = match sight.record.cell(*index) {
                    Cell::Null => match self.null(*null, column, rule)? {
                        true => Ok(Number::Int(0)),
                        false => return Ok(()),
                    },
                    cell => value::number(cell, *read),
                };
                match (number, read) {
                    (Ok(Number::Int(int)), super::ValueType::Double) => self.put(sight, 0, Tally::Double(int as f64)),
                    (Ok(Number::Int(int)), _) => self.put(sight, 0, Tally::Int(int)),
                    (Ok(Number::Double(double)), _) => self.put(sight, 0, Tally::Double(double)),
                    (Err(error), _) => {
                        self.error(|| format!("{}: column '{column}': {error}", rule.metric.name));
                        Ok(())
                    }
                }
            }
            (ValueRule::Info { column, null }, columns) => {
                if let (ValueColumns::One(index), Some(column)) = (columns, column)
                    && sight.record.cell(*index) == Cell::Null
                {
                    self.null(*null, column, rule)?;
                    return Ok(());
                }
                self.put(sight, 0, Tally::Int(1))
            }
            (ValueRule::State(state), ValueColumns::One(index)) => self.state(sight, state, *index),
            (ValueRule::Buckets { bounds, null, count, .. }, ValueColumns::Buckets { .. }) => {
                match histogram::read(bounds, &sight.columns.value, sight.record) {
                    Ok(Some(histogram)) => self.put(sight, 0, Tally::Histogram(Box::new(histogram))),
                    Ok(None) => match self.null(*null, count, rule)? {
                        true => self.put(sight, 0, Tally::Histogram(Box::new(histogram::empty(bounds)))),
                        false => Ok(()),
                    },
                    Err(error) => {
                        self.error(|| format!("{}: {error}", rule.metric.name));
                        Ok(())
                    }
                }
            }
            _ => unreachable!("columns are compiled from the same rules"),
        }
    }

    /// What a NULL does: whether a zero stands for it.
    fn null(&mut self, on: OnNull, column: &str, rule: &MetricRule) -> Result<bool, MapError> {
        match on {
            OnNull::Zero => Ok(true),
            OnNull::Omit => {
                self.counts.nulls += 1;
                Ok(false)
            }
            OnNull::Error => Err(MapError::Rule(format!(
                "{}: column '{column}' is NULL in row {} (null: error)",
                rule.metric.name, self.counts.records
            ))),
        }
    }

    fn error(&mut self, tell: impl FnOnce() -> String) {
        self.counts.errors += 1;
        if self.counts.first_error.is_none() {
            self.counts.first_error = Some(format!("{} (row {})", tell(), self.counts.records));
        }
    }

    fn state<R: Record + ?Sized>(
        &mut self,
        sight: &Sight<'_, R>,
        rule: &StateRule,
        column: usize,
    ) -> Result<(), MapError> {
        let cell = sight.record.cell(column);
        let active = match (cell, rule.null) {
            (Cell::Null, Some(null)) => {
                if !self.null(null, &rule.column, sight.rule)? {
                    return Ok(());
                }
                None
            }
            (Cell::Text(bytes) | Cell::Bytes(bytes), _) => {
                rule.states.iter().position(|state| state.as_bytes() == bytes)
            }
            // States that are numbers are rare and their text is short.
            (Cell::Null, None) => None,
            (cell, _) => value::text(cell).and_then(|(text, _)| rule.states.iter().position(|state| **state == *text)),
        };
        if active.is_none() && !(cell == Cell::Null && rule.null.is_some()) {
            self.counts.unknown_states += 1;
            match rule.unknown {
                OnUnknown::Zeros => {}
                OnUnknown::Drop => return Ok(()),
                OnUnknown::Error => {
                    let found = value::text(cell).map_or_else(|| "NULL".to_owned(), |(text, _)| format!("'{text}'"));
                    return Err(MapError::Rule(format!(
                        "{}: column '{}' holds {found} in row {}, which is none of its states (unknown: error)",
                        sight.rule.metric.name, rule.column, self.counts.records
                    )));
                }
            }
        }
        match rule.encoding {
            Encoding::All => (0..rule.states.len())
                .try_for_each(|state| self.put(sight, state, Tally::Int(i64::from(active == Some(state))))),
            Encoding::Active => self.put_active(sight, rule, active),
        }
    }

    /// The active state alone: the states of one thing shut each other out, so of duplicates only one may be seen.
    fn put_active<R: Record + ?Sized>(
        &mut self,
        sight: &Sight<'_, R>,
        rule: &StateRule,
        active: Option<usize>,
    ) -> Result<(), MapError> {
        for other in (0..rule.states.len()).filter(|other| active != Some(*other)) {
            let key = key::of(self.keys[sight.columns.key], sight.index, other);
            let Some(place) = self.held.find(key).filter(|place| self.held.is_seen(*place)) else { continue };
            match sight.rule.on_duplicate {
                OnDuplicate::First => {
                    self.counts.merged += 1;
                    return Ok(());
                }
                OnDuplicate::Error => return Err(self.duplicate(place)),
                OnDuplicate::Last | OnDuplicate::Sum => {
                    self.counts.merged += 1;
                    self.held.unsee(place);
                }
            }
        }
        active.map_or(Ok(()), |state| self.put(sight, state, Tally::Int(1)))
    }

    /// Gives a value to the series of a record.
    fn put<R: Record + ?Sized>(&mut self, sight: &Sight<'_, R>, state: usize, tally: Tally) -> Result<(), MapError> {
        let Some((time, start)) = self.times(sight) else { return Ok(()) };
        let key = key::of(self.keys[sight.columns.key], sight.index, state);
        let index = match self.held.find(key) {
            Some(index) => index,
            None => {
                let identity = self.identity(sight, state);
                self.held.insert(key, identity, &self.table)
            }
        };
        if !self.held.is_seen(index) {
            self.held.see(index);
            let place = self.held.place(index);
            (place.tally, place.time, place.start) = (tally, time, start);
            return Ok(());
        }
        self.counts.merged += 1;
        let on_duplicate = sight.rule.on_duplicate;
        let place = self.held.place(index);
        match on_duplicate {
            OnDuplicate::Last => (place.tally, place.time, place.start) = (tally, time, start),
            OnDuplicate::First => {}
            OnDuplicate::Sum => {
                place.tally.add(tally);
                place.time = place.time.max(time);
                place.start = place.start.min(start);
            }
            OnDuplicate::Error => return Err(self.duplicate(index)),
        }
        Ok(())
    }

    fn duplicate(&mut self, index: usize) -> MapError {
        let records = self.counts.records;
        let series = self.held.place(index).series();
        MapError::Rule(format!("row {records} makes the series {series:?} a second time (on_duplicate: error)"))
    }

    /// Time and start time of a record's point; `None`, and an error counted, when a cell holds no time.
    fn times<R: Record + ?Sized>(&mut self, sight: &Sight<'_, R>) -> Option<(UnixNanos, UnixNanos)> {
        let default_start = || match sight.rule.start {
            StartRule::Unset => UnixNanos::UNSET,
            StartRule::AtStart => self.started,
            StartRule::LastRead(_) if self.last_success.is_set() => self.last_success,
            StartRule::LastRead(span) => {
                UnixNanos(self.time.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
            }
        };
        let MetricColumns { start, time, .. } = sight.columns;
        if start.is_none() && time.is_none() {
            return Some((self.time, default_start()));
        }
        let of = |column: Option<usize>, default: UnixNanos| match column.map(|index| sight.record.cell(index)) {
            None | Some(Cell::Null) => Some(default),
            Some(cell) => value::time(cell),
        };
        let times = of(*time, self.time).zip(of(*start, default_start()));
        if times.is_none() {
            let rule = sight.rule;
            let columns = [&rule.time_column, &rule.start_column].map(|column| column.as_deref().unwrap_or("-"));
            self.error(|| {
                format!(
                    "{}: column '{}' holds no time (nanoseconds since 1970, or a date such as 2026-01-31 12:00:00)",
                    rule.metric.name,
                    columns.join("' or '")
                )
            });
        }
        times
    }

    #[cold]
    fn identity<R: Record + ?Sized>(&mut self, sight: &Sight<'_, R>, state: usize) -> Identity {
        let rules = self.rules.clone();
        let (resource, attributes) = sight.key.split_at(rules.resource_columns.len());
        let mut push_cells = |builder: &mut AttributesBuilder, columns: &[key::KeyColumn], named: &[AttributeRule]| {
            for (column, rule) in columns.iter().zip(named) {
                let Some((text, replaced)) = value::text(column.cell(sight.record)) else { continue };
                self.counts.replaced_text += u64::from(replaced);
                builder.push(&rule.column, &*text);
            }
        };
        rules.resource.iter().for_each(|(key, value)| self.builder.push(key, &**value));
        push_cells(&mut self.builder, resource, &rules.resource_columns);
        let resource = self.builder.finish();
        sight.rule.static_attributes.iter().for_each(|(key, value)| self.builder.push(key, &**value));
        push_cells(&mut self.builder, attributes, &sight.rule.attributes);
        if let ValueRule::State(rule) = &sight.rule.value {
            self.builder.push(&rule.label, &*rule.states[state]);
        }
        Identity {
            origin: self.origins.of(resource),
            metric: sight.rule.metric.clone(),
            attributes: self.builder.finish(),
        }
    }

    /// What the read in progress has come to.
    #[must_use]
    pub fn counts(&self) -> &MapCounts {
        &self.counts
    }

    /// Points that a commit would show, end markers not counted.
    #[must_use]
    pub fn points(&self) -> usize {
        self.held.seen()
    }

    /// Ends the taking of records. Gives the bytes of the largest page that [`next_page`](Self::next_page) will make.
    pub fn finish(&mut self) -> usize {
        self.walk = Walk { place: 0, values: self.held.seen(), ends: self.held.gone() };
        let buckets = self.rules.metrics.iter().map(|rule| match &rule.value {
            ValueRule::Buckets { bounds, .. } => size_of::<Histogram>() + 16 * bounds.len() + 8,
            _ => 0,
        });
        (self.walk.values + self.walk.ends).min(PAGE_POINTS) * (size_of::<Point>() + buckets.max().unwrap_or(0))
    }

    /// The next page, and whether it is the last: values first, then end markers of series that are gone. At least one page.
    pub fn next_page(&mut self) -> (Metrics, bool) {
        let room = (self.walk.values + self.walk.ends).min(PAGE_POINTS);
        let mut metrics = Metrics::with_capacity(self.table.pin(), room);
        while metrics.points.len() < room {
            let ends = self.walk.values == 0;
            let found = if ends { self.held.next_gone(self.walk.place) } else { self.held.next_seen(self.walk.place) };
            let (index, place) = found.expect("as many places are seen and gone as were counted");
            let series = place.id().unwrap_or_else(|| metrics.adopt(place.series()));
            metrics.points.push(if ends {
                let flags = PointFlags::HELD.with(PointFlags::NO_RECORDED_VALUE);
                Point { series, start: UnixNanos::UNSET, time: self.time, value: PointValue::Int(0), flags }
            } else {
                let (start, time, value) = (place.start, place.time, place.tally.value());
                Point { series, start, time, value, flags: PointFlags::HELD }
            });
            self.walk.place = index + 1;
            if ends {
                self.walk.ends -= 1;
            } else {
                self.walk.values -= 1;
                if self.walk.values == 0 {
                    self.walk.place = 0;
                }
            }
        }
        (metrics, self.walk.values + self.walk.ends == 0)
    }

    /// Ends a read whose pages have all been sent: series that are gone are let go.
    pub fn commit(&mut self) {
        self.held.commit();
        self.last_success = self.time;
    }
}

/// One metric of one record.
struct Sight<'a, R: ?Sized> {
    record: &'a R,
    rule: &'a MetricRule,
    index: usize,
    columns: &'a MetricColumns,
    key: &'a [key::KeyColumn],
}

impl std::fmt::Debug for Mapper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mapper").field("held", &self.held).field("counts", &self.counts).finish_non_exhaustive()
    }
}
