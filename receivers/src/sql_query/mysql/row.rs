//! Rows, in the binary form that prepared statements have: numbers and times are exact there, which they are not as text (a FLOAT
//! is cut to six digits).

use std::io::Write;

use pdata::UnixNanos;
use pipeline::mapping::{Cell, Record};

use super::bytes::Bytes;
use super::column::{Column, Layout, Shape};
use super::error::Trouble;

/// One row: its cells, read already, and what texts among them stand in.
pub(super) struct Row<'a> {
    pub(super) body: &'a [u8],
    pub(super) cells: &'a Cells,
}

/// Cells of the row at hand, kept for their memory.
#[derive(Default)]
pub(super) struct Cells {
    held: Vec<Held>,
    /// Texts that do not stand in the row.
    written: Vec<u8>,
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Held {
    Null,
    Int(i64),
    Double(f64),
    Time(UnixNanos),
    /// In the row.
    Text(u32, u32),
    /// In what was written.
    Written(u32, u32),
}

impl Record for Row<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        let text = |bytes, start, length| {
            let bytes: &[u8] = bytes;
            Cell::Text(&bytes[start as usize..][..length as usize])
        };
        match self.cells.held[index] {
            Held::Null => Cell::Null,
            Held::Int(int) => Cell::Int(int),
            Held::Double(double) => Cell::Double(double),
            Held::Time(time) => Cell::Time(time),
            Held::Text(start, length) => text(self.body, start, length),
            Held::Written(start, length) => text(&self.cells.written, start, length),
        }
    }
}

const LENGTH: Trouble = Trouble::Protocol("a cell has another length than its type");

impl Cells {
    /// Reads a row. Every length is checked here, so that cells can be taken without a doubt.
    pub(super) fn read(&mut self, body: &[u8], columns: &[Column]) -> Result<(), Trouble> {
        self.held.clear();
        self.written.clear();
        let mut read = Bytes(body);
        read.take(1)?;
        // Two bits that mean nothing stand before the first column's.
        let nulls = read.take((columns.len() + 9) / 8)?;
        for (at, column) in columns.iter().enumerate() {
            let bit = at + 2;
            if nulls[bit / 8] & 1 << (bit % 8) != 0 {
                self.held.push(Held::Null);
                continue;
            }
            let bytes = match column.layout {
                Layout::Fixed(width) => read.take(width)?,
                Layout::Counted => read.counted()?,
            };
            let start = body.len() - read.0.len() - bytes.len();
            let held = self.cell(column.shape, bytes, start)?;
            self.held.push(held);
        }
        if read.0.is_empty() { Ok(()) } else { Err(Trouble::Protocol("a row has more than its columns")) }
    }

    fn cell(&mut self, shape: Shape, bytes: &[u8], start: usize) -> Result<Held, Trouble> {
        Ok(match shape {
            Shape::Unused => Held::Null,
            Shape::Text => {
                let place = |number: usize| u32::try_from(number).map_err(|_| LENGTH);
                Held::Text(place(start)?, place(bytes.len())?)
            }
            Shape::Signed => Held::Int(signed(bytes)?),
            Shape::Unsigned => whole(unsigned(bytes)?),
            Shape::Bit => whole(
                bytes
                    .iter()
                    .try_fold(0_u64, |sum, byte| Some(sum.checked_mul(256)? + u64::from(*byte)))
                    .ok_or(LENGTH)?,
            ),
            Shape::Float => Held::Double(f64::from(f32::from_le_bytes(sized(bytes)?))),
            Shape::FloatText => {
                let float = f32::from_le_bytes(sized(bytes)?);
                self.write(format_args!("{float}"))
            }
            Shape::Double => Held::Double(f64::from_le_bytes(sized(bytes)?)),
            Shape::Decimal => decimal(bytes)?,
            Shape::Date | Shape::DateTime => {
                let moment = Moment::read(bytes)?;
                match moment.micros() {
                    Some(micros) => time(micros),
                    // 0000-00-00 and its like are no days: text that is no time.
                    None => self.moment(moment, shape, 0),
                }
            }
            Shape::DateText => self.moment(Moment::read(bytes)?, Shape::Date, 0),
            Shape::DateTimeText(digits) => self.moment(Moment::read(bytes)?, Shape::DateTime, digits),
            Shape::Time => Held::Double(Span::read(bytes)?.seconds()),
            Shape::TimeText(digits) => {
                let span = Span::read(bytes)?;
                let sign = if span.negative { "-" } else { "" };
                let hours = u64::from(span.days) * 24 + u64::from(span.hour);
                let fraction = fraction(span.micro, digits);
                self.write(format_args!("{sign}{hours:02}:{:02}:{:02}{fraction}", span.minute, span.second))
            }
        })
    }

