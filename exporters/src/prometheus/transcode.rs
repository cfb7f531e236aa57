//! Label text under another escaping scheme: the slow way, for names beyond the classic grammar only.

use pdata::prom::Escaping;

use super::labels::{EXPORTED, is_reserved};

/// Adds the labels of `text`, which this exporter wrote, with their names escaped. Values of names that fall together are joined
/// with `;`, in the order of the names they had.
pub(super) fn transcode(text: &[u8], escaping: Escaping, out: &mut Vec<u8>) {
    let text = std::str::from_utf8(text).expect("label text is written from str");
    let mut labels: Vec<(String, String)> = Vec::new();
    let mut rest = text.strip_prefix(',').unwrap_or(text);
    while !rest.is_empty() {
        let (name, after) = take_name(rest);
        let (value, after) = take_quoted(after.strip_prefix('=').unwrap_or(after));
        rest = after.strip_prefix(',').unwrap_or(after);
        let mut escaped = String::new();
        escaping.push_label(&mut escaped, &name);
        if is_reserved(&escaped) {
            escaped.insert_str(0, EXPORTED);
        }
        match labels.iter_mut().find(|(known, _)| *known == escaped) {
            Some((_, values)) => {
                values.push(';');
                values.push_str(value);
            }
            None => labels.push((escaped, value.to_owned())),
        }
    }
    for (index, (name, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    }
}

/// A name, quoted or not, and what follows it.
fn take_name(text: &str) -> (String, &str) {
    if !text.starts_with('"') {
        let end = text.find('=').unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    }
    let (escaped, rest) = take_quoted(text);
    let mut name = String::with_capacity(escaped.len());
    let mut chars = escaped.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => name.push(match chars.next() {
                Some('n') => '\n',
                Some(other) => other,
                None => '\\',
            }),
            c => name.push(c),
        }
    }
    (name, rest)
}

/// What stands between two quotes, still escaped, and what follows.
fn take_quoted(text: &str) -> (&str, &str) {
    let inner = text.strip_prefix('"').unwrap_or(text);
    let mut escaped = false;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return (&inner[..at], &inner[at + 1..]),
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    (inner, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcoded(text: &str, escaping: Escaping) -> String {
        let mut out = Vec::new();
        transcode(text.as_bytes(), escaping, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn names_are_escaped_and_values_stay() {
        let text = r#","a.b"="x\"y,z=\\",c="1""#;
        assert_eq!(transcoded(text, Escaping::Underscores), r#"a_b="x\"y,z=\\",c="1""#);
        assert_eq!(transcoded(text, Escaping::Dots), r#"a_dot_b="x\"y,z=\\",c="1""#);
        assert_eq!(transcoded(r#""q\"\n\\"="1""#, Escaping::Values), r#"U__q_22__a__5c_="1""#);
        assert_eq!(transcoded("", Escaping::Dots), "");
    }

    #[test]
    fn labels_that_fall_together_are_joined_and_the_metric_s_name_stays_free() {
        assert_eq!(transcoded(r#""a.b"="1","a/b"="2",a_b="3""#, Escaping::Underscores), r#"a_b="1;2;3""#);
        assert_eq!(transcoded(r#""._name__"="1""#, Escaping::Underscores), r#"exported___name__="1""#);
    }
}
