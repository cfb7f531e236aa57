//! The part `service`: pipelines, extensions, own telemetry.

use crate::document::{Pipeline, Reference, Service, check_keys, id_problem, map_of};
use crate::id::{ComponentId, PipelineId};
use crate::node::{Entry, Node, Origin, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::section::Section;

const SERVICE_KEYS: &[&str] = &["telemetry", "extensions", "pipelines"];
const PIPELINE_KEYS: &[&str] = &["receivers", "processors", "exporters"];

/// Reads the service; everything in it is optional here, [`check`](crate::check()) wants pipelines.
pub(crate) fn read(entry: Option<&Entry>, problems: &mut Problems) -> Service {
    let map = map_of(entry, "service", "service", problems);
    let find = |key: &str| map.and_then(|map| map.entry(key));
    if let Some(map) = map {
        let origin = entry.map(|entry| entry.node.origin.clone()).unwrap_or_default();
        check_keys(map, &origin, SERVICE_KEYS, ("service", "service"), problems);
    }
    let pipelines = map_of(find("pipelines"), "service.pipelines", "service::pipelines", problems);
    let origin = find("pipelines").map(|entry| entry.node.origin.clone()).unwrap_or_default();
    Service {
        telemetry: telemetry(find("telemetry")),
        extensions: references(find("extensions"), "service", problems).0,
        pipelines: pipelines
            .map(|map| map.iter().filter_map(|entry| pipeline(entry, &origin, problems)).collect())
            .unwrap_or_default(),
    }
}

fn telemetry(entry: Option<&Entry>) -> Section {
    let id: ComponentId = "telemetry".parse().expect("a word of letters is an id");
    let path = "service::telemetry".to_owned();
    match entry {
        Some(entry) => Section::new(id, path, entry.place, entry.node.clone()),
        None => Section::new(id, path, Place::NOWHERE, Node::null(Place::NOWHERE)),
    }
}

/// Reads one pipeline; `origin` is that of the map it stands in.
fn pipeline(entry: &Entry, origin: &Origin, problems: &mut Problems) -> Option<Pipeline> {
    let key = entry.key.trim();
    let path = format!("service::pipelines::{key}");
    let id = match key.parse::<PipelineId>() {
        Ok(id) => id,
        Err(problem) => {
            problems.push(id_problem(problem.with_path(path), "service::pipelines", key, origin).at(entry.place));
            return None;
        }
    };
    let name = format!("service.pipelines[{key}]");
    let map = map_of(Some(entry), &name, &path, problems);
    if let Some(map) = map {
        check_keys(map, &entry.node.origin, PIPELINE_KEYS, (&name, &path), problems);
    } else if !entry.node.is_null() {
        return None;
    }
    let mut incomplete = map.is_some_and(|map| map.iter().any(|entry| !PIPELINE_KEYS.contains(&&*entry.key)));
    let mut list = |key: &str| {
        let (references, whole) = references(map.and_then(|map| map.entry(key)), &path, problems);
        incomplete |= !whole;
        references
    };
    let (receivers, processors, exporters) = (list("receivers"), list("processors"), list("exporters"));
    Some(Pipeline { id, receivers, processors, exporters, place: entry.place, path, incomplete })
}

/// The ids of a list, and whether all of it could be read. One text is split at commas, as in the Collector.
fn references(entry: Option<&Entry>, parent: &str, problems: &mut Problems) -> (Vec<Reference>, bool) {
    let Some(Entry { key, node, .. }) = entry else { return (Vec::new(), true) };
    let path = format!("{parent}::{key}");
    if node.is_null() {
        return (Vec::new(), true);
    }
    let mut whole = true;
    let mut found = Vec::new();
    let mut take = |text: &str, node: &Node, path: String, problems: &mut Problems| match text.parse() {
        Ok(id) => {
            let hidden = matches!(node.origin, Origin::Environment(_));
            found.push(Reference { id, place: node.place, path, hidden });
        }
        Err(problem) => {
            whole = false;
            problems.push(id_problem(Problem::with_path(problem, path), parent, text, &node.origin).at(node.place));
        }
    };
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match (&item.value, item.text()) {
                    (Value::Plain(_) | Value::Text(_), Some(text)) => take(text, item, path, problems),
                    (Value::Broken, _) => {}
                    _ => {
                        let found = item.type_name();
                        let message =
                            format!("'{key}[{index}]' expected type 'string', got unconvertible type '{found}'");
                        problems.push(
                            Problem::error(message)
                                .at(item.place)
                                .with_path(path)
                                .with_help("a list of ids has one id in each element, without a colon"),
                        );
                    }
                }
            }
        }
        Value::Plain(text) | Value::Text(text) => {
            for (index, part) in text.split(',').enumerate() {
                take(part, node, format!("{path}[{index}]"), problems);
            }
        }
        Value::Broken => whole = false,
        Value::Map(_) => {
            whole = false;
            let message = format!("'{key}' source data must be an array or slice, got map");
            problems.push(
                Problem::error(message)
                    .at(node.place)
                    .with_path(path)
                    .with_help(format!("write a list: {key}: [id, id]")),
            );
        }
    }
    (found, whole)
}