    fn moment(&mut self, moment: Moment, shape: Shape, digits: u8) -> Held {
        let Moment { year, month, day, hour, minute, second, micro } = moment;
        if shape == Shape::Date {
            return self.write(format_args!("{year:04}-{month:02}-{day:02}"));
        }
        let fraction = fraction(micro, digits);
        self.write(format_args!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}{fraction}"))
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) -> Held {
        let start = self.written.len();
        self.written.write_fmt(text).expect("memory takes what is written");
        // At most 4,096 columns with at most some 40 letters each.
        Held::Written(start as u32, (self.written.len() - start) as u32)
    }
}

fn sized<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Trouble> {
    bytes.try_into().map_err(|_| LENGTH)
}

fn signed(bytes: &[u8]) -> Result<i64, Trouble> {
    Ok(match *bytes {
        [byte] => i64::from(byte as i8),
        [low, high] => i64::from(i16::from_le_bytes([low, high])),
        [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
        _ => i64::from_le_bytes(sized(bytes)?),
    })
}

fn unsigned(bytes: &[u8]) -> Result<u64, Trouble> {
    let mut eight = [0; 8];
    eight.get_mut(..bytes.len()).ok_or(LENGTH)?.copy_from_slice(bytes);
    Ok(u64::from_le_bytes(eight))
}

/// Exact to 64 bits with a sign, and then the nearest double.
fn whole(number: u64) -> Held {
    i64::try_from(number).map_or(Held::Double(number as f64), Held::Int)
}

/// Digits: exact where they are a whole number of 64 bits, else the nearest double.
fn decimal(digits: &[u8]) -> Result<Held, Trouble> {
    const NO_DIGITS: Trouble = Trouble::Protocol("a decimal is no number");
    let text = std::str::from_utf8(digits).map_err(|_| NO_DIGITS)?;
    let (before, after) = text.split_once('.').unwrap_or((text, ""));
    if after.bytes().all(|digit| digit == b'0')
        && let Ok(int) = before.parse()
    {
        return Ok(Held::Int(int));
    }
    text.parse().map(Held::Double).map_err(|_| NO_DIGITS)
}

/// A DATE, DATETIME or TIMESTAMP. Parts that are zero are not sent.
#[derive(Clone, Copy, Debug, Default)]
struct Moment {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
    micro: u32,
}

impl Moment {
    fn read(bytes: &[u8]) -> Result<Self, Trouble> {
        let mut moment = Self::default();
        let mut read = Bytes(bytes);
        if !matches!(bytes.len(), 0 | 4 | 7 | 11) {
            return Err(LENGTH);
        }
        if bytes.len() >= 4 {
            (moment.year, moment.month, moment.day) = (read.u16()?, read.u8()?, read.u8()?);
        }
        if bytes.len() >= 7 {
            (moment.hour, moment.minute, moment.second) = (read.u8()?, read.u8()?, read.u8()?);
        }
        if bytes.len() == 11 {
            moment.micro = read.u32()?;
        }
        Ok(moment)
    }

    /// Since 1970, in UTC; `None` for what is no day.
    fn micros(self) -> Option<i64> {
        if !(1..=12).contains(&self.month) || !(1..=31).contains(&self.day) {
            return None;
        }
        let days = days_since_1970(i64::from(self.year), i64::from(self.month), i64::from(self.day));
        let seconds = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        Some((days * 86_400 + seconds) * 1_000_000 + i64::from(self.micro))
    }
}

/// In the proleptic Gregorian calendar; years begin with March, so that the leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Times that nanoseconds in 64 bits cannot tell, those before 1970 among them, are seconds.
fn time(micros: i64) -> Held {
    match u64::try_from(micros).ok().and_then(|micros| micros.checked_mul(1000)) {
        Some(nanos) => Held::Time(UnixNanos(nanos)),
        None => Held::Double(micros as f64 / 1e6),
    }
}

/// A TIME, which is a span of up to 35 days in either direction.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    negative: bool,
    days: u32,
    hour: u8,
    minute: u8,
    second: u8,
    micro: u32,
}

