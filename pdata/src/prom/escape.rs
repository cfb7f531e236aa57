//! How names that are not `[a-zA-Z_:][a-zA-Z0-9_:]*` are told to a scraper.

use std::fmt::Write;

/// An escaping scheme, as the `escaping` parameter of a content type names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Escaping {
    /// `allow-utf-8`: names as they are, quoted where the classic grammar does not allow them.
    Utf8,
    /// `underscores`: each foreign character becomes one underscore. What scrapers get that ask for nothing.
    #[default]
    Underscores,
    /// `dots`: dots become `_dot_`, underscores and foreign characters two underscores.
    Dots,
    /// `values`: `U__` and the code point of each foreign character in lower-case hexadecimal.
    Values,
}

impl Escaping {
    /// All schemes.
    pub const ALL: [Self; 4] = [Self::Utf8, Self::Underscores, Self::Dots, Self::Values];

    /// The word in content types.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Utf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }

    /// The scheme of a word, unless it is unknown.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str() == word)
    }

    /// Adds the name of a metric to `out`; legal names stay as they are under every scheme.
    pub fn push_metric(self, out: &mut String, name: &str) {
        if self == Self::Utf8 || is_legal_metric(name) {
            out.push_str(name);
        } else {
            self.push(out, name, true);
        }
    }

    /// Adds the name of a label to `out`. A colon is foreign here: one unquoted colon in a label name costs the whole scrape.
    pub fn push_label(self, out: &mut String, name: &str) {
        if self == Self::Utf8 || is_legal_label(name) {
            out.push_str(name);
        } else {
            self.push(out, name, false);
        }
    }

    fn push(self, out: &mut String, name: &str, colon: bool) {
        if self == Self::Values {
            out.push_str("U__");
        }
        for (index, c) in name.char_indices() {
            let legal = c.is_ascii_alphabetic() || (c.is_ascii_digit() && index > 0) || (c == ':' && colon);
            match self {
                _ if legal => out.push(c),
                Self::Underscores | Self::Utf8 => out.push('_'),
                Self::Dots if c == '.' => out.push_str("_dot_"),
                Self::Dots => out.push_str("__"),
                Self::Values if c == '_' => out.push_str("__"),
                Self::Values => write!(out, "_{:x}_", c as u32).expect("a string takes all that is written"),
            }
        }
    }
}

/// Whether every Prometheus takes `name` for a metric unquoted: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[must_use]
pub fn is_legal_metric(name: &str) -> bool {
    is_legal(name, |byte| byte == b':')
}

/// Whether every Prometheus takes `name` for a label unquoted: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_legal_label(name: &str) -> bool {
    is_legal(name, |_| false)
}

fn is_legal(name: &str, also: impl Fn(u8) -> bool) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || also(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(scheme: Escaping, name: &str) -> String {
        let mut out = String::new();
        scheme.push_metric(&mut out, name);
        out
    }

    #[test]
    fn each_scheme_writes_what_prometheus_un_escapes() {
        use Escaping::{Dots, Underscores, Utf8, Values};
        for (scheme, name, escaped) in [
            (Underscores, "1x", "_x"),
            (Underscores, "é", "_"),
            (Underscores, "foo.bar", "foo_bar"),
            (Dots, "foo.bar_baz", "foo_dot_bar__baz"),
            (Dots, "foo_bar", "foo_bar"),
            (Dots, "a/b", "a__b"),
            (Values, "a.b_c/d", "U__a_2e_b__c_2f_d"),
            (Values, "é", "U___e9_"),
            (Values, "foo_bar", "foo_bar"),
            (Utf8, "é.x", "é.x"),
        ] {
            assert_eq!(metric(scheme, name), escaped, "{scheme:?} {name}");
        }
    }

    #[test]
    fn a_colon_is_legal_in_a_metric_and_foreign_in_a_label() {
        let mut out = String::new();
        Escaping::Values.push_label(&mut out, "a:b");
        assert_eq!((metric(Escaping::Values, "a:b").as_str(), out.as_str()), ("a:b", "U__a_3a_b"));
        assert!(is_legal_metric(":a") && !is_legal_label(":a") && !is_legal_label("") && !is_legal_label("9"));
    }

    #[test]
    fn schemes_are_found_by_their_words_and_others_are_not() {
        for scheme in Escaping::ALL {
            assert_eq!(Escaping::from_word(scheme.as_str()), Some(scheme));
        }
        assert_eq!(Escaping::from_word("utf-8"), None);
    }

    proptest::proptest! {
        #[test]
        fn what_is_escaped_is_always_legal(name in "\\PC{1,12}") {
            for scheme in [Escaping::Underscores, Escaping::Dots, Escaping::Values] {
                let mut label = String::new();
                scheme.push_label(&mut label, &name);
                proptest::prop_assert!(is_legal_metric(&metric(scheme, &name)));
                proptest::prop_assert!(is_legal_label(&label));
            }
        }
    }
}
