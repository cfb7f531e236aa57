//! The fields of an event or span, written as members of a JSON object.

use std::fmt::{Debug, Write};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use tracing::field::{Field, Visit};

/// Members of a JSON object without its braces, and the message apart.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) members: String,
}

impl Fields {
    /// Puts the members of another behind these.
    pub(super) fn append(&mut self, other: &Self) {
        if !self.members.is_empty() && !other.members.is_empty() {
            self.members.push_str(", ");
        }
        self.members.push_str(&other.members);
    }

    /// A number that differs between speakers, for sampling.
    pub(super) fn digest(&self) -> u64 {
        BuildHasherDefault::<DefaultHasher>::default().hash_one(&self.members)
    }

    fn key(&mut self, name: &str) -> &mut String {
        if !self.members.is_empty() {
            self.members.push_str(", ");
        }
        quote(&mut self.members, name);
        self.members.push_str(": ");
        &mut self.members
    }

    fn text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            escape(&mut self.message, text);
        } else {
            quote(self.key(field.name()), text);
        }
    }

    fn plain(&mut self, field: &Field, value: impl std::fmt::Display) {
        write!(self.key(field.name()), "{value}").expect("writing to a string cannot fail");
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field, &value.to_string());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity.
        if value.is_finite() { self.plain(field, value) } else { self.text(field, &value.to_string()) }
    }
}

/// Adds a JSON string.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => push_safe(out, c),
        }
    }
    out.push('"');
}

/// Adds text with its control characters escaped, as in JSON but without quotes.
pub(super) fn escape(out: &mut String, text: &str) {
    text.chars().for_each(|c| push_safe(out, c));
}

/// Control characters could end the line or drive the terminal; line separators and marks of direction could make a line look
/// like another (the "Trojan source" characters).
fn push_safe(out: &mut String, c: char) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
            write!(out, "\\u{:04x}", u32::from(c)).expect("writing to a string cannot fail");
        }
        c => out.push(c),
    }
}
