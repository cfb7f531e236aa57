//! "Did you mean": the nearest of the words that would have been right.

use crate::id::fold_kind;

/// The word nearest to what was written, when one is near enough to be meant.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Longer words cannot be near to any key that exists, and the distance is quadratic in length.
    if written.len() > 64 {
        return None;
    }
    let folded = fold_kind(written);
    known
        .into_iter()
        .filter(|word| word.len() <= 64)
        .map(|word| (if fold_kind(word) == folded { 0 } else { distance(written, word) }, word))
        .filter(|(distance, word)| *distance * 3 <= word.chars().count().max(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// The help for an unknown word: the nearest one, else all when they are few enough to read.
pub(crate) fn help(written: &str, known: &[&str]) -> Option<String> {
    if let Some(word) = nearest(written, known.iter().copied()) {
        return Some(format!("did you mean `{word}`?"));
    }
    match known {
        [] => None,
        _ if known.len() <= 40 => {
            let mut sorted = known.to_vec();
            sorted.sort_unstable();
            Some(format!("known here: {}", sorted.join(", ")))
        }
        _ => None,
    }
}

/// How many letters must be put in, left out, exchanged or swapped with their neighbour.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (above[j] + 1).min(row[j - 1] + 1).min(above[j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    #[test]
    fn a_typing_mistake_finds_its_word() {
        let known = ["queries", "driver", "datasource", "collection_interval"];
        assert_eq!(nearest("querys", known), Some("queries"));
        assert_eq!(nearest("dirver", known), Some("driver"));
        assert_eq!(nearest("collectionInterval", known), Some("collection_interval"));
        assert_eq!(nearest("password", known), None);
    }

    #[test]
    fn neighbours_swapped_are_one_step() {
        assert_eq!(distance("ab", "ba"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
