//! Cells as numbers, as text and as times.

use std::borrow::Cow;

use pdata::{Number, UnixNanos, ValueRef};

use super::{Cell, ValueType};

/// The number in a cell, or what is wrong with it. NULL is the caller's.
pub(super) fn number(cell: Cell<'_>, read: ValueType) -> Result<Number, NotANumber> {
    match (cell, read) {
        (Cell::Int(int), ValueType::Int | ValueType::Number) => Ok(Number::Int(int)),
        (Cell::Int(int), ValueType::Double) => Ok(Number::Double(int as f64)),
        (Cell::Double(double), ValueType::Double | ValueType::Number) => Ok(Number::Double(double)),
        (Cell::Double(double), ValueType::Int) => whole(double).map(Number::Int).ok_or(NotANumber::Fraction(double)),
        (Cell::Bool(flag), _) => number(Cell::Int(i64::from(flag)), read),
        (Cell::Time(time), _) => number(Cell::Double(time.as_seconds()), read),
        (Cell::Text(bytes) | Cell::Bytes(bytes), _) => parsed(bytes, read),
        (Cell::Null, _) => Err(NotANumber::Null),
    }
}

/// Why a cell is no number of the wanted type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum NotANumber {
    Null,
    /// A double where a whole number was wanted.
    Fraction(f64),
    Text,
}

impl std::fmt::Display for NotANumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("it is NULL"),
            Self::Fraction(double) => {
                write!(f, "{double} is not a whole number (value_type: number or double would take it)")
            }
            Self::Text => f.write_str("it holds text that is no number"),
        }
    }
}

fn whole(double: f64) -> Option<i64> {
    // 2^63 itself is past the range; every integral double below it fits.
    let limit = 9_223_372_036_854_775_808.0;
    (double.fract() == 0.0 && (-limit..limit).contains(&double)).then_some(double as i64)
}

fn parsed(bytes: &[u8], read: ValueType) -> Result<Number, NotANumber> {
    let text = std::str::from_utf8(bytes).map_err(|_| NotANumber::Text)?.trim();
    let int = || text.parse().map(Number::Int);
    let double = || text.parse().map(Number::Double).map_err(|_| NotANumber::Text);
    match read {
        ValueType::Int => int().or_else(|_| match double()? {
            Number::Double(value) => whole(value).map(Number::Int).ok_or(NotANumber::Fraction(value)),
            whole => Ok(whole),
        }),
        ValueType::Double => double(),
        ValueType::Number => int().or_else(|_| double()),
    }
}

/// A cell as the text of an attribute. `None` for NULL; whether bad UTF-8 was replaced.
pub(super) fn text(cell: Cell<'_>) -> Option<(Cow<'_, str>, bool)> {
    match cell {
        Cell::Null => None,
        Cell::Text(bytes) | Cell::Bytes(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let replaced = matches!(text, Cow::Owned(_));
            Some((text, replaced))
        }
        cell => {
            let mut text = Vec::new();
            put_text(cell, &mut text);
            Some((Cow::Owned(String::from_utf8(text).unwrap_or_default()), false))
        }
    }
}

/// Appends the text of a cell as it is; nothing for NULL. Allocates only where `out` is too small, and for times.
pub(super) fn put_text(cell: Cell<'_>, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let written = match cell {
        Cell::Null => Ok(()),
        Cell::Text(bytes) | Cell::Bytes(bytes) => out.write_all(bytes),
        Cell::Bool(flag) => write!(out, "{flag}"),
        Cell::Int(int) => write!(out, "{int}"),
        // The Collector prints 4.0 as 4 in attributes.
        Cell::Double(double) => match whole(double) {
            Some(int) => write!(out, "{int}"),
            None => write!(out, "{}", ValueRef::Double(double)),
        },
        Cell::Time(time) => out.write_all(rfc3339(time).as_bytes()),
    };
    written.expect("a Vec takes all that is written");
}

/// The time in a cell: a whole number counts nanoseconds since 1970, as in the Collector; text is RFC 3339 or what SQLite's
/// `datetime()` writes, in UTC when it names no zone.
pub fn time(cell: Cell<'_>) -> Option<UnixNanos> {
    match cell {
        Cell::Time(time) => Some(time),
        Cell::Int(nanos) => u64::try_from(nanos).ok().map(UnixNanos),
        Cell::Text(bytes) | Cell::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).ok()?.trim();
            text.parse().ok().map(UnixNanos).or_else(|| parse_time(text))
        }
        _ => None,
    }
}

/// `YYYY-MM-DD`, then optionally `T` or a blank, `HH:MM[:SS[.fraction]]`, and `Z` or `±HH:MM`.
pub(super) fn parse_time(text: &str) -> Option<UnixNanos> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut seconds = days_since_1970(year, month, day) * 86_400;
    let mut nanos = 0;
    if let Some(clock) = rest.strip_prefix(['T', 't', ' ']) {
        let zone_at = clock.find(['Z', 'z', '+', '-']).unwrap_or(clock.len());
        let (clock, zone) = clock.split_at(zone_at);
        let (of_day, fraction) = time_of_day(clock.trim_end())?;
        seconds += of_day - zone_offset(zone)?;
        nanos = fraction;
    } else if !rest.is_empty() {
        return None;
    }
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos).map(UnixNanos)
}

