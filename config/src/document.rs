//! The configuration as a whole: components by class, and the service that joins them.

use std::collections::HashMap;

use crate::id::{ComponentId, PipelineId};
use crate::node::{Entry, Map, Node, Origin, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::redact::{self, REDACTED};
use crate::section::Section;
use crate::{service, suggest};

/// The keys of the root, and no others.
const ROOT_KEYS: &[&str] = &["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// What was written, by class. Sections stand in the order of writing.
#[derive(Clone, Debug)]
pub struct Document {
    /// Components that take data in.
    pub receivers: Vec<Section>,
    /// Components that change data.
    pub processors: Vec<Section>,
    /// Components that send data out.
    pub exporters: Vec<Section>,
    /// Components that are an exporter of one pipeline and a receiver of another.
    pub connectors: Vec<Section>,
    /// Components beside the pipelines.
    pub extensions: Vec<Section>,
    /// What runs.
    pub service: Service,
    /// What could not be read.
    pub(crate) gaps: Gaps,
}

/// Parts that could not be read: what is not found in them may have been written all the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gaps {
    /// Classes.
    classes: Vec<&'static str>,
    /// Whether a part of the service could not be read.
    pub(crate) service: bool,
    /// Classes that are written and null, which wipes what earlier files have there.
    wiped: Vec<(&'static str, Place)>,
}

/// What runs: pipelines, extensions, own telemetry.
#[derive(Clone, Debug)]
pub struct Service {
    /// The agent's own logs and metrics; its id is `telemetry`.
    pub telemetry: Section,
    /// The extensions to start, in their order.
    pub extensions: Vec<Reference>,
    /// The pipelines, in the order of writing.
    pub pipelines: Vec<Pipeline>,
}

/// From receivers through processors to exporters.
#[derive(Clone, Debug)]
pub struct Pipeline {
    /// What it carries, and its name.
    pub id: PipelineId,
    /// Where data comes from; a receiver or a connector.
    pub receivers: Vec<Reference>,
    /// What is done to it, in this order.
    pub processors: Vec<Reference>,
    /// Where data goes to; an exporter or a connector.
    pub exporters: Vec<Reference>,
    /// Where its key stands.
    pub place: Place,
    /// The keys that lead to it, such as `service::pipelines::metrics`.
    pub path: String,
    /// Whether a part of its lists could not be read.
    pub(crate) incomplete: bool,
}

/// A component's id where it is used.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Which component.
    pub id: ComponentId,
    /// Where the reference stands.
    pub place: Place,
    /// The keys that lead to it, such as `service::pipelines::metrics::receivers[0]`.
    pub path: String,
    /// Whether the text came from the environment and must not be shown in problems.
    pub(crate) hidden: bool,
}

impl Document {
    /// The sections of one class: `receivers`, `processors`, `exporters`, `connectors` or `extensions`; none for any
    /// other word.
    pub fn class(&self, class: &str) -> &[Section] {
        match class {
            "receivers" => &self.receivers,
            "processors" => &self.processors,
            "exporters" => &self.exporters,
            "connectors" => &self.connectors,
            "extensions" => &self.extensions,
            _ => &[],
        }
    }
}

/// Reads the document out of the tree; `None` when there is nothing in it.
pub(crate) fn read(root: &Node, problems: &mut Problems) -> Option<Document> {
    let map = root.as_map().filter(|map| map.len() > 0);
    let Some(map) = map else {
        problems.push(
            Problem::error("empty configuration file")
                .at(root.place)
                .with_help("a configuration has receivers, exporters and a service with pipelines"),
        );
        return None;
    };
    check_keys(map, &root.origin, ROOT_KEYS, ("", ""), problems);
    let mut gaps = Gaps::default();
    // Under a key with a typing mistake stands what is then missing.
    let unknown = map.iter().filter(|entry| !ROOT_KEYS.contains(&&*entry.key));
    gaps.classes.extend(unknown.filter_map(|entry| suggest::nearest(&entry.key, ROOT_KEYS.iter().copied())));
    let mut class = |name: &'static str| sections(map, name, &mut gaps, problems);
    let (receivers, processors, exporters) = (class("receivers"), class("processors"), class("exporters"));
    let (connectors, extensions) = (class("connectors"), class("extensions"));
    let told = problems.len();
    let service = service::read(map.entry("service"), problems);
    gaps.service = problems.len() > told || gaps.lacks("service");
    Some(Document { receivers, processors, exporters, connectors, extensions, service, gaps })
}

impl Gaps {
    /// Whether a part of this class could not be read.
    pub(crate) fn lacks(&self, class: &str) -> bool {
        self.classes.contains(&class)
    }

    /// Where a class is written as null.
    pub(crate) fn wiped(&self, class: &str) -> Option<Place> {
        self.wiped.iter().find(|(wiped, _)| *wiped == class).map(|(_, place)| *place)
    }
}

/// Tells every key of a map that is not among `known`. The map has a name in messages, and a path.
pub(crate) fn check_keys(
    map: &Map,
    origin: &Origin,
    known: &[&str],
    (name, path): (&str, &str),
    problems: &mut Problems,
) {
    for entry in map.iter().filter(|entry| !known.contains(&&*entry.key)) {
        let hidden = matches!(origin, Origin::Environment(_));
        let key = if hidden { REDACTED } else { &entry.key };
        let full = if path.is_empty() { key.to_owned() } else { format!("{path}::{key}") };
        let mut problem = Problem::error(format!("'{name}' has invalid keys: {key}")).at(entry.place).with_path(full);
        problem.help = if hidden || problems.is_full() { None } else { suggest::help(key, known) };
        problems.push(problem);
    }
}

/// The map under a key; null and absent are empty, anything else is told.
pub(crate) fn map_of<'n>(entry: Option<&'n Entry>, name: &str, path: &str, problems: &mut Problems) -> Option<&'n Map> {
    let node = &entry?.node;
    match &node.value {
        Value::Map(map) => Some(map),
        Value::Broken => None,
        _ if node.is_null() => None,
        _ => {
            let found = node.type_name();
            problems.push(
                Problem::error(format!(
                    "'{name}' expected type 'map[string]interface {{}}', got unconvertible type '{found}'"
                ))
                .at(node.place)
                .with_path(path),
            );
            None
        }
    }
}

