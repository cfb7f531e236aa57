//! Histograms and summaries on the wire.

use super::points::{Draft, part, room_for};
use super::wire::{Fields, Malformed, Payload, Write};
use crate::{Buckets, ExponentialHistogram, Histogram, PointValue, Quantile, Summary};

/// Fields of a `HistogramDataPoint` besides its attributes.
pub(super) fn explicit_field<'a>(draft: &mut Draft<'a>, number: u32, payload: Payload<'a>) -> Result<(), Malformed> {
    match number {
        2 => draft.start = payload.fixed64()?,
        3 => draft.time = payload.fixed64()?,
        8 => draft.exemplar(payload)?,
        10 => draft.flags = payload.varint()? as u32,
        4..=7 | 11 | 12 => {
            let empty = || PointValue::Histogram(Box::default());
            let PointValue::Histogram(histogram) = draft.value.get_or_insert_with(empty) else { return Ok(()) };
            explicit(histogram, number, payload)?;
        }
        _ => {}
    }
    Ok(())
}

fn explicit(histogram: &mut Histogram, number: u32, payload: Payload<'_>) -> Result<(), Malformed> {
    match number {
        4 => histogram.count = payload.fixed64()?,
        5 => histogram.sum = Some(payload.double()?),
        6 => {
            room_for(&mut histogram.counts, payload.packed_fixed64());
            payload.each_fixed64(|count| {
                let length = histogram.counts.len();
                part(&mut histogram.counts, length, count)
            })?;
        }
        7 => {
            room_for(&mut histogram.bounds, payload.packed_fixed64());
            payload.each_fixed64(|bound| {
                let length = histogram.bounds.len();
                part(&mut histogram.bounds, length, f64::from_bits(bound))
            })?;
        }
        11 => histogram.min = Some(payload.double()?),
        _ => histogram.max = Some(payload.double()?),
    }
    Ok(())
}

/// Fields of an `ExponentialHistogramDataPoint` besides its attributes.
pub(super) fn exponential_field<'a>(draft: &mut Draft<'a>, number: u32, payload: Payload<'a>) -> Result<(), Malformed> {
    match number {
        2 => draft.start = payload.fixed64()?,
        3 => draft.time = payload.fixed64()?,
        10 => draft.flags = payload.varint()? as u32,
        11 => draft.exemplar(payload)?,
        4..=9 | 12..=14 => {
            let empty = || PointValue::Exponential(Box::default());
            let PointValue::Exponential(histogram) = draft.value.get_or_insert_with(empty) else { return Ok(()) };
            exponential(histogram, number, payload)?;
        }
        _ => {}
    }
    Ok(())
}

fn exponential(histogram: &mut ExponentialHistogram, number: u32, payload: Payload<'_>) -> Result<(), Malformed> {
    match number {
        4 => histogram.count = payload.fixed64()?,
        5 => histogram.sum = Some(payload.double()?),
        6 => histogram.scale = payload.sint32()?,
        7 => histogram.zero_count = payload.fixed64()?,
        8 => histogram.positive = buckets(payload.bytes()?)?,
        9 => histogram.negative = buckets(payload.bytes()?)?,
        12 => histogram.min = Some(payload.double()?),
        13 => histogram.max = Some(payload.double()?),
        _ => histogram.zero_threshold = payload.double()?,
    }
    Ok(())
}

fn buckets(message: &[u8]) -> Result<Buckets, Malformed> {
    let (mut fields, mut buckets) = (Fields::of(message), Buckets::default());
    while let Some(field) = fields.next()? {
        match field.number {
            1 => buckets.offset = field.payload.sint32()?,
            2 => {
                room_for(&mut buckets.counts, field.payload.packed_varints());
                field.payload.each_varint(|count| {
                    let length = buckets.counts.len();
                    part(&mut buckets.counts, length, count)
                })?;
            }
            _ => {}
        }
    }
    Ok(buckets)
}

