use super::*;
use crate::testing::REGISTRY;

/// Exit code, standard output, standard error.
fn weir(arguments: &[&str]) -> (Exit, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let arguments = std::iter::once("weir").chain(arguments.iter().copied()).map(OsString::from);
    let exit = dispatch(arguments, REGISTRY, &mut out, &mut err);
    (exit, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const GOOD: &str = "yaml:{receivers: {source: {password: c4n4ry}}, exporters: {sink: }, service: {telemetry: {metrics: {level: none}}, \
                    pipelines: {metrics: {receivers: [source], exporters: [sink]}}}}";

fn parse(arguments: &[&str]) -> Cli {
    Cli::try_parse_from(std::iter::once("weir").chain(arguments.iter().copied())).unwrap()
}

#[test]
fn the_command_line_has_no_contradictions() {
    Cli::command().debug_assert();
}

#[test]
fn without_a_verb_it_runs() {
    let cli = parse(&["--config", "a.yaml", "--config", "b.yaml", "--set", "a.b=1", "--drain-timeout", "3s"]);
    assert!(cli.verb.is_none());
    let sources = cli.run.config.sources();
    assert_eq!((sources.configs, sources.sets), (vec!["a.yaml".into(), "b.yaml".into()], vec!["a.b=1".into()]));
    assert_eq!(cli.run.drain_timeout.get().as_secs(), 3);
    assert!(matches!(parse(&["run", "--config", "a.yaml"]).verb, Some(Verb::Run(_))));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    assert_eq!(weir(&["--confg", "x"]).0, Exit::Usage);
    assert_eq!(weir(&["run", "--drain-timeout", "5"]).0, Exit::Usage);
    let (exit, _, err) = weir(&["validate", "--config", GOOD, "--feature-gates", "+nosuch"]);
    assert_eq!((exit, err.as_str()), (Exit::Usage, "error: no such feature gate \"nosuch\": weir has none\n"));
}

#[test]
fn settled_gates_of_the_collector_are_let_through_with_a_warning() {
    let (exit, _, err) =
        weir(&["validate", "--config", GOOD, "--feature-gates=-service.partialReload,+otelcol.printInitialConfig"]);
    assert_eq!(exit, Exit::Success);
    assert_eq!(err.matches("has no effect").count(), 2, "{err}");
}

#[test]
fn help_and_version_go_to_standard_output() {
    let (exit, out, _) = weir(&["--help"]);
    assert_eq!(exit, Exit::Success);
    assert!(out.contains("print-config"), "{out}");
    assert_eq!(weir(&["version"]).1, format!("weir version {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_sound_configuration_validates_in_silence() {
    assert_eq!(weir(&["validate", "--config", GOOD]), (Exit::Success, String::new(), String::new()));
}

#[test]
fn problems_are_told_as_text_or_json() {
    let set = ["--config", GOOD, "--set", "receivers.source.batchs=1"];
    let (exit, out, err) = weir(&[&["validate"], &set[..]].concat());
    assert_eq!((exit, out.as_str()), (Exit::Failure, ""));
    assert!(err.contains("has invalid keys: batchs") && err.contains("did you mean `batches`"), "{err}");
    let (exit, out, err) = weir(&[&["validate", "--format", "json"], &set[..]].concat());
    assert_eq!((exit, err.as_str()), (Exit::Failure, ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(json.to_string().contains("batchs"), "{json:#}");
    assert!(!out.contains("c4n4ry"));
}

#[test]
fn warnings_do_not_fail_a_configuration() {
    let (exit, _, err) = weir(&["validate", "--config", GOOD, "--set", "receivers.source/spare={}"]);
    assert_eq!(exit, Exit::Success);
    assert!(err.contains("warning"), "{err}");
}

#[test]
fn a_printed_configuration_hides_secrets_unless_told_otherwise() {
    let (exit, out, _) = weir(&["print-config", "--config", GOOD]);
    assert_eq!(exit, Exit::Success);
    assert!(out.contains("password: '[REDACTED]'") || out.contains("password: \"[REDACTED]\""), "{out}");
    let (_, out, _) = weir(&["print-config", "--format", "json", "--config", GOOD]);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["receivers"]["source"]["password"], "[REDACTED]");
    assert_eq!(json["service"]["pipelines"]["metrics"]["receivers"][0], "source");
    for mode in [&["--unredacted"][..], &["--mode", "unredacted"]] {
        assert!(weir(&[&["print-config", "--config", GOOD], mode].concat()).1.contains("c4n4ry"));
    }
}

#[test]
fn components_are_listed_as_yaml() {
    let expected = format!(
        "buildinfo:
    command: weir
    version: {}
receivers:
    - name: source
      aliases: [spring]
      about: \"Sends batches of gauges.\"
      feature: receiver-source
    - name: log_source
      about: \"Carries logs only.\"
processors:
    - name: thin
      about: \"Drops every second batch.\"
      feature: processor-thin
exporters:
    - name: sink
      about: \"Takes batches, or not.\"
      feature: exporter-sink
extensions: []
",
        env!("CARGO_PKG_VERSION")
    );
    let none = crate::registry::Class { built: &[], known: &[], prefix: "" };
    assert_eq!(show::components(Registry { extensions: none, ..REGISTRY }), expected);
    assert!(weir(&["components"]).1.starts_with("buildinfo:\n"));
}

#[test]
fn every_shell_gets_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(weir(&["completions", shell]).1.contains("print-config"), "{shell}");
    }
}

#[cfg(feature = "queue")]
#[tokio::test]
async fn a_queue_is_listed_verified_exported_and_emptied_from_outside() {
    use pipeline::spool::{Parcel, Spool, SpoolOptions};
    use pipeline::{Clock, Health, Meters};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue");
    let queue = path.to_str().unwrap();
    let (exit, _, err) = weir(&["queue", "ls", queue]);
    assert_eq!((exit, err.contains("is no folder")), (Exit::Failure, true), "{err}");
    let options = SpoolOptions { max_partitions: 4, ..SpoolOptions::default() };
    let health = Health::default();
    let spool = Spool::open(&path, options, &Clock::system(), &Meters::unread(), &health, "otlp").unwrap();
    let request = |name: &str| {
        let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"eventName":"{name}"}}]}}]}}]}}"#);
        let nest = |tag: u8, inner: &[u8]| [&[tag, inner.len() as u8][..], inner].concat();
        (nest(0x0a, &nest(0x12, &nest(0x12, &nest(0x62, name.as_bytes())))), text + "\n")
    };
    for (key, name) in [("", "one"), ("tenant a", "two"), ("tenant a", "three")] {
        let body = request(name).0.into();
        let parcel = Parcel { items: 2, signal: config::Signal::Logs, body, ..Parcel::default() };
        spool.store(key, parcel).await.unwrap();
    }
    let (exit, out, _) = weir(&["queue", "ls", queue]);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((exit, lines.len()), (Exit::Success, 2));
    assert!(lines[0].starts_with("common partition: 1 batches, 2 items, "), "{out}");
    assert!(lines[1].starts_with("partition \"tenant a\": 2 batches, 4 items, ") && lines[1].ends_with(" s"), "{out}");
    assert_eq!(weir(&["queue", "verify", queue]).0, Exit::Success);
    let (_, out, _) = weir(&["queue", "export", queue, "--partition", "tenant a", "--format", "protobuf"]);
    let delimited = |name: &str| [&[request(name).0.len() as u8][..], &request(name).0].concat();
    assert_eq!(out.into_bytes(), [delimited("two"), delimited("three")].concat());
    let (_, out, _) = weir(&["queue", "export", queue, "--partition", "tenant a"]);
    assert_eq!(out, [request("two").1, request("three").1].concat(), "what can be sent as it is, a line each");
    let (_, out, _) = weir(&["queue", "export", queue, "--signal", "metrics"]);
    assert_eq!(out, "");
    let (_, out, _) = weir(&["queue", "export", queue, "--format", "described"]);
    let json: serde_json::Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let name = &json["request"]["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["eventName"];
    assert_eq!((name, &json["items"], &json["seq"]), (&"one".into(), &2.into(), &1.into()));
    assert!(
        json.get("partition").is_none() && out.lines().next().unwrap().contains(r#""partition":"tenant a""#),
        "{out}"
    );
    weir(&["queue", "export", queue, "--to", folder.path().to_str().unwrap()]);
    assert_eq!(std::fs::read(folder.path().join("00000000000000000003.logs.pb")).unwrap(), request("three").0);
    // What is none is told, and holds back nothing.
    let parcel = Parcel { items: 1, signal: config::Signal::Logs, body: "none".into(), ..Parcel::default() };
    spool.store("", parcel).await.unwrap();
    let (exit, out, err) = weir(&["queue", "export", queue]);
    assert_eq!((exit, out.lines().count()), (Exit::Failure, 3), "{out}");
    assert!(err.starts_with("batch 4 is left out, it is no OTLP request: "), "{err}");
    let (exit, _, err) = weir(&["queue", "purge", queue, "--yes"]);
    assert_eq!((exit, err.contains("in use by another process")), (Exit::Failure, true), "{err}");
    spool.close().await;
    drop(spool);
    let told = |args: &[&str]| weir(&[&["queue", "purge", queue, "--partition", "tenant a"], args].concat()).1;
    assert_eq!(told(&[]), "would delete (write --yes) 2 batches, 4 items\n");
    assert_eq!(told(&["--yes"]), "deleted 2 batches, 4 items\n");
    assert_eq!(told(&["--yes"]), "deleted 0 batches, 0 items\n");
    assert_eq!(weir(&["queue", "purge", queue, "--dead-letters", "--yes"]).1, "deleted 0 batches, 0 items\n");
    // A flipped byte is told, and where.
    let segment = std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|found| found == "seg")).unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[3] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (exit, out, _) = weir(&["queue", "verify", queue]);
    assert_eq!((exit, out.contains("bytes 0 to 14 are damaged")), (Exit::Failure, true), "{out}");
}

