//! From command line to document: retrieve, merge, expand, read.

use crate::document::{self, Document};
use crate::environment::Environment;
use crate::expand::expand;
use crate::files::Files;
use crate::merge::merge;
use crate::node::{Node, Tree};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::{MAX_DEPTH, MAX_NODES, source};

/// How many `--config` and `--set` values are read.
const MAX_SOURCES: usize = 1_000;

/// What the command line names.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Values of `--config` in their order: a path, `file:path`, `yaml:text` or `env:NAME`.
    pub configs: Vec<String>,
    /// Values of `--set` in their order: `key.of.something=value`. They come after all files.
    pub sets: Vec<String>,
}

/// All that reading gave.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What was written; `None` when a source could not be read, for then most of what is missing is not.
    pub document: Option<Document>,
    /// Errors and warnings, in the order of files and lines.
    pub problems: Problems,
    /// What was read, to show problems with.
    pub files: Files,
    /// The effective configuration, for [`print`](crate::print()).
    pub tree: Tree,
}

/// Reads all sources, merges them in their order, replaces references and reads the document.
///
/// Never fails as a whole: whatever is wrong is among the problems.
pub fn load(sources: &Sources, env: &dyn Environment) -> Loaded {
    let mut files = Files::default();
    let mut problems = Problems::new();
    let root = read_all(sources, env, &mut files, &mut problems);
    let readable = root.is_some();
    let mut root = root.unwrap_or_else(|| Node::null(Place::NOWHERE));
    let mut document = None;
    if readable {
        expand(&mut root, env, &mut files, &mut problems);
        document = document::read(&root, &mut problems);
    }
    problems.sort();
    Loaded { document, problems, files, tree: Tree { root } }
}

/// The merged tree; `None` when a source could not be read. All sources are tried, so that all problems are told.
fn read_all(sources: &Sources, env: &dyn Environment, files: &mut Files, problems: &mut Problems) -> Option<Node> {
    if sources.configs.is_empty() {
        problems.push(
            Problem::error("at least one config flag must be provided").with_help("start with --config weir.yaml"),
        );
        return None;
    }
    if sources.configs.len() + sources.sets.len() > MAX_SOURCES {
        problems.push(Problem::error(format!("more than {MAX_SOURCES} --config and --set values")));
        return None;
    }
    let mut nodes = Vec::new();
    for uri in &sources.configs {
        nodes.push(source::read(uri, env, files, problems));
    }
    for argument in &sources.sets {
        nodes.push(source::read_set(argument, files, problems));
    }
    let mut merged = Node::empty_map(Place::NOWHERE);
    for node in nodes {
        let node = node?;
        if node.as_map().is_some() {
            merged = merge(merged, node);
        }
    }
    if merged.count() > MAX_NODES || merged.depth() > MAX_DEPTH {
        problems.push(Problem::error(format!(
            "all sources together have more than {MAX_NODES} nodes or nest deeper than {MAX_DEPTH}"
        )));
        return None;
    }
    Some(merged)
}
