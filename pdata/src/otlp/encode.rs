//! Points → `ExportMetricsServiceRequest`.
//!
//! The attribute bytes of a series are encoded once and copied from then on. Points of a request are put in order by metric, because
//! the wire nests what a batch keeps flat.

use std::collections::HashMap;
use std::sync::Arc;

use super::wire::Write;
use super::{attributes, histograms};
use crate::fingerprint::{Fingerprint, Seed};
use crate::number::Number;
use crate::{
    Attributes, Exemplar, Hint, Identity, Kind, Metric, Metrics, Origin, Point, PointValue, SeriesId, Temporality,
};

/// Encodes batches of one exporter; remembers the attribute bytes of series between batches.
#[derive(Debug)]
pub struct MetricsEncoder {
    seed: Seed,
    /// Indexed by [`SeriesId::index`]; an entry is believed only when its whole id fits.
    series: Vec<Option<Entry>>,
    groups: Vec<Group>,
    by_fingerprint: HashMap<Fingerprint, u32>,
    generation: u32,
    /// Scratch: point indices in the order they are written, and where each group's points end among them.
    order: Vec<u32>,
    ends: Vec<u32>,
    /// Scratch: entries of the batch's inline identities.
    inline: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    id: SeriesId,
    group: u32,
    used: u32,
    /// Fields `KeyValue attributes` as they stand in a point.
    attributes: Box<[u8]>,
}

/// One metric of one origin: what points on the wire are nested in.
#[derive(Clone, Debug)]
struct Group {
    origin: Arc<Origin>,
    metric: Arc<Metric>,
    /// Equal for groups that share a resource and a scope.
    origin_fingerprint: Fingerprint,
}

/// Metrics (per origin) that are remembered between batches; past it all is learned anew. Large fleets have thousands.
const GROUPS_MAX: usize = 65_536;

impl Default for MetricsEncoder {
    fn default() -> Self {
        Self {
            seed: Seed::random(),
            series: Vec::new(),
            groups: Vec::new(),
            by_fingerprint: HashMap::new(),
            generation: 0,
            order: Vec::new(),
            ends: Vec::new(),
            inline: Vec::new(),
        }
    }
}

impl MetricsEncoder {
    /// Appends a request with all points of `metrics` to `out`.
    pub fn encode(&mut self, metrics: &Metrics, out: &mut Vec<u8>) {
        if self.groups.len() > GROUPS_MAX {
            self.forget();
        }
        self.inline =
            metrics.inline().iter().map(|series| self.entry(SeriesId::inline(0), series.identity())).collect();
        self.sort(metrics);
        let exemplars = Exemplars::of(metrics);
        let mut groups: Vec<u32> =
            (0..self.groups.len() as u32).filter(|group| !self.range(*group).is_empty()).collect();
        groups.sort_by_key(|group| self.groups[*group as usize].origin_fingerprint);
        let same_origin = |a: &u32, b: &u32| {
            self.groups[*a as usize].origin_fingerprint == self.groups[*b as usize].origin_fingerprint
        };
        for groups in groups.chunk_by(same_origin) {
            let origin = self.groups[groups[0] as usize].origin.clone();
            out.message_field(1, |out| {
                attributes::write_resource(out, &origin);
                out.message_field(2, |out| {
                    attributes::write_scope(out, &origin.scope);
                    for group in groups {
                        out.message_field(2, |out| self.write_metric(out, *group, metrics, &exemplars));
                    }
                    attributes::write_text(out, 3, &origin.scope.schema_url);
                });
                attributes::write_text(out, 3, &origin.resource_schema_url);
            });
        }
    }

    /// Forgets the bytes of series that no batch named since the last turn. Call it every few minutes.
    pub fn turn(&mut self) {
        let generation = self.generation;
        for slot in &mut self.series {
            if slot.as_ref().is_some_and(|entry| entry.used != generation) {
                *slot = None;
            }
        }
        let kept = self.series.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.series.truncate(kept);
        if kept == 0 {
            self.forget();
        }
        self.generation += 1;
    }

    fn forget(&mut self) {
        self.series.clear();
        self.groups.clear();
        self.by_fingerprint.clear();
    }

    /// Puts point indices in order by group: a counting sort, since groups are numbered.
    fn sort(&mut self, metrics: &Metrics) {
        let groups: Vec<u32> = metrics.points.iter().map(|point| self.group_of(metrics, point.series)).collect();
        self.ends.clear();
        self.ends.resize(self.groups.len(), 0);
        groups.iter().for_each(|group| self.ends[*group as usize] += 1);
        let mut start = 0;
        for end in &mut self.ends {
            start += std::mem::replace(end, start);
        }
        self.order.clear();
        self.order.resize(groups.len(), 0);
        for (index, group) in groups.iter().enumerate() {
            let place = &mut self.ends[*group as usize];
            self.order[*place as usize] = index as u32;
            *place += 1;
        }
    }

    /// Where a group's points stand in `order`.
    fn range(&self, group: u32) -> std::ops::Range<usize> {
        let group = group as usize;
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        start as usize..self.ends[group] as usize
    }

    fn group_of(&mut self, metrics: &Metrics, id: SeriesId) -> u32 {
        if id.is_inline() {
            return self.inline[id.index()].group;
        }
        if let Some(Some(entry)) = self.series.get_mut(id.index())
            && entry.id == id
        {
            entry.used = self.generation;
            return entry.group;
        }
        let series = metrics.series(id);
        let entry = self.entry(id, series.identity());
        let group = entry.group;
        if self.series.len() <= id.index() {
            self.series.resize_with(id.index() + 1, || None);
        }
        self.series[id.index()] = Some(entry);
        group
    }

