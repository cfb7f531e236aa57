//! What is wrong with how components are joined: connectors, and components that nothing uses.

use crate::document::{Document, Reference};
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
    let pipelines = &document.service.pipelines;
    let used = |pick: fn(&crate::document::Pipeline) -> &[Reference], section: &Section| {
        pipelines.iter().any(|pipeline| pick(pipeline).iter().any(|reference| reference.id == *section.id()))
    };
    let mut tell = |word: &str, section: &Section, advice: &str| {
        let message = format!("{word} {:?} is configured but not used", section.id().to_string());
        problems.push(section.warning("", message).with_help(advice));
    };
    let advice = "name it in a pipeline under service::pipelines, or remove it";
    for section in document.receivers.iter().filter(|section| !used(|pipeline| &pipeline.receivers, section)) {
        tell("receiver", section, advice);
    }
    for section in document.processors.iter().filter(|section| !used(|pipeline| &pipeline.processors, section)) {
        tell("processor", section, advice);
    }
    for section in document.exporters.iter().filter(|section| !used(|pipeline| &pipeline.exporters, section)) {
        tell("exporter", section, advice);
    }
    for section in document.connectors.iter().filter(|section| {
        !used(|pipeline| &pipeline.receivers, section) && !used(|pipeline| &pipeline.exporters, section)
    }) {
        tell("connector", section, advice);
    }
    let named = |section: &&Section| document.service.extensions.iter().any(|named| named.id == *section.id());
    for section in document.extensions.iter().filter(|section| !named(section)) {
        tell("extension", section, "name it in service::extensions, or remove it");
    }
}
