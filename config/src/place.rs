//! Where something stands in what the user wrote.

/// A position in one of the [`Files`](crate::Files) that were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Index into [`Files`](crate::Files), in the order of reading.
    pub file: u32,
    /// Line, from 1; 0 for something that nobody wrote ([`Place::NOWHERE`]).
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl Place {
    /// The place of what was never written, such as a section that exists by default.
    pub const NOWHERE: Place = Place { file: 0, line: 0, column: 0 };

    /// Whether somebody wrote it.
    pub fn is_written(self) -> bool {
        self.line > 0
    }
}
