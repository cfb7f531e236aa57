//! Statements, looked at as far as it takes to know what in them is code: for parameters, and for what `session` may set.

use std::borrow::Cow;

/// A part of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part<'a> {
    Code(&'a str),
    /// A text, a name in quotes or a comment.
    Other(&'a str),
}

/// Cuts a statement into its parts.
struct Parts<'a> {
    rest: &'a str,
    /// Whether a backslash in a text takes the next character as it is (no NO_BACKSLASH_ESCAPES).
    escapes: bool,
}

impl<'a> Parts<'a> {
    fn of(sql: &'a str, escapes: bool) -> Self {
        Self { rest: sql, escapes }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (part, rest) = self.rest.split_at(length);
        self.rest = rest;
        part
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = self.rest;
        Some(match opening(rest) {
            Some(end) => Part::Other(self.take(end(rest, self.escapes))),
            None => {
                let begins = |(at, _): &(usize, char)| opening(&rest[*at..]).is_some();
                let end = rest.char_indices().find(begins).map_or(rest.len(), |(at, _)| at);
                Part::Code(self.take(end))
            }
        })
    }
}

/// How long what stands in front is, if it is no code.
fn opening(rest: &str) -> Option<fn(&str, bool) -> usize> {
    match rest.as_bytes() {
        [b'\'', ..] => Some(|rest, escapes| quoted(rest, '\'', escapes)),
        [b'"', ..] => Some(|rest, escapes| quoted(rest, '"', escapes)),
        [b'`', ..] => Some(|rest, _| quoted(rest, '`', false)),
        [b'#', ..] | [b'-', b'-', b' ' | b'\t' | b'\n', ..] | [b'-', b'-'] => {
            Some(|rest, _| rest.find('\n').map_or(rest.len(), |at| at + 1))
        }
        // What is in /*! and /*M! is code to the servers that know them: not for us to tell.
        [b'/', b'*', ..] => Some(|rest, _| rest[2..].find("*/").map_or(rest.len(), |at| at + 4)),
        _ => None,
    }
}

fn quoted(rest: &str, quote: char, escapes: bool) -> usize {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' && escapes {
            letters.next();
        } else if letter == quote {
            // Two of them are one that is meant: the second opens what goes on behind it.
            return at + 1;
        }
    }
    rest.len()
}

