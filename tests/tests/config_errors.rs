//! `validate` fails exactly when start-up fails, and both say the same.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::{PATIENCE, Weir, http, is_root, repository, within};

/// A case of the corpus of mistakes, as the command line would have it. The head of its file sets the scene:
/// `#! env NAME=value`, `#! set key=value`, `#! config URI`, `#! alone`.
struct Case {
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

fn case(path: &str) -> Case {
    let bytes = std::fs::read(repository::root().join(path)).expect("it was just listed");
    let name = path.rsplit('/').next().expect("a path has a last part").to_owned();
    let (mut configs, mut sets, mut environment) = (vec![name], Vec::new(), Vec::new());
    for line in String::from_utf8_lossy(&bytes).lines().map_while(|line| line.strip_prefix("#! ")) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("env", pair) => {
                let (name, value) = pair.split_once('=').expect("env NAME=value");
                environment.push((name.to_owned(), value.replace("\\n", "\n")));
            }
            ("set", argument) => sets.push(argument.to_owned()),
            ("config", uri) => configs.push(uri.to_owned()),
            ("alone", _) => drop(configs.remove(0)),
            other => panic!("{path}: unknown directive {other:?}"),
        }
    }
    let configs = configs.into_iter().flat_map(|uri| ["--config".to_owned(), uri]);
    let sets = sets.into_iter().flat_map(|set| ["--set".to_owned(), set]);
    Case { arguments: configs.chain(sets).collect(), environment }
}

struct Answer {
    /// Whether the command refused; a run that had to be ended did not.
    refused: bool,
    stderr: String,
}

/// Runs a verb in the folder of the corpus; ends it when it has not ended within a second.
fn answer(verb: &str, folder: &str, case: &Case, more: &[String]) -> Answer {
    let log = tempfile::NamedTempFile::new_in(repository::target()).expect("target/ is writable");
    let mut child = Command::new(repository::binary())
        .arg(verb)
        .args(&case.arguments)
        .args(more)
        .current_dir(repository::root().join(folder))
        .env_clear()
        .envs(case.environment.iter().map(|(name, value)| (name, value)))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(log.reopen().expect("it was just made"))
        .spawn()
        .expect("weir can be started");
    let mut waits = 0;
    let ended = within(PATIENCE, "weir to end or to run", || {
        waits += 1;
        match child.try_wait().expect("our own child can be asked") {
            Some(status) => Some(Some(status)),
            None if verb == "run" && waits > 200 => Some(None),
            None => None,
        }
    });
    if ended.is_none() {
        child.kill().expect("our own child can be ended");
        child.wait().expect("our own child can be waited for");
    }
    let stderr = String::from_utf8_lossy(&std::fs::read(log.path()).expect("it was just written")).into_owned();
    Answer { refused: ended.is_some_and(|status| !status.success()), stderr }
}

/// The first lines of problems: `file:line:col: error: message`.
fn errors(stderr: &str) -> Vec<&str> {
    stderr.lines().filter(|line| line.starts_with("error: ") || line.contains(": error: ")).collect()
}

/// Whether `validate` refuses a case of the corpus, and how `run` differs.
fn judged(path: &str) -> (bool, Option<String>) {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let case = case(path);
    let validated = answer("validate", folder, &case, &[]);
    // Only what is valid opens sockets, and those must be free ones.
    let ports = ["service.telemetry.metrics.address=127.0.0.1:0", "exporters.prometheus.endpoint=127.0.0.1:0"];
    let ports: Vec<String> = ports.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect();
    let run = answer("run", folder, &case, if validated.refused { &[] } else { &ports });
    let said = format!(
        "{path}\nvalidate, refused {}:\n{}\nrun, refused {}:\n{}",
        validated.refused, validated.stderr, run.refused, run.stderr
    );
    let same = validated.refused == run.refused && (!run.refused || errors(&validated.stderr) == errors(&run.stderr));
    let told = !validated.refused || !errors(&validated.stderr).is_empty();
    (validated.refused, (!same || !told).then_some(said))
}

