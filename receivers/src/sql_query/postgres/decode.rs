//! Columns and cells, each by its type.
//!
//! Numbers and times are asked for in binary, so that they are exact; all other types, enums and those of extensions among them,
//! as the server writes them.

use std::fmt::Write;

use pdata::UnixNanos;
use pipeline::mapping::{Cell, Record};

use super::error::Trouble;
use super::out::Format;
use crate::sql_query::describe::{self, Kind};
use crate::sql_query::intake::Intake;
use crate::sql_query::source::{ReadError, Reason};
use crate::sql_query::want::Want;

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    shape: Shape,
}

/// How the cells of a column are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// No rule wants it.
    Unused,
    Text,
    Bool,
    Int2,
    Int4,
    Int8,
    /// Unsigned, 32 bits.
    Oid,
    Float4,
    Float8,
    Numeric,
    /// Microseconds since 2000.
    Timestamp,
    /// Days since 2000.
    Date,
    /// Microseconds.
    Time,
    Interval,
}

/// One row, where it stands in the buffer.
pub(super) struct PgRow<'a> {
    pub(super) body: &'a [u8],
    pub(super) columns: &'a [Column],
    pub(super) cells: &'a [Place],
}

/// Where a cell stands in its row; `None`: NULL.
pub(super) type Place = Option<(u32, u32)>;

/// Types that are no number, whatever they hold: so that one error names the column, and not one each row.
const NO_NUMBERS: &[(u32, &str)] = &[
    (17, "bytea"),
    (142, "xml"),
    (199, "json[]"),
    (600, "point"),
    (650, "cidr"),
    (774, "macaddr8"),
    (790, "money"),
    (829, "macaddr"),
    (869, "inet"),
    (1000, "boolean[]"),
    (1005, "smallint[]"),
    (1007, "integer[]"),
    (1009, "text[]"),
    (1015, "varchar[]"),
    (1016, "bigint[]"),
    (1021, "real[]"),
    (1022, "double precision[]"),
    (1041, "inet[]"),
    (1115, "timestamp[]"),
    (1182, "date[]"),
    (1185, "timestamptz[]"),
    (1231, "numeric[]"),
    (1266, "time with time zone"),
    (1560, "bit"),
    (1562, "bit varying"),
    (2950, "uuid"),
    (2951, "uuid[]"),
    (3614, "tsvector"),
    (3807, "jsonb[]"),
    (3904, "int4range"),
    (3906, "numrange"),
    (3908, "tsrange"),
    (3910, "tstzrange"),
    (3912, "daterange"),
    (3926, "int8range"),
];

/// Seconds from 1970 to 2000, where PostgreSQL begins to count.
const EPOCH: i64 = 946_684_800;

impl Column {
    /// Reads a RowDescription; what no rule of `intake` wants is never decoded.
    pub(super) fn all(body: &[u8], intake: &Intake) -> Result<Vec<Self>, Trouble> {
        let mut read = Bytes(body);
        let count = read.u16()?;
        (0..count).map(|_| Self::one(&mut read, intake)).collect()
    }

    fn one(read: &mut Bytes<'_>, intake: &Intake) -> Result<Self, Trouble> {
        let name = String::from_utf8_lossy(read.until_zero()?).into_owned();
        // The table's id and the column's place in it; the type; its length, modifier and format.
        read.take(6)?;
        let oid = u32::from_be_bytes(read.array()?);
        read.take(8)?;
        let want = intake.want(&name);
        if want == Want::Number
            && let Some((_, kind)) = NO_NUMBERS.iter().find(|(known, _)| *known == oid)
        {
            let why = format!("column '{name}' has the type {kind}, which is no number; convert it in the SQL");
            return Err(Trouble::Ours(ReadError::new(Reason::Column, why), false));
        }
        Ok(Self { name, shape: Shape::of(oid, want) })
    }

    pub(super) fn format(&self) -> Format {
        match self.shape {
            Shape::Text | Shape::Unused => Format::Text,
            _ => Format::Binary,
        }
    }
}

