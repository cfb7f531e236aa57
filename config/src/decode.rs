//! A component's own type out of its part of the tree, with every problem that can be found.
//!
//! serde stops at the first error. To find the others, the value that failed is taken out of the tree and decoding
//! starts again; an error that only follows from such a gap is not told. Unknown keys are told on the way and passed
//! over. Rounds are bounded, so a hostile section costs a bounded number of passes over itself.

mod access;
mod cursor;
mod error;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;

use self::cursor::{Cursor, NullRule};
use self::error::{Error, Kind, Spot};
use crate::node::{Entry, Node, Origin, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::{redact, suggest};

pub(crate) use self::cursor::OPTIONAL;

/// How many wrong values of one section are told; whoever has more sees the next ones after mending these.
const MAX_PROBLEM_ROUNDS: usize = 64;

/// How many nulls of one section may stand for a default; each costs one pass.
const MAX_NULL_ROUNDS: usize = 512;

/// How messages speak of the root of a decoding.
pub(crate) struct Root<'a> {
    /// Its name, such as `sql_query/inventory`.
    pub(crate) name: &'a str,
    /// What stands before the names of values in it; the Collector has none for components.
    pub(crate) prefix: &'a str,
    /// The keys that lead to it, joined with `::`.
    pub(crate) path: &'a str,
    /// Where the last of those keys stands.
    pub(crate) key: Place,
}

/// Decodes a node.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, root: Root<'_>) -> Result<T, Problems> {
    let context = Context { root, state: RefCell::default() };
    let top = Path { parent: None, node: identity(node), segment: Segment::Root };
    let mut rounds = Rounds::default();
    let decoded = loop {
        match T::deserialize(Cursor::new(&context, node, &top, NullRule::Zero)) {
            Ok(value) => break Some(value),
            Err(error) => {
                if !rounds.go_on(&context, node, error) {
                    break None;
                }
            }
        }
    };
    let (whole, problems) = context.finish();
    decoded.filter(|_| whole).ok_or(problems)
}

/// How often decoding has begun again.
#[derive(Default)]
struct Rounds {
    problems: usize,
    nulls: usize,
}

impl Rounds {
    /// Tells an error, and whether another round is worth it.
    fn go_on(&mut self, context: &Context<'_>, node: &Node, error: Error) -> bool {
        match context.note(error) {
            Next::AfterProblem if self.problems < MAX_PROBLEM_ROUNDS => self.problems += 1,
            Next::AfterNull if self.nulls < MAX_NULL_ROUNDS => self.nulls += 1,
            Next::AfterNull => {
                context.tell(Problem::error(format!("more than {MAX_NULL_ROUNDS} empty values")).at(node.place));
                return false;
            }
            Next::AfterProblem | Next::Stop => return false,
        }
        true
    }
}

/// What all cursors of one decoding share.
struct Context<'a> {
    root: Root<'a>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    problems: Problems,
    /// Values that are passed over, and why.
    removed: HashMap<usize, Removed>,
    /// Nodes with a value under them that was removed for a problem.
    gaps: HashSet<usize>,
    /// Unknown keys that were told in an earlier round.
    told: HashSet<usize>,
    /// Keys that an unknown key of the same map was surely meant to be.
    meant: HashSet<(usize, &'static str)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// Its problem is told.
    Wrong,
    /// It is null and leaves the default.
    Null,
}

/// What to do after an error.
enum Next {
    AfterProblem,
    AfterNull,
    Stop,
}

/// The way from the root to a node, on the stack of the recursion.
struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    node: usize,
    segment: Segment<'a>,
}