/// The sections of one class.
fn sections(root: &Map, class: &'static str, gaps: &mut Gaps, problems: &mut Problems) -> Vec<Section> {
    let Some(map) = map_of(root.entry(class), class, class, problems) else {
        match root.entry(class) {
            Some(entry) if entry.node.is_null() => gaps.wiped.push((class, entry.place)),
            Some(_) => gaps.classes.push(class),
            None => {}
        }
        return Vec::new();
    };
    let origin = root.get(class).map(|node| node.origin.clone()).unwrap_or_default();
    let mut first: HashMap<(String, Option<String>), Place> = HashMap::new();
    let mut sections = Vec::with_capacity(map.len());
    for entry in map.iter() {
        let path = format!("{class}::{}", entry.key.trim());
        let id = match entry.key.parse::<ComponentId>() {
            Ok(id) => id,
            Err(problem) => {
                problems.push(id_problem(problem.with_path(path), class, &entry.key, &origin).at(entry.place));
                gaps.classes.push(class);
                continue;
            }
        };
        let (kind, name) = id.folded();
        if let Some(place) = first.insert((kind, name.map(str::to_owned)), entry.place) {
            problems.push(
                Problem::error(format!("duplicate name {:?}", id.to_string()))
                    .at(entry.place)
                    .with_path(path)
                    .with_related("first defined", place)
                    .with_help(
                        "space around an id and `_` in a type make no difference: give one of them another name",
                    ),
            );
            continue;
        }
        sections.push(Section::new(id, path, entry.place, entry.node.clone()));
    }
    sections
}

/// What is wrong with an id, without the id when it came from the environment; then the path ends above it.
pub(crate) fn id_problem(mut problem: Problem, above: &str, id: &str, origin: &Origin) -> Problem {
    if matches!(origin, Origin::Environment(_)) {
        problem.path = above.to_owned();
        problem.message = redact::message(&problem.message, id);
        problem.help = origin.reference().map(|reference| format!("the value comes from {reference}"));
    }
    problem
}