#[test]
fn who_names_a_configuration_without_its_flag_is_shown_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    for arguments in [&[path][..], &["validate", path], &["run", path]] {
        let (exit, _, err) = weir(arguments);
        assert_eq!(exit, Exit::Usage);
        assert!(err.contains(&format!("tip: a configuration is named with --config {path}\n")), "{arguments:?}: {err}");
    }
    assert!(!weir(&["validte"]).2.contains("--config validte"));
}

#[cfg(all(feature = "ledger", feature = "queue"))]
#[test]
fn who_names_a_whole_storage_is_shown_the_folders_in_it() {
    let storage = tempfile::tempdir().unwrap();
    for (verb, folder) in [("ledger", "receivers/breaker~a"), ("queue", "exporters/otlp_http")] {
        let folder = storage.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let (exit, _, err) = weir(&[verb, "ls", storage.path().to_str().unwrap()]);
        assert_eq!(exit, Exit::Failure);
        assert!(err.ends_with(&format!("  = help: name one of the folders in it: {}\n", folder.display())), "{err}");
    }
}

#[cfg(feature = "ledger")]
#[test]
fn a_ledger_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    for verb in ["ls", "verify", "export"] {
        let (exit, out, err) = weir(&["ledger", verb, folder.path().to_str().unwrap()]);
        assert_eq!((exit, out.as_str()), (Exit::Failure, ""), "{verb}");
        assert!(err.contains("cannot read the ledger"), "{verb}: {err}");
    }
}
