//! What a reference gives: variables, files, inline text.

use crate::MAX_FILE_BYTES;
use crate::environment::Environment;
use crate::files::Files;
use crate::problem::Problem;
use crate::source;

/// The rule for names of variables, as the Collector's message shows it.
const NAME_RULE: &str = "^[a-zA-Z_][a-zA-Z0-9_]*$";

/// Looks references up.
pub(super) struct Retriever<'a> {
    pub(super) env: &'a dyn Environment,
    pub(super) files: &'a mut Files,
}

/// What a reference gave.
#[derive(Default)]
pub(super) struct Found {
    /// Its text.
    pub(super) raw: String,
    /// Whether the text is not in the configuration itself, and so must not be shown.
    pub(super) foreign: bool,
    /// The file it was read from, as an index into the files.
    pub(super) file: Option<u32>,
    pub(super) looks_like_yaml: bool,
    /// The variable that was not set and had no default.
    pub(super) unset: Option<String>,
    /// An empty default: the empty string, where an empty variable is null.
    pub(super) empty_string: bool,
}

impl Retriever<'_> {
    /// Looks up what stands between `${` and `}`. `written` is the value as the user wrote it, given when some of the
    /// reference came from outside and must not be shown.
    pub(super) fn retrieve(&mut self, uri: &str, written: Option<&str>) -> Result<Found, Problem> {
        self.look_up(uri, written).map_err(|problem| match written {
            None => problem,
            Some(written) => Problem::error("the text behind a reference holds a reference that cannot be resolved")
                .with_help(format!(
                    "what {} gives contains `${{…}}`; write `$$` for each `$` there to keep it as text",
                    quote(written)
                )),
        })
    }

    fn look_up(&mut self, uri: &str, written: Option<&str>) -> Result<Found, Problem> {
        if uri.contains('$') {
            let uri = if uri.contains(':') { uri.to_owned() } else { format!("env:{uri}") };
            return Err(Problem::error(format!("the uri {uri:?} contains unsupported characters ('$')"))
                .with_help("write `$$` for each `$` that is text"));
        }
        let Some((scheme, opaque)) = uri.split_once(':') else { return self.variable(uri, uri) };
        if !is_scheme(scheme) {
            return Err(Problem::error(format!("invalid uri: {uri:?}")).with_help(format!(
                "a reference is ${{NAME}}, ${{env:NAME:-default}} or ${{file:path}}{}",
                keep(uri)
            )));
        }
        match scheme {
            "env" => self.variable(opaque, uri),
            "file" => self.file(opaque, written.unwrap_or(opaque)),
            "yaml" => Ok(Found { raw: opaque.to_owned(), ..Found::default() }),
            _ => Err(unknown_scheme(scheme, opaque, uri)),
        }
    }

    fn variable(&self, opaque: &str, uri: &str) -> Result<Found, Problem> {
        let (name, default) = match opaque.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (opaque, None),
        };
        if !is_name(name) {
            let message = format!("environment variable {name:?} has invalid name: must match regex {NAME_RULE}");
            let group = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
            return Err(Problem::error(message).with_help(if group {
                format!("for a group of a regular expression write $${{{uri}}}, which gives the text ${{{uri}}}")
            } else {
                format!("to keep the text ${{{uri}}} write $${{{uri}}}")
            }));
        }
        Ok(match (self.env.var(name), default) {
            (Some(raw), _) => {
                if raw.len() > MAX_FILE_BYTES {
                    return Err(Problem::error(format!("environment variable {name:?} holds more than 1 MiB")));
                }
                Found { raw, foreign: true, ..Found::default() }
            }
            (None, Some(default)) => {
                Found { raw: default.to_owned(), empty_string: default.is_empty(), ..Found::default() }
            }
            (None, None) => Found { unset: Some(name.to_owned()), ..Found::default() },
        })
    }

    /// `name` is what messages call the file.
    fn file(&mut self, path: &str, name: &str) -> Result<Found, Problem> {
        let raw = source::read_file(path)?;
        let file = self.files.add_withheld(name);
        let looks_like_yaml = [".yaml", ".yml"].iter().any(|ending| path.ends_with(ending));
        Ok(Found { raw, foreign: true, file: Some(file), looks_like_yaml, ..Found::default() })
    }
}

fn unknown_scheme(scheme: &str, opaque: &str, uri: &str) -> Problem {
    let problem = Problem::error(format!("scheme {scheme:?} is not supported for uri {uri:?}"));
    match scheme {
        "http" | "https" => problem.with_help("this build reads no configuration from the network: use ${file:path}"),
        _ if opaque.starts_with('-') => problem.with_help(format!("a default needs the scheme: ${{env:{uri}}}")),
        _ => problem.with_help(format!("known here: env, file, yaml{}", keep(uri))),
    }
}

/// The advice for text that was never meant as a reference.
fn keep(uri: &str) -> String {
    format!("; to keep the text write $${{{uri}}}")
}

/// `[A-Za-z][A-Za-z0-9+.-]+`
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-'))
}

/// [`NAME_RULE`]
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value as it was written, shortened: it stands in a help line.
fn quote(written: &str) -> String {
    let short: String = written.chars().take(80).collect();
    format!("`{short}`")
}
