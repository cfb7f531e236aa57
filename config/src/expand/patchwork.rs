//! A text in which some parts came from outside and must not be shown.

/// A text and which of its bytes came from outside.
pub(super) struct Patchwork {
    text: String,
    /// Ranges of bytes from outside, in order and apart.
    foreign: Vec<(usize, usize)>,
}

impl Patchwork {
    pub(super) fn new(text: String, foreign: bool) -> Self {
        let foreign = if foreign { vec![(0, text.len())] } else { Vec::new() };
        Self { text, foreign }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether any byte of a part came from outside.
    pub(super) fn is_foreign(&self, from: usize, to: usize) -> bool {
        self.foreign.iter().any(|(start, end)| *start < to && *end > from)
    }

    /// Puts another text in the place of a part.
    pub(super) fn replace(&mut self, from: usize, to: usize, with: &str, foreign: bool) {
        let mut parts = Vec::with_capacity(self.foreign.len() + 1);
        for (start, end) in &self.foreign {
            parts.push((*start, (*end).min(from)));
            parts.push(((*start).max(to) - to + from + with.len(), (*end).max(to) - to + from + with.len()));
        }
        if foreign {
            parts.push((from, from + with.len()));
        }
        parts.retain(|(start, end)| start < end);
        parts.sort_unstable();
        // Neighbours become one, or a text that grows from within would keep a range for each step.
        parts.dedup_by(|next, before| {
            let joins = next.0 <= before.1;
            if joins {
                before.1 = before.1.max(next.1);
            }
            joins
        });
        self.foreign = parts;
        self.text.replace_range(from..to, with);
    }
}

#[cfg(test)]
mod tests {
    use super::Patchwork;

    #[test]
    fn replacing_keeps_track_of_what_came_from_outside() {
        let mut text = Patchwork::new("ab${x}cd${y}".to_owned(), false);
        text.replace(2, 6, "12345", true);
        assert_eq!(text.as_str(), "ab12345cd${y}");
        assert!(text.is_foreign(0, 3) && text.is_foreign(6, 7) && !text.is_foreign(0, 2) && !text.is_foreign(7, 13));
        text.replace(9, 13, "", true);
        text.replace(0, 2, "longer", false);
        assert_eq!(text.as_str(), "longer12345cd");
        assert!(!text.is_foreign(0, 6) && text.is_foreign(10, 11) && !text.is_foreign(11, 13));
        text.replace(7, 9, "--", false);
        assert!(text.is_foreign(6, 7) && !text.is_foreign(7, 9) && text.is_foreign(9, 11));
    }

    #[test]
    fn an_inner_part_replaced_by_own_text_is_own() {
        let mut text = Patchwork::new("abc".to_owned(), true);
        text.replace(1, 2, "x", false);
        assert!(text.is_foreign(0, 1) && !text.is_foreign(1, 2) && text.is_foreign(2, 3));
    }
}
