//! Times in cells whose numbers count seconds, milliseconds and the like since 1970.

use pdata::UnixNanos;

use crate::mapping::{Cell, TimeUnit, value};

/// The time in a cell whose numbers count `unit`; `None` when there is none, or it lies outside 1970 to 2500.
pub(super) fn time_in(cell: Cell<'_>, unit: TimeUnit) -> Option<UnixNanos> {
    let time = match cell {
        Cell::Time(time) => time,
        Cell::Int(int) => unit.whole(int)?,
        Cell::Double(double) => unit.fraction(double)?,
        Cell::Text(bytes) | Cell::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).ok()?.trim();
            match (text.parse(), text.parse()) {
                (Ok(int), _) => unit.whole(int)?,
                (_, Ok(double)) => unit.fraction(double)?,
                _ => value::parse_time(text)?,
            }
        }
        Cell::Null | Cell::Bool(_) => return None,
    };
    (time <= LATEST).then_some(time)
}

/// The year 2500: a number past it was read in the wrong unit.
const LATEST: UnixNanos = UnixNanos(16_725_225_600_000_000_000);

impl TimeUnit {
    const fn nanos(self) -> u64 {
        match self {
            Self::Seconds => 1_000_000_000,
            Self::Millis => 1_000_000,
            Self::Micros => 1_000,
            Self::Nanos => 1,
        }
    }

    fn whole(self, int: i64) -> Option<UnixNanos> {
        u64::try_from(int).ok()?.checked_mul(self.nanos()).map(UnixNanos)
    }

    fn fraction(self, double: f64) -> Option<UnixNanos> {
        let whole = double.trunc();
        // Whole part and fraction apart: seconds since 1970 with nanoseconds do not fit a double.
        (0.0..1e19).contains(&whole).then_some(())?;
        let fraction = ((double - whole) * self.nanos() as f64).round() as u64;
        (whole as u64).checked_mul(self.nanos())?.checked_add(fraction).map(UnixNanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_times_in_the_unit_that_is_told() {
        let seconds = |cell| time_in(cell, TimeUnit::Seconds).map(|time| time.0);
        assert_eq!(seconds(Cell::Int(1_700_000_000)), Some(1_700_000_000_000_000_000));
        assert_eq!(seconds(Cell::Double(1_700_000_000.25)), Some(1_700_000_000_250_000_000));
        assert_eq!(seconds(Cell::Text(b"1700000000.5")), Some(1_700_000_000_500_000_000));
        assert_eq!(seconds(Cell::Text(b"2023-11-14T22:13:20Z")), Some(1_700_000_000_000_000_000));
        let millis = |cell| time_in(cell, TimeUnit::Millis).map(|time| time.0);
        assert_eq!(millis(Cell::Int(1_700_000_000_123)), Some(1_700_000_000_123_000_000));
        for wrong in [Cell::Null, Cell::Bool(true), Cell::Int(-1), Cell::Double(f64::NAN), Cell::Text(b"soon")] {
            assert_eq!(seconds(wrong), None, "{wrong:?}");
        }
        assert_eq!(seconds(Cell::Int(1_700_000_000_123)), None, "milliseconds read as seconds are past the year 2500");
    }
}