#[derive(Clone, Copy)]
enum Segment<'a> {
    Root,
    /// A key of a struct.
    Field(&'a str),
    /// A key of a map.
    Key(&'a str),
    Item(usize),
}

/// A node's identity while the tree stands still.
fn identity(node: &Node) -> usize {
    std::ptr::from_ref(node) as usize
}

impl Context<'_> {
    /// Whether all is well, and what was told.
    fn finish(self) -> (bool, Problems) {
        let State { mut problems, removed, .. } = self.state.into_inner();
        problems.sort();
        // With a value missing that was told elsewhere, whatever the component finds next would only follow from that.
        let whole = !removed.values().any(|why| *why == Removed::Wrong);
        (whole && !problems.has_errors(), problems)
    }

    fn tell(&self, problem: Problem) {
        self.state.borrow_mut().problems.push(problem);
    }

    fn is_removed(&self, node: &Node) -> bool {
        self.state.borrow().removed.contains_key(&identity(node))
    }

    /// Tells a key that its struct does not have.
    fn unknown_key(&self, path: &Path<'_>, parent: &Node, entry: &Entry, fields: &[&'static str]) {
        if !self.state.borrow_mut().told.insert(identity(&entry.node)) {
            return;
        }
        if self.state.borrow().problems.is_full() {
            return self.tell(Problem::error("").at(entry.place));
        }
        if let Some(meant) = suggest::nearest(&entry.key, fields.iter().copied()) {
            self.state.borrow_mut().meant.insert((identity(parent), meant));
        }
        let hidden = matches!(parent.origin, Origin::Environment(_));
        let key = if hidden { redact::REDACTED } else { &entry.key };
        let mut problem = Problem::error(format!("'{}' has invalid keys: {key}", path.relative(&self.root)))
            .at(entry.place)
            .with_path(format!("{}::{key}", path.absolute(self.root.path)));
        problem.help = if hidden { None } else { suggest::help(key, fields) };
        self.tell(problem);
    }

    /// Tells an error and takes its value out.
    fn note(&self, error: Error) -> Next {
        let Error { kind, spot } = error;
        let Some(spot) = spot else {
            // Every cursor adds its place; only an error made outside of one has none.
            self.tell(Problem::error(format!("'{}' {}", self.root.name, kind.message())).with_path(self.root.path));
            return Next::Stop;
        };
        let (removed, next) = match kind {
            Kind::KeepDefault => (Removed::Null, Next::AfterNull),
            Kind::Told => (Removed::Wrong, Next::AfterProblem),
            _ if spot.follows => (Removed::Wrong, Next::AfterProblem),
            kind => {
                self.tell(spot.problem(&kind));
                (Removed::Wrong, Next::AfterProblem)
            }
        };
        let mut state = self.state.borrow_mut();
        let again = state.removed.insert(spot.node, removed).is_some();
        if removed == Removed::Wrong {
            state.gaps.extend(&spot.ancestors);
        }
        // The root cannot be taken out, and what was taken out cannot fail again.
        if spot.ancestors.is_empty() || again { Next::Stop } else { next }
    }

    /// Whether an error only comes from a value under this node that was taken out.
    fn follows(&self, path: &Path<'_>, node: &Node, kind: &Kind) -> bool {
        let state = self.state.borrow();
        match kind {
            Kind::MissingField(field) => {
                let value = node.as_map().and_then(|map| map.get(field));
                state.meant.contains(&(identity(node), *field))
                    || value.is_some_and(|value| state.removed.get(&identity(value)) == Some(&Removed::Wrong))
            }
            _ => state.gaps.contains(&path.node),
        }
    }

    /// Describes where an error came up.
    fn spot(&self, path: &Path<'_>, node: &Node, kind: &Kind) -> Box<Spot> {
        let mut ancestors = Vec::new();
        let mut above = path.parent;
        while let Some(path) = above {
            ancestors.push(path.node);
            above = path.parent;
        }
        let secret = node.origin != Origin::Written || path.is_secret() || redact::is_secret_key(self.root.name);
        let value = match &node.value {
            Value::Plain(text) | Value::Text(text) => Some(text.as_str()),
            _ => node.text(),
        };
        Box::new(Spot {
            node: path.node,
            follows: self.follows(path, node, kind),
            ancestors,
            place: if path.parent.is_none() && self.root.key.is_written() { self.root.key } else { node.place },
            name: path.relative(&self.root),
            path: path.absolute(self.root.path),
            found: node.type_name(),
            value: value.map(str::to_owned),
            quoted: matches!(node.value, Value::Text(_)),
            secret,
            reference: node.origin.reference().map(str::to_owned),
        })
    }
}

impl<'a> Path<'a> {
    fn child(&'a self, node: &Node, segment: Segment<'a>) -> Path<'a> {
        Path { parent: Some(self), node: identity(node), segment }
    }

    /// `queries[0].timeout`, as the Collector's messages have it.
    fn relative(&self, root: &Root<'_>) -> String {
        let Some(parent) = self.parent else { return root.name.to_owned() };
        let above = if parent.parent.is_none() { root.prefix.to_owned() } else { parent.relative(root) };
        match self.segment {
            Segment::Root => root.name.to_owned(),
            Segment::Field(key) if above.is_empty() => key.to_owned(),
            Segment::Field(key) => format!("{above}.{key}"),
            Segment::Key(key) => format!("{above}[{key}]"),
            Segment::Item(index) => format!("{above}[{index}]"),
        }
    }

    /// `receivers::sql_query/inventory::queries[0]::timeout`.
    fn absolute(&self, root: &str) -> String {
        let above = self.parent.map_or_else(|| root.to_owned(), |parent| parent.absolute(root));
        match self.segment {
            Segment::Root => above,
            Segment::Field(key) | Segment::Key(key) if above.is_empty() => key.to_owned(),
            Segment::Field(key) | Segment::Key(key) => format!("{above}::{key}"),
            Segment::Item(index) => format!("{above}[{index}]"),
        }
    }

    fn is_secret(&self) -> bool {
        let own = matches!(self.segment, Segment::Field(key) | Segment::Key(key) if redact::is_secret_key(key));
        own || self.parent.is_some_and(Path::is_secret)
    }
}

#[cfg(test)]
mod tests;