/// The cells of a DataRow in which all are text.
pub(super) fn texts(body: &[u8]) -> Result<Vec<Option<String>>, Trouble> {
    let mut read = Bytes(body);
    let count = read.u16()?;
    let one = |_| match u32::try_from(i32::from_be_bytes(read.array()?)) {
        Ok(length) => Ok(Some(String::from_utf8_lossy(read.take(length as usize)?).into_owned())),
        Err(_) => Ok(None),
    };
    (0..count).map(one).collect()
}

/// Reads a RowDescription for what it says of the types.
pub(super) fn described(body: &[u8]) -> Result<Vec<describe::Column>, Trouble> {
    let mut read = Bytes(body);
    let count = read.u16()?;
    let one = |_| {
        let name = String::from_utf8_lossy(read.until_zero()?).into();
        read.take(6)?;
        let oid = u32::from_be_bytes(read.array()?);
        read.take(8)?;
        Ok(describe::Column { name, kind: kind(oid) })
    };
    (0..count).map(one).collect()
}

fn kind(oid: u32) -> Kind {
    let text = |name: &str| Kind::Text(name.into());
    match oid {
        18 => text("\"char\""),
        19 => text("name"),
        25 => text("text"),
        114 => text("json"),
        1042 => text("char"),
        1043 => text("varchar"),
        3802 => text("jsonb"),
        _ if Shape::of(oid, Want::Number) != Shape::Text => Kind::Number,
        _ => match NO_NUMBERS.iter().find(|(known, _)| *known == oid) {
            Some((_, name)) => Kind::NoNumber((*name).into()),
            None => Kind::Unknown,
        },
    }
}

impl Shape {
    /// By the numbers of the built-in types (pg_type.dat), which never change.
    fn of(oid: u32, want: Want) -> Self {
        match oid {
            _ if want == Want::Nothing => Self::Unused,
            _ if want == Want::Text => Self::Text,
            16 => Self::Bool,
            20 => Self::Int8,
            21 => Self::Int2,
            23 => Self::Int4,
            26 | 28 => Self::Oid,
            700 => Self::Float4,
            701 => Self::Float8,
            1700 => Self::Numeric,
            1114 | 1184 => Self::Timestamp,
            1186 => Self::Interval,
            // As an attribute, 2026-01-31 and 12:00:00 say more than a number.
            1082 if want == Want::Number => Self::Date,
            1083 if want == Want::Number => Self::Time,
            _ => Self::Text,
        }
    }

    fn fits(self, bytes: &[u8]) -> bool {
        let width = match self {
            Self::Unused | Self::Text => return true,
            Self::Numeric => {
                let digits = bytes.first_chunk().map_or(0, |count| usize::from(u16::from_be_bytes(*count)));
                return bytes.len() == 8 + 2 * digits;
            }
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Oid | Self::Float4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Timestamp | Self::Time => 8,
            Self::Interval => 16,
        };
        bytes.len() == width
    }
}

/// Finds the cells of a DataRow. Every length is checked here, so that cells can be read without a doubt.
pub(super) fn lay_out(body: &[u8], columns: &[Column], cells: &mut Vec<Place>) -> Result<(), Trouble> {
    cells.clear();
    let mut read = Bytes(body);
    if usize::from(read.u16()?) != columns.len() {
        return Err(Trouble::Protocol("a row has another number of cells than its result has columns"));
    }
    for column in columns {
        let length = i32::from_be_bytes(read.array()?);
        let Ok(length) = u32::try_from(length) else {
            cells.push(None);
            continue;
        };
        let start = body.len() - read.0.len();
        let bytes = read.take(length as usize)?;
        if !column.shape.fits(bytes) {
            return Err(Trouble::Protocol("a cell has another length than its type"));
        }
        cells.push(Some((u32::try_from(start).map_err(|_| CUT_OFF)?, length)));
    }
    Ok(())
}

