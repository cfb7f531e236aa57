//! A PostgreSQL server of our own: Debian's programs, a data directory and a port that nobody else has.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::process::{Process, free_addresses, is_root};
use crate::server::{self, Session, make_certificates, secret_file};
use crate::{PATIENCE, within};

/// A running server. It is shut down, and its files are removed, when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    child: Option<Child>,
    folder: tempfile::TempDir,
    /// Its port on 127.0.0.1, and in the name of its socket.
    pub port: u16,
}

/// Root may not run a server: then this user does, as whom nobody logs in.
const NOBODY: u32 = 65_534;

/// Password of every role that a test makes, and of the superuser `postgres`.
pub const PASSWORD: &str = "a password; with 'quotes'";

impl Postgres {
    /// A server of one's own, to stop and to break.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with further lines of `postgresql.conf`.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start.
    pub fn with(settings: &str) -> Self {
        // Not under target/: the path of a socket has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("weir-pg-").tempdir().expect("the system has a temporary folder");
        let [address] = free_addresses();
        let mut server = Self { child: None, folder, port: address.port() };
        server.allow_nobody(server.folder.path());
        let password = server.file("password", PASSWORD);
        let initdb = server
            .program("initdb")
            .args(["-D", &server.path("data"), "-U", "postgres", "--no-sync"])
            .args(["-E", "UTF8", "--locale=C", "-A", "scram-sha-256", "--pwfile"])
            .arg(&password)
            .output();
        let initdb = initdb.expect("initdb can be started");
        assert!(initdb.status.success(), "initdb: {}", String::from_utf8_lossy(&initdb.stderr));
        // Who is on the socket is a test; who comes by TCP must know the password.
        server.file("data/pg_hba.conf", "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n");
        let all = format!(
            "listen_addresses = '127.0.0.1'\nport = {}\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
             shared_buffers = 16MB\nmax_connections = 40\nautovacuum = off\nlogging_collector = off\n{settings}\n",
            server.port,
            server.folder.path().display()
        );
        server.file("data/postgresql.conf", &all);
        server.resume();
        server
    }

