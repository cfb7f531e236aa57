//! A component's part of what was written, with places.

use serde::de::DeserializeOwned;

use crate::decode::{self, Root};
use crate::environment::Environment;
use crate::expand::expand;
use crate::files::Files;
use crate::id::ComponentId;
use crate::node::{Node, Origin, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::{redact, yaml};

/// The body of one component.
///
/// Two sections are equal when they have the same id and mean the same, wherever they stand and however they are laid
/// out: a reload restarts only what differs.
#[derive(Clone)]
pub struct Section {
    id: ComponentId,
    path: String,
    /// Where its key stands; a body may stand lines below, or nowhere.
    key: Place,
    node: Node,
}

impl Section {
    pub(crate) fn new(id: ComponentId, path: String, key: Place, node: Node) -> Self {
        Self { id, path, key, node }
    }

    /// A section that nobody wrote: all defaults.
    pub fn empty(id: ComponentId) -> Self {
        let path = id.to_string();
        Self::new(id, path, Place::NOWHERE, Node::null(Place::NOWHERE))
    }

    /// From the body of one component; `${…}` and `$$` stay as they are written. For tests and snippets.
    ///
    /// # Errors
    /// When the id or the YAML is wrong.
    pub fn from_yaml(id: &str, text: &str) -> Result<Self, Problems> {
        Self::parse(id, text, None)
    }

    /// From the body of one component, with references replaced. For tests and snippets.
    ///
    /// # Errors
    /// When the id or the YAML is wrong, or a reference cannot be resolved.
    pub fn from_yaml_with_env(id: &str, text: &str, env: &dyn Environment) -> Result<Self, Problems> {
        Self::parse(id, text, Some(env))
    }

    fn parse(id: &str, text: &str, env: Option<&dyn Environment>) -> Result<Self, Problems> {
        let id: ComponentId = id.parse()?;
        let mut files = Files::default();
        let file = files.add(id.to_string(), text);
        let parsed = yaml::parse(text, file);
        let mut problems = parsed.problems;
        let Some(mut node) = parsed.root else { return Err(problems) };
        if let Some(env) = env {
            expand(&mut node, env, &mut files, &mut problems);
        }
        problems.into_result()?;
        let path = id.to_string();
        Ok(Self::new(id, path, node.place, node))
    }

    /// The component's id.
    pub fn id(&self) -> &ComponentId {
        &self.id
    }

    /// The keys that lead here, such as `receivers::sql_query/inventory`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Reads the section into a component's own type. Null is read as an empty map.
    ///
    /// # Errors
    /// All problems of the section that can be found: unknown keys, wrong types, bad values, each with its place.
    /// They are empty when [`load`](crate::load()) has told all of them: a value whose reference failed is not there.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Problems> {
        // The Collector names values of a component from the component on, those of the service from the root on.
        let (name, prefix) = if self.path.starts_with("service::") {
            let name = self.path.replace("::", ".");
            (name.clone(), name)
        } else {
            (self.id.to_string(), String::new())
        };
        decode::decode(&self.node, Root { name: &name, prefix: &prefix, path: &self.path, key: self.key })
    }

    /// Where a value stands, or the nearest one above it that is written. `queries[0].timeout` names the value of the
    /// key `timeout` in the first element of `queries`; an empty path names the section, which stands at its key.
    pub fn place(&self, path: &str) -> Place {
        self.place_of(self.nearest(path))
    }

    /// Where a value with this text stands, the first of several; nothing when none is written.
    pub fn place_of_text(&self, text: &str) -> Option<Place> {
        self.node.find(text).map(|node| self.place_of(node))
    }

    /// Whether a key is written at all; null counts as written.
    pub fn has(&self, path: &str) -> bool {
        self.walk(path).is_ok()
    }

    /// An error at a value of this section.
    pub fn error(&self, path: &str, message: impl Into<String>) -> Problem {
        self.problem(path, Problem::error(message))
    }

    /// A warning at a value of this section.
    pub fn warning(&self, path: &str, message: impl Into<String>) -> Problem {
        self.problem(path, Problem::warning(message))
    }

    fn problem(&self, path: &str, mut problem: Problem) -> Problem {
        let node = self.nearest(path);
        if let (true, Some(value)) = (node.origin != Origin::Written, node.text()) {
            problem.message = redact::message(&problem.message, value);
        }
        let full = steps(path).fold(self.path.clone(), |mut full, step| {
            match step {
                Step::Key(key) => full.extend(["::", key]),
                Step::Item(index) => full.push_str(&format!("[{index}]")),
            }
            full
        });
        problem.at(self.place_of(node)).with_path(full)
    }

    fn place_of(&self, node: &Node) -> Place {
        if std::ptr::eq(node, &self.node) { self.key } else { node.place }
    }

    /// The node at a path, or the nearest one above it.
    fn nearest(&self, path: &str) -> &Node {
        self.walk(path).unwrap_or_else(|nearest| nearest)
    }

    fn walk(&self, path: &str) -> Result<&Node, &Node> {
        let mut node = &self.node;
        for step in steps(path) {
            let next = match (&node.value, step) {
                (Value::Map(map), Step::Key(key)) => map.get(key),
                (Value::List(items), Step::Item(index)) => items.get(index),
                _ => None,
            };
            node = next.ok_or(node)?;
        }
        Ok(node)
    }
}

/// One step of a path.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Item(usize),
}

/// The steps of `queries[0].timeout`; `::` parts keys as well as `.`, and a key in a bracket may hold both.
fn steps(path: &str) -> impl Iterator<Item = Step<'_>> {
    let mut rest = path;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['.', ':']);
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']').unwrap_or(inner.len());
            rest = inner.get(end + 1..).unwrap_or("");
            let inner = &inner[..end];
            return Some(inner.parse().map_or(Step::Key(inner), Step::Item));
        }
        if rest.is_empty() {
            return None;
        }
        let end = [rest.find(['.', '[']), rest.find("::")].into_iter().flatten().min().unwrap_or(rest.len());
        let (key, tail) = rest.split_at(end);
        rest = tail;
        Some(Step::Key(key))
    })
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && self.path == other.path && self.node.means(&other.node)
    }
}

impl std::fmt::Debug for Section {
    /// The shape only: a value may be a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Section").field("id", &self.id).field("path", &self.path).field("node", &self.node).finish()
    }
}

#[cfg(test)]
mod tests;
