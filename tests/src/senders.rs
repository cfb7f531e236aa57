//! Senders of webhooks: the libraries with which they sign, set up by `tests/senders.sh` and driven by the programs in
//! `tests/senders/`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::registries::Set;
use crate::repository;

/// A request that a sender has sent, and what it heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// What it was: `event`, `again` (the same event once more), `forged` (another secret), `changed` (the body, after it was
    /// signed), `stale` (signed an hour ago).
    pub kind: String,
    /// The status of the answer.
    pub status: u16,
    /// Its body.
    pub answer: serde_json::Value,
}

/// A sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A library of PyPI, by its name.
    Python(&'static str),
    /// GitHub's own library, of npm.
    Octokit,
    /// curl, with what openssl has signed as the scheme says.
    Curl(&'static str),
}

static SET: Set = Set::new("senders");

/// The folder of the senders' libraries; the first call runs `tests/senders.sh`.
///
/// # Panics
/// When they cannot be set up: nothing is skipped.
pub fn home() -> PathBuf {
    SET.home()
}

/// The libraries' versions, as `tests/senders/versions.txt` has them: registry, name, version.
///
/// # Panics
/// When a line is none.
pub fn versions() -> Vec<[String; 3]> {
    SET.versions()
}

impl Sender {
    /// Lets it send `count` events to a path, and what else there is to send.
    ///
    /// # Panics
    /// When it fails, which a refused request does not make it do.
    pub fn send(self, to: SocketAddr, path: &str, secret: &str, count: usize) -> Vec<Sent> {
        let url = format!("http://{to}{path}");
        let programs = repository::root().join("tests/senders");
        let mut command = match self {
            Self::Python(library) => {
                let mut command = Command::new(home().join("venv/bin/python"));
                command.arg(programs.join("send.py")).arg(library);
                command
            }
            Self::Octokit => {
                let mut command = Command::new("node");
                command.current_dir(home()).args(["--input-type=module", "-"]);
                command.stdin(Stdio::from(File::open(programs.join("send.mjs")).expect("it is there")));
                command
            }
            Self::Curl(scheme) => {
                let mut command = Command::new("bash");
                command.arg(programs.join("send.sh")).arg(scheme);
                command
            }
        };
        let done = command.args([&url, secret, &count.to_string()]).output().expect("it is installed");
        assert!(done.status.success(), "{self:?}: {}", String::from_utf8_lossy(&done.stderr));
        let lines = String::from_utf8(done.stdout).expect("answers are text");
        lines.lines().map(|line| Sent::read(line).unwrap_or_else(|| panic!("{self:?}: {line}"))).collect()
    }
}

impl Sent {
    fn read(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ')?;
        let (status, answer) = rest.split_once(' ')?;
        Some(Self {
            kind: kind.to_owned(),
            status: status.parse().ok()?,
            answer: serde_json::from_str(answer).unwrap_or(serde_json::Value::Null),
        })
    }
}