#[test]
fn validate_fails_exactly_when_start_up_fails() {
    let corpus: Vec<String> = repository::files("", ".yaml")
        .into_iter()
        .filter(|path| path.contains("/corpus/") && !path.contains("/parts/"))
        .collect();
    assert!(corpus.len() >= 60, "the corpus has only {} cases", corpus.len());
    // Some at a time: a run that does not refuse is watched for a second.
    let quarter = corpus.len().div_ceil(4);
    let verdicts: Vec<(bool, Option<String>)> = std::thread::scope(|scope| {
        let parts =
            corpus.chunks(quarter).map(|part| scope.spawn(|| part.iter().map(|path| judged(path)).collect::<Vec<_>>()));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().expect("its own panics are told above")).collect()
    });
    let refused = verdicts.iter().filter(|(refused, _)| *refused).count();
    let wrong: Vec<String> = verdicts.into_iter().filter_map(|(_, wrong)| wrong).collect();
    assert!(refused >= 60, "only {refused} cases are refused: these are no mistakes");
    assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), corpus.len(), wrong.join("\n"));
}

/// What is no mistake, but deserves a word: receiver, further keys of the exporter, further parts, and the word.
const ODDITIES: &[(&str, &str, &str, &str)] = &[
    ("sqlquery", "", "", "alias is deprecated"),
    ("sql_query", "gates: {token: short}", "", "fewer than 16"),
    ("sql_query", "", "processors: {relabel: {metric_relabel_configs: [{regex: a, action: labeldrop}]}}\n", "relabel"),
    ("sql_query", "const_labels: {unset: '${env:NOT_SET_ANYWHERE}'}", "", "NOT_SET_ANYWHERE"),
];

#[test]
fn what_validate_only_warns_of_runs() {
    let database = repository::root().join("examples/quickstart/inventory.db");
    for (receiver, exporter, more, word) in ODDITIES {
        let yaml = format!(
            "receivers: {{{receiver}: {{driver: sqlite, datasource: '{}', queries: [{{sql: select 1 as n, metrics: [{{metric_name: a, value_column: n}}]}}]}}}}\n{more}exporters: {{prometheus: {{endpoint: '${{env:WEIR_LISTEN:-127.0.0.1:9464}}', {exporter}}}}}\nservice:\n  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY:-127.0.0.1:8888}}'}}}}\n  pipelines: {{metrics: {{receivers: [{receiver}], exporters: [prometheus]}}}}\n",
            database.display()
        );
        let validated = Weir::command(&["validate", "--config", &format!("yaml:{yaml}")], &[]);
        assert_eq!(validated.code(), 0, "{word}: {}", validated.stderr);
        assert!(
            validated.stderr.contains("warning") && validated.stderr.contains(word),
            "{word}: {}",
            validated.stderr
        );
        let weir = Weir::run_text(&yaml).start();
        assert!(weir.stderr().contains(word), "start-up warns too, of {word}: {}", weir.stderr());
    }
}

/// Mistakes that no component alone can see.
const HOUSEHOLD_MISTAKES: &[(&str, &str)] = &[
    (
        "two exporters on one port",
        "exporters: {prometheus/a: {endpoint: '127.0.0.1:19464'}, prometheus/b: {endpoint: '127.0.0.1:19464'}}\nuse: prometheus/a, prometheus/b",
    ),
    (
        "an exporter on the port of own telemetry",
        "exporters: {prometheus: {endpoint: '127.0.0.1:18888'}}\nuse: prometheus",
    ),
];

#[test]
fn mistakes_of_the_whole_are_found_by_validate() {
    for (what, text) in HOUSEHOLD_MISTAKES {
        let (exporters, used) = text.split_once("\nuse: ").expect("the table says what is used");
        let yaml = format!(
            "receivers: {{sql_query: {{driver: sqlite, datasource: x.db, queries: [{{sql: select 1 as value, metrics: [{{metric_name: a, value_column: value}}]}}]}}}}\n{exporters}\nservice:\n  telemetry: {{metrics: {{address: '127.0.0.1:18888'}}}}\n  pipelines: {{metrics: {{receivers: [sql_query], exporters: [{used}]}}}}\n"
        );
        let uri = format!("yaml:{yaml}");
        let validated = Weir::command(&["validate", "--config", &uri], &[]);
        assert_ne!(validated.code(), 0, "{what} passes validate");
        let run = Weir::run_text(&yaml).start_and_end(Duration::from_secs(10));
        assert_ne!(run.code(), 0, "{what} runs");
        assert_eq!(
            errors(&validated.stderr).len(),
            errors(&run.stderr).len(),
            "{what}: {}\n{}",
            validated.stderr,
            run.stderr
        );
    }
}