/// Fields of a `SummaryDataPoint` besides its attributes.
pub(super) fn summary_field<'a>(draft: &mut Draft<'a>, number: u32, payload: Payload<'a>) -> Result<(), Malformed> {
    match number {
        2 => draft.start = payload.fixed64()?,
        3 => draft.time = payload.fixed64()?,
        8 => draft.flags = payload.varint()? as u32,
        4..=6 => {
            let empty = || PointValue::Summary(Box::default());
            let PointValue::Summary(summary) = draft.value.get_or_insert_with(empty) else { return Ok(()) };
            match number {
                4 => summary.count = payload.fixed64()?,
                5 => summary.sum = payload.double()?,
                _ => {
                    let length = summary.quantiles.len();
                    part(&mut summary.quantiles, length, quantile(payload.bytes()?)?)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn quantile(message: &[u8]) -> Result<Quantile, Malformed> {
    let (mut fields, mut quantile) = (Fields::of(message), Quantile::default());
    while let Some(field) = fields.next()? {
        match field.number {
            1 => quantile.quantile = field.payload.double()?,
            2 => quantile.value = field.payload.double()?,
            _ => {}
        }
    }
    Ok(quantile)
}

/// Whether a value keeps its own rules; OTLP metrics data model, sections on histograms and summaries.
pub(super) fn check(value: &PointValue) -> Result<(), &'static str> {
    match value {
        PointValue::Histogram(histogram) => {
            let Histogram { bounds, counts, .. } = &**histogram;
            if counts.len() != bounds.len() + 1 && !(counts.is_empty() && bounds.is_empty()) {
                return Err("a histogram has not one bucket more than bounds");
            }
            if !bounds.is_sorted_by(|a, b| a < b) || bounds.iter().any(|bound| bound.is_nan()) {
                return Err("the bounds of a histogram do not ascend");
            }
        }
        PointValue::Exponential(histogram) if histogram.zero_threshold < 0.0 => {
            return Err("the zero threshold of a histogram is negative");
        }
        PointValue::Summary(summary) => {
            let Summary { quantiles, .. } = &**summary;
            if quantiles.iter().any(|quantile| !(0.0..=1.0).contains(&quantile.quantile)) {
                return Err("a quantile is not from 0 to 1");
            }
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn write_explicit(out: &mut Vec<u8>, histogram: &Histogram) {
    out.fixed64_field(4, histogram.count);
    write_optional(out, 5, histogram.sum);
    write_packed(out, 6, histogram.counts.iter().copied());
    write_packed(out, 7, histogram.bounds.iter().map(|bound| bound.to_bits()));
    write_optional(out, 11, histogram.min);
    write_optional(out, 12, histogram.max);
}

pub(super) fn write_exponential(out: &mut Vec<u8>, histogram: &ExponentialHistogram) {
    out.fixed64_field(4, histogram.count);
    write_optional(out, 5, histogram.sum);
    out.varint_field(6, zigzag(histogram.scale));
    out.fixed64_field(7, histogram.zero_count);
    write_buckets(out, 8, &histogram.positive);
    write_buckets(out, 9, &histogram.negative);
    write_optional(out, 12, histogram.min);
    write_optional(out, 13, histogram.max);
    if histogram.zero_threshold != 0.0 {
        out.double_field(14, histogram.zero_threshold);
    }
}

pub(super) fn write_summary(out: &mut Vec<u8>, summary: &Summary) {
    out.fixed64_field(4, summary.count);
    out.double_field(5, summary.sum);
    for Quantile { quantile, value } in &summary.quantiles {
        out.message_field(6, |out| {
            out.double_field(1, *quantile);
            out.double_field(2, *value);
        });
    }
}

fn write_buckets(out: &mut Vec<u8>, number: u32, buckets: &Buckets) {
    if *buckets == Buckets::default() {
        return;
    }
    out.message_field(number, |out| {
        out.varint_field(1, zigzag(buckets.offset));
        out.message_field(2, |out| buckets.counts.iter().for_each(|count| out.varint(*count)));
    });
}

fn write_packed(out: &mut Vec<u8>, number: u32, values: impl ExactSizeIterator<Item = u64>) {
    if values.len() > 0 {
        out.tag(number, 2);
        out.varint(8 * values.len() as u64);
        values.for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
    }
}

fn write_optional(out: &mut Vec<u8>, number: u32, value: Option<f64>) {
    if let Some(value) = value {
        out.double_field(number, value);
    }
}

const fn zigzag(value: i32) -> u64 {
    (((value as u32) << 1) ^ ((value >> 31) as u32)) as u64
}