impl Span {
    fn read(bytes: &[u8]) -> Result<Self, Trouble> {
        let mut span = Self::default();
        let mut read = Bytes(bytes);
        if !matches!(bytes.len(), 0 | 8 | 12) {
            return Err(LENGTH);
        }
        if bytes.len() >= 8 {
            (span.negative, span.days) = (read.u8()? != 0, read.u32()?);
            (span.hour, span.minute, span.second) = (read.u8()?, read.u8()?, read.u8()?);
        }
        if bytes.len() == 12 {
            span.micro = read.u32()?;
        }
        Ok(span)
    }

    fn seconds(self) -> f64 {
        let hours = u64::from(self.days) * 24 + u64::from(self.hour);
        let seconds = hours * 3600 + u64::from(self.minute) * 60 + u64::from(self.second);
        let micros = seconds.saturating_mul(1_000_000).saturating_add(u64::from(self.micro));
        let span = micros as f64 / 1e6;
        if self.negative { -span } else { span }
    }
}

/// Behind the second, with as many digits as its column has; a number of digits that no column has means: as many as it takes.
fn fraction(micro: u32, digits: u8) -> String {
    match digits {
        0 if micro == 0 => String::new(),
        1..=6 => format!(".{:06}", micro % 1_000_000)[..1 + usize::from(digits)].to_owned(),
        _ if micro == 0 => String::new(),
        _ => format!(".{micro:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(layout: Layout, shape: Shape) -> Column {
        Column { name: "v".into(), layout, shape }
    }

    /// One cell of a row, read.
    fn read(layout: Layout, shape: Shape, cell: &[u8]) -> Result<(Held, String), Trouble> {
        let mut cells = Cells::default();
        let body = [&[0, 0], cell].concat();
        cells.read(&body, &[column(layout, shape)])?;
        let written = String::from_utf8(cells.written.clone()).unwrap();
        Ok((cells.held[0], written))
    }

    fn value(layout: Layout, shape: Shape, cell: &[u8]) -> Held {
        read(layout, shape, cell).unwrap().0
    }

    fn text(shape: Shape, cell: &[u8]) -> String {
        read(Layout::Counted, shape, cell).unwrap().1
    }

    #[test]
    fn whole_numbers_are_exact_and_past_64_bits_the_nearest_double() {
        assert_eq!(value(Layout::Fixed(1), Shape::Signed, &[0xff]), Held::Int(-1));
        assert_eq!(value(Layout::Fixed(1), Shape::Unsigned, &[0xff]), Held::Int(255));
        assert_eq!(value(Layout::Fixed(2), Shape::Signed, &[0, 0x80]), Held::Int(-32_768));
        assert_eq!(value(Layout::Fixed(4), Shape::Unsigned, &[0xff; 4]), Held::Int(4_294_967_295));
        assert_eq!(value(Layout::Fixed(8), Shape::Signed, &i64::MIN.to_le_bytes()), Held::Int(i64::MIN));
        assert_eq!(value(Layout::Fixed(8), Shape::Unsigned, &[0xff; 8]), Held::Double(18_446_744_073_709_551_616.0));
        assert_eq!(value(Layout::Counted, Shape::Bit, &[2, 1, 1]), Held::Int(257));
        assert_eq!(value(Layout::Counted, Shape::Bit, &[8, 255, 255, 255, 255, 255, 255, 255, 255]), whole(u64::MAX));
        assert!(read(Layout::Counted, Shape::Bit, &[9, 1, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn a_decimal_is_exact_to_64_bits_and_then_the_nearest_double() {
        for (digits, expected) in [
            ("0.00", Held::Int(0)),
            ("-5.000", Held::Int(-5)),
            ("9223372036854775807", Held::Int(i64::MAX)),
            ("9223372036854775808.0", Held::Double(9_223_372_036_854_775_808.0)),
            ("0.1", Held::Double(0.1)),
            ("-12345678.90", Held::Double(-12_345_678.9)),
            (".5", Held::Double(0.5)),
        ] {
            assert_eq!(decimal(digits.as_bytes()).unwrap(), expected, "{digits}");
        }
        assert!(decimal(b"12 apples").is_err());
        assert!(decimal(b"\xff").is_err());
        assert!(decimal(b"").is_err());
    }

    #[test]
    fn times_are_times_where_nanoseconds_can_tell_them() {
        let moment = |bytes: &[u8]| value(Layout::Counted, Shape::DateTime, bytes);
        assert_eq!(moment(&[7, 0xea, 7, 11, 21, 3, 24, 16]), Held::Time(UnixNanos(1_795_231_456_000_000_000)));
        assert_eq!(
            moment(&[11, 0xea, 7, 11, 21, 3, 24, 16, 0x20, 0xa1, 7, 0]),
            Held::Time(UnixNanos(1_795_231_456_500_000_000))
        );
        assert_eq!(value(Layout::Counted, Shape::Date, &[4, 0xb1, 7, 12, 31]), Held::Double(-86_400.0));
        assert_eq!(value(Layout::Counted, Shape::Date, &[4, 0xb2, 7, 1, 1]), Held::Time(UnixNanos(0)));
        assert_eq!(moment(&[7, 0x0f, 0x27, 12, 31, 23, 59, 59]), Held::Double(253_402_300_799.0));
        // What MySQL takes for a day and nobody else.
        assert_eq!(text(Shape::DateTime, &[0]), "0000-00-00 00:00:00");
        assert_eq!(text(Shape::Date, &[4, 0xea, 7, 2, 0]), "2026-02-00");
        assert!(read(Layout::Counted, Shape::DateTime, &[5, 0, 0, 0, 0, 0]).is_err());
    }

    #[test]
    fn times_look_as_the_server_writes_them() {
        let half = [11, 0xea, 7, 11, 21, 3, 24, 16, 0x20, 0xa1, 7, 0];
        assert_eq!(text(Shape::DateTimeText(0), &half), "2026-11-21 03:24:16.500000");
        assert_eq!(text(Shape::DateTimeText(3), &half), "2026-11-21 03:24:16.500");
        assert_eq!(
            text(Shape::DateTimeText(3), &half[..1].iter().map(|_| 0).collect::<Vec<u8>>()),
            "0000-00-00 00:00:00.000"
        );
        assert_eq!(text(Shape::TimeText(0), &[8, 1, 34, 0, 0, 0, 22, 59, 59]), "-838:59:59");
        assert_eq!(text(Shape::TimeText(31), &[0]), "00:00:00");
        assert_eq!(value(Layout::Counted, Shape::Time, &[8, 1, 1, 0, 0, 0, 1, 0, 0]), Held::Double(-90_000.0));
        assert_eq!(read(Layout::Fixed(4), Shape::FloatText, &0.1_f32.to_le_bytes()).unwrap().1, "0.1");
        // Numbers that no server sends: a text, and no panic.
        value(Layout::Counted, Shape::Time, &[12, 9, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
        text(Shape::TimeText(6), &[12, 9, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255]);
        value(Layout::Counted, Shape::DateTime, &[11, 255, 255, 12, 31, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn rows_that_lie_about_their_lengths_are_refused() {
        let columns = [column(Layout::Fixed(4), Shape::Signed), column(Layout::Counted, Shape::Text)];
        let mut cells = Cells::default();
        let mut refused = |body: &[u8]| cells.read(body, &columns).is_err();
        assert!(refused(&[]));
        assert!(refused(&[0]));
        assert!(refused(&[0, 0]));
        assert!(refused(&[0, 0, 1, 2, 3]));
        assert!(refused(&[0, 0, 1, 2, 3, 4, 2, b'x']));
        assert!(refused(&[0, 0, 1, 2, 3, 4, 0xfe, 255, 255, 255, 255, 255, 255, 255, 255]));
        assert!(refused(&[0, 0, 1, 2, 3, 4, 1, b'x', 0]));
        assert!(refused(&[0, 0, 1, 2, 3, 4, 0xfb]));
        assert!(!refused(&[0, 0, 1, 2, 3, 4, 1, b'x']));
        assert!(!refused(&[0, 0b1100]));
        assert!(refused(&[0, 0b1100, 1]));
    }
}
