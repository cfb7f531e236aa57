//! A batch's worth of points: flat, no nested maps.

use crate::attributes::Attributes;
use crate::number::PointValue;
use crate::series::{Series, SeriesId};
use crate::table::Pin;
use crate::time::UnixNanos;

/// One measured value of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Whose value it is; see [`Metrics::series`].
    pub series: SeriesId,
    /// When the stream began (cumulative) or the window opened (delta); unset when unknown.
    pub start: UnixNanos,
    /// When the value was true.
    pub time: UnixNanos,
    /// The value. Means nothing when [`PointFlags::NO_RECORDED_VALUE`] is set.
    pub value: PointValue,
    /// What is to be known of the point besides its value.
    pub flags: PointFlags,
}

/// Flags of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PointFlags(u32);

/// An example observation (OTLP `Exemplar`), kept beside the points.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Index of its point in [`Metrics::points`].
    pub point: u32,
    /// When it was observed.
    pub time: UnixNanos,
    /// The observed value: `Int` or `Double`.
    pub value: crate::number::Number,
    /// Trace id; all zero when unset.
    pub trace_id: [u8; 16],
    /// Span id; all zero when unset.
    pub span_id: [u8; 8],
    /// Attributes that the series does not have.
    pub filtered_attributes: Attributes,
}

/// Points, the identities that travel with them, and a pin that keeps their slots.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// The points, in the order they came.
    pub points: Vec<Point>,
    /// Exemplars of some of the points.
    pub exemplars: Vec<Exemplar>,
    inline: Vec<Series>,
    pin: Pin,
}

impl PointFlags {
    /// No value was recorded: the series has ended or paused (OTLP `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`).
    pub const NO_RECORDED_VALUE: Self = Self(1);
    /// weir's own, never on the wire: a receiver holds this series and will send its end marker itself, so that exporters must
    /// not expire it while it is quiet.
    pub const HELD: Self = Self(1 << 31);

    /// No flags.
    #[must_use]
    pub const fn empty() -> Self {
        Self(0)
    }

    /// Both sets of flags together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The bits that OTLP knows, for the wire.
    #[must_use]
    pub const fn wire_bits(self) -> u32 {
        self.0 & !Self::HELD.0
    }

    /// From OTLP's bits.
    #[must_use]
    pub const fn from_wire(bits: u32) -> Self {
        Self(bits & !Self::HELD.0)
    }
}

impl Point {
    /// Whether it says that its series has no value any more.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        self.flags.has(PointFlags::NO_RECORDED_VALUE)
    }
}

impl Metrics {
    /// An empty batch whose interned points name slots of the pinned table.
    #[must_use]
    pub fn new(pin: Pin) -> Self {
        Self { points: Vec::new(), exemplars: Vec::new(), inline: Vec::new(), pin }
    }

    /// The same, with room for points.
    #[must_use]
    pub fn with_capacity(pin: Pin, points: usize) -> Self {
        Self { points: Vec::with_capacity(points), ..Self::new(pin) }
    }

    /// The id by which points of *this* batch may name `series`: its slot, or a new place among the inline identities.
    /// Call it once per series and batch.
    pub fn adopt(&mut self, series: &Series) -> SeriesId {
        series.id().unwrap_or_else(|| {
            let index = u32::try_from(self.inline.len()).expect("a batch has fewer than 2^32 series");
            self.inline.push(series.clone());
            SeriesId::inline(index)
        })
    }

    /// The series of a point of this batch. Costs a lock for interned ids: for first sights, not for every point.
    ///
    /// # Panics
    /// When `id` comes from another batch or table, which is a defect of the caller.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Series {
        if id.is_inline() {
            return self.inline[id.index()].clone();
        }
        self.pin.table().series(id).expect("a pinned batch names no recycled slot")
    }

    /// The identities that travel with this batch; inline ids index it.
    #[must_use]
    pub fn inline(&self) -> &[Series] {
        &self.inline
    }

    /// Replaces each inline identity with `change`'s, or marks it for dropping. Used by processors that change identities:
    /// ids of the points stay as they are unless the new series is interned; see the returned list, indexed like
    /// [`inline`](Self::inline) before the call: the id to write into points, or `None` to drop them.
    pub fn change_inline(&mut self, mut change: impl FnMut(&Series) -> Option<Series>) -> Vec<Option<SeriesId>> {
        let old = std::mem::take(&mut self.inline);
        old.iter().map(|series| change(series).map(|new| self.adopt(&new))).collect()
    }

    /// What keeps the slots of this batch from being recycled.
    #[must_use]
    pub fn pin(&self) -> &Pin {
        &self.pin
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The points in parts: `part_of` says for each point in which it goes, or that it goes nowhere; `count` is the number of parts. Points keep
    /// their order, and their exemplars and identities go with them. One pass, whatever the number of parts.
    ///
    /// # Panics
    /// When a part is `count` or more, which is a defect of the caller.
    #[must_use]
    pub fn parts(&self, part_of: &[Option<usize>], count: usize) -> Vec<Self> {
        let mut sizes = vec![0; count];
        part_of.iter().flatten().for_each(|part| sizes[*part] += 1);
        let mut parts: Vec<_> = sizes.into_iter().map(|points| Self::with_capacity(self.pin.clone(), points)).collect();
        let mut adopted = hashbrown::HashMap::new();
        // Where points went, for their exemplars.
        let mut places = Vec::with_capacity(if self.exemplars.is_empty() { 0 } else { self.points.len() });
        for (point, part) in self.points.iter().zip(part_of) {
            let place = part.map_or(0, |part| parts[part].points.len());
            if !self.exemplars.is_empty() {
                places.push(u32::try_from(place).expect("a batch has fewer than 2^32 points"));
            }
            let Some(part) = *part else { continue };
            let out = &mut parts[part];
            let series = if point.series.is_inline() {
                let own = || out.adopt(&self.inline[point.series.index()]);
                *adopted.entry((part, point.series.index())).or_insert_with(own)
            } else {
                point.series
            };
            out.points.push(Point { series, ..point.clone() });
        }
        for exemplar in &self.exemplars {
            if let Some(Some(part)) = part_of.get(exemplar.point as usize) {
                let point = places[exemplar.point as usize];
                parts[*part].exemplars.push(Exemplar { point, ..exemplar.clone() });
            }
        }
        parts
    }

    /// The points that are kept, with their exemplars and identities.
    #[must_use]
    pub fn only(&self, kept: &[bool]) -> Self {
        let part_of: Vec<_> = kept.iter().map(|kept| kept.then_some(0)).collect();
        self.parts(&part_of, 1).pop().expect("there is one part")
    }

    /// Bytes this batch keeps alive, for budgets.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.points.len() * size_of::<Point>()
            + self.points.iter().map(|point| point.value.heap_bytes()).sum::<usize>()
            + self.exemplars.iter().map(|e| size_of::<Exemplar>() + e.filtered_attributes.heap_bytes()).sum::<usize>()
            + self.inline.iter().map(Series::heap_bytes).sum::<usize>()
    }
}
