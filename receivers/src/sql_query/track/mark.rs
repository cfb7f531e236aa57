//! How far a query has been read: the values of its tracking columns in one row.

use std::cmp::Ordering;
use std::time::Duration;

use pipeline::mapping::{self, Cell};
use serde::{Deserialize, Serialize};

/// One value of a tracking column, as it is bound into the next read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Mark {
    Int(i64),
    /// Text, a UUID, or a time as the database writes it.
    Text(Box<str>),
}

/// What a tracking column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MarkType {
    Int,
    /// In the order of the database's collation, which nobody else knows.
    Text,
    Timestamp,
    Uuid,
}

impl MarkType {
    pub(crate) const ALL: [Self; 4] = [Self::Int, Self::Text, Self::Timestamp, Self::Uuid];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Text => "text",
            Self::Timestamp => "timestamp",
            Self::Uuid => "uuid",
        }
    }

    /// What a cell looks like, when nobody has said it; `None` for what cannot be tracked.
    pub(crate) fn guess(cell: Cell<'_>) -> Option<Self> {
        match cell {
            Cell::Int(_) => Some(Self::Int),
            Cell::Time(_) => Some(Self::Timestamp),
            Cell::Text(bytes) if is_uuid(bytes) => Some(Self::Uuid),
            // A text of digits would pass for nanoseconds.
            Cell::Text(bytes) if bytes.contains(&b'-') && mapping::time(cell).is_some() => Some(Self::Timestamp),
            Cell::Text(_) => Some(Self::Text),
            _ => None,
        }
    }
}

impl Mark {
    /// The value in a cell; `None` when it is none of this type.
    pub(crate) fn read(cell: Cell<'_>, of: MarkType) -> Option<Self> {
        match (of, cell) {
            (MarkType::Int, Cell::Int(int)) => Some(Self::Int(int)),
            (MarkType::Int, Cell::Text(bytes)) => std::str::from_utf8(bytes).ok()?.parse().ok().map(Self::Int),
            (MarkType::Timestamp, Cell::Int(int)) => Some(Self::Int(int)),
            (MarkType::Timestamp, Cell::Time(_)) => cell.text().map(|text| Self::Text(text.into())),
            (MarkType::Timestamp, Cell::Text(bytes)) => {
                mapping::time(cell)?;
                Some(Self::Text(std::str::from_utf8(bytes).ok()?.into()))
            }
            (MarkType::Uuid, Cell::Text(bytes)) => {
                let text = std::str::from_utf8(bytes).ok()?;
                is_uuid(bytes).then(|| Self::Text(text.to_ascii_lowercase().into()))
            }
            (MarkType::Text, Cell::Text(bytes)) => Some(Self::Text(std::str::from_utf8(bytes).ok()?.into())),
            _ => None,
        }
    }

    /// Where it stands on a line of numbers: an int itself, a time in nanoseconds since 1970.
    pub(crate) fn position(&self, of: MarkType) -> Option<i64> {
        match (of, self) {
            (MarkType::Int | MarkType::Timestamp, Self::Int(int)) => Some(*int),
            (MarkType::Timestamp, Self::Text(text)) => {
                mapping::time(Cell::Text(text.as_bytes())).and_then(|time| i64::try_from(time.0).ok())
            }
            _ => None,
        }
    }

    /// The same kind of value so much earlier: ids, or time.
    pub(crate) fn before(&self, overlap: Overlap) -> Option<Self> {
        match (self, overlap) {
            (Self::Int(int), Overlap::Ids(ids)) => Some(Self::Int(int.saturating_sub(ids))),
            (Self::Text(text), Overlap::Time(span)) => earlier(text, span).map(|text| Self::Text(text.into())),
            _ => None,
        }
    }

