//! What is signed: the body, and texts around it.

use http::HeaderMap;
use http::header::HeaderName;

use super::{Refused, single};

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The raw body.
    Body,
    /// The time as it was sent.
    Timestamp,
    /// The delivery's id as it was sent.
    Id,
    /// Fixed text.
    Text(Box<str>),
    /// Another header, which must stand exactly once.
    Header(HeaderName),
}

/// The most pieces: id, time and body with texts between and a few headers more.
const PARTS_MAX: usize = 16;

/// The pieces of a template such as `v0:{timestamp}:{body}`. It holds `{body}` once, and `{timestamp}` and `{id}` at most once.
///
/// # Errors
/// What is wrong with it, and what would do.
pub(super) fn parse(template: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let (text, from) = rest.split_at(open);
        let close = from.find('}').ok_or_else(|| format!("the '{{' of {from:?} is never closed"))?;
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        parts.push(placeholder(&from[1..close])?);
        rest = &from[close + 1..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest.into()));
    }
    check(&parts)?;
    Ok(parts)
}

fn placeholder(name: &str) -> Result<Part, String> {
    Ok(match name {
        "body" => Part::Body,
        "timestamp" => Part::Timestamp,
        "id" => Part::Id,
        other => match other.strip_prefix("header:").map(str::parse) {
            Some(Ok(name)) => Part::Header(name),
            Some(Err(_)) => return Err(format!("{{{other}}} names no header")),
            None => {
                return Err(format!(
                    "{{{other}}} is not known; there are {{body}}, {{timestamp}}, {{id}} and {{header:name}}"
                ));
            }
        },
    })
}

fn check(parts: &[Part]) -> Result<(), String> {
    let count = |part: &Part| parts.iter().filter(|other| *other == part).count();
    if count(&Part::Body) != 1 {
        return Err("{body} must stand in it once: what is not signed cannot be believed".to_owned());
    }
    for (part, name) in [(Part::Timestamp, "{timestamp}"), (Part::Id, "{id}")] {
        if count(&part) > 1 {
            return Err(format!("{name} stands in it twice"));
        }
    }
    if parts.len() > PARTS_MAX {
        return Err(format!("it has {} pieces, at most {PARTS_MAX}", parts.len()));
    }
    let free = |part: &Part| matches!(part, Part::Id | Part::Header(_));
    let fixed = |part: &Part| matches!(part, Part::Text(_));
    if parts.windows(2).any(|pair| (free(&pair[0]) && !fixed(&pair[1])) || (free(&pair[1]) && !fixed(&pair[0]))) {
        let why = "a text must stand between {id} or {header:…} and its neighbour";
        return Err(format!("{why}: else bytes could move from one to the other under the same signature"));
    }
    Ok(())
}

/// The values of a request's free pieces, in the template's order.
///
/// # Errors
/// When a header is missing, repeated or not text; or holds the text that ends it in the template, since then another
/// request could have the same signature: `a.b` and `c` sign as `a` and `b.c` do.
pub(super) fn free<'a>(
    parts: &[Part],
    id: Option<&'a str>,
    headers: &'a HeaderMap,
) -> Result<smallvec::SmallVec<[&'a str; 4]>, Refused> {
    let mut values = smallvec::SmallVec::new();
    for (at, part) in parts.iter().enumerate() {
        let value = match part {
            Part::Id => id.ok_or(Refused::Missing)?,
            Part::Header(name) => single(headers, name)?,
            Part::Body | Part::Timestamp | Part::Text(_) => continue,
        };
        let before = at.checked_sub(1).and_then(|at| parts.get(at));
        let blurred = [before, parts.get(at + 1)]
            .into_iter()
            .flatten()
            .any(|neighbour| matches!(neighbour, Part::Text(text) if value.contains(&**text)));
        if blurred {
            return Err(Refused::Malformed);
        }
        values.push(value);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read_as_they_are_written() {
        let text = |text: &str| Part::Text(text.into());
        for (template, parts) in [
            ("{body}", vec![Part::Body]),
            ("{timestamp}{body}", vec![Part::Timestamp, Part::Body]),
            ("v0:{timestamp}:{body}", vec![text("v0:"), Part::Timestamp, text(":"), Part::Body]),
            ("{id}.{timestamp}.{body}", vec![Part::Id, text("."), Part::Timestamp, text("."), Part::Body]),
            (
                "{header:X-Kind}|{body}}",
                vec![Part::Header(HeaderName::from_static("x-kind")), text("|"), Part::Body, text("}")],
            ),
        ] {
            assert_eq!(parse(template).unwrap(), parts, "{template}");
        }
    }

    #[test]
    fn templates_that_would_not_protect_are_refused() {
        for (template, part) in [
            ("", "{body} must stand in it once"),
            ("{timestamp}", "{body} must stand in it once"),
            ("{body}{body}", "{body} must stand in it once"),
            ("{timestamp}.{timestamp}.{body}", "{timestamp} stands in it twice"),
            ("{id}.{id}.{body}", "{id} stands in it twice"),
            ("{bdy}", "{bdy} is not known; there are {body}, {timestamp}"),
            ("{header:}.{body}", "{header:} names no header"),
            ("{header:a b}.{body}", "names no header"),
            ("{body", "never closed"),
            ("{id}{body}", "a text must stand between"),
            ("{body}{header:x}", "a text must stand between"),
            (&format!("{}{{body}}", "{header:x}.".repeat(8)), "it has 17 pieces, at most 16"),
        ] {
            let error = parse(template).unwrap_err();
            assert!(error.contains(part), "{template}: {error}");
        }
    }
}
