//! What must not be shown, and how it is cut out of lines and messages.

use crate::suggest;

/// What stands where a secret was.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// Words that make a key look like the name of a secret, in lower case and without `_` and `-`.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "datasource",
    "dsn",
    "apikey",
    "privatekey",
    "keypem",
    "credential",
    "authorization",
    "cookie",
    "connectionstring",
    "accesskey",
    "signingkey",
    "htpasswd",
    "bearer",
];

/// Endings of keys that only say where a secret is kept, or that count something named like one.
const PLAIN_ENDINGS: &[&str] = &["file", "path", "column", "header", "name", "url", "ttl", "timeout", "length"];

/// Whether what stands under this key must not be shown.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let folded: String = key.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect();
    if PLAIN_ENDINGS.iter().any(|ending| folded.ends_with(ending)) {
        return false;
    }
    // What is sent along with requests is a credential as a rule, whatever the header is called.
    folded == "headers"
        || SECRET_WORDS.iter().any(|word| folded.contains(word))
        || key.split(['_', '-', '.', ':']).any(nearly_secret)
}

/// Whether a key is a secret's name with a typing mistake: its value is as secret, and such lines are shown most.
fn nearly_secret(part: &str) -> bool {
    let part = part.to_lowercase();
    // A letter off in a short word is another word.
    part.len() <= 32
        && SECRET_WORDS.iter().filter(|word| word.len() > 4).any(|word| {
            let allowed = if word.len() >= 8 { 2 } else { 1 };
            part.len().abs_diff(word.len()) <= allowed && suggest::distance(&part, word) <= allowed
        })
}

/// A line with everything after its first secret key replaced, and with the passwords of URLs replaced.
pub(crate) fn line(line: &str) -> String {
    for (end, key) in keys(line) {
        if is_secret_key(key) && !line[end..].trim().is_empty() {
            let gap: String = line[end..].chars().take_while(|c| c.is_whitespace()).collect();
            return format!("{}{gap}{REDACTED}", &line[..end]);
        }
    }
    url_passwords(line)
}

/// A line of which only the indentation may be shown.
pub(crate) fn whole_line(line: &str) -> String {
    let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
    format!("{indent}{REDACTED}")
}

/// Whether a line stands inside the value of a secret key, as far as indentation tells; for text that does not parse.
pub(crate) fn inside_secret(text: &str, index: usize) -> bool {
    let lines: Vec<&str> = crate::files::lines(text).take(index + 1).collect();
    let Some(line) = lines.get(index) else { return false };
    let mut indent = indent_of(line);
    let mut item = line.trim_start().starts_with('-');
    for above in lines[..index].iter().rev() {
        let content = above.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        let depth = indent_of(above);
        // A list may stand at the same indentation as the key that holds it.
        let parent = depth < indent || (item && depth == indent && !content.starts_with('-'));
        if !parent {
            continue;
        }
        if keys(above).any(|(_, key)| is_secret_key(key)) {
            return true;
        }
        if depth == 0 {
            return false;
        }
        indent = depth;
        item = content.starts_with('-');
    }
    false
}

/// Replaces `secret` in `://user:secret@host`.
pub(crate) fn url_passwords(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        out.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rfind('@').and_then(|at| Some((authority[..at].find(':')?, at))) {
            Some((colon, at)) => {
                out.push_str(&authority[..=colon]);
                out.push_str(REDACTED);
                out.push_str(&authority[at..]);
            }
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// A message without a value that came from outside: the value itself, its escaped form, and every quoted part of it.
pub(crate) fn message(message: &str, value: &str) -> String {
    if value.trim().is_empty() {
        return message.to_owned();
    }
    let mut out = message.to_owned();
    let escaped = format!("{value:?}");
    let escaped = &escaped[1..escaped.len() - 1];
    for form in [value, escaped, value.trim()] {
        // Anything shorter is no secret, and would be found inside words.
        if form.chars().count() >= 4 {
            out = out.replace(form, REDACTED);
        }
    }
    quoted_parts(&out, value, escaped)
}

/// Replaces the parts in quotes that occur in the value.
fn quoted_parts(message: &str, value: &str, escaped: &str) -> String {
    let mut out = String::new();
    let mut rest = message;
    while let Some(start) = rest.find(['"', '`']) {
        let quote = if rest[start..].starts_with('"') { '"' } else { '`' };
        let Some(length) = rest[start + 1..].find(quote) else { break };
        let inner = &rest[start + 1..start + 1 + length];
        out.push_str(&rest[..=start]);
        let leaks = !inner.is_empty() && (value.contains(inner) || escaped.contains(inner));
        out.push_str(if leaks { REDACTED } else { inner });
        out.push(quote);
        rest = &rest[start + length + 2..];
    }
    out.push_str(rest);
    out
}

/// The words that end in `:` or `=` in a line, each with the place after that sign: keys, in block and in flow style.
fn keys(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.char_indices().filter(|(_, c)| matches!(c, ':' | '=')).filter_map(move |(at, sign)| {
        let before = line[..at].trim_end_matches(['"', '\'', ' ']);
        let start = before
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |i| i + before[i..].chars().next().map_or(1, char::len_utf8));
        let key = &before[start..];
        (!key.is_empty()).then_some((at + sign.len_utf8(), key))
    })
}

fn indent_of(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::{inside_secret, is_secret_key, line, message, url_passwords};

    #[test]
    fn keys_of_secrets_are_known_with_their_typing_mistakes() {
        for key in [
            "password",
            "db_password",
            "bearerToken",
            "datasource",
            "dsn",
            "api_key",
            "pasword",
            "datasorce",
            "tokn",
            "client-secret",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in
            ["token_file", "password_file", "driver", "endpoint", "value_column", "queries", "timeout", "name", "state"]
        {
            assert!(!is_secret_key(key), "{key}");
        }
    }

    #[test]
    fn a_line_is_cut_after_its_first_secret_key() {
        assert_eq!(line("  password: x"), "  password: [REDACTED]");
        assert_eq!(line("a: {b: 1, token: x, c: 2}"), "a: {b: 1, token: [REDACTED]");
        assert_eq!(line("exporters.x.token=abc"), "exporters.x.token=[REDACTED]");
        assert_eq!(line("\"password\" : x"), "\"password\" : [REDACTED]");
        assert_eq!(line("  password:"), "  password:");
        assert_eq!(line("driver: sqlite # token"), "driver: sqlite # token");
    }

    #[test]
    fn lines_below_a_secret_key_are_inside() {
        let text = "a:\n  tokens:\n  - one\n  -\n    two: x\n  next: y\nb: |\n  z\n";
        let inside: Vec<usize> = (0..8).filter(|index| inside_secret(text, *index)).collect();
        assert_eq!(inside, [2, 3, 4]);
    }

    #[test]
    fn passwords_in_urls_are_cut_out() {
        assert_eq!(url_passwords("postgres://u:p@h/d and x://h:1/"), "postgres://u:[REDACTED]@h/d and x://h:1/");
        assert_eq!(url_passwords("a://u:p:q@r@h"), "a://u:[REDACTED]@h");
    }

    #[test]
    fn messages_lose_the_value_its_escapes_and_its_parts() {
        assert_eq!(message("invalid \"se\\\"cret\" here", "se\"cret"), "invalid \"[REDACTED]\" here");
        assert_eq!(message("unknown unit \"ecre\" in secret", "5secret"), "unknown unit \"[REDACTED]\" in secret");
        assert_eq!(message("missing unit in \"5\"", "5"), "missing unit in \"[REDACTED]\"");
        assert_eq!(message("one of `a`, `b`", "xyz"), "one of `a`, `b`");
    }
}