fn time_of_day(clock: &str) -> Option<(i64, u64)> {
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.split(':');
    let (hour, minute) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |part| digits(part, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut nanos = 0;
    let mut unit = 100_000_000;
    for digit in fraction.chars() {
        nanos += u64::from(digit.to_digit(10)?) * unit;
        unit /= 10;
    }
    Some((hour * 3600 + minute * 60 + second, nanos))
}

fn zone_offset(zone: &str) -> Option<i64> {
    let sign = match zone.chars().next() {
        None => return Some(0),
        Some('Z' | 'z') => return (zone.len() == 1).then_some(0),
        Some('-') => -1,
        Some(_) => 1,
    };
    let (hours, minutes) = zone[1..].split_once(':')?;
    Some(sign * (digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60))
}

fn digits(text: &str, length: usize) -> Option<i64> {
    (text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counted in years that begin in March, so that the leap day is last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

fn rfc3339(time: UnixNanos) -> String {
    let (seconds, nanos) = ((time.0 / 1_000_000_000) as i64, time.0 % 1_000_000_000);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The inverse of `days_since_1970`: 146,097 days in 400 years.
    let shifted = days + 719_468;
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + shifted.div_euclid(146_097) * 400 + i64::from(month <= 2);
    let fraction = match nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}{fraction}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<u64> {
        time(Cell::Text(text.as_bytes())).map(|time| time.0)
    }

    #[test]
    fn one_column_keeps_large_integers_and_fractions() {
        assert_eq!(number(Cell::Int(1 << 62), ValueType::Number), Ok(Number::Int(1 << 62)));
        assert_eq!(number(Cell::Double(0.25), ValueType::Number), Ok(Number::Double(0.25)));
        assert_eq!(number(Cell::Text(b"4611686018427387905"), ValueType::Number), Ok(Number::Int((1 << 62) + 1)));
        assert_eq!(number(Cell::Text(b"0.5"), ValueType::Number), Ok(Number::Double(0.5)));
    }

    #[test]
    fn a_whole_double_is_an_int_and_a_fraction_is_not() {
        assert_eq!(number(Cell::Double(4.0), ValueType::Int), Ok(Number::Int(4)));
        assert_eq!(number(Cell::Text(b"4.0"), ValueType::Int), Ok(Number::Int(4)));
        assert_eq!(number(Cell::Double(0.5), ValueType::Int), Err(NotANumber::Fraction(0.5)));
        assert_eq!(number(Cell::Double(9.3e18), ValueType::Int), Err(NotANumber::Fraction(9.3e18)));
        assert_eq!(number(Cell::Bool(true), ValueType::Int), Ok(Number::Int(1)));
        assert_eq!(number(Cell::Text(b"many"), ValueType::Number), Err(NotANumber::Text));
        assert_eq!(number(Cell::Text(b"\xff"), ValueType::Double), Err(NotANumber::Text));
    }

    #[test]
    fn times_are_nanoseconds_or_written_dates() {
        assert_eq!(time(Cell::Int(5)), Some(UnixNanos(5)));
        assert_eq!(at("1970-01-01"), Some(0));
        assert_eq!(at("2026-11-21 03:24:16"), Some(1_795_231_456_000_000_000));
        assert_eq!(at("2026-11-21T04:24:16.5+01:00"), Some(1_795_231_456_500_000_000));
        assert_eq!(at("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000_000));
        assert_eq!(at("1795231456000000000"), Some(1_795_231_456_000_000_000));
        for wrong in [
            "",
            "yesterday",
            "2026-13-01",
            "2026-11-21 25:00:00",
            "2026-11-21x",
            "2026-11-21T00:00:00+1",
            "äöü-äöü-äöü",
        ] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_as_text_reads_back() {
        for text in ["1970-01-01T00:00:00Z", "2024-02-29T23:59:59.25Z", "2026-11-21T03:24:16Z", "2100-03-01T00:00:00Z"]
        {
            assert_eq!(super::text(Cell::Time(UnixNanos(at(text).unwrap()))).unwrap().0, text);
        }
    }

    #[test]
    fn numbers_as_attributes_look_as_in_the_collector() {
        let text = |cell| super::text(cell).unwrap().0.into_owned();
        assert_eq!(text(Cell::Double(4.0)), "4");
        assert_eq!(text(Cell::Double(0.25)), "0.25");
        assert_eq!(text(Cell::Int(-7)), "-7");
        assert_eq!(super::text(Cell::Text(b"a\xffb")), Some(("a\u{fffd}b".into(), true)));
    }
}
