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
