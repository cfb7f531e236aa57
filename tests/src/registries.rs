//! Programs and libraries of PyPI, npm and Debian that tests run, each set by a script `tests/<set>.sh` at the versions of
//! `tests/<set>/versions.txt`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::repository;

/// One set of them.
#[derive(Debug)]
pub(crate) struct Set {
    name: &'static str,
    home: OnceLock<PathBuf>,
}

impl Set {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, home: OnceLock::new() }
    }

    /// The folder where they are; the first call runs the script.
    ///
    /// # Panics
    /// When they cannot be set up: nothing is skipped.
    pub(crate) fn home(&self) -> PathBuf {
        let set_up = || {
            let script = format!("tests/{}.sh", self.name);
            let done = Command::new("bash").arg(repository::root().join(&script)).output().expect("there is a bash");
            assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
            repository::root().join("target/judges").join(self.name)
        };
        self.home.get_or_init(set_up).clone()
    }

    /// Registry, name and version of each.
    ///
    /// # Panics
    /// When a line of the file is none.
    pub(crate) fn versions(&self) -> Vec<[String; 3]> {
        let text = repository::text(&format!("tests/{}/versions.txt", self.name));
        let line = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>().try_into().expect("three words");
        text.lines().map(line).collect()
    }
}
