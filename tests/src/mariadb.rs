//! A MariaDB server of our own: Debian's programs, a data directory, a socket and a port that nobody else has.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::process::{free_addresses, is_root};
use crate::server::{self, Session, make_certificates, secret_file};
use crate::{PATIENCE, judges, within};

/// A running server. It is shut down, and its files are removed, when this is dropped.
#[derive(Debug)]
pub struct MariaDb {
    child: Option<Child>,
    folder: tempfile::TempDir,
    settings: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
}

/// Password of every role that a test makes.
pub const PASSWORD: &str = "a p@ssword; with 'quotes' (and/slashes)";

impl MariaDb {
    /// A server of one's own, to stop and to break.
    ///
    /// # Panics
    /// When it cannot be had or does not start.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with further lines of `my.cnf`.
    ///
    /// # Panics
    /// When it cannot be had or does not start.
    pub fn with(settings: &str) -> Self {
        // Not under target/: the path of a socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("weir-my-").tempdir().expect("the system has a temporary folder");
        let [address] = free_addresses();
        let mut server = Self { child: None, folder, settings: settings.to_owned(), port: address.port() };
        let data = format!("--datadir={}", server.path("data"));
        let made = Command::new(judges::program("mariadb-install-db"))
            .args(["--no-defaults", "--skip-test-db", "--auth-root-authentication-method=normal", &data])
            .args(user())
            .output();
        let made = made.expect("mariadb-install-db can be started");
        assert!(made.status.success(), "mariadb-install-db: {}", String::from_utf8_lossy(&made.stdout));
        server.resume();
        server
    }

    /// A server that tests of one program share, for those that break nothing but what is theirs. The last one ends it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<MariaDb>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Self::start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    /// Starts it again after [`stop`](Self::stop).
    ///
    /// # Panics
    /// When it does not come up; the message carries its log.
    pub fn resume(&mut self) {
        let all = format!(
            // A server that starts removes what looks left behind in its folder for temporary tables, so that is its own too.
            "[mariadbd]\ndatadir={}\ntmpdir={}\nsocket={}\nport={}\nbind_address=127.0.0.1\npid_file={}\nskip_name_resolve\n\
             max_connections=60\ninnodb_buffer_pool_size=24M\ninnodb_flush_log_at_trx_commit=2\nperformance_schema=off\n\
             max_allowed_packet=256M\ncharacter_set_server=utf8mb4\n{}\n",
            self.path("data"),
            self.folder.path().display(),
            self.path("socket"),
            self.port,
            self.path("pid"),
            self.settings
        );
        let config = self.file("my.cnf", &all);
        let log = std::fs::File::create(self.folder.path().join("log")).expect("the folder is ours");
        let mut command = Command::new(judges::program("mariadbd"));
        command.arg(format!("--defaults-file={}", config.display())).args(user());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("mariadbd can be started"));
        within(PATIENCE, "MariaDB to be up", || {
            let child = self.child.as_mut().expect("it was started just now");
            let ended = child.try_wait().expect("our own child can be asked");
            assert!(ended.is_none(), "mariadbd ended with {ended:?}:\n{}", self.log());
            let asked = self.client("mysql", "select 1").output().expect("mariadb can be started");
            asked.status.success().then_some(())
        });
    }

    /// Ends it at once, as a crash would: connections are cut.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        child.kill().expect("our own child can be ended");
        child.wait().expect("our own child can be waited for");
    }

    /// Runs statements as root.
    ///
    /// # Panics
    /// When the server does not accept them.
    pub fn execute(&self, database: &str, sql: &str) -> String {
        server::answer(&mut self.client(database, sql), sql)
    }

    /// A fresh database with these tables, and a role of its name that may read them and nothing else.
    pub fn database(&self, name: &str, sql: &str) {
        let password = literal(PASSWORD);
        self.execute(
            "mysql",
            &format!(
                "create database {name}; create user {name} identified by {password}; grant select on {name}.* to {name}"
            ),
        );
        self.execute(name, sql);
    }

    /// Runs statements beside the test, until the result is dropped: for locks that are held.
    pub fn session(&self, database: &str, sql: &str) -> Session {
        Session::start(self.client(database, sql))
    }

    /// How many connections of a role run a statement that begins with these words, or wait for a lock for it.
    pub fn running(&self, role: &str, words: &str) -> usize {
        let words = literal(words);
        let sql = format!(
            "select count(*) from information_schema.processlist where user = '{role}' and info like concat({words}, '%')"
        );
        self.execute("mysql", &sql).parse().expect("a count is a number")
    }

    /// Ends the connections that run a statement that begins with these words.
    pub fn kill(&self, role: &str, words: &str) {
        let words = literal(words);
        let sql = format!(
            "select id from information_schema.processlist where user = '{role}' and info like concat({words}, '%')"
        );
        for id in self.execute("mysql", &sql).lines() {
            // One may have ended by now.
            self.client("mysql", &format!("kill {id}")).output().expect("mariadb can be started");
        }
    }

    /// Makes an authority and a certificate for `localhost`, and has the server speak TLS with it. Gives the authority's file.
    ///
    /// # Panics
    /// When openssl or the server does not accept that.
    pub fn speak_tls(&mut self) -> PathBuf {
        make_certificates(self.folder.path());
        self.stop();
        let path = |name: &str| self.path(name);
        self.settings +=
            &format!("\nssl_ca={}\nssl_cert={}\nssl_key={}", path("ca.crt"), path("server.crt"), path("server.key"));
        self.resume();
        self.folder.path().join("ca.crt")
    }

    /// A URL by TCP without TLS, as this role.
    pub fn url(&self, role: &str, database: &str) -> String {
        let password: String = PASSWORD.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("mysql://{role}:{password}@127.0.0.1:{}/{database}?tls=false", self.port)
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The folder of its socket and of files for it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Writes a file that the server may read, and nobody else.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        secret_file(self.folder.path(), name, text)
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn client(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(judges::program("mariadb"));
        let socket = format!("--socket={}", self.path("socket"));
        command.args(["--no-defaults", &socket, "--user=root", "--default-character-set=utf8mb4"]);
        // The server cuts it into statements: it knows where a function ends.
        command.args(["--delimiter=//", "--batch", "--skip-column-names", "--raw", database, "--execute", sql]);
        command.stdin(Stdio::null());
        command
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A text as SQL has it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Root runs a server only when it says so. Another user could not read programs that stand in root's home.
fn user() -> Option<&'static str> {
    is_root().then_some("--user=root")
}
