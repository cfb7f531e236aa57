//! What checking promises about types; the corpus of mistakes shows the messages.

use super::{KindInfo, Known, check};
use crate::{MapEnvironment, Sources, load};

fn known() -> Known {
    let kind = |kind, aliases| KindInfo { kind, aliases, built: true, feature: "" };
    Known {
        receivers: vec![kind("sql_query", &[] as &[_]), kind("otlp", &[])],
        exporters: vec![kind("otlp_grpc", &["otlp"]), kind("otlp_http", &[])],
        connectors: vec![kind("count", &[])],
        ..Known::default()
    }
}

fn messages(text: &str) -> Vec<String> {
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    let loaded = load(&sources, &MapEnvironment::new());
    assert!(loaded.problems.is_empty(), "{}", loaded.problems);
    check(&loaded.document.unwrap(), &known()).iter().map(|problem| problem.message.clone()).collect()
}

#[test]
fn both_spellings_and_older_names_find_their_type() {
    let known = known();
    for (class, word, kind) in [
        ("receivers", "sqlquery", "sql_query"),
        ("receivers", "sql_query", "sql_query"),
        ("exporters", "otlp", "otlp_grpc"),
        ("exporters", "otlphttp", "otlp_http"),
        ("receivers", "otlp", "otlp"),
    ] {
        assert_eq!(known.find(class, word).map(|info| info.kind), Some(kind), "{class} {word}");
    }
    assert!(known.find("processors", "sql_query").is_none());
}

#[test]
fn a_sound_document_has_no_problem() {
    let text = "receivers: {sql_query/a: }\nexporters: {otlp_grpc: }\nconnectors: {count: }\nservice:\n  pipelines:\n    \
                logs: {receivers: [sql_query/a], exporters: [count]}\n    \
                metrics: {receivers: [count, sql_query/a], exporters: [otlp_grpc]}\n";
    assert_eq!(messages(text), Vec::<String>::new());
}

#[test]
fn one_text_is_a_list_of_references() {
    let text = "receivers: {sql_query/a: , sql_query/b: }\nexporters: {otlp_grpc: }\nservice:\n  pipelines:\n    \
                logs: {receivers: 'sql_query/a, sql_query/b', exporters: otlp_grpc}\n";
    assert_eq!(messages(text), Vec::<String>::new());
}
