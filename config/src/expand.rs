//! `${env:NAME}`, `${file:path}`, `${yaml:text}` in the leaves of the tree, and `$$` for `$`.
//!
//! The tree is whole before any reference is looked at, so the text behind a reference can never change the document
//! around it. A reference that is the whole value gives what its text means as YAML (a list and a map too) and keeps
//! the text beside it, for targets that want a string. A reference inside other text gives its text. Text that came
//! in is looked at again, as the Collector does, so that a default may hold a reference.

mod patchwork;
mod retrieve;

use std::sync::Arc;

use self::patchwork::Patchwork;
use self::retrieve::{Found, Retriever};
use crate::environment::Environment;
use crate::files::Files;
use crate::node::{Entry, Node, Origin, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::scalar::{Meaning, meaning};
use crate::{MAX_DEPTH, MAX_NODES, yaml};

/// How many references one value may go through, as in the Collector.
const MAX_STEPS: usize = 1_000;

/// How much text all references together may put in: eight full files.
const MAX_TEXT_BYTES: usize = 8 * crate::MAX_FILE_BYTES;

/// Replaces every reference in the tree. A value whose reference fails becomes [`Value::Broken`].
pub(crate) fn expand(root: &mut Node, env: &dyn Environment, files: &mut Files, problems: &mut Problems) {
    let nodes = root.count();
    let mut expander = Expander { retriever: Retriever { env, files }, problems, nodes, bytes: 0 };
    expander.node(root, "", 1, 0);
}

struct Expander<'a> {
    retriever: Retriever<'a>,
    problems: &'a mut Problems,
    /// Nodes of the tree so far.
    nodes: usize,
    /// Bytes that references put in so far.
    bytes: usize,
}

/// A text on its way through its references.
struct Journey<'n> {
    /// The value as it was written, for messages.
    written: &'n str,
    place: Place,
    path: &'n str,
    steps: usize,
    /// Where text came from that is not in the file itself.
    origin: Origin,
    target: Target,
}

/// What is wanted of a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    /// What it means, when it is one reference.
    Value,
    /// Its text.
    Text,
}

/// What a text becomes.
enum Outcome {
    Text(String),
    Node(Box<Node>),
}

