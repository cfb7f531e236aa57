//! Programs that nobody here wrote, and what they say of a body. `tests/judges.sh` sets them up.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use crate::process::{Process, folder, free_addresses};
use crate::{PATIENCE, Weir, http, repository};

/// Whether promtool's lints may fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// We chose the names: they follow Prometheus' conventions.
    Ours,
    /// A system's page fixes them: promtool may find fault with them (exit code 3), never with the format (1).
    Given,
}

/// Lets every judge see every body of a running weir: text and OpenMetrics, plain and gzip, HEAD.
///
/// # Panics
/// When one of them is not content; the message says which, and why.
pub fn accept(weir: &Weir, token: Option<&str>, names: Names) {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let asking = |headers: &[(&'static str, &'static str)]| {
        let mut all: Vec<(&str, &str)> = headers.to_vec();
        all.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        let response = weir.get(&all);
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
        response
    };
    let text = asking(&[http::TEXT]);
    let squeezed = asking(&[http::TEXT, http::GZIP]);
    assert_eq!(squeezed.header("content-encoding"), Some("gzip"));
    assert!(text.header("content-type").is_some_and(|kind| kind.starts_with("text/plain; version=0.0.4")));
    let open = asking(&[http::OPEN_METRICS]);
    let open_squeezed = asking(&[http::OPEN_METRICS, http::GZIP]);
    assert!(
        open.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text; version=1.0.0"))
    );
    for body in [&text, &squeezed] {
        crate::exposition::Exposition::read(body.text());
        promtool(&body.body, names);
        pushgateway(&body.body);
    }
    for body in [&open, &open_squeezed] {
        open_metrics(&body.body);
    }
}

/// A program that `tests/judges.sh` has set up; the first call runs it.
///
/// # Panics
/// When it cannot be set up: nothing is skipped.
pub fn program(name: &str) -> PathBuf {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    let home = HOME.get_or_init(|| {
        let script = repository::root().join("tests/judges.sh");
        let done = Command::new("bash").arg(script).output().expect("there is a bash");
        assert!(done.status.success(), "tests/judges.sh: {}", String::from_utf8_lossy(&done.stderr));
        repository::root().join("target/judges")
    });
    if name.contains('/') { home.join(name) } else { home.join("bin").join(name) }
}

/// `promtool check metrics` of a text body.
///
/// # Panics
/// On a parse error; on a lint when the names are ours.
pub fn promtool(body: &[u8], names: Names) {
    let output = piped(Command::new(program("promtool")).args(["check", "metrics"]), body);
    let content = matches!((output.status.code(), names), (Some(0), _) | (Some(3), Names::Given));
    assert!(content, "promtool: {}\n{}{}", output.status, said(&output), String::from_utf8_lossy(body));
}

/// The strict OpenMetrics 1.0 parser of PyPI's prometheus_client, and that no series stands twice, which it does not check.
///
/// # Panics
/// When it refuses the body.
pub fn open_metrics(body: &[u8]) {
    const SCRIPT: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = sys.stdin.buffer.read().decode('utf-8')
seen = set()
for family in parse(text):
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in seen, f'{key} stands twice'
        seen.add(key)
assert seen, 'no sample at all'
";
    let output = piped(Command::new(program("venv/bin/python")).args(["-c", SCRIPT]), body);
    assert!(output.status.success(), "OpenMetrics: {}\n{}", said(&output), String::from_utf8_lossy(body));
}

/// Pushgateway's consistency check of a text body, on a fresh one.
///
/// # Panics
/// When it refuses the body.
pub fn pushgateway(body: &[u8]) {
    let [address] = free_addresses();
    let mut command = Command::new(program("prometheus-pushgateway"));
    command.arg(format!("--web.listen-address={address}"));
    let mut gateway = Process::start("pushgateway", &mut command, folder("pushgateway-"));
    gateway.until(PATIENCE, "being ready", || http::get(address, "/-/ready", &[]).is_ok_and(|r| r.status == 200));
    let answer = http::request("POST", address, "/metrics/job/judged", &[], body).expect("pushgateway answers");
    assert_eq!(answer.status, 200, "pushgateway: {}\n{}", answer.text(), String::from_utf8_lossy(body));
}

/// What the Circuit Breaker page must show for a database, by an oracle that shares no code with weir: JSON rows of
/// `[name, labels, value]`.
///
/// # Panics
/// When the oracle fails.
pub fn circuit_breaker(database: &std::path::Path, version: &str) -> serde_json::Value {
    of_database("circuit_breaker.py", database, &[version])
}

/// What the restic-manager page must show for a database: `[name, {label: value}, "number"]` for each sample. `build`: version, commit
/// and Go's version.
///
/// # Panics
/// When the oracle fails.
pub fn restic_manager(database: &std::path::Path, build: [&str; 3]) -> serde_json::Value {
    of_database("restic_manager.py", database, &build)
}

fn of_database(script: &str, database: &std::path::Path, arguments: &[&str]) -> serde_json::Value {
    let path = database.to_str().expect("tests use UTF-8");
    python("venv", script, &[&[path], arguments].concat(), b"")
}

/// What a script under `tests/oracle` prints, as JSON, run by the Python of `libraries`: `venv`, or one that has a library.
///
/// # Panics
/// When it fails.
pub fn python(libraries: &str, script: &str, arguments: &[&str], input: &[u8]) -> serde_json::Value {
    let output = oracle(libraries, script, arguments, input);
    serde_json::from_slice(&output.stdout).expect("the oracle writes JSON")
}

/// The same as text.
///
/// # Panics
/// When it fails.
pub fn python_text(libraries: &str, script: &str, arguments: &[&str], input: &[u8]) -> String {
    String::from_utf8(oracle(libraries, script, arguments, input).stdout).expect("the oracle writes text")
}

fn oracle(libraries: &str, script: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(program(&format!("{libraries}/bin/python")));
    command.arg("-B").arg(repository::root().join("tests/oracle").join(script)).args(arguments);
    let output = piped(&mut command, input);
    assert!(output.status.success(), "{script}: {}", said(&output));
    output
}

/// A service with breakers of pybreaker, shown as JSON.
#[derive(Debug)]
pub struct Pybreaker {
    process: Process,
    /// Where it listens.
    pub address: std::net::SocketAddr,
}

impl Pybreaker {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Self {
        let [address] = free_addresses();
        let mut command = Command::new(program("pybreaker/bin/python"));
        command
            .arg("-B")
            .arg(repository::root().join("tests/oracle/live/pybreaker_serve.py"))
            .arg(address.port().to_string());
        let mut process = Process::start("pybreaker", &mut command, folder("pybreaker-"));
        process.until(PATIENCE, "listening", || std::net::TcpStream::connect(address).is_ok());
        Self { process, address }
    }

    /// Has a breaker do something, such as `/fail?pay`.
    ///
    /// # Panics
    /// When it does not.
    pub fn tell(&self, path: &str) {
        let answer = http::get(self.address, path, &[]).expect("the service answers");
        assert_eq!(answer.status, 200, "{path}: {}", self.process.output("stderr"));
    }

    /// Ends the service.
    pub fn end(self) {
        drop(self.process);
    }
}

fn piped(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/judges.sh has checked that it runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A judge that has seen enough may close its end; what it says then is what counts.
    drop(stdin.write_all(input));
    drop(stdin);
    child.wait_with_output().expect("our own child can be waited for")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
