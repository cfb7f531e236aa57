//! Names of components and pipelines: `type/name`, `signal/name`.
//!
//! The rules are the Collector's (`component/identifiable.go`): the type is `^[a-zA-Z][0-9a-zA-Z_]{0,62}$`, the name is
//! up to 1024 characters without separators, control characters and symbols, and space around both halves is trimmed.

use std::fmt;
use std::str::FromStr;

use crate::problem::Problem;

/// The longest type.
const MAX_KIND_CHARS: usize = 63;
/// The longest name.
const MAX_NAME_CHARS: usize = 1_024;

/// Which component: its type and, when there are several of a type, its name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId {
    kind: String,
    name: Option<String>,
}

/// What a pipeline carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metric points.
    Metrics,
    /// Log records.
    Logs,
}

/// Which pipeline: what it carries and, when there are several of a signal, its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PipelineId {
    /// What it carries.
    pub signal: Signal,
    /// What stands after the `/`.
    pub name: Option<String>,
}

/// A type without what its two spellings differ in: `sql_query` and `sqlquery` both give `sqlquery`.
pub fn fold_kind(kind: &str) -> String {
    kind.chars().filter(|c| *c != '_').flat_map(char::to_lowercase).collect()
}

impl ComponentId {
    /// The type, as it was written.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// What stands after the first `/`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same id with both spellings of its type made one.
    pub(crate) fn folded(&self) -> (String, Option<&str>) {
        (fold_kind(&self.kind), self.name())
    }
}

impl FromStr for ComponentId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (kind, name) = halves(text)?;
        let mut letters = kind.chars();
        let starts_well = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
        let goes_on_well = letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
        if kind.len() > MAX_KIND_CHARS {
            return Err(Problem::error(format!("the type {kind:?} is longer than {MAX_KIND_CHARS} characters")));
        }
        if !starts_well || !goes_on_well {
            let folded: String = kind.chars().map(|c| if c == '-' { '_' } else { c }).collect();
            let problem = Problem::error(format!("invalid character(s) in type {kind:?}"));
            return Err(problem.with_help(
                if folded != kind && folded.starts_with(|c: char| c.is_ascii_alphabetic()) {
                    format!("a type has letters, digits and `_`: did you mean `{folded}`?")
                } else {
                    "a type starts with a letter and has letters, digits and `_`".to_owned()
                },
            ));
        }
        Ok(Self { kind: kind.to_owned(), name: name.map(str::to_owned) })
    }
}

impl Signal {
    /// As it stands in a pipeline's id.
    pub fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

impl FromStr for Signal {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "traces" => Ok(Signal::Traces),
            "metrics" => Ok(Signal::Metrics),
            "logs" => Ok(Signal::Logs),
            "profiles" => Err(Problem::error("pipelines of the signal \"profiles\" are not supported")
                .with_help("remove the pipeline; weir carries traces, metrics and logs")),
            _ => {
                let problem = Problem::error(format!("unknown pipeline signal: {text:?}"));
                let signals = ["traces", "metrics", "logs"];
                Err(match crate::suggest::nearest(text, signals) {
                    Some(signal) => problem.with_help(format!("did you mean `{signal}`?")),
                    None => {
                        problem.with_help("a pipeline is `traces`, `metrics` or `logs`, or one of them and `/name`")
                    }
                })
            }
        }
    }
}

impl FromStr for PipelineId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let (signal, name) = halves(text)?;
        Ok(Self { signal: signal.parse()?, name: name.map(str::to_owned) })
    }
}

/// Splits at the first `/` and checks the name.
fn halves(text: &str) -> Result<(&str, Option<&str>), Problem> {
    let (kind, name) = match text.split_once('/') {
        Some((kind, name)) => (kind.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    if kind.is_empty() {
        return Err(Problem::error(if text.trim().is_empty() {
            "id must not be empty".to_owned()
        } else {
            format!("in {text:?} id: the part before / should not be empty")
        }));
    }
    let Some(name) = name else { return Ok((kind, None)) };
    if name.is_empty() {
        return Err(Problem::error(format!("in {text:?} id: the part after / should not be empty"))
            .with_help(format!("write `{kind}`, or `{kind}/name`")));
    }
    if name.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::error(format!("the name of a {kind:?} is longer than {MAX_NAME_CHARS} characters")));
    }
    if let Some(bad) = name.chars().find(|c| !allowed_in_name(*c)) {
        return Err(Problem::error(format!("invalid character(s) in name {name:?}")).with_help(format!(
            "{bad:?} must not stand in a name: spaces, control characters and symbols are refused"
        )));
    }
    Ok((kind, Some(name)))
}

