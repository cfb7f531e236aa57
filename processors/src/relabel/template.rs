//! Replacement templates, as Go's `Regexp.Expand` reads them.

use regex::CaptureLocations;

use super::regexp::GoRegex;

/// A template in parts. `$1` and `$name` take the longest run of letters, digits and underscores for the name, so `$1x` is the
/// group named `1x`; `${1}x` parts them; `$$` is a dollar; a dollar before anything else is itself. Groups that do not exist
/// or took no part are empty.
#[derive(Debug)]
pub(crate) struct Template(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(String),
    /// Places in the compiled expression; the first that took part counts.
    Group(Vec<usize>),
}

impl Template {
    pub(crate) fn new(template: &str, regex: &GoRegex) -> Self {
        let mut parts = vec![Part::Text(String::new())];
        let mut rest = template;
        while let Some((text, after)) = rest.split_once('$') {
            push_text(&mut parts, text);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                push_text(&mut parts, "$");
                rest = after;
            } else if let Some((name, after)) = name(rest) {
                parts.push(Part::Group(group(name, regex)));
                rest = after;
            } else {
                push_text(&mut parts, "$");
            }
        }
        push_text(&mut parts, rest);
        parts.retain(|part| *part != Part::Text(String::new()));
        Self(parts)
    }

    /// Adds to `out` what the template makes of a match in `text`.
    pub(crate) fn expand(&self, text: &str, places: &CaptureLocations, out: &mut String) {
        self.fill(out, |group| places.get(group).map(|(start, end)| &text[start..end]));
    }

    /// The same for a match with its text.
    pub(crate) fn expand_captures(&self, captures: &regex::Captures<'_>, out: &mut String) {
        self.fill(out, |group| captures.get(group).map(|found| found.as_str()));
    }

    fn fill<'t>(&self, out: &mut String, found: impl Fn(usize) -> Option<&'t str>) {
        for part in &self.0 {
            out.push_str(match part {
                Part::Text(text) => text,
                Part::Group(groups) => groups.iter().find_map(|group| found(*group)).unwrap_or(""),
            });
        }
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The name after a dollar, and what follows it.
fn name(rest: &str) -> Option<(&str, &str)> {
    let braced = rest.strip_prefix('{');
    let text = braced.unwrap_or(rest);
    let length = text.find(|c: char| !(c == '_' || c.is_alphanumeric())).unwrap_or(text.len());
    let (name, after) = text.split_at(length);
    let after = if braced.is_some() { after.strip_prefix('}')? } else { after };
    (!name.is_empty()).then_some((name, after))
}

fn group(name: &str, regex: &GoRegex) -> Vec<usize> {
    let number = name.bytes().all(|byte| byte.is_ascii_digit()) && (name.len() == 1 || !name.starts_with('0'));
    if number {
        // A number that does not fit names no group.
        return name.parse().ok().and_then(|number| regex.numbered(number)).into_iter().collect();
    }
    regex.named(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(pattern: &str, text: &str, template: &str) -> String {
        let mut regex = GoRegex::anchored(pattern).unwrap();
        let template = Template::new(template, &regex);
        let mut out = String::new();
        template.expand(text, regex.find(text).unwrap(), &mut out);
        out
    }

    #[test]
    fn templates_are_read_as_go_reads_them() {
        let expected = [
            ("$1", "a"),
            ("${1}x", "ax"),
            ("$1x", ""),
            ("$1-$2", "a-b"),
            ("$$1", "$1"),
            ("$", "$"),
            ("$-", "$-"),
            ("${", "${"),
            ("${}", "${}"),
            ("${1", "${1"),
            ("${1 }", "${1 }"),
            ("$0", "ab"),
            ("$3", ""),
            ("$01", ""),
            ("$99999999999999999999", ""),
            ("$second", "b"),
            ("${second}$first", "b"),
            ("$é", ""),
            ("%$1%", "%a%"),
            ("", ""),
        ];
        for (template, result) in expected {
            assert_eq!(expand("(.)(?P<second>.)", "ab", template), result, "{template}");
        }
        assert_eq!(expand("(?P<1x>.)", "a", "$1x"), "a");
        assert_eq!(expand("(?P<n>a)|(?P<n>b)", "b", "$n"), "b");
    }
}
