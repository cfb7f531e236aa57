//! What is wrong with how components are joined: connectors, and components that nothing uses.

use std::collections::HashSet;

use crate::document::{Document, Reference};
use crate::id::ComponentId;
use crate::problem::{Problem, Problems};
use crate::section::Section;

/// Finds ambiguous ids, half-used connectors and unused components.
pub(super) fn check(document: &Document, problems: &mut Problems) {
    for connector in &document.connectors {
        problems.extend(ambiguous(connector, document));
        problems.extend(half_used(connector, document));
    }
    if !document.gaps.service {
        unused(document, problems);
    }
}

/// A connector must not share its id with a receiver or an exporter: a pipeline names both in one list.
fn ambiguous(connector: &Section, document: &Document) -> Option<Problem> {
    let sides = [("receiver", &document.receivers), ("exporter", &document.exporters)];
    let (word, other) = sides
        .into_iter()
        .find_map(|(word, sections)| Some((word, sections.iter().find(|other| other.id() == connector.id())?)))?;
    let id = connector.id().to_string();
    Some(
        connector
            .error(
                "",
                format!(
                    "{}: ambiguous ID: Found both {id:?} {word} and {id:?} connector. Change one of the components' IDs \
                     to eliminate ambiguity (e.g. rename {id:?} connector to \"{id}/connector\")",
                    connector.path()
                ),
            )
            .with_related("the other stands", other.place("")),
    )
}

/// A connector needs a pipeline on both sides.
fn half_used(connector: &Section, document: &Document) -> Option<Problem> {
    let id = connector.id();
    let names = |references: &[Reference]| references.iter().any(|reference| reference.id == *id);
    let pipelines = &document.service.pipelines;
    let mut into = pipelines.iter().filter(|pipeline| names(&pipeline.exporters)).map(|pipeline| &pipeline.id);
    let mut out_of = pipelines.iter().filter(|pipeline| names(&pipeline.receivers)).map(|pipeline| &pipeline.id);
    let (used, missing, pipeline) = match (into.next(), out_of.next()) {
        (Some(pipeline), None) => ("exporter", "receiver", pipeline),
        (None, Some(pipeline)) => ("receiver", "exporter", pipeline),
        _ => return None,
    };
    let name = id.to_string();
    Some(connector.error(
        "",
        format!("connector {name:?} used as {used} in [{pipeline}] pipeline but not used in any supported {missing} pipeline"),
    ))
}

/// Components that are written and do nothing: the Collector says nothing about them.
fn unused(document: &Document, problems: &mut Problems) {
    let advice = "name it in a pipeline under service::pipelines, or remove it";
    let (mut sources, mut processors, mut sinks) = (HashSet::new(), HashSet::new(), HashSet::new());
    for pipeline in &document.service.pipelines {
        sources.extend(ids(&pipeline.receivers));
        processors.extend(ids(&pipeline.processors));
        sinks.extend(ids(&pipeline.exporters));
    }
    let joined: HashSet<&ComponentId> = sources.union(&sinks).copied().collect();
    let extensions: HashSet<&ComponentId> = ids(&document.service.extensions).collect();
    for (word, sections, used, advice) in [
        ("receiver", &document.receivers, &sources, advice),
        ("processor", &document.processors, &processors, advice),
        ("exporter", &document.exporters, &sinks, advice),
        ("connector", &document.connectors, &joined, advice),
        ("extension", &document.extensions, &extensions, "name it in service::extensions, or remove it"),
    ] {
        for section in sections.iter().filter(|section| !used.contains(section.id())) {
            let message = format!("{word} {:?} is configured but not used", section.id().to_string());
            problems.push(section.warning("", message).with_help(advice));
        }
    }
}

fn ids(references: &[Reference]) -> impl Iterator<Item = &ComponentId> {
    references.iter().map(|reference| &reference.id)
}
