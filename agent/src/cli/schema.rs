//! `weir schema`: one JSON Schema (draft 2020-12) of the whole file, put together from those of the components.

use pipeline::Factory;
use schemars::Schema;
use serde_json::{Map, Value, json};

use crate::registry::{Class, Registry};

/// What may stand in place of a number or a switch: a reference that is replaced before the value is read.
const REFERENCE: &str = "reference";

/// The schema as text.
pub(super) fn render(registry: Registry) -> String {
    format!("{:#}\n", document(registry))
}

fn document(registry: Registry) -> Value {
    let mut defs = Map::new();
    defs.insert(
        REFERENCE.to_owned(),
        json!({"type": "string", "pattern": r"\$\{", "description": "A reference such as ${env:NAME}."}),
    );
    let receivers = class(&mut defs, "receivers", registry.receivers);
    let processors = class(&mut defs, "processors", registry.processors);
    let exporters = class(&mut defs, "exporters", registry.exporters);
    let extensions = class(&mut defs, "extensions", registry.extensions);
    let telemetry = take_in(&mut defs, "service.telemetry", schemars::schema_for!(crate::telemetry::Config));
    let ids = json!({"type": ["array", "string", "null"], "items": {"type": "string"}});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "weir configuration",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "receivers": receivers,
            "processors": processors,
            "exporters": exporters,
            "extensions": extensions,
            "connectors": {"type": ["object", "null"], "maxProperties": 0},
            "service": {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "telemetry": optional(telemetry),
                    "extensions": ids,
                    "pipelines": {
                        "type": "object",
                        "additionalProperties": false,
                        "patternProperties": {
                            "^\\s*(metrics|logs|traces)\\s*(/.+)?$": {
                                "type": "object",
                                "additionalProperties": false,
                                "required": ["receivers", "exporters"],
                                "properties": {"receivers": ids, "processors": ids, "exporters": ids},
                            },
                        },
                    },
                },
            },
        },
        "$defs": defs,
    })
}

/// The schema of one class: an object whose keys are component ids.
fn class<C: ?Sized>(defs: &mut Map<String, Value>, name: &str, class: Class<C>) -> Value {
    let mut patterns = Map::new();
    for factory in class.built {
        let section = take_in(defs, &format!("{name}.{}", factory.kind), (factory.schema)());
        patterns.insert(pattern(factory), optional(section));
    }
    json!({"type": ["object", "null"], "additionalProperties": false, "patternProperties": patterns})
}

/// All spellings of a kind, with or without a name.
fn pattern<C: ?Sized>(factory: &Factory<C>) -> String {
    let kinds = std::iter::once(factory.kind).chain(factory.aliases.iter().copied());
    // Every `_` may be left out.
    let kinds: Vec<_> = kinds.map(|kind| kind.replace('_', "_?")).collect();
    format!("^\\s*({})\\s*(/.+)?$", kinds.join("|"))
}

/// A section that may be null, which means all defaults.
fn optional(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

/// Moves a schema and its definitions under names of their own, and gives a reference to it.
fn take_in(defs: &mut Map<String, Value>, name: &str, schema: Schema) -> Value {
    let mut schema = schema.to_value();
    if let Some(object) = schema.as_object_mut() {
        object.remove("$schema");
        if let Some(Value::Object(own)) = object.remove("$defs") {
            for (own_name, mut own_schema) in own {
                rename(&mut own_schema, name);
                defs.insert(format!("{name}.{own_name}"), own_schema);
            }
        }
    }
    rename(&mut schema, name);
    defs.insert(name.to_owned(), schema);
    json!({"$ref": format!("#/$defs/{name}")})
}

/// Makes references point to where definitions have moved, and lets references of the configuration stand for numbers and switches.
fn rename(schema: &mut Value, name: &str) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(own) = target.strip_prefix("#/$defs/")
            {
                *target = format!("#/$defs/{name}.{own}");
            }
            object.values_mut().for_each(|value| rename(value, name));
            if let Some(Value::Object(properties)) = object.get_mut("properties") {
                properties.values_mut().for_each(allow_reference);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rename(value, name)),
        _ => {}
    }
}

fn allow_reference(schema: &mut Value) {
    let plain = |kind: &Value| matches!(kind.as_str(), Some("integer" | "number" | "boolean"));
    let scalar = match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(plain) && !kinds.iter().any(|kind| kind == "string"),
        Some(kind) => plain(kind),
        None => false,
    };
    if scalar {
        let description = schema.as_object_mut().and_then(|object| object.remove("description"));
        *schema = json!({"anyOf": [schema.take(), {"$ref": format!("#/$defs/{REFERENCE}")}]});
        if let (Some(description), Some(object)) = (description, schema.as_object_mut()) {
            object.insert("description".to_owned(), description);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_references(value: &Value, root: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    let name = target.strip_prefix("#/$defs/").expect("references stay in the document");
                    assert!(root["$defs"].get(name).is_some(), "{target} leads nowhere");
                }
                object.values().for_each(|value| check_references(value, root));
            }
            Value::Array(list) => list.iter().for_each(|value| check_references(value, root)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_of_the_schema_leads_somewhere() {
        let document = document(Registry::builtin());
        assert_eq!(document["$schema"], "https://json-schema.org/draft/2020-12/schema");
        check_references(&document, &document);
    }

    #[test]
    fn a_reference_may_stand_for_a_number() {
        let document = document(Registry::builtin());
        let port = &document["$defs"]["service.telemetry.Prometheus"]["properties"]["port"];
        assert_eq!(port["anyOf"][1]["$ref"], "#/$defs/reference", "{port:#}");
    }
}