impl Expander<'_> {
    fn node(&mut self, node: &mut Node, path: &str, depth: usize, steps: usize) {
        match &mut node.value {
            Value::List(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{index}]"), depth + 1, steps);
                }
            }
            Value::Map(map) => {
                for Entry { key, node, .. } in map.entries_mut() {
                    let path = if path.is_empty() { key.to_string() } else { format!("{path}::{key}") };
                    self.node(node, &path, depth + 1, steps);
                }
            }
            Value::Plain(text) | Value::Text(text) if text.contains('$') => {
                let text = std::mem::take(text);
                let origin = std::mem::take(&mut node.origin);
                // Text that came through a reference must not be shown: the reference is.
                let written = origin.reference().unwrap_or(&text).to_owned();
                let journey =
                    Journey { written: &written, place: node.place, path, steps, origin, target: Target::Value };
                *node = self.leaf(text, journey, depth);
            }
            _ => {}
        }
    }

    /// Expands one scalar.
    fn leaf(&mut self, text: String, mut journey: Journey<'_>, depth: usize) -> Node {
        match self.text(text, &mut journey, depth) {
            Ok(Outcome::Text(text)) => {
                Node { value: Value::Text(text), place: journey.place, raw: None, origin: journey.origin }
            }
            Ok(Outcome::Node(node)) => *node,
            Err(problem) => {
                self.problems.push(problem.at(journey.place).with_path(journey.path));
                Node::new(Value::Broken, journey.place)
            }
        }
    }

    /// Replaces references until there is none, then `$$` by `$`.
    fn text(&mut self, text: String, journey: &mut Journey<'_>, depth: usize) -> Result<Outcome, Problem> {
        let mut text = Patchwork::new(text, journey.origin != Origin::Written);
        while let Some((from, to)) = find_reference(text.as_str()) {
            journey.steps += 1;
            if journey.steps > MAX_STEPS {
                return Err(
                    Problem::error("too many recursive expansions").with_help("a reference leads back to itself")
                );
            }
            let uri = text.as_str()[from + 2..to - 1].to_owned();
            let tainted = text.is_foreign(from, to);
            let mut found = self.retriever.retrieve(&uri, tainted.then_some(journey.written))?;
            found.foreign |= tainted;
            self.charge_text(found.raw.len())?;
            self.warn(&found, tainted, journey);
            if found.foreign {
                journey.origin = found.origin(journey.written);
            }
            if from == 0
                && to == text.as_str().len()
                && journey.target == Target::Value
                && let Some(node) = self.whole(&found, journey, depth)?
            {
                return Ok(Outcome::Node(Box::new(node)));
            }
            text.replace(from, to, &found.raw, found.foreign);
        }
        Ok(Outcome::Text(text.as_str().replace("$$", "$")))
    }

    /// What a reference gives that is the whole value, when that is not a string.
    fn whole(&mut self, found: &Found, journey: &Journey<'_>, depth: usize) -> Result<Option<Node>, Problem> {
        if found.empty_string {
            return Ok(None);
        }
        let file = found.file.unwrap_or(journey.place.file);
        let parsed = yaml::parse(&found.raw, file);
        let Some(mut node) = parsed.root else {
            self.warn_unread(found, &parsed.problems);
            return Ok(None);
        };
        match &node.value {
            Value::Text(_) | Value::Broken => return Ok(None),
            Value::Plain(text) if meaning(text) == Meaning::Text => return Ok(None),
            _ => {}
        }
        if depth - 1 + node.depth() > MAX_DEPTH {
            return Err(Problem::error(format!("lists and maps nest deeper than {MAX_DEPTH}")));
        }
        self.nodes += node.count();
        if self.nodes > MAX_NODES {
            return Err(Problem::error(format!("more than {MAX_NODES} nodes after references are put in")));
        }
        for problem in parsed.problems {
            self.problems.push(if found.file.is_some() { problem } else { problem.at(journey.place) });
        }
        settle(&mut node, &journey.origin, found.file.is_none().then_some(journey.place));
        if node.as_map().is_none() && !matches!(node.value, Value::List(_)) {
            node.place = journey.place;
        }
        self.node(&mut node, journey.path, depth, journey.steps);
        node.raw = self.raw_text(found, journey, depth);
        Ok(Some(node))
    }

    /// The text beside a value that is not a string; `None` when a reference in it fails, as in the Collector.
    fn raw_text(&mut self, found: &Found, journey: &Journey<'_>, depth: usize) -> Option<Box<str>> {
        let mut own = Journey { origin: journey.origin.clone(), target: Target::Text, ..*journey };
        // What is wrong in it was told for the value already.
        let told = std::mem::take(self.problems);
        let outcome = self.text(found.raw.clone(), &mut own, depth);
        *self.problems = told;
        match outcome {
            Ok(Outcome::Text(text)) => Some(text.into()),
            _ => None,
        }
    }

    fn charge_text(&mut self, bytes: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        if self.bytes > MAX_TEXT_BYTES {
            return Err(Problem::error("references put in more than 8 MiB of text"));
        }
        Ok(())
    }

    /// What is allowed and seldom meant: a variable that is not set, `$$` in text from outside.
    fn warn(&mut self, found: &Found, tainted: bool, journey: &Journey<'_>) {
        let mut tell = |message: String, help: String| {
            self.problems.push(Problem::warning(message).at(journey.place).with_path(journey.path).with_help(help));
        };
        match &found.unset {
            Some(_) if tainted => tell(
                "Configuration references unset environment variable in the text behind a reference".to_owned(),
                "write `$$` for each `$` there to keep it as text".to_owned(),
            ),
            Some(name) => tell(
                format!("Configuration references unset environment variable {name:?}"),
                format!(
                    "set it, give a default with ${{env:{name}:-default}}, or write $${{{name}}} to keep the text ${{{name}}}"
                ),
            ),
            None => {}
        }
        // The Collector's rule that `$$` is `$` holds for text from outside too, where nobody expects it.
        if found.foreign && found.raw.contains("$$") {
            tell(
                format!("the text behind {} holds `$$`, which is read as `$`", journey.written),
                "write each `$` of it twice there, or take a text without `$$`".to_owned(),
            );
        }
    }

    /// A YAML file that cannot be read is text, as in the Collector; its writer wants to know.
    fn warn_unread(&mut self, found: &Found, problems: &Problems) {
        if found.file.is_none() || !found.looks_like_yaml {
            return;
        }
        if let Some(problem) = problems.iter().find(|problem| problem.is_error()) {
            let mut warning =
                Problem::warning(format!("the file is not YAML and is taken as text: {}", problem.message));
            warning.place = problem.place;
            self.problems.push(warning);
        }
    }
}

/// Marks a grafted tree as not written here; without a file of its own it stands where its reference stands.
fn settle(node: &mut Node, origin: &Origin, place: Option<Place>) {
    node.origin = origin.clone();
    if let Some(place) = place {
        node.place = place;
    }
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| settle(item, origin, place)),
        Value::Map(map) => {
            for entry in map.entries_mut() {
                entry.place = place.unwrap_or(entry.place);
                settle(&mut entry.node, origin, place);
            }
        }
        _ => {}
    }
}

/// The first reference to be replaced: the innermost `${…}` that no `$` escapes.
fn find_reference(text: &str) -> Option<(usize, usize)> {
    let mut start = 0;
    loop {
        let rest = &text[start..];
        let close = rest.find('}')?;
        let next = start + close + 1;
        if let Some(open) = rest[..close].rfind("${") {
            let dollars = rest[..open].bytes().rev().take_while(|b| *b == b'$').count();
            if dollars % 2 == 0 {
                return Some((start + open, next));
            }
        }
        start = next;
    }
}

impl Found {
    fn origin(&self, written: &str) -> Origin {
        let reference: Arc<str> = written.into();
        if self.file.is_some() { Origin::File(reference) } else { Origin::Environment(reference) }
    }
}

#[cfg(test)]
mod tests;
