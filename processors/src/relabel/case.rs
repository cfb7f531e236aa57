//! Upper and lower case as Go's `strings.ToUpper` and `ToLower`: character by character, never one into several.

/// In upper case.
pub(crate) fn upper(text: &str) -> String {
    text.chars().map(|c| single(c.to_uppercase()).unwrap_or_else(|| simple_upper(c))).collect()
}

/// In lower case.
pub(crate) fn lower(text: &str) -> String {
    // Of all characters only İ has a lower case of several; its simple one is i.
    text.chars().map(|c| single(c.to_lowercase()).unwrap_or('i')).collect()
}

fn single(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

/// The simple upper case of characters whose full one is several (Unicode `SpecialCasing.txt`): Greek letters with iota
/// subscript have their title case, the others (such as ß) none.
fn simple_upper(c: char) -> char {
    let to = |offset: u32| char::from_u32(c as u32 + offset).unwrap_or(c);
    match c {
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => to(8),
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => to(9),
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_changes_character_by_character_as_in_go() {
        assert_eq!(upper("straße ǰ ᾳ ᾀ é µ"), "STRAßE ǰ ᾼ ᾈ É Μ");
        assert_eq!(lower("ΣΑΣ İ ÉX"), "σασ i éx");
    }
}
