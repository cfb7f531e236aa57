//! What may be a label's name.

/// Which names rules may write (Prometheus `metric_name_validation_scheme`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NameScheme {
    /// Any text but the empty one (Prometheus 3).
    #[default]
    Utf8,
    /// `[a-zA-Z_][a-zA-Z0-9_]*` (Prometheus 2).
    Legacy,
}

impl NameScheme {
    /// Whether `name` may be a label's.
    pub(crate) fn is_label(self, name: &str) -> bool {
        match self {
            Self::Utf8 => !name.is_empty(),
            Self::Legacy => is_legacy(name),
        }
    }

    /// Whether a template may come out as a label's name.
    pub(crate) fn is_label_template(self, template: &str) -> bool {
        match self {
            Self::Utf8 => !template.is_empty(),
            Self::Legacy => is_legacy_template(template),
        }
    }
}

fn is_legacy(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

/// Letters, digits, underscores and references such as `$1` or `${name}`, not beginning with a digit. A dollar must begin a
/// reference, and `$1` swallows the word characters after it.
fn is_legacy_template(template: &str) -> bool {
    let word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let mut rest = template.as_bytes();
    let mut first = true;
    while let [byte, after @ ..] = rest {
        rest = match byte {
            b'$' => match after {
                [b'{', inner @ ..] => {
                    let length = inner.iter().take_while(|byte| word(**byte)).count();
                    match &inner[length..] {
                        [b'}', tail @ ..] if length > 0 => tail,
                        _ => return false,
                    }
                }
                _ => {
                    let length = after.iter().take_while(|byte| word(**byte)).count();
                    if length == 0 {
                        return false;
                    }
                    &after[length..]
                }
            },
            byte if word(*byte) && !(first && byte.is_ascii_digit()) => after,
            _ => return false,
        };
        first = false;
    }
    !template.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legacy_names_are_ascii_words_that_begin_with_no_digit() {
        for name in ["a", "_", "__name__", "A1_b"] {
            assert!(NameScheme::Legacy.is_label(name), "{name}");
        }
        for name in ["", "1a", "a.b", "a-b", "é", "a b", "${1}"] {
            assert!(!NameScheme::Legacy.is_label(name), "{name}");
        }
        assert!(NameScheme::Utf8.is_label("http.route é"));
        assert!(!NameScheme::Utf8.is_label(""));
    }

    #[test]
    fn a_legacy_target_is_made_of_words_and_references() {
        for template in ["a", "$1", "${1}", "${name}_x", "a$1", "$1x", "a${1}b${2}", "${1}1", "a$", "${", "$", "a-$1"] {
            let expected = !matches!(template, "a$" | "${" | "$" | "a-$1");
            assert_eq!(NameScheme::Legacy.is_label_template(template), expected, "{template}");
        }
        for template in ["", "1$1", "$-", "${}", "${a", "${a-b}", "$1 ", "é$1"] {
            assert!(!NameScheme::Legacy.is_label_template(template), "{template}");
        }
    }
}