    fn entry(&mut self, id: SeriesId, identity: &Identity) -> Entry {
        let Identity { origin, metric, attributes } = identity;
        let bare = |metric: Arc<Metric>| Identity { origin: origin.clone(), metric, attributes: Attributes::empty() };
        let mut fingerprint = bare(metric.clone()).fingerprint(&self.seed);
        // Unlike a series' identity, what is written includes the description.
        let description = self.seed.fingerprint(metric.description.as_bytes());
        fingerprint.0[0] ^= description.0[0];
        let group = *self.by_fingerprint.entry(fingerprint).or_insert_with(|| {
            let nameless = Arc::new(Metric::new("", Kind::Gauge));
            self.groups.push(Group {
                origin: origin.clone(),
                metric: metric.clone(),
                origin_fingerprint: bare(nameless).fingerprint(&self.seed),
            });
            self.groups.len() as u32 - 1
        });
        let number = match metric.kind {
            Kind::Gauge | Kind::Sum { .. } | Kind::Summary => 7,
            Kind::Histogram { .. } => 9,
            Kind::ExponentialHistogram { .. } => 1,
        };
        let mut bytes = Vec::new();
        attributes::write(&mut bytes, number, attributes);
        Entry { id, group, used: self.generation, attributes: bytes.into() }
    }

    fn write_metric(&self, out: &mut Vec<u8>, group: u32, metrics: &Metrics, exemplars: &Exemplars<'_>) {
        let metric = &self.groups[group as usize].metric;
        attributes::write_text(out, 1, &metric.name);
        attributes::write_text(out, 2, &metric.description);
        attributes::write_text(out, 3, &metric.unit);
        let (number, temporality) = match metric.kind {
            Kind::Gauge => (5, None),
            Kind::Sum { temporality, .. } => (7, Some(temporality)),
            Kind::Histogram { temporality } => (9, Some(temporality)),
            Kind::ExponentialHistogram { temporality } => (10, Some(temporality)),
            Kind::Summary => (11, None),
        };
        out.message_field(number, |out| {
            for index in &self.order[self.range(group)] {
                let point = &metrics.points[*index as usize];
                out.message_field(1, |out| self.write_point(out, point, exemplars.of_point(*index)));
            }
            if let Some(temporality) = temporality {
                out.varint_field(2, if temporality == Temporality::Delta { 1 } else { 2 });
            }
            if let Kind::Sum { monotonic: true, .. } = metric.kind {
                out.varint_field(3, 1);
            }
        });
        write_hint(out, metric.hint);
    }

    fn write_point(&self, out: &mut Vec<u8>, point: &Point, exemplars: &[&Exemplar]) {
        out.extend_from_slice(self.attributes_of(point.series));
        out.fixed64_field(2, point.start.0);
        out.fixed64_field(3, point.time.0);
        let (exemplar_field, flags_field) = match &point.value {
            PointValue::Int(_) | PointValue::Double(_) => (5, 8),
            PointValue::Histogram(_) => (8, 10),
            PointValue::Exponential(_) => (11, 10),
            PointValue::Summary(_) => (0, 8),
        };
        match &point.value {
            // A point without a recorded value carries none.
            PointValue::Int(_) | PointValue::Double(_) if point.is_end() => {}
            PointValue::Int(int) => out.fixed64_field(6, *int as u64),
            PointValue::Double(double) => out.double_field(4, *double),
            PointValue::Histogram(histogram) => histograms::write_explicit(out, histogram),
            PointValue::Exponential(histogram) => histograms::write_exponential(out, histogram),
            PointValue::Summary(summary) => histograms::write_summary(out, summary),
        }
        if point.flags.wire_bits() != 0 {
            out.varint_field(flags_field, u64::from(point.flags.wire_bits()));
        }
        if exemplar_field != 0 {
            exemplars.iter().for_each(|exemplar| write_exemplar(out, exemplar_field, exemplar));
        }
    }

    fn attributes_of(&self, id: SeriesId) -> &[u8] {
        let entry = if id.is_inline() { self.inline.get(id.index()) } else { self.series[id.index()].as_ref() };
        entry.map_or(&[], |entry| &entry.attributes)
    }
}

/// The exemplars of a batch by point.
struct Exemplars<'a>(Vec<&'a Exemplar>);

impl<'a> Exemplars<'a> {
    fn of(metrics: &'a Metrics) -> Self {
        let mut all: Vec<_> = metrics.exemplars.iter().collect();
        all.sort_by_key(|exemplar| exemplar.point);
        Self(all)
    }

    fn of_point(&self, point: u32) -> &[&'a Exemplar] {
        if self.0.is_empty() {
            return &[];
        }
        let start = self.0.partition_point(|exemplar| exemplar.point < point);
        let end = self.0.partition_point(|exemplar| exemplar.point <= point);
        &self.0[start..end]
    }
}

fn write_exemplar(out: &mut Vec<u8>, number: u32, exemplar: &Exemplar) {
    out.message_field(number, |out| {
        out.fixed64_field(2, exemplar.time.0);
        match exemplar.value {
            Number::Int(int) => out.fixed64_field(6, int as u64),
            Number::Double(double) => out.double_field(3, double),
        }
        if exemplar.span_id != [0; 8] {
            out.bytes_field(4, &exemplar.span_id);
        }
        if exemplar.trace_id != [0; 16] {
            out.bytes_field(5, &exemplar.trace_id);
        }
        attributes::write(out, 7, &exemplar.filtered_attributes);
    });
}

fn write_hint(out: &mut Vec<u8>, hint: Hint) {
    let word = match hint {
        Hint::None => return,
        Hint::Unknown => "unknown",
        Hint::Info => "info",
        Hint::StateSet => "stateset",
    };
    attributes::write(out, 12, &Attributes::from_pairs([("prometheus.type", word)]));
}
