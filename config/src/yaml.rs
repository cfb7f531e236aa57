//! YAML text to tree and back; the only module that knows which YAML crate is used.
//!
//! The tree is built from the parser's events and not through serde, because a scalar must keep its text, its quotes
//! and its place until somebody says what type is wanted. Limits are met while building: a hostile file is given up
//! after as many events as a good file may have.

mod advice;
mod builder;

use serde::Serialize;
use serde_yaml::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, Tag};

use self::builder::{Builder, Properties};
use crate::node::Node;
use crate::place::Place;
use crate::problem::{Problem, Problems};

/// What a text was read to.
pub(crate) struct Parsed {
    /// The tree; `None` when the text has no sound one. An empty text gives null.
    pub(crate) root: Option<Node>,
    pub(crate) problems: Problems,
    /// How many parser events were read: the work that was done.
    #[cfg_attr(not(test), expect(dead_code, reason = "the bound on work is shown by counting it"))]
    pub(crate) events: usize,
    /// Lines that hold only the inside of a secret value, for [`crate::Files::withhold`].
    pub(crate) secret_lines: Vec<(u32, u32)>,
}

/// Reads one YAML document.
pub(crate) fn parse(text: &str, file: u32) -> Parsed {
    let mut reader = Reader { builder: Builder::new(file), file, text, events: 0, documents: 0 };
    let finished = reader.run();
    let Reader { builder, events, .. } = reader;
    let secret_lines = builder.secret_lines.clone();
    let (root, mut problems) = builder.finish();
    let root = match finished {
        Ok(()) => Some(root.unwrap_or_else(|| Node::null(Place { file, line: 1, column: 1 }))),
        Err(problem) => {
            problems.push(*problem);
            None
        }
    };
    Parsed { root, problems, events, secret_lines }
}

/// Writes a value as YAML.
///
/// # Errors
/// When the value cannot be written; trees of this crate always can.
pub(crate) fn write<T: Serialize>(value: &T) -> Result<String, String> {
    serde_yaml::to_string(value).map_err(|error| error.to_string())
}

/// Hands the parser's events to the builder.
struct Reader<'t> {
    builder: Builder,
    file: u32,
    text: &'t str,
    events: usize,
    documents: usize,
}

impl Reader<'_> {
    fn run(&mut self) -> Result<(), Box<Problem>> {
        let mut options = Options::default();
        options.emit_unresolved_aliases = true;
        for next in Parser::new_from_str_with_options(self.text, options) {
            self.events += 1;
            let (event, span) = next.map_err(|error| Box::new(self.syntax_problem(&error)))?;
            self.take(event, span)?;
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Box<Problem>> {
        let place = self.place(&span);
        // A block scalar ends where the next line begins.
        let end = if span.end.col() == 0 { span.end.line().saturating_sub(1) } else { span.end.line() };
        let last_line = u32::try_from(end).unwrap_or(u32::MAX);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Box::new(Problem::error("a second YAML document starts here").at(place).with_help(
                        "one file holds one document; put the second in a file of its own and give both with --config",
                    )));
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let properties = Properties { place, anchor, last_line };
                let quoted = style != ScalarStyle::Plain;
                let (quoted, problem) = scalar_tag(tag.as_deref(), quoted);
                if let Some(message) = problem {
                    self.builder.problem(Problem::error(message).at(place));
                }
                self.builder.scalar(text.into_owned(), quoted, properties)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "seq", place);
                self.builder.open_list(Properties { place, anchor, last_line })
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), "map", place);
                self.builder.open_map(Properties { place, anchor, last_line })
            }
            Event::SequenceEnd | Event::MappingEnd => self.builder.close(),
            Event::Alias(anchor) => self.builder.alias(anchor, place),
            Event::UnresolvedAlias(name) => self.builder.unknown_alias(&name, place),
            _ => Ok(()),
        }
    }

    /// Refuses tags that would change what a list or map is.
    fn collection_tag(&mut self, tag: Option<&Tag>, own: &str, place: Place) {
        if let Some(tag) = tag.filter(|tag| !tag.is_yaml_core_schema_tag(own)) {
            self.builder.problem(Problem::error(format!("the tag {} is not supported", tag.original())).at(place));
        }
    }

    fn place(&self, span: &Span) -> Place {
        self.at(span.start.line(), span.start.col() + 1)
    }

    fn at(&self, line: usize, column: usize) -> Place {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Place { file: self.file, line: small(line.max(1)), column: small(column.max(1)) }
    }

    fn syntax_problem(&self, error: &ScanError) -> Problem {
        let mark = error.marker();
        let problem = Problem::error(format!("yaml: {}", error.info())).at(self.at(mark.line(), mark.col() + 1));
        match advice::syntax(self.text, mark.line(), error.info().as_str()) {
            Some(help) => problem.with_help(help),
            None => problem,
        }
    }
}

/// Whether a scalar is text after its tag is looked at, and what is wrong with the tag.
fn scalar_tag(tag: Option<&Tag>, quoted: bool) -> (bool, Option<String>) {
    let Some(tag) = tag else { return (quoted, None) };
    if tag.original() == "!" {
        return (true, None);
    }
    match tag.core_suffix() {
        Some("str") => (true, None),
        Some("int" | "float" | "bool" | "null") => (false, None),
        _ => (quoted, Some(format!("the tag {} is not supported", tag.original()))),
    }
}

#[cfg(test)]
mod tests;