/// Not a separator (`\pZ`), not a control, format, private or unassigned character (`\pC`), not a symbol (`\pS`).
///
/// Symbols outside ASCII are known by the blocks they stand in; the standard library has no table of categories.
fn allowed_in_name(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_graphic() && !matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~');
    }
    if c.is_whitespace() || c.is_control() {
        return false;
    }
    if c.is_alphanumeric() {
        return true;
    }
    !matches!(u32::from(c),
        0xA2..=0xA9 | 0xAC..=0xB1 | 0xB4 | 0xB8 | 0xD7 | 0xF7 // Latin-1 symbols, soft hyphen
        | 0x2C2..=0x2DF
        | 0x200B..=0x200F | 0x2028..=0x202E | 0x2044 | 0x2052 | 0x2060..=0x206F // formats, separators
        | 0x20A0..=0x20CF | 0x2100..=0x214F | 0x2190..=0x2307 | 0x230C..=0x2328 | 0x232B..=0x2767 // currency, arrows, maths, signs
        | 0x2794..=0x27C4 | 0x27C7..=0x27E5 | 0x27F0..=0x2982 | 0x2999..=0x29D7 | 0x29DC..=0x29FB | 0x29FE..=0x2BFF
        | 0xE000..=0xF8FF | 0xFEFF | 0xFFF9..=0xFFFD // private use, byte order mark, specials
        | 0x1F000..=0x1FAFF // emoji
        | 0xE0000..=0x10_FFFF) // tags, private planes
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, &self.kind, self.name())
    }
}

impl fmt::Debug for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, self.signal.as_str(), self.name.as_deref())
    }
}

fn write_id(f: &mut fmt::Formatter<'_>, kind: &str, name: Option<&str>) -> fmt::Result {
    f.write_str(kind)?;
    match name {
        Some(name) => write!(f, "/{name}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{ComponentId, PipelineId, fold_kind};

    #[test]
    fn an_id_splits_at_the_first_slash_and_trims_both_halves() {
        let id: ComponentId = "  sql_query  /  a/b ".parse().unwrap();
        assert_eq!((id.kind(), id.name()), ("sql_query", Some("a/b")));
        assert_eq!(id.to_string(), "sql_query/a/b");
    }

    #[test]
    fn names_refuse_spaces_symbols_and_controls_only() {
        for good in ["a/b-c_d.e#1", "a/имя", "a/日本", "a/x:y(z)", "a/é!", "a/100%"] {
            assert!(good.parse::<ComponentId>().is_ok(), "{good}");
        }
        for bad in [
            "a/b c",
            "a/b+",
            "a/<",
            "a/=",
            "a/$x",
            "a/b|c",
            "a/~",
            "a/^",
            "a/`",
            "a/€",
            "a/\u{200b}",
            "a/→",
            "a/",
            "/x",
            "",
            " ",
            "1a",
            "a-b",
            "ä",
        ] {
            assert!(bad.parse::<ComponentId>().is_err(), "{bad}");
        }
        assert!(format!("a/{}", "x".repeat(1_024)).parse::<ComponentId>().is_ok());
        assert!(format!("a/{}", "x".repeat(1_025)).parse::<ComponentId>().is_err());
        assert!("x".repeat(63).parse::<ComponentId>().is_ok());
        assert!("x".repeat(64).parse::<ComponentId>().is_err());
    }

    #[test]
    fn pipelines_carry_one_of_three_signals() {
        assert_eq!("metrics/a".parse::<PipelineId>().unwrap().to_string(), "metrics/a");
        assert!("profiles".parse::<PipelineId>().unwrap_err().message.contains("not supported"));
        assert_eq!("metric".parse::<PipelineId>().unwrap_err().help.unwrap(), "did you mean `metrics`?");
        assert!("Metrics".parse::<PipelineId>().is_err());
    }

    #[test]
    fn both_spellings_of_a_type_fold_to_one() {
        assert_eq!(fold_kind("sql_query"), fold_kind("sqlquery"));
        assert_ne!(fold_kind("sql_query"), fold_kind("sql_server"));
    }
}
