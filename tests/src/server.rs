//! What servers that tests start have in common: statements beside the test, certificates, files that nobody else may read.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Statements that run beside the test, until this is dropped.
#[derive(Debug)]
pub struct Session(Child);

impl Session {
    /// Starts a client that runs them.
    pub(crate) fn start(mut client: Command) -> Self {
        let child = client.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("a server that runs has a client"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Makes an authority (`ca.crt`), a certificate for `localhost` (`server.crt`, `server.key`), and one for a client called weir.
///
/// # Panics
/// When openssl does not.
pub(crate) fn make_certificates(folder: &Path) {
    let script = "set -e
        key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
        openssl req -x509 $key -keyout ca.key -out ca.crt -subj /CN=authority -days 2 -addext keyUsage=keyCertSign
        openssl req $key -keyout server.key -out server.csr -subj /CN=localhost
        echo subjectAltName=DNS:localhost > names
        openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names
        openssl req $key -keyout client.key -out client.csr -subj /CN=weir
        openssl x509 -req -in client.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out client.crt -days 2 -extfile names
        chmod 600 server.key";
    let made = Command::new("sh").args(["-c", script]).current_dir(folder).output().expect("there is a shell");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

/// Writes a file that its owner may read, and nobody else.
pub(crate) fn secret_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("the folder is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("the file is ours");
    path
}

/// What came of a statement, as text.
///
/// # Panics
/// When the server did not accept it.
pub(crate) fn answer(client: &mut Command, sql: &str) -> String {
    let output = client.output().expect("a server that runs has a client");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