/// Mistakes with OTLP, in a file whose fourth line is the receiver and whose sixth the exporter: both, and all that is told.
const OTLP_MISTAKES: &[(&str, &str, &str)] = &[
    (
        "{protocols: {grpc: {endpoint: '127.0.0.1:14317'}, http: {endpoint: '127.0.0.1:14318'}}}",
        "prometheus: {endpoint: '127.0.0.1:14318'}",
        "weir.yaml:6:26: error: exporters::prometheus: the address 127.0.0.1:14318 is held by receivers::otlp already
 6 |   prometheus: {endpoint: '127.0.0.1:14318'}
   |                          ^
   = first held here at weir.yaml:4:86
   = path: exporters::prometheus
   = help: only one component may hold it: change one of them
",
    ),
    (
        "{protocols: {http: {endpoint: '127.0.0.1:0'}}}",
        "otlp_http: {endpoint: 'http://x:1', compression: snappy}",
        "weir.yaml:6:52: error: 'compression' has unknown value \"snappy\" (valid values: [gzip zstd none])
 6 |   otlp_http: {endpoint: 'http://x:1', compression: snappy}
   |                                                    ^
   = path: exporters::otlp_http::compression
",
    ),
    (
        "{protocols: {http: {endpoint: '127.0.0.1:0'}}}",
        "otlp_http: {endpoint: 'x:1'}",
        "weir.yaml:6:25: error: \"endpoint\" must be a URL with a scheme
 6 |   otlp_http: {endpoint: 'x:1'}
   |                         ^
   = path: exporters::otlp_http::endpoint
   = help: write it as in http://localhost:4318 or https://otlp.example.com
",
    ),
    (
        "{protocols: {http: {endpoint: '127.0.0.1:0'}}}",
        "otlp_grpc: {endpoint: x}",
        "weir.yaml:6:25: error: address x: missing port in address
 6 |   otlp_grpc: {endpoint: x}
   |                         ^
   = path: exporters::otlp_grpc::endpoint
   = help: write host:port, as in localhost:4317 or otlp.example.com:4317
",
    ),
];

#[test]
fn mistakes_with_otlp_are_told_where_they_stand_and_how_it_would_be_right() {
    for (receiver, exporter, expected) in OTLP_MISTAKES {
        let kind = exporter.split_once(':').expect("a kind and its section").0;
        let yaml = format!(
            "service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [{kind}]}}}}
receivers: {{otlp: {receiver}}}
exporters:
  {exporter}
"
        );
        let home = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
        let config = home.path().join("weir.yaml");
        std::fs::write(&config, yaml).expect("target/ is writable");
        let config = config.display().to_string();
        let told = Weir::command(&["validate", "--config", &config], &[]).stderr;
        assert_eq!(told.replace(&config, "weir.yaml"), *expected);
    }
}

/// Mistakes with folders for state: what is done to the folder `S` beforehand, the directories of two storages, and the one error that
/// is told.
type StateMistake = (fn(&Path), [&'static str; 2], &'static str);

const STATE_MISTAKES: &[StateMistake] = &[
    (
        |folder| std::os::unix::fs::symlink(".", folder.join("link")).expect("a link can be made"),
        ["S", "S/link"],
        "4:31: error: extensions::file_storage/b: the path S/link is held by extensions::file_storage already",
    ),
    (
        |folder| std::fs::write(folder.join("receivers"), "").expect("a file can be made"),
        ["S", "S/b, create_directory: true"],
        "1:57: error: S/receivers is no folder",
    ),
    (
        |folder| std::fs::write(folder.join("a"), "").expect("a file can be made"),
        ["S/a/b, create_directory: true", "S"],
        "3:29: error: S/a/b: S/a is no folder",
    ),
    (
        |folder| {
            let may_not = std::os::unix::fs::PermissionsExt::from_mode(0o555);
            std::fs::set_permissions(folder, may_not).expect("it is our own");
        },
        ["S", "/tmp"],
        "1:57: error: S cannot be written: Permission denied (os error 13)",
    ),
];

/// Weir as somebody whom rights hold, which they do not for root.
fn bound_by_rights(arguments: [&str; 3]) -> std::process::Output {
    let mut command = Command::new(if is_root() { Path::new("setpriv") } else { repository::binary() });
    if is_root() {
        command.args(["--inh-caps=-all", "--bounding-set=-all"]).arg(repository::binary());
    }
    command.args(arguments).env_clear().output().expect("weir can be started")
}

#[test]
fn a_folder_that_start_up_could_not_use_is_found_by_validate() {
    for (prepare, [first, second], expected) in STATE_MISTAKES {
        let home = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
        let folder = home.path().join("state");
        std::fs::create_dir(&folder).expect("target/ is writable");
        prepare(&folder);
        let text = |text: &str| text.replace("S", &folder.display().to_string());
        let yaml = format!(
            "receivers: {{breaker: {{endpoint: '127.0.0.1:0', storage: file_storage}}}}
extensions:
  file_storage: {{directory: {}}}
  file_storage/b: {{directory: {}}}
exporters: {{debug: }}
service:
  extensions: [file_storage, file_storage/b]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [breaker], exporters: [debug]}}}}