impl Record for PgRow<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        let Some((start, length)) = self.cells[index] else { return Cell::Null };
        let bytes = &self.body[start as usize..][..length as usize];
        match self.columns[index].shape {
            Shape::Unused | Shape::Text => Cell::Text(bytes),
            Shape::Bool => Cell::Bool(bytes != [0]),
            Shape::Int2 => Cell::Int(i64::from(i16::from_be_bytes(sized(bytes)))),
            Shape::Int4 => Cell::Int(i64::from(i32::from_be_bytes(sized(bytes)))),
            Shape::Int8 => Cell::Int(i64::from_be_bytes(sized(bytes))),
            Shape::Oid => Cell::Int(i64::from(u32::from_be_bytes(sized(bytes)))),
            Shape::Float4 => Cell::Double(f64::from(f32::from_be_bytes(sized(bytes)))),
            Shape::Float8 => Cell::Double(f64::from_be_bytes(sized(bytes))),
            Shape::Numeric => numeric(bytes),
            Shape::Timestamp => timestamp(i64::from_be_bytes(sized(bytes))),
            Shape::Date => date(i32::from_be_bytes(sized(bytes))),
            Shape::Time => Cell::Double(i64::from_be_bytes(sized(bytes)) as f64 / 1e6),
            Shape::Interval => Cell::Double(interval(sized(bytes))),
        }
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("the row was laid out by these shapes")
}

fn timestamp(micros: i64) -> Cell<'static> {
    match micros {
        i64::MAX => Cell::Double(f64::INFINITY),
        i64::MIN => Cell::Double(f64::NEG_INFINITY),
        _ => time(i128::from(micros) + i128::from(EPOCH) * 1_000_000),
    }
}

fn date(days: i32) -> Cell<'static> {
    match days {
        i32::MAX => Cell::Double(f64::INFINITY),
        i32::MIN => Cell::Double(f64::NEG_INFINITY),
        _ => time((i128::from(days) * 86_400 + i128::from(EPOCH)) * 1_000_000),
    }
}

/// Microseconds since 1970. Times that nanoseconds in 64 bits cannot tell, those before 1970 among them, are seconds.
fn time(micros: i128) -> Cell<'static> {
    match u64::try_from(micros * 1000) {
        Ok(nanos) => Cell::Time(UnixNanos(nanos)),
        Err(_) => Cell::Double(micros as f64 / 1e6),
    }
}

/// Seconds, as `extract(epoch from …)` counts them: a year has 365.25 days, a month that makes no year 30.
fn interval(bytes: [u8; 16]) -> f64 {
    let micros = i64::from_be_bytes(sized(&bytes));
    let days = i32::from_be_bytes(sized(&bytes[8..]));
    let months = i32::from_be_bytes(sized(&bytes[12..]));
    let days = f64::from(months / 12) * 365.25 + f64::from(months % 12) * 30.0 + f64::from(days);
    days * 86_400.0 + micros as f64 / 1e6
}

/// A NUMERIC: exact where it is a whole number of 64 bits, else the nearest double.
fn numeric(bytes: &[u8]) -> Cell<'static> {
    let short = |at: usize| i16::from_be_bytes(sized(&bytes[at..]));
    let (weight, negative) = (
        i32::from(short(2)),
        match u16::from_be_bytes(sized(&bytes[4..])) {
            0 => false,
            0x4000 => true,
            0xd000 => return Cell::Double(f64::INFINITY),
            0xf000 => return Cell::Double(f64::NEG_INFINITY),
            _ => return Cell::Double(f64::NAN),
        },
    );
    let digits = bytes[8..].chunks_exact(2).map(|digit| u16::from_be_bytes(sized(digit)));
    let count = digits.len();
    // Digits count in ten thousands; the first stands for itself times 10,000^weight, and trailing zeros are not stored.
    let whole = i32::try_from(count).is_ok_and(|count| count <= weight + 1) && weight < 5;
    if whole {
        let mantissa = digits.clone().fold(0_i128, |value, digit| value * 10_000 + i128::from(digit));
        let value = (count as i32..=weight).fold(mantissa, |value, _| value * 10_000);
        if let Ok(int) = i64::try_from(if negative { -value } else { value }) {
            return Cell::Int(int);
        }
    }
    let places = 4 * (count as i32 - 1 - weight);
    if count <= 4 && (0..=22).contains(&places) {
        let mantissa = digits.clone().fold(0_u64, |value, digit| value * 10_000 + u64::from(digit));
        // Both parts are exact doubles, so the division rounds once, to the nearest: past 2^53 and 10^22 they would not be.
        if mantissa <= 1 << 53 {
            let value = mantissa as f64 / 10_f64.powi(places);
            return Cell::Double(if negative { -value } else { value });
        }
    }
    let mut text = String::with_capacity(4 * count + 12);
    let written = write!(text, "{}", if negative { "-0" } else { "0" })
        .and_then(|()| digits.clone().try_for_each(|digit| write!(text, "{digit:04}")))
        .and_then(|()| write!(text, "e{}", -places));
    // Nothing can fail here: a text takes what is written, and this one is a number.
    Cell::Double(written.ok().and_then(|()| text.parse().ok()).unwrap_or(f64::NAN))
}

