//! Builds the tree from events, within the limits.

use std::collections::HashMap;
use std::sync::Arc;

use crate::node::{Entry, Map, Node, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::redact::is_secret_key;
use crate::{MAX_DEPTH, MAX_NODES};

/// How many aliases one file may use; each is a copy of what it names.
const MAX_ALIASES: usize = 1_000;

/// The tree so far.
pub(super) struct Builder {
    file: u32,
    stack: Vec<Frame>,
    root: Option<Node>,
    anchors: HashMap<usize, Node>,
    problems: Problems,
    nodes: usize,
    aliases: usize,
    pub(super) secret_lines: Vec<(u32, u32)>,
}

/// What an event says about a node beside its content.
pub(super) struct Properties {
    pub(super) place: Place,
    /// The anchor's number, 0 for none.
    pub(super) anchor: usize,
    /// The last line that holds some of it.
    pub(super) last_line: u32,
}

/// A list or map that is still open.
struct Frame {
    place: Place,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { map: Map, key: Option<Key>, merges: Vec<Node>, split: Vec<Arc<str>> },
}

/// A key whose value has not come yet.
struct Key {
    text: String,
    place: Place,
    merge: bool,
    /// Whether it looks like a secret's, once that was asked: only keys with lines below them are.
    secret: Option<bool>,
}

type Step = Result<(), Box<Problem>>;

impl Builder {
    pub(super) fn new(file: u32) -> Self {
        Self {
            file,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            problems: Problems::new(),
            nodes: 0,
            aliases: 0,
            secret_lines: Vec::new(),
        }
    }

    pub(super) fn finish(self) -> (Option<Node>, Problems) {
        (self.root, self.problems)
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        let path = self.path();
        self.problems.push(problem.with_path(path));
    }

    pub(super) fn scalar(&mut self, text: String, quoted: bool, properties: Properties) -> Step {
        let place = properties.place;
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::new(text.clone(), place, !quoted && text == "<<"));
            // A key may be an anchor as well.
            let node = Node::new(if quoted { Value::Text(text) } else { Value::Plain(text) }, place);
            return self.remember(&properties, &node);
        }
        if let Some(key_line) = self.secret_key_line(properties.last_line) {
            // The line of the key itself is shown, with what follows the key replaced.
            let from = place.line.max(key_line + 1);
            if from <= properties.last_line {
                self.secret_lines.push((from, properties.last_line));
            }
        }
        let node = Node::new(if quoted { Value::Text(text) } else { Value::Plain(text) }, place);
        self.charge(1, place)?;
        self.remember(&properties, &node)?;
        self.place_node(node)
    }

    pub(super) fn open_list(&mut self, properties: Properties) -> Step {
        self.open(Content::List(Vec::new()), &properties)
    }

    pub(super) fn open_map(&mut self, properties: Properties) -> Step {
        let content = Content::Map { map: Map::default(), key: None, merges: Vec::new(), split: Vec::new() };
        self.open(content, &properties)
    }

    pub(super) fn close(&mut self) -> Step {
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let place = frame.place;
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map { mut map, merges, .. } => {
                for merge in merges {
                    self.merge(&mut map, merge);
                }
                Value::Map(map)
            }
        };
        let node = Node::new(value, place);
        if frame.anchor > 0 {
            self.anchors.insert(frame.anchor, node.clone());
        }
        self.place_node(node)
    }

    pub(super) fn alias(&mut self, anchor: usize, place: Place) -> Step {
        let Some(node) = self.anchors.get(&anchor) else {
            return Err(self.fatal("the alias stands inside the anchor it names", place));
        };
        self.aliases += 1;
        if self.aliases > MAX_ALIASES {
            return Err(self.fatal(format!("more than {MAX_ALIASES} aliases"), place));
        }
        let (count, depth) = (node.count(), node.depth());
        if self.stack.len() + depth > MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            if let Some(text) = node.text() {
                *key = Some(Key::new(text.to_owned(), place, false));
                return Ok(());
            }
            return Err(self.fatal("a key must be a scalar", place));
        }
        let node = node.clone();
        self.charge(count, place)?;
        self.place_node(node)
    }

    pub(super) fn unknown_alias(&mut self, name: &str, place: Place) -> Step {
        let problem = Problem::error(format!("yaml: unknown anchor '{name}' referenced"))
            .with_help(format!("define it above with &{name}, or put the value in quotes: \"*{name}\""));
        self.problem(problem.at(place));
        if let Some(Frame { content: Content::Map { key: key @ None, .. }, .. }) = self.stack.last_mut() {
            *key = Some(Key::new(format!("*{name}"), place, false));
            return Ok(());
        }
        self.charge(1, place)?;
        self.place_node(Node::new(Value::Broken, place))
    }

    fn open(&mut self, content: Content, properties: &Properties) -> Step {
        let place = properties.place;
        if let Some(Frame { content: Content::Map { key: None, .. }, .. }) = self.stack.last() {
            return Err(self.fatal("a key must be a scalar, not a list or map", place));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err(self.too_deep(place));
        }
        self.charge(1, place)?;
        self.stack.push(Frame { place, anchor: properties.anchor, content });
        Ok(())
    }

    /// Puts a finished node where it belongs.
    fn place_node(&mut self, node: Node) -> Step {
        let depth = self.stack.len();
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut frame.content {
            Content::List(items) => items.push(node),
            Content::Map { map, key, merges, split } => {
                let Some(key) = key.take() else { return Ok(()) };
                if key.merge {
                    merges.push(node);
                    return Ok(());
                }
                let parts: Vec<&str> = key.text.split("::").collect();
                if parts.len() == 1 || parts.iter().any(|part| part.is_empty()) {
                    let text: Arc<str> = key.text.as_str().into();
                    if let Err(first) = insert(map, &text, key.place, node, split) {
                        self.duplicate(&key.text, key.place, first);
                    }
                    return Ok(());
                }
                if depth + parts.len() - 1 + node.depth() > MAX_DEPTH {
                    return Err(self.too_deep(key.place));
                }
                let extra = parts.len() - 1;
                let (first, rest) = parts.split_first().expect("a split gives at least one part");
                let first: Arc<str> = (*first).into();
                split.push(Arc::clone(&first));
                let nested = nest(rest, key.place, node);
                if let Err(other) = insert(map, &first, key.place, nested, split) {
                    self.duplicate(&key.text, key.place, other);
                }
                self.charge(extra, key.place)?;
            }
        }
        Ok(())
    }

    /// Puts the entries of a merged map under those that are written.
    fn merge(&mut self, map: &mut Map, merge: Node) {
        match merge.value {
            Value::Map(merged) => {
                for entry in merged.into_entries() {
                    if map.get(&entry.key).is_none() {
                        map.put(entry);
                    }
                }
            }
            Value::List(items) if items.iter().all(|item| item.as_map().is_some() || item.is_broken()) => {
                for item in items {
                    self.merge(map, item);
                }
            }
            Value::Broken => {}
            _ => self.problem(
                Problem::error("yaml: map merge requires map or sequence of maps as the value").at(merge.place),
            ),
        }
    }

    fn duplicate(&mut self, key: &str, place: Place, first: Place) {
        let path = join(&self.path(), key);
        let problem = Problem::error(format!("mapping key {key:?} already defined"))
            .at(place)
            .with_path(path)
            .with_related("first defined", first)
            .with_help("of two equal keys one would be lost: keep one, or join what they hold");
        self.problems.push(problem);
    }

    fn remember(&mut self, properties: &Properties, node: &Node) -> Step {
        if properties.anchor > 0 {
            self.anchors.insert(properties.anchor, node.clone());
        }
        Ok(())
    }

    fn charge(&mut self, nodes: usize, place: Place) -> Step {
        self.nodes += nodes;
        if self.nodes > MAX_NODES {
            return Err(
                self.fatal(format!("more than {MAX_NODES} nodes, aliases counted as what they stand for"), place)
            );
        }
        Ok(())
    }

    fn too_deep(&self, place: Place) -> Box<Problem> {
        self.fatal(format!("lists and maps nest deeper than {MAX_DEPTH}"), place)
    }

    fn fatal(&self, message: impl Into<String>, place: Place) -> Box<Problem> {
        debug_assert_eq!(place.file, self.file, "places are of the file that is read");
        Box::new(Problem::error(message).at(place).with_path(self.path()))
    }

    /// The line of the first key above a line which looks like a secret, when the value read next ends in that line.
    fn secret_key_line(&mut self, last_line: u32) -> Option<u32> {
        self.stack.iter_mut().find_map(|frame| match &mut frame.content {
            Content::Map { key: Some(key), .. } if key.place.line < last_line => {
                let secret = *key.secret.get_or_insert_with(|| is_secret_key(&key.text));
                secret.then_some(key.place.line)
            }
            _ => None,
        })
    }

    /// The keys that lead to the value that is read.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match &frame.content {
                Content::List(items) => path.push_str(&format!("[{}]", items.len())),
                Content::Map { key: Some(key), .. } => path = join(&path, &key.text),
                Content::Map { .. } => {}
            }
        }
        path
    }
}

