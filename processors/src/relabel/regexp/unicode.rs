//! Names that `\p{…}` knows: general categories and scripts of Unicode, as Go's package `unicode` lists them.

use regex_syntax::hir::{Class, HirKind};

use super::class::Set;

/// Scripts whose full name has four letters; all other four-letter names are ISO 15924 codes, which Go does not know.
const FOUR_LETTER_SCRIPTS: &[&str] = &["ahom", "cham", "kawi", "lisu", "miao", "modi", "newa", "thai", "toto"];

/// The characters of a category or script. Case, spaces, hyphens and underscores in the name do not count (Go 1.25).
pub(super) fn property(name: &str, fold: bool) -> Option<Set> {
    let plain: String =
        name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
    if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric()) {
        return None;
    }
    let set = match &*plain {
        "any" => Set::all(),
        "assigned" => lookup("gc", "cn")?.negated(),
        "ascii" => {
            let mut ascii = Set::empty();
            ascii.add(0, 0x7f);
            ascii
        }
        // Surrogates do not occur in valid text.
        "cs" | "surrogate" => Set::empty(),
        // One thing less that Go knows by this name: "sc" is a category here and the word for scripts there.
        plain => lookup("gc", plain).or_else(|| script(plain))?,
    };
    Some(if fold { set.folded() } else { set })
}

fn script(plain: &str) -> Option<Set> {
    if plain.len() == 4 && !FOUR_LETTER_SCRIPTS.contains(&plain) {
        return None;
    }
    lookup("sc", plain)
}

fn lookup(property: &str, value: &str) -> Option<Set> {
    let tree = regex_syntax::parse(&format!("\\p{{{property}={value}}}")).ok()?;
    match tree.into_kind() {
        HirKind::Class(Class::Unicode(class)) => Some(Set::of(class)),
        // A category of one character, such as Zl, is simplified to that character.
        HirKind::Literal(literal) => {
            let mut set = Set::empty();
            std::str::from_utf8(&literal.0).ok()?.chars().for_each(|c| set.add(c as u32, c as u32));
            Some(set)
        }
        _ => None,
    }
}
