//! Cells as attributes, made fit before they name a series.
//!
//! A list of attributes is written as its series' key: for each attribute one byte that says whether it is there, its length in four bytes, its
//! text. [`each`] reads such a key back.

use std::borrow::Cow;

use pdata::AttributesBuilder;

use crate::mapping::{Cell, Record, value};

/// A cell that becomes an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountAttribute {
    /// The attribute's key.
    pub key: Box<str>,
    /// The cell.
    pub cell: usize,
    /// What stands for NULL and for blank text, as it is; `None`: NULL leaves the attribute out, blank text stays blank.
    pub null: Option<Box<str>>,
    /// Whether upper-case letters become lower-case ones.
    pub lower_case: bool,
    /// The values that may be; every other one becomes one word.
    pub allow: Option<AllowList>,
    /// Longer text is cut to so many bytes, at the end of a character.
    pub max_bytes: usize,
}

/// Values that may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    sorted: Box<[Box<str>]>,
    other: Box<str>,
}

/// Longest attribute unless a rule says otherwise.
pub(super) const MAX_BYTES: usize = 256;

impl CountAttribute {
    /// A cell as it is, at most 256 bytes of it.
    #[must_use]
    pub fn new(key: impl Into<Box<str>>, cell: usize) -> Self {
        Self { key: key.into(), cell, null: None, lower_case: false, allow: None, max_bytes: MAX_BYTES }
    }

    /// Adds the attribute of a record to a list: for log records, which are no series.
    pub fn push<R: Record + ?Sized>(&self, record: &R, builder: &mut AttributesBuilder) {
        let (mut key, mut scratch) = (Vec::new(), Vec::new());
        self.write(record, &mut key, &mut scratch);
        each(std::slice::from_ref(self), &key, |key, value| builder.push(key, value));
    }

    /// Appends the attribute of a record to a key, and says whether text was cut.
    pub(super) fn write<R: Record + ?Sized>(&self, record: &R, key: &mut Vec<u8>, scratch: &mut Vec<u8>) -> bool {
        let cell = record.cell(self.cell);
        let text = match cell {
            Cell::Null => b"",
            Cell::Text(text) | Cell::Bytes(text) => text,
            cell => {
                scratch.clear();
                value::put_text(cell, scratch);
                &**scratch
            }
        };
        match &self.null {
            Some(null) if text.trim_ascii().is_empty() => {
                put(key, null);
                false
            }
            None if cell == Cell::Null => {
                key.push(0);
                false
            }
            _ => self.write_text(&String::from_utf8_lossy(text), key),
        }
    }

    fn write_text(&self, text: &str, key: &mut Vec<u8>) -> bool {
        // Nothing may make us work on much more than is kept; lower case is at most three times as long.
        let (text, cut) = cut(text, self.max_bytes);
        let text = if self.lower_case && text.chars().any(char::is_uppercase) {
            Cow::Owned(text.to_lowercase())
        } else {
            Cow::Borrowed(text)
        };
        match &self.allow {
            Some(list) => {
                put(key, list.pick(&text));
                false
            }
            None => {
                let (text, cut_again) = self::cut(&text, self.max_bytes);
                put(key, text);
                cut || cut_again
            }
        }
    }
}

impl AllowList {
    /// Of `values`; all others become `other`.
    pub fn new(values: impl IntoIterator<Item = Box<str>>, other: impl Into<Box<str>>) -> Self {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort();
        Self { sorted: sorted.into(), other: other.into() }
    }

    fn pick(&self, text: &str) -> &str {
        match self.sorted.binary_search_by(|known| (**known).cmp(text)) {
            Ok(at) => &self.sorted[at],
            Err(_) => &self.other,
        }
    }
}

/// The first bytes of a text, at most `max`, in whole characters.
fn cut(text: &str, max: usize) -> (&str, bool) {
    let end = text.floor_char_boundary(max);
    (&text[..end], end < text.len())
}

fn put(key: &mut Vec<u8>, text: &str) {
    // No door takes a body of 4 GiB, and `cut` is far below.
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    key.push(1);
    key.extend_from_slice(&length.to_le_bytes());
    key.extend_from_slice(text.as_bytes());
}

/// The attributes in a key that these rules wrote.
pub(super) fn each<'a>(rules: &'a [CountAttribute], key: &'a [u8], mut take: impl FnMut(&'a str, &'a str)) {
    let mut rest = key;
    for rule in rules {
        let Some((there, tail)) = rest.split_first() else { return };
        rest = tail;
        if *there == 0 {
            continue;
        }
        let Some((length, tail)) = rest.split_first_chunk() else { return };
        let Some((text, tail)) = tail.split_at_checked(u32::from_le_bytes(*length) as usize) else { return };
        rest = tail;
        take(&rule.key, std::str::from_utf8(text).unwrap_or_default());
    }
}
