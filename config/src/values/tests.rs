//! What the types say of themselves to `weir schema`, and what they write.

use schemars::JsonSchema;
use serde::Serialize;

use super::{ByteSize, Duration, Optional, Secret, StringList};

#[derive(Default, Serialize, JsonSchema)]
struct Config {
    every: Duration,
    limit: ByteSize,
    token: Secret,
    names: StringList,
    tls: Optional<Tls>,
}

#[derive(Default, Serialize, JsonSchema)]
struct Tls {
    cert_file: String,
}

#[test]
fn a_schema_names_what_may_be_written() {
    let schema = serde_json::to_value(schemars::schema_for!(Config)).unwrap();
    let defined = |name: &str| &schema["$defs"][name];
    assert_eq!(defined("Duration")["type"], "string");
    assert_eq!(defined("ByteSize")["type"], serde_json::json!(["string", "integer"]));
    assert_eq!(defined("Secret")["writeOnly"], true);
    assert_eq!(defined("StringList")["anyOf"][1]["type"], "string");
    let tls = defined("Optional_Tls");
    assert_eq!(tls["properties"]["enabled"]["type"], "boolean");
    assert_eq!(tls["type"], serde_json::json!(["object", "null"]));
}

#[test]
fn secrets_are_never_written() {
    let config = Config { token: Secret::new("c4n4ry"), every: Duration::from_secs(90), ..Config::default() };
    let written = serde_json::to_string(&config).unwrap();
    assert!(
        written.contains("[REDACTED]") && written.contains("\"1m30s\"") && !written.contains("c4n4ry"),
        "{written}"
    );
    assert_eq!(format!("{0} {0:?} {1}", config.token, config.token.expose().len()), "[REDACTED] [REDACTED] 6");
}
