//! Which records a rule is for.

use regex::Regex;

use crate::mapping::{Cell, CellType, Record, value};

/// Something that must be true of one cell. Cells are compared as the text that they would be as attributes: the number 5 is `5`.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The cell.
    pub cell: usize,
    /// What must be true of it.
    pub test: Test,
    /// Turns it round.
    pub not: bool,
}

/// What can be asked of a cell. NULL is nothing and has no text: only the turned-round tests hold for it.
#[derive(Clone, Debug)]
pub enum Test {
    /// It is not NULL.
    Exists,
    /// It is one of these, exactly.
    In(Box<[Box<str>]>),
    /// It matches somewhere.
    Matches(Regex),
    /// It begins so.
    StartsWith(Box<str>),
    /// It is a value of this type.
    Is(CellType),
}

impl Condition {
    /// Whether it holds for a record. `scratch` keeps its capacity from record to record.
    pub fn holds<R: Record + ?Sized>(&self, record: &R, scratch: &mut Vec<u8>) -> bool {
        let cell = record.cell(self.cell);
        let text = match cell {
            Cell::Null => return self.not,
            Cell::Text(text) | Cell::Bytes(text) => text,
            cell => {
                scratch.clear();
                value::put_text(cell, scratch);
                &**scratch
            }
        };
        let holds = match &self.test {
            Test::Exists => true,
            Test::In(values) => values.iter().any(|value| value.as_bytes() == text),
            Test::Is(sort) => record.cell_type(self.cell) == Some(*sort),
            Test::StartsWith(prefix) => text.starts_with(prefix.as_bytes()),
            Test::Matches(regex) => std::str::from_utf8(text).is_ok_and(|text| regex.is_match(text)),
        };
        holds != self.not
    }
}