impl Key {
    fn new(text: String, place: Place, merge: bool) -> Self {
        Self { secret: None, text, place, merge }
    }
}

/// Puts an entry into a map; gives the place of the key that stands there already.
///
/// Keys that were split at `::` share their maps with each other and with maps written in full.
fn insert(map: &mut Map, key: &Arc<str>, place: Place, node: Node, split: &[Arc<str>]) -> Result<(), Place> {
    let Some(there) = map.entry_mut(key) else {
        map.put(Entry { key: Arc::clone(key), place, node });
        return Ok(());
    };
    if !split.contains(key) {
        return Err(there.place);
    }
    join_nodes(there, node)
}

/// Joins two maps that share a key through `::`; gives the place of the first thing both define.
fn join_nodes(there: &mut Entry, node: Node) -> Result<(), Place> {
    let first = there.place;
    let (Value::Map(map), Value::Map(more)) = (&mut there.node.value, node.value) else { return Err(first) };
    let mut clash = Ok(());
    for entry in more.into_entries() {
        match map.entry_mut(&entry.key) {
            None => map.put(entry),
            Some(there) => clash = clash.and(join_nodes(there, entry.node)),
        }
    }
    clash
}

/// Wraps a node into one map for each part of a split key.
fn nest(parts: &[&str], place: Place, node: Node) -> Node {
    parts.iter().rev().fold(node, |inner, part| {
        let mut map = Map::default();
        map.put(Entry { key: (*part).into(), place, node: inner });
        Node::new(Value::Map(map), place)
    })
}

/// A path and one more key.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}::{key}") }
}
