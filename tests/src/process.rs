//! A started program: ended when it is dropped, its output at hand when something goes wrong.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::within;

/// A running program, its folder and its output.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// Starts `command` with its output in `folder`, which lives as long as the process.
    pub(crate) fn start(name: &'static str, command: &mut Command, folder: tempfile::TempDir) -> Self {
        let file = |name| std::fs::File::create(folder.path().join(name)).expect("a fresh folder is writable");
        let child = command
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        Self { name, child, folder }
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What was written to `stdout` or `stderr` so far.
    pub(crate) fn output(&self, stream: &str) -> String {
        let bytes = std::fs::read(self.folder.path().join(stream)).expect("the file was made before the start");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child can be asked")
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the process ends before or `limit` is over; the message carries its output.
    pub(crate) fn until(&mut self, limit: Duration, what: &str, mut ready: impl FnMut() -> bool) {
        within(limit, &format!("{} {what}", self.name), || {
            if let Some(status) = self.ended() {
                panic!("{} ended with {status} instead of {what}:\n{}", self.name, self.output("stderr"));
            }
            ready().then_some(())
        });
    }

    /// Sends a signal by name (`TERM`, `STOP`, …).
    pub(crate) fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send {signal} to {}", self.name);
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self, limit: Duration) -> ExitStatus {
        within(limit, &format!("the end of {}", self.name), || self.ended())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended().is_none() {
            self.child.kill().expect("our own child can be ended");
            self.child.wait().expect("our own child can be waited for");
        }
        if std::thread::panicking() {
            let text = self.output("stderr");
            let tail = text.len().saturating_sub(4_000);
            let tail = (tail..text.len()).find(|&at| text.is_char_boundary(at)).unwrap_or(text.len());
            show(self.name, &text[tail..]);
        }
    }
}

#[allow(clippy::print_stderr, reason = "the test runner shows it beside the failure")]
fn show(name: &str, text: &str) {
    eprintln!("--- what {name} had to say ---\n{text}");
}

/// Loopback addresses that were free a moment ago, all different.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback has a free port"));
    held.map(|socket| socket.local_addr().expect("it is bound"))
}

/// A folder of its own under `target/`, so that nothing is left elsewhere.
pub(crate) fn folder(prefix: &str) -> tempfile::TempDir {
    let home: PathBuf = crate::repository::target().join("tests");
    std::fs::create_dir_all(&home).expect("target/ is writable");
    tempfile::Builder::new().prefix(prefix).tempdir_in(home).expect("target/ is writable")
}

/// Whether root runs the tests.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
