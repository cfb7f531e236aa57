//! The Prometheus text format 0.0.4, read by a second, strict reader.

use std::collections::BTreeMap;

/// What a body says.
#[derive(Debug, Default)]
pub struct Exposition {
    /// All samples in their order.
    pub samples: Vec<Sample>,
    /// `# TYPE` by family.
    pub types: BTreeMap<String, String>,
    /// `# HELP` by family, escaped as it came.
    pub helps: BTreeMap<String, String>,
}

/// One line with a number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    /// The sample's name.
    pub name: String,
    /// Its labels, unescaped.
    pub labels: BTreeMap<String, String>,
    /// Its value as it was written.
    pub value: String,
}

impl Sample {
    /// The value as Prometheus takes it.
    pub fn number(&self) -> f64 {
        number(&self.value).unwrap_or_else(|| panic!("{} has the value {:?}", self.name, self.value))
    }
}

impl Exposition {
    /// Reads a body.
    ///
    /// # Panics
    /// On anything the format does not allow, a repeated series included; the message carries the line.
    pub fn read(body: &str) -> Self {
        assert!(body.is_empty() || body.ends_with('\n'), "the last line does not end with a newline");
        let mut read = Self::default();
        for line in body.split_terminator('\n') {
            if let Some(text) = line.strip_prefix("# TYPE ") {
                let (name, kind) = text.split_once(' ').unwrap_or_else(|| panic!("no type: {line:?}"));
                assert!(read.types.insert(name.into(), kind.into()).is_none(), "a second type: {line:?}");
            } else if let Some(text) = line.strip_prefix("# HELP ") {
                let (name, help) = text.split_once(' ').unwrap_or((text, ""));
                assert!(read.helps.insert(name.into(), help.into()).is_none(), "a second help: {line:?}");
            } else if !line.starts_with('#') && !line.is_empty() {
                read.samples.push(sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}")));
            }
        }
        let mut seen: Vec<_> = read.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
        seen.sort();
        for pair in seen.windows(2) {
            assert_ne!(pair[0], pair[1], "one series twice");
        }
        read
    }

    /// The samples of one name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// The number of the one sample that has this name and all these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            labels.iter().all(|&(key, value)| sample.labels.get(key).is_some_and(|found| found == value))
        };
        let mut found = self.named(name).filter(has);
        let first = found.next()?;
        assert!(found.next().is_none(), "{name} with {labels:?} is more than one series");
        Some(first.number())
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        _ => text.parse().ok(),
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            if labels.insert(label.to_owned(), value).is_some() {
                return None;
            }
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ')?.split(' ').next()?;
    let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(&byte));
    (named && number(value).is_some()).then(|| Sample { name: name.into(), labels, value: value.into() })
}

/// A label value up to its closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other @ ('"' | '\\') => other,
                _ => return None,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_and_empty_labels_are_read() {
        let read = Exposition::read("# TYPE a gauge\na{x=\"q\\\"b\\\\n\\n\",y=\"\"} 1\nb 2 1700000000000\n");
        assert_eq!(read.value("a", &[("x", "q\"b\\n\n"), ("y", "")]), Some(1.0));
        assert_eq!(read.value("b", &[]), Some(2.0));
    }

    #[test]
    #[should_panic(expected = "one series twice")]
    fn a_repeated_series_is_refused() {
        Exposition::read("a{x=\"1\"} 1\na{x=\"1\"} 2\n");
    }
}
