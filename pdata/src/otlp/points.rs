//! What one metric and one of its points hold, besides whose they are.

use smallvec::SmallVec;

use super::attributes;
use super::wire::{Field, Fields, Malformed, Payload};
use crate::number::Number;
use crate::{Attributes, AttributesBuilder, Exemplar, Hint, Kind, PointValue, Temporality, UnixNanos};

/// The shapes of a metric's data.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Number,
    Histogram,
    Exponential,
    Summary,
}

/// A point in the making.
#[derive(Default)]
pub(super) struct Draft<'a> {
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) flags: u32,
    pub(super) value: Option<PointValue>,
    pub(super) exemplars: SmallVec<[&'a [u8]; 2]>,
}

/// Exemplars, buckets or quantiles of one point at most. Real points have a few exemplars and some hundred buckets.
const PARTS_MAX: usize = 65_536;

/// Puts one more part into a list, up to [`PARTS_MAX`].
pub(super) fn part<T>(list: &mut impl Extend<T>, length: usize, part: T) -> Result<(), Malformed> {
    if length >= PARTS_MAX {
        return Err(Malformed::TooMuch);
    }
    list.extend([part]);
    Ok(())
}

/// Makes room at once for parts that come packed, as far as they may come.
pub(super) fn room_for<T>(list: &mut Vec<T>, packed: usize) {
    if list.is_empty() {
        list.reserve_exact(packed.min(PARTS_MAX));
    }
}

impl<'a> Draft<'a> {
    pub(super) fn exemplar(&mut self, payload: Payload<'a>) -> Result<(), Malformed> {
        let length = self.exemplars.len();
        part(&mut self.exemplars, length, payload.bytes()?)
    }
}

impl Shape {
    /// The number of the field that holds a point's attributes.
    pub(super) const fn attributes(self) -> u8 {
        match self {
            Self::Number | Self::Summary => 7,
            Self::Histogram => 9,
            Self::Exponential => 1,
        }
    }

    pub(super) fn empty(self) -> Option<PointValue> {
        match self {
            Self::Number => None,
            Self::Histogram => Some(PointValue::Histogram(Box::default())),
            Self::Exponential => Some(PointValue::Exponential(Box::default())),
            Self::Summary => Some(PointValue::Summary(Box::default())),
        }
    }
}

/// Fields of a `NumberDataPoint` besides its attributes.
#[inline]
pub(super) fn number_field<'a>(draft: &mut Draft<'a>, number: u32, payload: Payload<'a>) -> Result<(), Malformed> {
    match number {
        2 => draft.start = payload.fixed64()?,
        3 => draft.time = payload.fixed64()?,
        4 => draft.value = Some(PointValue::Double(payload.double()?)),
        5 => draft.exemplar(payload)?,
        6 => draft.value = Some(PointValue::Int(payload.fixed64()? as i64)),
        8 => draft.flags = payload.varint()? as u32,
        _ => {}
    }
    Ok(())
}

/// The kind of a metric and the shape of its points, or why they cannot be taken.
pub(super) type Known = Result<(Kind, Shape), &'static str>;

/// What the data field of a `Metric` says of all its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    temporality: Option<Temporality>,
    monotonic: bool,
}

impl Told {
    /// What the data field `number` says, wherever in it that stands.
    pub(super) fn of(number: u32, data: &[u8]) -> Result<Self, Malformed> {
        let (mut told, mut fields) = (Self::default(), Fields::of(data));
        while let Some(field) = fields.next()? {
            told.take(number, field)?;
        }
        Ok(told)
    }

    /// What it says if it was written as encoders do: behind the points, in order, in the fewest bytes. To be held against what is
    /// [taken](Self::take) field by field, since the last bytes may be a point's.
    pub(super) fn guess(number: u32, data: &[u8]) -> Self {
        const TEMPORALITY: u8 = 2 << 3;
        const MONOTONIC: u8 = 3 << 3;
        let (temporality, monotonic) = match (number, data) {
            (7, [.., TEMPORALITY, temporality, MONOTONIC, monotonic @ (0 | 1)]) => (*temporality, *monotonic == 1),
            (7 | 9 | 10, [.., TEMPORALITY, temporality]) => (*temporality, false),
            _ => return Self::default(),
        };
        Self { temporality: self::temporality(u64::from(temporality)), monotonic }
    }

    /// Takes in a field of the data field `number`.
    #[inline]
    pub(super) fn take(&mut self, number: u32, field: Field<'_>) -> Result<(), Malformed> {
        match (field.number, number) {
            (2, 7 | 9 | 10) => self.temporality = temporality(field.payload.varint()?),
            (3, 7) => self.monotonic = field.payload.varint()? != 0,
            _ => {}
        }
        Ok(())
    }

    /// The kind of a metric whose data field `number` says this.
    pub(super) fn kind(self, number: u32) -> Known {
        match (number, self.temporality) {
            (5, _) => Ok((Kind::Gauge, Shape::Number)),
            (11, _) => Ok((Kind::Summary, Shape::Summary)),
            (7, Some(temporality)) => Ok((Kind::Sum { monotonic: self.monotonic, temporality }, Shape::Number)),
            (9, Some(temporality)) => Ok((Kind::Histogram { temporality }, Shape::Histogram)),
            (10, Some(temporality)) => Ok((Kind::ExponentialHistogram { temporality }, Shape::Exponential)),
            _ => Err("a metric has no aggregation temporality"),
        }
    }
}

fn temporality(value: u64) -> Option<Temporality> {
    match value {
        1 => Some(Temporality::Delta),
        2 => Some(Temporality::Cumulative),
        _ => None,
    }
}

/// The hint in a metric's metadata, if this pair is `prometheus.type`.
pub(super) fn prometheus_type(pair: &[u8]) -> Result<Option<Hint>, Malformed> {
    let mut builder = AttributesBuilder::default();
    attributes::push(&mut builder, pair)?;
    let metadata: Attributes = builder.finish();
    let word = metadata.get("prometheus.type");
    Ok(word.and_then(|value| match value.as_str()? {
        "unknown" => Some(Hint::Unknown),
        "info" => Some(Hint::Info),
        "stateset" => Some(Hint::StateSet),
        _ => None,
    }))
}

/// An exemplar; none when it has no value.
pub(super) fn exemplar(
    builder: &mut AttributesBuilder,
    point: u32,
    message: &[u8],
) -> Result<Option<Exemplar>, Malformed> {
    let filtered_attributes = attributes::collect(builder, message, 7)?;
    let (mut time, mut value, mut trace_id, mut span_id) = (0, None, [0; 16], [0; 8]);
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            2 => time = field.payload.fixed64()?,
            3 => value = Some(Number::Double(field.payload.double()?)),
            4 => span_id = field.payload.bytes()?.try_into().unwrap_or_default(),
            5 => trace_id = field.payload.bytes()?.try_into().unwrap_or_default(),
            6 => value = Some(Number::Int(field.payload.fixed64()? as i64)),
            _ => {}
        }
    }
    Ok(value.map(|value| Exemplar { point, time: UnixNanos(time), value, trace_id, span_id, filtered_attributes }))
}