    /// A server that tests of one program share, for those that break nothing but what is theirs. The last one ends it.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
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
        let log = std::fs::File::create(self.folder.path().join("log")).expect("the folder is ours");
        let mut command = self.program("postgres");
        command.args(["-D", &self.path("data")]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("postgres can be started"));
        within(PATIENCE, "PostgreSQL to be up", || {
            let child = self.child.as_mut().expect("it was started just now");
            let ended = child.try_wait().expect("our own child can be asked");
            assert!(ended.is_none(), "postgres ended with {ended:?}:\n{}", self.log());
            let asked = self.psql("postgres", "select 1").output().expect("psql can be started");
            asked.status.success().then_some(())
        });
    }

    /// Shuts it down at once, as a crash would: connections are cut.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let status = Command::new("kill").arg("-QUIT").arg(child.id().to_string()).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot stop postgres");
        child.wait().expect("our own child can be waited for");
    }

    /// Runs statements as the superuser.
    ///
    /// # Panics
    /// When the server does not accept them.
    pub fn execute(&self, database: &str, sql: &str) -> String {
        server::answer(&mut self.psql(database, sql), sql)
    }

    /// A fresh database with these tables, which any role may read.
    pub fn database(&self, name: &str, sql: &str) {
        self.execute("postgres", &format!("create database {name}"));
        self.execute(name, sql);
    }

    /// A Circuit Breaker of 0.2.2 or later: the tables of its SQLite times with row-level security on some of them, and the
    /// household of [`Inventory::household`](crate::Inventory::household) for tenant 1. The role `name` sees all of it, the role
    /// `{name}_bound` what the policies allow.
    pub fn circuit_breaker(&self, name: &str) {
        let tables = crate::repository::text("tests/oracle/circuit_breaker.sql");
        let tables = tables.replace("integer primary key", "int primary key generated by default as identity");
        self.database(name, &tables);
        for table in ["hardware", "services", "networks", "hardware_clusters", "external_nodes"] {
            self.execute(
                name,
                &format!(
                    "alter table {table} add tenant_id int default 1; alter table {table} enable row level security;
                     create policy tenant on {table} using (tenant_id = current_setting('app.current_tenant', true)::int)"
                ),
            );
        }
        let password = PASSWORD.replace('\'', "''");
        self.execute(
            name,
            &format!(
                "{}; create role {name} login password '{password}' bypassrls; create role {name}_bound login password '{password}';
                 grant select on all tables in schema public to {name}, {name}_bound",
                crate::inventory::HOUSEHOLD.trim_end_matches(';')
            ),
        );
    }

    /// Runs statements beside the test, until the result is dropped: for locks that are held.
    pub fn session(&self, database: &str, sql: &str) -> Session {
        Session::start(self.psql(database, sql))
    }

    /// A pooler in front of one database, in transaction pooling with so many connections to the server. It ends when it is dropped.
    ///
    /// # Panics
    /// When it does not start.
    pub fn pooled(&self, database: &str, connections: u32) -> Pooler {
        let [address] = free_addresses();
        let folder = crate::process::folder("pgbouncer-");
        let config = format!(
            "[databases]\n{database} = host={} port={} dbname={database} user=postgres pool_size={connections}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
            self.folder.path().display(),
            self.port,
            address.port()
        );
        // Where a user as whom root does not run may read it.
        let config = self.file("pgbouncer.ini", &config);
        let mut command = Command::new(crate::judges::program("pgbouncer"));
        if is_root() {
            command.args(["-u", "nobody"]);
        }
        let mut process = Process::start("pgbouncer", command.arg(config), folder);
        process.until(PATIENCE, "listening", || std::net::TcpStream::connect(address).is_ok());
        let url = format!("postgres://anybody@{address}/{database}?sslmode=disable");
        Pooler { _process: process, url }
    }

    /// Makes an authority and a certificate for `localhost`, and has the server speak TLS with it. Gives the authority's file.
    ///
    /// # Panics
    /// When openssl or the server does not accept that.
    pub fn speak_tls(&self) -> PathBuf {
        make_certificates(self.folder.path());
        for name in ["server.key", "server.crt"] {
            let text = std::fs::read_to_string(self.folder.path().join(name)).expect("it was made just now");
            self.file(&format!("data/{name}"), &text);
        }
        self.execute("postgres", "alter system set ssl = on");
        self.execute("postgres", "select pg_reload_conf()");
        within(PATIENCE, "TLS", || (self.execute("postgres", "show ssl") == "on").then_some(()));
        self.folder.path().join("ca.crt")
    }

    /// A URL by TCP, as this role.
    pub fn url(&self, role: &str, database: &str) -> String {
        let password: String = PASSWORD.bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port)
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
        let path = secret_file(self.folder.path(), name, text);
        self.allow_nobody(&path);
        path
    }

    fn allow_nobody(&self, path: &Path) {
        if is_root() {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn program(&self, name: &str) -> Command {
        let program = home().join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            let user = NOBODY.to_string();
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(self.folder.path()).env("LC_ALL", "C.UTF-8");
        command
    }

    fn psql(&self, database: &str, sql: &str) -> Command {
        let mut command = Command::new(home().join("psql"));
        let port = self.port.to_string();
        command.arg("-h").arg(self.folder.path()).args(["-p", &port, "-U", "postgres", "-d", database]);
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]).stdin(Stdio::null());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return self.stop();
        }
        // A second panic would hide the first.
        if let Some(mut child) = self.child.take() {
            Command::new("kill").arg("-QUIT").arg(child.id().to_string()).status().ok();
            child.wait().ok();
        }
    }
}

/// A pgbouncer in front of a server.
#[derive(Debug)]
pub struct Pooler {
    _process: Process,
    /// Its URL, for any role.
    pub url: String,
}

/// Where the server's programs are: Debian keeps them off the PATH, one folder a version.
fn home() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> =
        versions.map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    found.pop().expect("PostgreSQL is not installed: run ./test as root, or install Debian's package postgresql")
}
