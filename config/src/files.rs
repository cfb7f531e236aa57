//! The names and texts of everything that was read, so that problems can show the line they speak of.
//!
//! A line is never shown with a secret in it: what follows a key that looks like a secret is replaced, and so is
//! every line inside such a value.

use crate::place::Place;
use crate::redact;

/// Names and texts of all files, variables and arguments that were read.
#[derive(Clone, Default)]
pub struct Files {
    entries: Vec<Entry>,
}

/// One text that was read.
#[derive(Clone)]
struct Entry {
    name: String,
    /// `None` when no line of it may be shown: files named by `${file:…}` often hold secrets.
    text: Option<String>,
    /// Lines (from, to; both inclusive) that hold nothing but the inside of a secret value.
    secret_lines: Vec<(u32, u32)>,
}

impl Files {
    /// Adds a text and gives its index.
    pub(crate) fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.push(Entry { name: name.into(), text: Some(text.into()), secret_lines: Vec::new() })
    }

    /// Adds a file of which no line may be shown, and gives its index.
    pub(crate) fn add_withheld(&mut self, name: impl Into<String>) -> u32 {
        self.push(Entry { name: name.into(), text: None, secret_lines: Vec::new() })
    }

    /// Withholds these lines of a file, as the parser found them inside secret values.
    pub(crate) fn withhold(&mut self, file: u32, lines: Vec<(u32, u32)>) {
        if let Some(entry) = self.entries.get_mut(file as usize) {
            entry.secret_lines.extend(lines);
        }
    }

    /// The name of the file a place is in: its path, `--set`, `yaml:` or `env:NAME`.
    pub fn name(&self, place: Place) -> &str {
        self.entries.get(place.file as usize).map_or("<config>", |entry| entry.name.as_str())
    }

    /// `file:line:column`.
    pub fn locate(&self, place: Place) -> String {
        format!("{}:{}:{}", self.name(place), place.line, place.column)
    }

    /// The line a place is in, with secrets replaced; `None` when there is none to show.
    pub fn line(&self, place: Place) -> Option<String> {
        let entry = self.entries.get(place.file as usize)?;
        let text = entry.text.as_ref()?;
        let index = place.line.checked_sub(1)? as usize;
        let line = lines(text).nth(index)?;
        let withheld = entry.secret_lines.iter().any(|(from, to)| (*from..=*to).contains(&place.line));
        if withheld || redact::inside_secret(text, index) {
            return Some(redact::whole_line(line));
        }
        Some(redact::line(line))
    }

    fn push(&mut self, entry: Entry) -> u32 {
        self.entries.push(entry);
        u32::try_from(self.entries.len() - 1).expect("far fewer than four billion files are read")
    }
}

/// The lines of a text as YAML counts them: ended by LF, CR LF or CR.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let Some(end) = current.find(['\n', '\r']) else {
            rest = None;
            return Some(current);
        };
        let skip = if current[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&current[end + skip..]);
        Some(&current[..end])
    })
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.entries.iter().map(|entry| &entry.name)).finish()
    }
}
