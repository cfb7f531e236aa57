//! Columns of a result, and what is made of their cells (dev.mysql.com, "Column Definition"; mariadb.com/kb/en/result-set-packets).

use super::bytes::Bytes;
use super::error::Trouble;
use crate::sql_query::describe::{self, Kind};
use crate::sql_query::intake::Intake;
use crate::sql_query::source::{ReadError, Reason};
use crate::sql_query::want::Want;

/// A column of a result.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) layout: Layout,
    pub(super) shape: Shape,
}

/// How many bytes a cell has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Fixed(usize),
    /// A length stands before them.
    Counted,
}

/// What is made of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// No rule wants it.
    Unused,
    /// As it is.
    Text,
    Signed,
    Unsigned,
    Float,
    Double,
    /// Digits.
    Decimal,
    /// Digits that stay text.
    Bit,
    Date,
    DateTime,
    Time,
    /// The same as MySQL writes them, with so many digits behind the second.
    DateText,
    DateTimeText(u8),
    TimeText(u8),
    /// A number with fewer digits than the double it would become.
    FloatText,
}

/// What the server says of a column's type.
struct Type<'a> {
    code: u8,
    unsigned: bool,
    binary: bool,
    decimals: u8,
    flags: u16,
    /// MariaDB's name of a type that the protocol has no number for.
    named: &'a [u8],
}

/// A result has at most 4,096 columns.
pub(super) const MOST_COLUMNS: u64 = 4096;

/// A name has at most 256 characters.
const LONGEST_NAME: usize = 1024;

impl Column {
    /// Reads a column's definition. What no rule of `intake` wants is never decoded.
    pub(super) fn read(packet: &[u8], names_types: bool, intake: &Intake) -> Result<Self, Trouble> {
        let (name, kind) = definition(packet, names_types)?;
        let want = intake.want(&name);
        if want > Want::Text && (kind.is_geometry() || want == Want::Number && kind.is_no_number()) {
            let help = if kind.is_geometry() { "write ST_AsText(…)" } else { "convert it in the SQL" };
            let why = format!("column '{name}' has the type {}, which is no number; {help}", kind.name());
            return Err(Trouble::Ours(ReadError::new(Reason::Column, why), false));
        }
        Ok(Self { layout: kind.layout()?, shape: kind.shape(want), name })
    }
}

/// What a column's definition says of its cells.
pub(super) fn described(packet: &[u8], names_types: bool) -> Result<describe::Column, Trouble> {
    let (name, kind) = definition(packet, names_types)?;
    let cells = match kind.shape(Want::Number) {
        _ if kind.is_geometry() || kind.is_no_number() => Kind::NoNumber(kind.name().into()),
        Shape::Text if kind.code == NULL => Kind::Unknown,
        Shape::Text => Kind::Text(kind.name().into()),
        _ => Kind::Number,
    };
    Ok(describe::Column { name: name.into(), kind: cells })
}

/// A column's name and type.
fn definition(packet: &[u8], names_types: bool) -> Result<(String, Type<'_>), Trouble> {
    let mut read = Bytes(packet);
    // Catalogue, schema, table, and the table's own name.
    for _ in 0..4 {
        read.counted()?;
    }
    let name = read.counted()?;
    if name.len() > LONGEST_NAME {
        return Err(Trouble::Protocol("a column's name is longer than names can be"));
    }
    read.counted()?;
    let mut named = &[][..];
    if names_types {
        let mut extra = Bytes(read.counted()?);
        while !extra.0.is_empty() {
            let (kind, text) = (extra.u8()?, extra.counted()?);
            if kind == 0 {
                named = text;
            }
        }
    }
    read.take(1)?;
    let charset = read.u16()?;
    read.take(4)?;
    let (code, flags, decimals) = (read.u8()?, read.u16()?, read.u8()?);
    let kind = Type { code, unsigned: flags & 0x20 != 0, binary: charset == BINARY, decimals, flags, named };
    Ok((String::from_utf8_lossy(name).into_owned(), kind))
}

/// The type of what is nothing but NULL.
const NULL: u8 = 0x06;

/// The character set of what is no text.
const BINARY: u16 = 63;

impl Type<'_> {
    fn layout(&self) -> Result<Layout, Trouble> {
        Ok(match self.code {
            0x01 => Layout::Fixed(1),
            0x02 | 0x0d => Layout::Fixed(2),
            0x03 | 0x04 | 0x09 => Layout::Fixed(4),
            0x05 | 0x08 => Layout::Fixed(8),
            NULL => Layout::Fixed(0),
            0x00 | 0x07 | 0x0a..=0x0c | 0x0f..=0x10 | 0xf2 | 0xf5..=0xff => Layout::Counted,
            _ => return Err(Trouble::Protocol("a column has a type that nobody knows")),
        })
    }

    fn shape(&self, want: Want) -> Shape {
        let as_text = want == Want::Text;
        match self.code {
            _ if want == Want::Nothing => Shape::Unused,
            0x01..=0x03 | 0x08 | 0x09 | 0x0d if self.unsigned => Shape::Unsigned,
            0x01..=0x03 | 0x08 | 0x09 => Shape::Signed,
            0x0d => Shape::Unsigned,
            0x04 if as_text => Shape::FloatText,
            0x04 => Shape::Float,
            0x05 => Shape::Double,
            0x00 | 0xf6 if as_text => Shape::Text,
            0x00 | 0xf6 => Shape::Decimal,
            0x10 => Shape::Bit,
            // As an attribute, 2026-01-31 and 12:00:00 say more than a number.
            0x0a if want == Want::Number => Shape::Date,
            0x0a => Shape::DateText,
            0x0b if want == Want::Number => Shape::Time,
            0x0b => Shape::TimeText(self.decimals),
            0x07 | 0x0c if as_text => Shape::DateTimeText(self.decimals),
            0x07 | 0x0c => Shape::DateTime,
            _ => Shape::Text,
        }
    }

    fn is_geometry(&self) -> bool {
        self.code == 0xff
    }

    /// Types that are no number, whatever they hold: so that one error names the column, and not one each row.
    fn is_no_number(&self) -> bool {
        self.code == 0xf2 || matches!(self.named, b"uuid" | b"inet4" | b"inet6" | b"xmltype") || self.is_set()
    }

    fn is_set(&self) -> bool {
        self.code == 0xf8 || self.flags & 0x800 != 0
    }

    /// As `create table` has it.
    fn name(&self) -> String {
        if !self.named.is_empty() {
            return String::from_utf8_lossy(self.named).into_owned();
        }
        let name = match self.code {
            0x00 | 0xf6 => "decimal",
            0x01 => "tinyint",
            0x02 => "smallint",
            0x03 => "int",
            0x04 => "float",
            0x05 => "double",
            NULL => "null",
            0x07 => "timestamp",
            0x08 => "bigint",
            0x09 => "mediumint",
            0x0a => "date",
            0x0b => "time",
            0x0c => "datetime",
            0x0d => "year",
            0x10 => "bit",
            0xf2 => "vector",
            0xf5 => "json",
            0xff => "geometry",
            _ if self.flags & 0x100 != 0 => "enum",
            _ if self.is_set() => "set",
            0xf9..=0xfc if self.binary => "blob",
            0xf9..=0xfc => "text",
            _ if self.binary => "binary",
            _ => "char",
        };
        name.to_owned()
    }
}