/// Bytes that are taken from the front.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

const CUT_OFF: Trouble = Trouble::Protocol("a frame ends before its content does");

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Trouble> {
        self.array().map(u16::from_be_bytes)
    }

    /// Up to the next zero byte, which is taken too.
    pub(super) fn until_zero(&mut self) -> Result<&'a [u8], Trouble> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(CUT_OFF)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `numeric_send` writes it.
    fn sent(weight: i16, sign: u16, digits: &[u16]) -> Vec<u8> {
        let head = [digits.len() as u16, weight as u16, sign, 0];
        head.iter().chain(digits).flat_map(|part| part.to_be_bytes()).collect()
    }

    #[test]
    fn a_numeric_is_exact_to_64_bits_and_then_the_nearest_double() {
        for (weight, sign, digits, expected) in [
            (0, 0, &[][..], Cell::Int(0)),
            (0, 0, &[7], Cell::Int(7)),
            (1, 0x4000, &[1], Cell::Int(-10_000)),
            (4, 0, &[922, 3372, 368, 5477, 5807], Cell::Int(i64::MAX)),
            (4, 0x4000, &[922, 3372, 368, 5477, 5808], Cell::Int(i64::MIN)),
            (4, 0, &[922, 3372, 368, 5477, 5808], Cell::Double(9_223_372_036_854_775_808.0)),
            (-1, 0, &[2500], Cell::Double(0.25)),
            (0, 0x4000, &[0, 1000], Cell::Double(-0.1)),
            (-2, 0, &[1], Cell::Double(1e-8)),
            (0, 0, &[3, 1415, 9265, 3589, 7932, 3846], Cell::Double(std::f64::consts::PI)),
            (10, 0, &[1], Cell::Double(1e40)),
            (0, 0xd000, &[], Cell::Double(f64::INFINITY)),
        ] {
            assert_eq!(numeric(&sent(weight, sign, digits)), expected, "{weight} {digits:?}");
        }
        assert!(matches!(numeric(&sent(0, 0xc000, &[])), Cell::Double(nan) if nan.is_nan()));
        // Far out of range, and digits that no server sends: a value, and no panic.
        numeric(&sent(i16::MAX, 0, &[u16::MAX; 9]));
        numeric(&sent(i16::MIN, 0x4000, &[u16::MAX; 2]));
    }

    #[test]
    fn times_outside_of_what_nanoseconds_can_tell_are_seconds() {
        assert_eq!(timestamp(0), Cell::Time(UnixNanos(946_684_800_000_000_000)));
        assert_eq!(timestamp(-946_684_801_000_000), Cell::Double(-1.0));
        assert_eq!(timestamp(i64::MAX), Cell::Double(f64::INFINITY));
        assert_eq!(timestamp(i64::MAX - 1), Cell::Double(9_224_318_721_654.775));
        assert_eq!(date(-10_957), Cell::Time(UnixNanos(0)));
        assert_eq!(date(i32::MIN), Cell::Double(f64::NEG_INFINITY));
    }

    #[test]
    fn rows_that_lie_about_their_lengths_are_refused() {
        let columns = [Column { name: "v".into(), shape: Shape::Int4 }];
        let mut cells = Vec::new();
        let mut refused = |body: &[u8]| lay_out(body, &columns, &mut cells).is_err();
        assert!(refused(&[]));
        assert!(refused(&[0, 2]));
        assert!(refused(&[0, 1]));
        assert!(refused(&[0, 1, 0, 0, 0, 4, 1]));
        assert!(refused(&[0, 1, 0x7f, 0xff, 0xff, 0xff, 1]));
        assert!(refused(&[0, 1, 0, 0, 0, 3, 1, 2, 3]));
        assert!(!refused(&[0, 1, 0, 0, 0, 4, 0, 0, 0, 9]));
        assert!(!refused(&[0, 1, 0xff, 0xff, 0xff, 0xff]));
    }
}
