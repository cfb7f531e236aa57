//! Patterns for attribute keys: `*` stands for any text, `?` for one character.

/// What is taken and what is left out. Nothing is taken by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Globs {
    included: Vec<String>,
    excluded: Vec<String>,
}

impl Globs {
    pub(super) fn new(included: &[String], excluded: &[String]) -> Self {
        Self { included: included.to_vec(), excluded: excluded.to_vec() }
    }

    pub(super) fn matches(&self, key: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, key));
        any(&self.included) && !any(&self.excluded)
    }
}

/// Two-pointer matching: linear but for one step back to the last star, so no pattern can be made slow.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t, mut star) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("host.*", "host.name", true),
            ("host.*", "hostname", false),
            ("*", "", true),
            ("?", "é", true),
            ("?", "", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("k8s.*.name", "k8s.pod.name", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn what_is_excluded_is_not_taken_and_nothing_is_by_default() {
        let globs = Globs::new(&["host.*".into()], &["host.id".into()]);
        assert!(globs.matches("host.name") && !globs.matches("host.id") && !globs.matches("os.type"));
        assert!(!Globs::default().matches("host.name"));
    }
}
