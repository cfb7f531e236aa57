//! weir as a user runs it: the built binary, a configuration, an environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use crate::http::{self, Response};
use crate::process::{Process, folder, free_addresses};
use crate::{PATIENCE, repository};

/// What is about to be started.
#[derive(Debug)]
pub struct Launch {
    config: PathBuf,
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    listen: &'static str,
    path: &'static str,
}

/// A running weir; it ends when this is dropped.
#[derive(Debug)]
pub struct Weir {
    process: Process,
    /// Where its data endpoint listens.
    pub address: SocketAddr,
    /// Where its own telemetry listens.
    pub telemetry: SocketAddr,
    path: &'static str,
}

/// How a command that ends by itself ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: String,
    /// All of its standard error.
    pub stderr: String,
}

impl Outcome {
    /// The exit code.
    ///
    /// # Panics
    /// When a signal ended it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("weir was ended by a signal: {}", self.stderr))
    }
}

impl Weir {
    /// `weir run --config FILE`, with a file of the repository. Its data endpoint must take its address from `WEIR_LISTEN`
    /// and serve `/metrics`, unless [`Launch::listen`] says otherwise.
    pub fn run(config: &str) -> Launch {
        Launch {
            config: repository::root().join(config),
            folder: folder("weir-"),
            environment: Vec::new(),
            listen: "WEIR_LISTEN",
            path: "/metrics",
        }
    }

    /// The same with a configuration that stands in the test.
    pub fn run_text(yaml: &str) -> Launch {
        let mut launch = Self::run("");
        launch.config = launch.folder.path().join("weir.yaml");
        std::fs::write(&launch.config, yaml).expect("a fresh folder is writable");
        launch
    }

    /// A command that ends by itself, run in the repository's root.
    pub fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Outcome {
        let mut command = bare();
        command.args(arguments);
        for (name, value) in environment {
            command.env(name, value);
        }
        let mut process = Process::start("weir", &mut command, folder("weir-"));
        let status = process.end(PATIENCE);
        Outcome { status, stdout: process.output("stdout"), stderr: process.output("stderr") }
    }

    /// GET of the data endpoint's path.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn get(&self, headers: &[(&str, &str)]) -> Response {
        http::get(self.address, self.path, headers).expect("weir answers")
    }

    /// A scrape in text format 0.0.4 that must succeed.
    ///
    /// # Panics
    /// When the answer is not 200.
    pub fn scrape(&self) -> Response {
        let response = self.get(&[http::TEXT]);
        assert_eq!(response.status, 200, "{}", String::from_utf8_lossy(&response.body));
        response
    }

    /// The data endpoint's path.
    pub fn path(&self) -> &'static str {
        self.path
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.process.output("stderr")
    }

    /// Resident memory now, in MiB.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("weir runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells resident memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().expect("in kB") / 1024.0
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Sends a signal by name: `KILL`, `STOP`, `CONT`.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: &str) {
        self.process.signal(signal);
    }

    /// Asks it to stop, as Kubernetes does, and waits for the end.
    ///
    /// # Panics
    /// When it takes more than 30 s.
    pub fn stop(mut self) -> Outcome {
        self.process.signal("TERM");
        let status = self.process.end(PATIENCE);
        Outcome { status, stdout: self.process.output("stdout"), stderr: self.process.output("stderr") }
    }
}

impl Launch {
    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let value = value.as_ref().to_str().expect("tests use UTF-8").to_owned();
        self.environment.push((name.to_owned(), value));
        self
    }

    /// Says which variable holds the data endpoint's address, and which path it serves.
    #[must_use]
    pub fn listen(mut self, variable: &'static str, path: &'static str) -> Self {
        (self.listen, self.path) = (variable, path);
        self
    }

    /// Starts it on free ports and waits until the data endpoint answers, whatever the answer but 503 ("not yet").
    ///
    /// # Panics
    /// When it ends, or does not answer within 30 s; the message carries its standard error.
    pub fn start(self) -> Weir {
        let mut weir = self.spawn();
        let (address, path) = (weir.address, weir.path);
        weir.process.until(PATIENCE, "answering scrapes", || {
            http::get(address, path, &[]).is_ok_and(|response| response.status != 503)
        });
        weir
    }

    /// Starts it and waits for its end instead, which `limit` bounds: for what must not start.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    pub fn start_and_end(self, limit: Duration) -> Outcome {
        let mut weir = self.spawn();
        let status = weir.process.end(limit);
        Outcome { status, stdout: weir.process.output("stdout"), stderr: weir.process.output("stderr") }
    }

    fn spawn(self) -> Weir {
        let [address, telemetry] = free_addresses();
        let mut command = bare();
        command.arg("run").arg("--config").arg(&self.config);
        command.env(self.listen, address.to_string()).env("WEIR_TELEMETRY", telemetry.to_string());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let process = Process::start("weir", &mut command, self.folder);
        Weir { process, address, telemetry, path: self.path }
    }
}

/// The binary in the repository's root, without variables that the examples read.
fn bare() -> Command {
    let mut command = Command::new(repository::binary());
    command.current_dir(repository::root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| ["CB_", "BB_", "RM_", "WEIR_"].iter().any(|start| name.starts_with(start)))
        {
            command.env_remove(name);
        }
    }
    command
}
