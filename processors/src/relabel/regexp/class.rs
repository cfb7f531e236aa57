//! Character classes in the making: ranges of runes, folded and negated as Go does.

use regex_syntax::hir::{ClassUnicode, ClassUnicodeRange};

/// A set of characters.
#[derive(Clone, Debug)]
pub(super) struct Set(ClassUnicode);

impl Set {
    pub(super) fn empty() -> Self {
        Self(ClassUnicode::empty())
    }

    /// All characters.
    pub(super) fn all() -> Self {
        let mut all = Self::empty();
        all.add(0, char::MAX as u32);
        all
    }

    pub(super) fn of(class: ClassUnicode) -> Self {
        Self(class)
    }

    /// Adds runes by number. Surrogates are runes to Go and never occur in valid text: they are left out.
    pub(super) fn add(&mut self, low: u32, high: u32) {
        let low = char::from_u32(low).unwrap_or('\u{e000}');
        let high = char::from_u32(high).unwrap_or('\u{d7ff}');
        if low <= high {
            self.0.push(ClassUnicodeRange::new(low, high));
        }
    }

    pub(super) fn union(&mut self, other: &Self) {
        self.0.union(&other.0);
    }

    /// With all characters that differ in case only (Unicode simple folding, as Go's).
    pub(super) fn folded(mut self) -> Self {
        self.0.case_fold_simple();
        self
    }

    pub(super) fn negated(mut self) -> Self {
        self.0.negate();
        self
    }

    pub(super) fn into_class(self) -> ClassUnicode {
        self.0
    }
}

/// `\d`, `\s`, `\w` and their negations: ASCII, and `\s` without the vertical tab.
pub(super) fn perl(letter: char, fold: bool) -> Option<Set> {
    let ranges: &[(char, char)] = match letter.to_ascii_lowercase() {
        'd' => &[('0', '9')],
        's' => &[('\t', '\n'), ('\x0c', '\r'), (' ', ' ')],
        'w' => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        _ => return None,
    };
    Some(group(ranges, letter.is_ascii_uppercase(), fold))
}

/// `[:alpha:]`, `[:^alpha:]` and the like; the name stands with its brackets and colons.
pub(super) fn posix(name: &str, fold: bool) -> Option<Set> {
    let name = name.strip_prefix("[:")?.strip_suffix(":]")?;
    let (negative, name) = name.strip_prefix('^').map_or((false, name), |name| (true, name));
    let ranges: &[(char, char)] = match name {
        "alnum" => &[('0', '9'), ('A', 'Z'), ('a', 'z')],
        "alpha" => &[('A', 'Z'), ('a', 'z')],
        "ascii" => &[('\0', '\x7f')],
        "blank" => &[('\t', '\t'), (' ', ' ')],
        "cntrl" => &[('\0', '\x1f'), ('\x7f', '\x7f')],
        "digit" => &[('0', '9')],
        "graph" => &[('!', '~')],
        "lower" => &[('a', 'z')],
        "print" => &[(' ', '~')],
        "punct" => &[('!', '/'), (':', '@'), ('[', '`'), ('{', '~')],
        "space" => &[('\t', '\r'), (' ', ' ')],
        "upper" => &[('A', 'Z')],
        "word" => &[('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')],
        "xdigit" => &[('0', '9'), ('A', 'F'), ('a', 'f')],
        _ => return None,
    };
    Some(group(ranges, negative, fold))
}

fn group(ranges: &[(char, char)], negative: bool, fold: bool) -> Set {
    let mut set = Set::empty();
    ranges.iter().for_each(|(low, high)| set.add(*low as u32, *high as u32));
    let set = if fold { set.folded() } else { set };
    if negative { set.negated() } else { set }
}
