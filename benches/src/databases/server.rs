//! A PostgreSQL server for benchmarks: Debian's programs, a folder of its own, reached by its socket alone.

use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running server; it ends, and its files go, when this is dropped.
pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

/// Root may not run a server: then this user does, as whom nobody logs in.
const NOBODY: u32 = 65_534;

impl Server {
    /// `None` when PostgreSQL is not installed, or does not start.
    pub fn start() -> Option<Self> {
        let home = home()?;
        // Not under target/: the path of a socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("weir-pg-").tempdir().ok()?;
        let root = std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        if root {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).ok()?;
        }
        let program = |name: &str| {
            let mut command = if root {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]).arg(home.join(name));
                command
            } else {
                Command::new(home.join(name))
            };
            command.current_dir(folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made =
            program("initdb").args(["-D", "data", "-U", "postgres", "--no-sync", "-A", "trust"]).status().ok()?;
        let settings = ["listen_addresses=", "fsync=off", "autovacuum=off", "max_connections=20"];
        let mut server = program("postgres");
        server.args(["-D", "data", "-k"]).arg(folder.path());
        for setting in settings {
            server.args(["-c", setting]);
        }
        let child = made.success().then(|| server.spawn().ok())??;
        let server = Self { child, folder };
        let ready = (0..300).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            super::bare::Bare::connect(&server.socket()).is_ok()
        });
        ready.then_some(server)
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGQUIT ends it with all of its processes; SIGKILL would leave them.
        Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status().ok();
        self.child.wait().ok();
    }
}

/// Where the server's programs are: Debian keeps them off the PATH, one folder a version.
fn home() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let mut found: Vec<_> =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    found.pop()
}
