use pdata::{LogRecord, Logs, UnixNanos, Value};
use pipeline::testing::{batch_of, context};

use super::*;

fn build(yaml: &str) -> Box<dyn Exporter> {
    let section = Section::from_yaml("debug", yaml).unwrap();
    plan(&section).unwrap().build(context("debug")).unwrap()
}

fn told(yaml: &str, batches: &[Batch]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out");
    let exporter = build(&format!("{yaml}\nuse_internal_logger: false\noutput_paths: [{}]", path.display()));
    for batch in batches {
        futures_util::FutureExt::now_or_never(exporter.export(batch)).unwrap().unwrap();
    }
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn basic_counts_and_normal_tells_each_point() {
    assert_eq!(told("verbosity: basic", &[batch_of(2)]), "Metrics data points=2\n");
    assert_eq!(told("verbosity: normal", &[batch_of(2)]), "Metrics data points=2\nm 0\nm 1\n");
}

#[test]
fn detailed_tells_type_and_time() {
    let text = told("verbosity: detailed", &[batch_of(1)]);
    assert!(text.contains("type=Gauge") && text.contains("time=1"), "{text}");
}

#[test]
fn spans_are_told_too() {
    // One span "check" with a span id, in a resource and a scope.
    let body: &[u8] = b"\x0a\x15\x12\x13\x12\x11\x12\x08\x01\x02\x03\x04\x05\x06\x07\xff\x2a\x05check";
    let traces = pdata::otlp::decode_traces(body.into()).unwrap();
    let batch = Batch::new(traces, UnixNanos(1));
    assert_eq!(told("verbosity: normal", &[batch]), "Traces spans=1\ncheck trace_id= span_id=01020304050607ff\n");
}

#[test]
fn log_records_are_told_too() {
    let record = LogRecord { body: Value::from("hello"), event_name: "job.done".into(), ..LogRecord::default() };
    let batch = Batch::new(Logs { records: vec![record] }, UnixNanos(1));
    assert_eq!(told("verbosity: normal", &[batch]), "Logs records=1\njob.done hello\n");
}

#[test]
fn a_large_batch_is_cut() {
    let text = told("verbosity: normal", &[batch_of(1003)]);
    assert!(text.ends_with("… and 3 more\n"));
}

#[test]
fn the_log_is_the_default_and_what_is_odd_is_told() {
    build("");
    let odd = Section::from_yaml("debug", "output_paths: [stderr]").unwrap();
    assert!(!plan(&odd).unwrap().warnings().is_empty());
    let wrong = Section::from_yaml("debug", "use_internal_logger: false\noutput_paths: []").unwrap();
    let problems = plan(&wrong).err().unwrap();
    assert!(problems.iter().next().unwrap().message.contains("'output_paths' is empty"));
}
