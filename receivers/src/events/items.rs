//! Arrays of events.

use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

struct Items {
    most: usize,
}

/// The elements of a JSON array, and one more than `most` at most: an array of ten million zeros must not become as many pointers.
///
/// # Errors
/// When the text is no array as a whole.
pub(crate) fn items(text: &str, most: usize) -> serde_json::Result<Vec<&RawValue>> {
    let mut parser = serde_json::Deserializer::from_str(text);
    let items = parser.deserialize_seq(Items { most })?;
    parser.end()?;
    Ok(items)
}

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
        let mut items = Vec::new();
        while items.len() <= self.most {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => return Ok(items),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_read_to_its_end_and_not_kept() {
        let read =
            |text: &'static str| items(text, 2).map(|items| items.into_iter().map(RawValue::get).collect::<Vec<_>>());
        assert_eq!(read(" [ {\"a\":[1]} , 2 ] ").unwrap(), ["{\"a\":[1]}", "2"]);
        assert_eq!(read("[]").unwrap(), [""; 0]);
        assert_eq!(read("[1,2,3,4,5]").unwrap(), ["1", "2", "3"]);
        for wrong in ["[1,2,3,4", "[1,2,3,4}", "[1,2,3,,]", "[1] 2", "{}", ""] {
            read(wrong).unwrap_err();
        }
    }
}
