//! Programs that speak OTLP with weir, set up by `tests/otel.sh` and driven by the programs in `tests/otel/`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::process::{Process, folder};
use crate::registries::Set;
use crate::{PATIENCE, http, repository};

/// An SDK, and how it is told to push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sdk {
    /// OpenTelemetry for Python: `grpc` or `http`, and `none`, `gzip` or `deflate`.
    Python(&'static str, &'static str),
    /// OpenTelemetry for JavaScript: JSON in chunks over HTTP.
    JavaScript,
}

/// A running VictoriaMetrics or rotel; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Where it listens.
    pub address: SocketAddr,
}

static SET: Set = Set::new("otel");

/// The folder of the programs; the first call runs `tests/otel.sh`.
///
/// # Panics
/// When they cannot be set up: nothing is skipped.
pub fn home() -> PathBuf {
    SET.home()
}

/// The programs' versions, as `tests/otel/versions.txt` has them: registry, name, version.
///
/// # Panics
/// When a line is none.
pub fn versions() -> Vec<[String; 3]> {
    SET.versions()
}

impl Sdk {
    /// Pushes a counter of 1 + 2 + 3, a histogram of three values, a log record and a span, all named after `name`.
    ///
    /// # Panics
    /// When the SDK says that something was not taken.
    pub fn push(self, grpc: SocketAddr, over_http: SocketAddr, name: &str) {
        let script = |file: &str| repository::root().join("tests/otel").join(file);
        let mut command = match self {
            Self::Python(protocol, compression) => {
                let endpoint =
                    if protocol == "grpc" { format!("http://{grpc}") } else { format!("http://{over_http}") };
                let mut command = Command::new(home().join("venv/bin/python"));
                command.arg(script("send.py")).args([protocol, &endpoint, compression, name]);
                command
            }
            Self::JavaScript => {
                let mut command = Command::new("node");
                command.args(["--input-type=module", "-", &format!("http://{over_http}"), name]).current_dir(home());
                command.stdin(Stdio::from(File::open(script("send.mjs")).expect("the repository has it")));
                command
            }
        };
        let output = command.output().unwrap_or_else(|error| panic!("cannot start {self:?}: {error}"));
        let told = String::from_utf8_lossy(&output.stdout);
        assert_eq!(told.trim(), "ok", "{self:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Server {
    /// A VictoriaMetrics with an empty folder.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn victoria_metrics(address: SocketAddr) -> Self {
        let folder = folder("victoria-metrics-");
        let mut command = Command::new(home().join("bin/victoria-metrics"));
        let data = folder.path().join("data");
        command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr={address}"));
        // Samples are to be seen at once, and their names to stay as they came.
        command.args(["-inmemoryDataFlushInterval=1s", "-search.latencyOffset=0s", "-memory.allowedBytes=128MiB"]);
        let mut process = Process::start("victoria-metrics", &mut command, folder);
        process.until(PATIENCE, "answering", || {
            http::get(address, "/health", &[]).is_ok_and(|response| response.status == 200)
        });
        Self { process, address }
    }

    /// A rotel that takes OTLP/gRPC and pushes it to `to` over gRPC, at once.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn rotel(address: SocketAddr, over_http: SocketAddr, to: SocketAddr) -> Self {
        let mut command = Command::new(home().join("bin/rotel"));
        command.args([
            "start",
            "--otlp-grpc-endpoint",
            &address.to_string(),
            "--otlp-http-endpoint",
            &over_http.to_string(),
        ]);
        command.args(["--exporter", "otlp", "--otlp-exporter-endpoint", &format!("http://{to}")]);
        command.args(["--otlp-exporter-protocol", "grpc", "--batch-timeout", "100ms"]);
        let mut process = Process::start("rotel", &mut command, folder("rotel-"));
        process.until(PATIENCE, "listening", || std::net::TcpStream::connect(address).is_ok());
        Self { process, address }
    }

    /// What it has said.
    pub fn stderr(&self) -> String {
        self.process.output("stderr")
    }
}