    /// As it is bound into a statement.
    pub(crate) fn parameter(&self) -> Box<str> {
        match self {
            Self::Int(int) => int.to_string().into(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// How far back each read begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    Ids(i64),
    Time(Duration),
}

impl Overlap {
    /// On the line of [`Mark::position`].
    pub(crate) fn length(self) -> i64 {
        match self {
            Self::Ids(ids) => ids,
            Self::Time(span) => i64::try_from(span.as_nanos()).unwrap_or(i64::MAX),
        }
    }
}

/// How two rows stand to each other, compared column by column; `None` where only the database knows.
pub(crate) fn compare(a: &[Mark], b: &[Mark], types: &[MarkType]) -> Option<Ordering> {
    for ((a, b), of) in a.iter().zip(b).zip(types) {
        if a == b {
            continue;
        }
        let order = match of {
            MarkType::Text => return None,
            MarkType::Int | MarkType::Timestamp => a.position(*of)?.cmp(&b.position(*of)?),
            MarkType::Uuid => a.parameter().cmp(&b.parameter()),
        };
        if order != Ordering::Equal {
            return Some(order);
        }
    }
    Some(Ordering::Equal)
}

/// For messages: `(2026-01-31 12:00:00, 42)`.
pub(crate) fn shown(marks: &[Mark]) -> String {
    let values: Vec<_> = marks.iter().map(Mark::parameter).collect();
    match values.as_slice() {
        [one] => one.to_string(),
        several => format!("({})", several.join(", ")),
    }
}

fn is_uuid(bytes: &[u8]) -> bool {
    let dash = |at| matches!(at, 8 | 13 | 18 | 23);
    let fits = |(at, byte): (usize, &u8)| if dash(at) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    bytes.len() == 36 && bytes.iter().enumerate().all(fits)
}

/// A time so much earlier, written as the database wrote it: in SQLite times are text, and compared as such. A zone that is
/// written stays, and so do the number of digits and the letter between date and clock.
fn earlier(text: &str, span: Duration) -> Option<String> {
    let nanos = mapping::time(Cell::Text(text.as_bytes()))?.0;
    let date_only = text.len() <= 10;
    let clock_at = 11;
    let zone_at = if date_only {
        text.len()
    } else {
        text.get(clock_at..)?.find(['Z', 'z', '+', '-']).map_or(text.len(), |at| at + clock_at)
    };
    // The clock on the wall of that zone: what is written, taken for UTC, less what it means.
    let wall = mapping::time(Cell::Text(text.get(..zone_at)?.trim_end().as_bytes()))?.0;
    let shifted = nanos.checked_sub(u64::try_from(span.as_nanos()).ok()?)?;
    let offset = i128::from(wall) - i128::from(nanos);
    let shown = u64::try_from(i128::from(shifted) + offset).ok()?;
    let full = Cell::Time(pdata::UnixNanos(shown)).text()?;
    // `2026-11-21T03:24:16.5Z`
    let (date, clock) = full.trim_end_matches('Z').split_once('T')?;
    if date_only {
        return Some(date.to_owned());
    }
    let (seconds, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let written = text.get(clock_at..zone_at)?;
    let digits = written.split_once('.').map_or(0, |(_, fraction)| fraction.trim_end().len());
    // A clock without seconds is written so; one that has none loses them, which begins the read a little earlier.
    let seconds = if written.matches(':').count() == 1 { seconds.get(..5)? } else { seconds };
    let fraction = match digits {
        0 => String::new(),
        digits => format!(".{:.digits$}", format!("{fraction:0<9}")),
    };
    Some(format!("{date}{}{seconds}{fraction}{}", text.get(10..11)?, &text[zone_at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_guessed_from_what_a_cell_holds() {
        for (cell, expected) in [
            (Cell::Int(1), Some(MarkType::Int)),
            (Cell::Time(pdata::UnixNanos(1)), Some(MarkType::Timestamp)),
            (Cell::Text(b"2026-01-31 12:00:00"), Some(MarkType::Timestamp)),
            (Cell::Text(b"0af76519-16cd-43dd-8448-eb211c80319c"), Some(MarkType::Uuid)),
            (Cell::Text(b"12"), Some(MarkType::Text)),
            (Cell::Text(b"a-b"), Some(MarkType::Text)),
            (Cell::Double(0.5), None),
            (Cell::Bytes(b"12"), None),
        ] {
            assert_eq!(MarkType::guess(cell), expected, "{cell:?}");
        }
    }

    #[test]
    fn rows_are_compared_column_by_column_and_texts_by_nobody() {
        let types = [MarkType::Timestamp, MarkType::Int];
        let row = |time: &str, id| [Mark::Text(time.into()), Mark::Int(id)];
        let order = |a: [Mark; 2], b: [Mark; 2]| compare(&a, &b, &types);
        assert_eq!(order(row("2026-01-01", 9), row("2026-01-01 00:00:01", 1)), Some(Ordering::Less));
        assert_eq!(order(row("2026-01-01", 9), row("2026-01-01 00:00:00Z", 10)), Some(Ordering::Less));
        assert_eq!(order(row("2026-01-01T02:00:00+02:00", 9), row("2026-01-01", 9)), Some(Ordering::Equal));
        let text = |text: &str| [Mark::Text(text.into())];
        assert_eq!(compare(&text("a"), &text("b"), &[MarkType::Text]), None);
        assert_eq!(compare(&text("a"), &text("a"), &[MarkType::Text]), Some(Ordering::Equal));
        assert_eq!(compare(&text("0a"), &text("0b"), &[MarkType::Uuid]), Some(Ordering::Less));
    }

    #[test]
    fn an_earlier_time_is_written_as_the_later_one_was() {
        let five = Overlap::Time(Duration::from_secs(300));
        for (text, expected) in [
            ("2026-01-01 00:02:00", "2025-12-31 23:57:00"),
            ("2026-01-01T00:02:00.250000Z", "2025-12-31T23:57:00.250000Z"),
            ("2026-01-01 02:02:00.5+02:00", "2026-01-01 01:57:00.5+02:00"),
            ("2026-01-01 00:02", "2025-12-31 23:57"),
            ("2026-01-01", "2025-12-31"),
        ] {
            assert_eq!(Mark::Text(text.into()).before(five), Some(Mark::Text(expected.into())), "{text}");
        }
        assert_eq!(Mark::Int(10).before(Overlap::Ids(3)), Some(Mark::Int(7)));
        assert_eq!(Mark::Int(10).before(five), None);
        assert_eq!(Mark::Text("1970-01-01".into()).before(five), None);
    }
}
