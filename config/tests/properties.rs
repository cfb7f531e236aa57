//! What holds for every input.

use config::{ByteSize, ComponentId, Duration, MapEnvironment, PipelineId, Section, Sources, check, load, print};
use proptest::prelude::*;

mod components;

/// Loads a file with these bytes and does all that the agent does with it.
fn swallow(bytes: &[u8]) {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("weir.yaml");
    std::fs::write(&path, bytes).expect("the file can be written");
    let sources = Sources { configs: vec![path.to_string_lossy().into_owned()], sets: Vec::new() };
    let loaded = load(&sources, &MapEnvironment::new().with("A", "${A} {b: [c"));
    drop((loaded.problems.render(&loaded.files), loaded.problems.to_json(&loaded.files)));
    drop((print(&loaded, true), print(&loaded, false)));
    if let Some(document) = &loaded.document {
        drop((check(document, &components::known()), components::decode_all(document)));
    }
}

/// Text that is nearly a configuration.
fn nearly_yaml() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "receivers:",
        "exporters:",
        "service:",
        "pipelines:",
        "metrics:",
        "sql_query",
        "sql_query:",
        "prometheus:",
        "queries:",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ",",
        ": ",
        "&a ",
        "*a",
        "<<: ",
        "\"",
        "'",
        "|\n",
        "${",
        "${env:A}",
        "$$",
        "::",
        "null",
        "~",
        "5",
        "5s",
        "0x1",
        "#",
        "---\n",
        "!!str ",
        "\t",
        "é",
        "\u{0}",
        "? ",
        "enabled: false",
        "sql: ",
        "tls:",
    ]);
    prop::collection::vec(word, 0..60).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_are_a_configuration_or_a_problem(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        swallow(&bytes);
    }

    #[test]
    fn nearly_a_configuration_is_one_or_a_problem(text in nearly_yaml()) {
        swallow(text.as_bytes());
    }

    #[test]
    fn durations_come_back_as_they_went(nanos in 0..i64::MAX as u64) {
        let duration = Duration::from(std::time::Duration::from_nanos(nanos));
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
    }

    #[test]
    fn durations_round_trip_through_a_section(millis in 0u64..1_000_000_000_000) {
        #[derive(serde::Deserialize)]
        struct Config { every: Duration }
        let duration = Duration::from_millis(millis);
        let config: Config = Section::from_yaml("a", &format!("every: {duration}")).unwrap().decode().unwrap();
        prop_assert_eq!(config.every, duration);
    }

    #[test]
    fn any_text_is_a_duration_a_size_and_an_id_or_not(text in "[0-9a-zµ./ +-]{0,20}|.{0,20}") {
        drop((text.parse::<Duration>(), text.parse::<ByteSize>(), text.parse::<PipelineId>()));
        if let Ok(id) = text.parse::<ComponentId>() {
            prop_assert_eq!(id.to_string().parse::<ComponentId>(), Ok(id));
        }
    }

    #[test]
    fn sizes_come_back_as_they_went(bytes in any::<u64>()) {
        let size = ByteSize::from_bytes(bytes);
        prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
    }
}

/// Every value of a whole configuration, each in turn taken from the environment.
#[test]
fn a_secret_in_any_value_is_never_shown() {
    let leaves = [
        "receivers::sql_query::driver",
        "receivers::sql_query::port",
        "receivers::sql_query::collection",
        "receivers::sql_query::collection_interval",
        "receivers::sql_query::queries",
        "receivers::sql_query",
        "exporters::prometheus::endpoint",
        "exporters::prometheus::const_labels",
        "exporters::prometheus::max_body",
        "exporters::prometheus::sample_ratio",
        "exporters::prometheus::tls",
        "exporters::prometheus::tls::enabled",
        "exporters::prometheus::gates::cidrs",
        "exporters::prometheus::unknown",
        "exporters::debug::verbosity",
        "service::pipelines::metrics::receivers",
        "service::pipelines::metrics",
        "service::extensions",
        "service::telemetry::logs::level",
        "service",
    ];
    let secrets = [
        "c4n4ry",
        "c4n4ry\"with\\quotes'",
        "c4n4ry\nlines\n",
        "{c4n4ry: {c4n4ry: c4n4ry}}",
        "[c4n4ry, c4n4ry]",
        "5c4n4ry",
        "c4n4ry: x",
        "\"c4n4ry\" # c4n4ry",
        "${c4n4ry}",
        "${env:c4n4ry!}",
        "${file:c4n4ry}",
        "[c4n4ry",
        "{a: 'c4n4ry${1}'}",
        "{cidrs: 'c4n4ry$$', token: ['c4n4ry${env:c4n4ry}']}",
        "c4n4ry,c4n4ry",
        "é c4n4ry/ +",
    ];
    for leaf in leaves {
        for secret in secrets {
            for reference in ["${env:X}", "a${X}b", "${file:${X}}", "${X}${X}"] {
                let sources = Sources {
                    configs: vec![format!("yaml:{leaf}: \"{reference}\"")],
                    sets: vec!["exporters.debug.verbosity=basic".to_owned()],
                };
                let loaded = load(&sources, &MapEnvironment::new().with("X", secret));
                let mut problems = loaded.problems.clone();
                if let Some(document) = &loaded.document {
                    problems.extend(check(document, &components::known()));
                    problems.extend(components::decode_all(document));
                }
                let shown = problems.render(&loaded.files);
                assert!(!shown.contains("c4n4ry"), "{leaf}: {reference} = {secret}\n{shown}");
                let shown = print(&loaded, true);
                assert!(!shown.contains("c4n4ry"), "{leaf}: {reference} = {secret}\n{shown}");
            }
        }
    }
}

#[test]
fn a_file_of_more_than_a_mebibyte_is_refused() {
    let dir = tempfile::tempdir().expect("a folder for the test");
    let path = dir.path().join("large.yaml");
    std::fs::write(&path, vec![b'#'; config::MAX_FILE_BYTES + 1]).expect("the file can be written");
    let sources = Sources { configs: vec![path.to_string_lossy().into_owned()], sets: Vec::new() };
    let loaded = load(&sources, &MapEnvironment::new());
    assert!(loaded.problems.to_string().contains("has more than 1 MiB"), "{}", loaded.problems);
}
