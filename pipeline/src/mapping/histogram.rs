//! Histograms whose buckets stand in the columns of a record.

use pdata::{Histogram, Number};

use super::columns::ValueColumns;
use super::{Cell, Record, ValueType, value};

/// The histogram in a record's cells; `None` when one of its counts is NULL.
pub(super) fn read<R: Record + ?Sized>(
    bounds: &[(f64, Box<str>)],
    columns: &ValueColumns,
    record: &R,
) -> Result<Option<Histogram>, String> {
    let ValueColumns::Buckets { bounds: indices, count, sum } = columns else { return Ok(None) };
    let mut below = 0;
    let mut histogram = empty(bounds);
    for (bucket, index) in indices.iter().chain([count]).enumerate() {
        let name = bounds.get(bucket).map_or("the count", |(_, column)| column);
        let up_to = match record.cell(*index) {
            Cell::Null => return Ok(None),
            cell => match value::number(cell, ValueType::Int) {
                Ok(Number::Int(int)) if int >= 0 => int as u64,
                Ok(_) => return Err(format!("column '{name}': a bucket cannot hold a negative number")),
                Err(error) => return Err(format!("column '{name}': {error}")),
            },
        };
        histogram.counts[bucket] = up_to.checked_sub(below).ok_or_else(|| {
            format!("column '{name}' counts {up_to}, fewer than the bucket below it ({below}): buckets are cumulative")
        })?;
        below = up_to;
    }
    histogram.count = below;
    histogram.sum = match sum.map(|index| record.cell(index)) {
        None | Some(Cell::Null) => None,
        Some(cell) => match value::number(cell, ValueType::Double) {
            Ok(number) => Some(number.as_f64()),
            Err(error) => return Err(format!("the sum column: {error}")),
        },
    };
    Ok(Some(histogram))
}

/// No observations.
pub(super) fn empty(bounds: &[(f64, Box<str>)]) -> Histogram {
    let counts = vec![0; bounds.len() + 1];
    Histogram { bounds: bounds.iter().map(|(bound, _)| *bound).collect(), counts, ..Histogram::default() }
}