",
            text(first),
            text(second)
        );
        let config = home.path().join("weir.yaml");
        std::fs::write(&config, yaml).expect("target/ is writable");
        let config = config.display().to_string();
        for verb in ["validate", "run"] {
            let answer = bound_by_rights([verb, "--config", &config]);
            let stderr = String::from_utf8_lossy(&answer.stderr);
            assert!(!answer.status.success(), "{verb} takes it: {expected}");
            let (place, message) = expected.split_once(' ').expect("a place and a message");
            assert_eq!(errors(&stderr), [format!("{config}:{place} {}", text(message))], "{verb}: {stderr}");
        }
    }
}

#[test]
fn a_processor_of_metrics_in_a_pipeline_of_traces_is_told_where_it_stands_and_what_it_carries() {
    let yaml = "receivers: {otlp: {protocols: {http: {endpoint: '127.0.0.1:0'}}}}
processors: {relabel: {metric_relabel_configs: [{regex: a, action: labeldrop}]}}
exporters: {debug: {}}
service:
  pipelines:
    metrics: {receivers: [otlp], processors: [relabel], exporters: [debug]}
    traces: {receivers: [otlp], processors: [relabel], exporters: [debug]}
";
    let folder = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
    let path = folder.path().join("weir.yaml");
    std::fs::write(&path, yaml).expect("target/ is writable");
    let path = path.display().to_string();
    let validated = Weir::command(&["validate", "--config", &path], &[]);
    assert_ne!(validated.code(), 0);
    let expected = format!(
        "{path}:7:46: error: failed to create \"relabel\" processor for data type \"traces\": telemetry type is not supported"
    );
    assert_eq!(errors(&validated.stderr), [expected], "{}", validated.stderr);
    for told in ["service::pipelines::traces::processors[0]", "\"relabel\" carries metrics"] {
        assert!(validated.stderr.contains(told), "{told}: {}", validated.stderr);
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_its_component() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    let launch = Weir::run("examples/quickstart/weir.yaml").listen("UNUSED", "/metrics").env("WEIR_LISTEN", &address);
    let outcome = launch.start_and_end(Duration::from_secs(10));
    assert_ne!(outcome.code(), 0);
    assert!(outcome.stderr.contains(&address) && outcome.stderr.contains("prometheus"), "{}", outcome.stderr);
}

#[test]
fn problems_come_as_json_too() {
    let uri = "yaml:receivers: {sql_qery: {}}";
    let outcome = Weir::command(&["validate", "--format", "json", "--config", uri], &[]);
    assert_ne!(outcome.code(), 0);
    let problems: serde_json::Value = serde_json::from_str(&outcome.stdout).expect("JSON on standard output");
    let text = problems.to_string();
    assert!(text.contains("sql_qery"), "{text}");
}

#[test]
fn a_secret_is_shown_nowhere() {
    const CANARY: &str = "a-canary-of-proper-length";
    let environment = [("CB_API_TOKEN", CANARY), ("CB_DATABASE", "x.db")];
    let config = "examples/circuit-breaker/weir.yaml";
    for arguments in [
        &["print-config", "--config", config][..],
        &["print-config", "--redacted", "--config", config],
        &["validate", "--config", config, "--set", "exporters.prometheus.gates.tken=x"],
    ] {
        let outcome = Weir::command(arguments, &environment);
        assert!(!outcome.stdout.contains(CANARY) && !outcome.stderr.contains(CANARY), "{arguments:?} shows the token");
    }
    let inventory = tests::Inventory::household();
    let weir = Weir::run(config)
        .listen("CB_LISTEN", "/api/v1/metrics")
        .env("CB_DATABASE", inventory.path())
        .env("CB_API_TOKEN", CANARY)
        .start();
    let telemetry = http::get(weir.telemetry, "/metrics", &[]).expect("own telemetry answers");
    assert!(!telemetry.text().contains(CANARY) && !weir.stderr().contains(CANARY));
}