/// Puts something in place of each `$1`, `$2`, … in the code of a statement; `None` when `put` has nothing.
fn replaced(sql: &str, escapes: bool, mut put: impl FnMut(usize) -> Option<String>) -> Option<String> {
    let mut out = String::with_capacity(sql.len());
    for part in Parts::of(sql, escapes) {
        let mut rest = match part {
            Part::Code(code) => code,
            Part::Other(text) => {
                out.push_str(text);
                continue;
            }
        };
        while let Some(at) = rest.find('$') {
            let (before, after) = (&rest[..at], &rest[at + 1..]);
            out.push_str(before);
            let digits = after.len() - after.trim_start_matches(|letter: char| letter.is_ascii_digit()).len();
            // Names may hold a dollar.
            let in_name = before.ends_with(|letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$'));
            if digits == 0 || in_name {
                out.push('$');
                rest = after;
                continue;
            }
            out.push_str(&put(after[..digits].parse::<usize>().ok()?.checked_sub(1)?)?);
            rest = &after[digits..];
        }
        out.push_str(rest);
    }
    Some(out)
}

/// A statement as the server takes it, and which parameter stands where; `None`: as many as there are question marks, in order.
pub(super) fn positional(sql: &str, escapes: bool) -> Result<(Cow<'_, str>, Option<Vec<usize>>), &'static str> {
    if !sql.contains('$') {
        return Ok((Cow::Borrowed(sql), None));
    }
    let mut places = Vec::new();
    let marked = replaced(sql, escapes, |parameter| {
        places.push(parameter);
        Some("?".to_owned())
    });
    let marked = marked.ok_or("parameters are counted from $1")?;
    if places.is_empty() {
        return Ok((Cow::Borrowed(sql), None));
    }
    if Parts::of(sql, escapes).any(|part| matches!(part, Part::Code(code) if code.contains('?'))) {
        return Err("the statement has parameters of both kinds, ? and $1; write one of them");
    }
    Ok((Cow::Owned(marked), Some(places)))
}

/// A statement with parameters in place of `$1`, …, which `SET` cannot bind; `None` when there are not as many.
pub(super) fn filled(statement: &str, parameters: &[Option<Box<str>>]) -> Option<String> {
    let statement = statement.trim().trim_end_matches(';');
    replaced(statement, true, |parameter| Some(literal(parameters.get(parameter)?.as_deref())))
}

/// A text in hexadecimal digits: nothing in it can end it, whatever `sql_mode` says.
fn literal(text: Option<&str>) -> String {
    let Some(text) = text else { return "NULL".to_owned() };
    let digits: String = text.bytes().map(|byte| format!("{byte:02X}")).collect();
    format!("_utf8mb4 X'{digits}'")
}

/// Statements that read. A read-only transaction lets others pass that do not write rows, such as `ANALYZE TABLE`.
const READING: &[&str] = &["select", "with", "show", "explain", "describe", "desc", "values", "table"];

/// Says why a statement may not be run, if it does more than read.
pub(super) fn check_reads(sql: &str) -> Result<(), String> {
    let mut code = Parts::of(sql, true).filter_map(|part| match part {
        Part::Code(code) => Some(code.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(')),
        Part::Other(_) => None,
    });
    let first = code.find(|code| !code.is_empty()).unwrap_or_default();
    let word = first.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    if READING.iter().any(|known| known.eq_ignore_ascii_case(word)) {
        return Ok(());
    }
    Err(format!(
        "the statement does more than read this database, which is all it may do: {} (select, with, show, explain, describe, values and \
         table are run)",
        word.to_ascii_uppercase()
    ))
}

/// What `session` may not set: it would outlive the collection, or weir relies on it.
const OURS: &[&str] = &[
    "autocommit",
    "character",
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "charset",
    "completion_type",
    "global",
    "innodb_lock_wait_timeout",
    "lock_wait_timeout",
    "max_execution_time",
    "max_statement_time",
    "names",
    "password",
    "persist",
    "persist_only",
    "resource",
    "statement",
    "time_zone",
    "transaction",
    "transaction_isolation",
    "transaction_read_only",
    "tx_isolation",
    "tx_read_only",
];

/// What is wrong with a statement of `session`, and what would do.
pub(crate) fn check_session(statement: &str) -> Result<(), (String, &'static str)> {
    const HELP: &str = "write `SET name = value` or `SET @name = value`; each holds for one collection";
    let code: Vec<String> = Parts::of(statement, true)
        .map(|part| match part {
            Part::Code(code) => code.to_ascii_lowercase(),
            Part::Other(_) => " ".to_owned(),
        })
        .collect();
    let code = code.concat();
    let mut words =
        code.split(|letter: char| !(letter.is_alphanumeric() || letter == '_')).filter(|word| !word.is_empty());
    if words.next() != Some("set") || statement.contains('\0') {
        return Err(("'session' holds a statement that sets nothing".to_owned(), HELP));
    }
    if code.trim_end().trim_end_matches(';').contains(';') {
        return Err(("'session' holds several statements in one".to_owned(), "make them a list"));
    }
    // MySQL runs what stands in such a comment; `SET DEFAULT ROLE` is kept for ever.
    let hidden = statement.contains("/*!") || statement.contains("/*M");
    let first = words.clone().next().filter(|first| *first == "default" || hidden);
    match first.or_else(|| words.find(|word| OURS.contains(word))) {
        Some(word) => Err((format!("'session' sets '{word}', which weir sets itself or which would outlive it"), HELP)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_found_in_code_and_nowhere_else() {
        for (sql, marked, places) in [
            ("select $1", "select ?", &[0][..]),
            ("select $2, $1, $2", "select ?, ?, ?", &[1, 0, 1]),
            ("select '$1', \"$1\", `$1`, $1", "select '$1', \"$1\", `$1`, ?", &[0]),
            ("select 'it''s $1', 'o\\'k $1', $1", "select 'it''s $1', 'o\\'k $1', ?", &[0]),
            ("select /* $1 */ a$1, -- $1\n $1 # $1", "select /* $1 */ a$1, -- $1\n ? # $1", &[0]),
            ("select 5--$1", "select 5--?", &[0]),
        ] {
            assert_eq!(positional(sql, true), Ok((Cow::Borrowed(marked), Some(places.to_vec()))), "{sql}");
        }
        for sql in ["select 1", "select '$1'", "select a$1 from t$ where x = ?", "select 'open $1"] {
            assert_eq!(positional(sql, true), Ok((Cow::Borrowed(sql), None)), "{sql}");
        }
        assert!(positional("select $1, ?", true).is_err());
        assert!(positional("select $0", true).is_err());
        assert!(positional("select $99999999999999999999", true).is_err());
        // The server says how it reads a backslash.
        let sql = r"select '\', $1, '$1'";
        assert_eq!(positional(sql, false).unwrap().1, Some(vec![0]));
        assert_eq!(positional("select '$1?', $1", true).unwrap().0, "select '$1?', ?");
    }

    #[test]
    fn parameters_of_a_loop_are_texts_and_nothing_else() {
        let parameters = [Some("7".into()), Some("o'k\\".into()), None, Some("".into())];
        for (written, sent) in [
            ("SET @a = $1;", Some("SET @a = _utf8mb4 X'37'")),
            ("SET @a = $2, @b = '$1'", Some("SET @a = _utf8mb4 X'6F276B5C', @b = '$1'")),
            ("SET @a = $3", Some("SET @a = NULL")),
            ("SET @a = $4", Some("SET @a = _utf8mb4 X''")),
            ("SET @a = 1", Some("SET @a = 1")),
            ("SET @a = $5", None),
            ("SET @a = $0", None),
        ] {
            assert_eq!(filled(written, &parameters).as_deref(), sent, "{written}");
        }
        assert_eq!(filled("SET @a = $1", &[]), None);
    }

    #[test]
    fn only_what_reads_is_run() {
        for good in [
            "select 1",
            "  ( SELECT 1)",
            "-- why\n/* how */ with x as (select 1) select * from x",
            "TABLE t",
            "show status",
        ] {
            assert_eq!(check_reads(good), Ok(()), "{good}");
        }
        for (bad, verb) in [
            ("analyze table t", ": ANALYZE ("),
            ("/*! drop table t */", ":  ("),
            ("", ":  ("),
            ("selects", ": SELECTS ("),
        ] {
            assert!(check_reads(bad).is_err_and(|why| why.contains(verb)), "{bad}");
        }
    }

    #[test]
    fn session_sets_what_ends_with_it() {
        for good in [
            "SET @tenant = '7'",
            "set session sort_buffer_size = 1000000;",
            "SET @@session.sql_mode = 'ANSI'",
            "SET ROLE reader",
            "SET sort_buffer_size = DEFAULT",
            "SET @a = 'global; autocommit', @b = 2 -- names",
        ] {
            assert_eq!(check_session(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("select 1", "sets nothing"),
            ("", "sets nothing"),
            ("/*!40000 drop table t */", "sets nothing"),
            ("SET GLOBAL read_only = 0", "'global'"),
            ("SET @@GLOBAL.read_only = 0", "'global'"),
            ("set persist x = 1", "'persist'"),
            ("SET autocommit = 1", "'autocommit'"),
            ("SET @a = 1, time_zone = '+05:00'", "'time_zone'"),
            ("SET SESSION TRANSACTION READ WRITE", "'transaction'"),
            ("SET STATEMENT max_statement_time = 1 FOR drop table t", "'statement'"),
            ("SET NAMES latin1", "'names'"),
            ("SET PASSWORD = ''", "'password'"),
            ("SET DEFAULT ROLE ALL TO weir", "'default'"),
            ("SET @a = 1 /*!, autocommit = 1 */", "sets 'a'"),
            ("SET @a = 1; drop table t", "several statements"),
            ("SET @a = '\0'", "sets nothing"),
        ] {
            let (message, _) = check_session(bad).unwrap_err();
            assert!(message.contains(why), "{bad}: {message}");
        }
    }
}
