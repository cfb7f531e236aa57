//! A small strict reader of both text formats, which shares no code with the writer.

use std::collections::{BTreeMap, BTreeSet};

/// One sample line.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: String,
}

/// Reads a whole body; panics with the line when anything is wrong with it.
pub(super) fn parse(body: &str, open: bool) -> Vec<Sample> {
    let body = if open { body.strip_suffix("# EOF\n").expect("ends with # EOF") } else { body };
    assert!(body.is_empty() || body.ends_with('\n'));
    let (mut samples, mut typed, mut seen) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let mut family: Option<(String, String)> = None;
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty(), "blank line");
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').expect(line);
            let (name, rest) = name(rest);
            let rest = rest.strip_prefix(' ').expect(line);
            match word {
                "TYPE" => {
                    assert!(typed.insert(name.clone()), "two types: {line}");
                    family = Some((name, rest.to_owned()));
                }
                "HELP" => {}
                "UNIT" => assert!(open && name.ends_with(&format!("_{rest}")), "{line}"),
                _ => panic!("{line}"),
            }
            continue;
        }
        let sample = sample(line, open);
        let (family, kind) = family.as_ref().expect("a type before the first sample");
        let suffix = sample.name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} in {family}"));
        assert!(suffixes(kind, open).contains(&suffix), "{line} in {family} {kind}");
        if kind == "stateset" {
            assert!(sample.labels.contains_key(family) && matches!(sample.value.as_str(), "0" | "1"), "{line}");
        }
        assert!(seen.insert((sample.name.clone(), sample.labels.clone())), "twice: {line}");
        samples.push(sample);
    }
    samples
}

fn suffixes(kind: &str, open: bool) -> &'static [&'static str] {
    match (kind, open) {
        ("counter", true) => &["_total"],
        ("info", true) => &["_info"],
        ("stateset" | "unknown", true) | ("counter" | "untyped", false) | ("gauge", _) => &[""],
        ("histogram", _) => &["_bucket", "_sum", "_count"],
        ("summary", _) => &["", "_sum", "_count"],
        _ => panic!("no such type: {kind}"),
    }
}

fn sample(line: &str, open: bool) -> Sample {
    let (line, exemplar) = match line.find(" # {") {
        Some(at) if open && !line[..at].ends_with('"') => (&line[..at], Some(&line[at + 3..])),
        _ => (line, None),
    };
    if let Some(exemplar) = exemplar {
        labels(exemplar.strip_prefix('{').unwrap(), None);
    }
    let (head, labels, rest) = if let Some(rest) = line.strip_prefix('{') {
        let (name, rest) = name(rest);
        let (labels, rest) = labels(rest.strip_prefix(',').unwrap_or(rest), Some(&name));
        (name, labels, rest)
    } else {
        let end = line.find(['{', ' ']).expect(line);
        let (name, rest) = line.split_at(end);
        assert!(legal(name), "{line}");
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest, Some(name)),
            None => (BTreeMap::new(), rest),
        };
        (name.to_owned(), labels, rest)
    };
    let value = rest.strip_prefix(' ').expect(line);
    assert!(value.parse::<f64>().is_ok(), "{line}");
    Sample { name: head, labels, value: value.to_owned() }
}

fn labels<'a>(mut rest: &'a str, of: Option<&str>) -> (BTreeMap<String, String>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return (labels, rest);
        }
        if !labels.is_empty() {
            rest = rest.strip_prefix(',').expect("a comma between labels");
        }
        let (name, after) = name(rest);
        let (value, after) = quoted(after.strip_prefix("=\"").expect("a value"));
        assert!(labels.insert(name.clone(), value).is_none(), "label {name} twice in {of:?}");
        assert!(!name.starts_with("__"), "reserved: {name}");
        rest = after;
    }
}

fn name(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        Some(rest) => quoted(rest),
        None => {
            let end = text.find(['=', ' ', '{', '}', ',']).expect("a name ends");
            assert!(legal(&text[..end]), "{text}");
            (text[..end].to_owned(), &text[end..])
        }
    }
}

fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                other => panic!("bad escape {other:?} in {text}"),
            },
            c => value.push(c),
        }
    }
    panic!("no end: {text}");
}

fn legal(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') && !name.is_empty()
}
