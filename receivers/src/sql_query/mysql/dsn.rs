//! Which database, as which user: a URL, a datasource of Go's driver as the Collector takes it, or the Collector's keys.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::Secret;
use pipeline::net::client::{LateTls, TlsClientConfig};

use crate::sql_query::check_database::Place;
use crate::sql_query::server::{FileNames, Host, Mistake, Password, SslMode, decode, shown, unusable};

/// A database and how to get in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dsn {
    /// Tried one after another.
    pub(super) hosts: Vec<Host>,
    pub(super) user: String,
    /// May be empty: then tables are named with theirs.
    pub(super) database: String,
    pub(super) password: Password,
    pub(super) mode: SslMode,
    pub(super) tls: Arc<LateTls>,
    pub(super) connect_timeout: Duration,
    /// What the server is told who we are.
    pub(super) program: String,
    /// Whether the password itself may be sent to a server that TLS knows.
    pub(super) allow_clear: bool,
}

/// The parameters that name files of TLS.
pub(super) const FILES: FileNames = ["ssl-ca", "ssl-cert", "ssl-key"];

const PORT: u16 = 3306;

/// As the PostgreSQL driver has it; Go's driver waits for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where Go's driver looks for a socket that is not named.
const SOCKET: &str = "/tmp/mysql.sock";

/// Parameters of other clients that change nothing here: texts are UTF-8, times are UTC, and deadlines are those of the query.
const MEANINGLESS: &[&str] = &[
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "writeTimeout",
];

/// Switches of Go's driver that are off here for ever, and why.
const NEVER: &[(&str, &str)] = &[
    ("allowAllFiles", "a server never gets files of this machine"),
    ("allowFallbackToPlaintext", "write tls=preferred to say that TLS may be left out"),
    ("allowOldPasswords", "their hashes can be broken; give the user a new password"),
    ("multiStatements", "write one statement for each query"),
];

/// `SslMode` by the words of Go's driver, of MySQL's client and of libpq.
const MODES: &[(&str, SslMode)] = &[
    ("true", SslMode::VerifyFull),
    ("verify-full", SslMode::VerifyFull),
    ("verify-identity", SslMode::VerifyFull),
    ("verify-ca", SslMode::VerifyCa),
    ("skip-verify", SslMode::Require),
    ("require", SslMode::Require),
    ("required", SslMode::Require),
    ("prefer", SslMode::Prefer),
    ("preferred", SslMode::Prefer),
    ("false", SslMode::Disable),
    ("disable", SslMode::Disable),
    ("disabled", SslMode::Disable),
];

impl Dsn {
    /// What is wrong now with the files that a connection will need, each with its key, if it has one.
    pub(crate) fn unusable(&self) -> Vec<(Option<&'static str>, String)> {
        unusable(&self.password, self.mode, &self.tls, FILES)
    }

    /// How many hosts are tried.
    pub(crate) fn servers(&self) -> usize {
        self.hosts.len()
    }

    /// Reads what was written.
    pub(crate) fn parse(written: Place<'_>) -> Result<Self, Mistake> {
        let mut parts = Parts::default();
        let datasource = written.datasource.expose();
        let key = if datasource.is_empty() { "additional_params" } else { "datasource" };
        if datasource.is_empty() {
            parts.hosts = hosts_of(written.host, Some(written.port).filter(|port| *port != 0).unwrap_or(PORT))
                .ok_or_else(|| bad_port("host"))?;
            parts.user = written.username.to_owned();
            parts.password = written.password.expose().to_owned();
            parts.database = written.database.to_owned();
            for (name, value) in written.additional_params {
                parts.set(name, value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        } else if let Some((scheme, rest)) = datasource.split_once("://") {
            url(scheme, rest, &mut parts)?;
        } else {
            go(datasource, &mut parts)?;
        }
        parts.finish(key, written.password_file)
    }

    /// As messages name it: without a password.
    pub(crate) fn shown(&self) -> String {
        shown(&self.hosts, &self.database)
    }
}

/// What the forms have in common.
#[derive(Default)]
struct Parts {
    hosts: Vec<Host>,
    user: String,
    password: String,
    database: String,
    /// The last one of a name counts.
    parameters: BTreeMap<String, String>,
}

fn wrong(key: &'static str, message: impl Into<String>, help: &'static str) -> Mistake {
    Mistake { key, message: message.into(), help }
}

fn bad_port(key: &'static str) -> Mistake {
    wrong(key, "the ports are no port numbers", "write host:3306")
}

impl Parts {
    fn set(&mut self, name: &str, value: String) {
        self.parameters.insert(name.to_owned(), value);
    }

    /// The value of a parameter by whichever of its names is written.
    fn take(&mut self, names: &[&str]) -> Option<String> {
        let found: Vec<String> = names.iter().filter_map(|name| self.parameters.remove(*name)).collect();
        found.into_iter().find(|value| !value.is_empty())
    }

    fn finish(mut self, key: &'static str, password_file: Option<&Path>) -> Result<Dsn, Mistake> {
        let texts = self.parameters.values().chain([&self.user, &self.password, &self.database]);
        if texts.into_iter().any(|text| text.contains('\0')) {
            return Err(wrong(key, "the connection's parameters hold a NUL byte", "leave it out"));
        }
        if self.user.is_empty() {
            return Err(wrong(key, "no user is named", "write it before the `@`, or set 'username'"));
        }
        if let Some(path) = self.take(&["socket", "unix_socket"]) {
            self.hosts = vec![Host::Unix(PathBuf::from(path))];
        }
        let mode = self.mode(key)?;
        let tls = Arc::new(mode.tls(self.files(key)?));
        let connect_timeout = self.connect_timeout(key)?;
        let allow_clear = self.switch("allowCleartextPasswords", key)?;
        let program = self.take(&["program_name", "application_name"]).unwrap_or_else(|| "weir".to_owned());
        for (name, help) in NEVER {
            if self.switch(name, key)? {
                return Err(wrong(key, format!("'{name}' is not supported"), help));
            }
        }
        if self.parameters.contains_key("allowNativePasswords") && !self.switch("allowNativePasswords", key)? {
            let message = "'allowNativePasswords' cannot be false";
            return Err(wrong(key, message, "give the user another way to log in on the server"));
        }
        if let Some(name) = self.parameters.keys().find(|name| !MEANINGLESS.contains(&name.as_str())) {
            return Err(wrong(
                key,
                format!("the connection parameter '{name}' is not supported"),
                "known: tls, ssl-mode, ssl-ca, ssl-cert, ssl-key, socket, timeout, connect_timeout, program_name, \
                 allowCleartextPasswords; what the server is to set goes into 'session'",
            ));
        }
        if !self.password.is_empty() && password_file.is_some() {
            return Err(wrong(
                "password_file",
                "'password_file' cannot be set when the password is written",
                "leave one of them out",
            ));
        }
        let password = Password {
            written: (!self.password.is_empty()).then(|| Secret::new(self.password)),
            file: password_file.map(Path::to_owned),
        };
        let (hosts, user, database) = (self.hosts, self.user, self.database);
        Ok(Dsn { hosts, user, database, password, mode, tls, connect_timeout, program, allow_clear })
    }

    fn mode(&mut self, key: &'static str) -> Result<SslMode, Mistake> {
        let written = ["tls", "ssl-mode", "ssl_mode", "sslmode"].map(|name| self.take(&[name]));
        let mut written = written.into_iter().flatten();
        let Some(mode) = written.next() else { return Ok(SslMode::default()) };
        if written.next().is_some() {
            return Err(wrong(key, "'tls' and 'ssl-mode' are both written", "leave one of them out"));
        }
        let mode = mode.to_ascii_lowercase().replace('_', "-");
        let known = MODES.iter().find(|(word, _)| *word == mode);
        known.map(|(_, mode)| *mode).ok_or_else(|| {
            wrong(
                key,
                "'tls' has an unknown value",
                "true (the default here: verify-full), verify-ca, skip-verify, preferred and false are known; name an authority's \
                 certificate with ssl-ca",
            )
        })
    }

    fn files(&mut self, key: &'static str) -> Result<TlsClientConfig, Mistake> {
        let mut files = TlsClientConfig::default();
        match (self.take(&["ssl-cert", "ssl_cert"]), self.take(&["ssl-key", "ssl_key"])) {
            (None, None) => {}
            (Some(certificate), Some(key)) => (files.cert_file, files.key_file) = (certificate, key),
            _ => return Err(wrong(key, "'ssl-cert' and 'ssl-key' need each other", "write both or neither")),
        }
        files.ca_file = self.take(&["ssl-ca", "ssl_ca"]).unwrap_or_default();
        Ok(files)
    }

    /// Go's `timeout=5s`, others' `connect_timeout=5`.
    fn connect_timeout(&mut self, key: &'static str) -> Result<Duration, Mistake> {
        let bad = |name| wrong(key, format!("'{name}' is no time"), "such as timeout=5s or connect_timeout=5");
        let time = match (self.take(&["timeout"]), self.take(&["connect_timeout"])) {
            (None, None) => return Ok(CONNECT_TIMEOUT),
            (Some(text), _) => text.parse::<config::Duration>().map_err(|_| bad("timeout"))?.get(),
            (None, Some(text)) => text.parse().map(Duration::from_secs).map_err(|_| bad("connect_timeout"))?,
        };
        Ok(if time.is_zero() { CONNECT_TIMEOUT } else { time })
    }

    fn switch(&mut self, name: &str, key: &'static str) -> Result<bool, Mistake> {
        match self.take(&[name]).as_deref() {
            None | Some("false" | "0" | "FALSE" | "False") => Ok(false),
            Some("true" | "1" | "TRUE" | "True") => Ok(true),
            Some(_) => Err(wrong(key, format!("'{name}' is neither true nor false"), "write true or false")),
        }
    }
}

/// Hosts with their own ports, separated by commas.
fn hosts_of(hosts: &str, port: u16) -> Option<Vec<Host>> {
    let host = |host: &str| {
        if host.starts_with('/') {
            return Some(Host::Unix(PathBuf::from(host)));
        }
        let end_of_v6 = host.rfind(']').map_or(0, |at| at + 1);
        // A bare address of version 6 has colons and no port.
        let bare = end_of_v6 == 0 && host.matches(':').count() > 1;
        let (name, port) = match host[end_of_v6..].rfind(':') {
            Some(colon) if !bare => (&host[..end_of_v6 + colon], host[end_of_v6 + colon + 1..].parse().ok()?),
            _ => (host, port),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        Some(Host::Tcp(if name.is_empty() { "localhost" } else { name }.to_owned(), port))
    };
    hosts.split(',').map(host).collect()
}

fn bad_escape() -> Mistake {
    wrong("datasource", "'datasource' holds a bad percent escape", "write a percent sign as %25")
}

fn query(text: &str, parts: &mut Parts) -> Result<(), Mistake> {
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name).ok_or_else(bad_escape)?, decode(value).ok_or_else(bad_escape)?);
        parts.set(&name, value.into_owned());
    }
    Ok(())
}

/// `user:password@host:port,host:port/database?name=value&…`, each part percent-encoded.
fn url(scheme: &str, rest: &str, parts: &mut Parts) -> Result<(), Mistake> {
    // SQLAlchemy names its driver after a plus: the same variable may serve the application and weir.
    if !matches!(scheme.split('+').next(), Some("mysql" | "mariadb")) {
        return Err(wrong(
            "datasource",
            "'datasource' is no URL of MySQL or MariaDB",
            "write mysql://user@host/database or user@tcp(host:3306)/database",
        ));
    }
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let put = |text: &str| decode(text).map(std::borrow::Cow::into_owned).ok_or_else(bad_escape);
    (parts.user, parts.password, parts.database) = (put(user)?, put(password)?, put(database)?);
    parts.hosts = hosts_of(&put(hosts)?, PORT).ok_or_else(|| bad_port("datasource"))?;
    query(parameters, parts)
}

/// `user:password@tcp(host:port)/database?name=value&…`, as Go's driver has it: only parameters are percent-encoded.
fn go(text: &str, parts: &mut Parts) -> Result<(), Mistake> {
    const HELP: &str =
        "write user:password@tcp(host:3306)/database, user@unix(/path)/database or mysql://user@host/database";
    let nothing = || wrong("datasource", "'datasource' is neither a URL nor one of Go's driver", HELP);
    // A password may hold a slash, and so may a path in a parameter; what ends the address does not.
    let slash = text.rfind(")/").map(|at| at + 1).or_else(|| text.rfind('/')).ok_or_else(nothing)?;
    let (before, after) = (&text[..slash], &text[slash + 1..]);
    let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
    let (login, address) = before.rsplit_once('@').unwrap_or(("", before));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    (parts.user, parts.password) = (user.to_owned(), password.to_owned());
    parts.database = decode(database).ok_or_else(bad_escape)?.into_owned();
    let (protocol, address) = match address.split_once('(') {
        Some((protocol, address)) => (protocol, address.strip_suffix(')').ok_or_else(nothing)?),
        None => (address, ""),
    };
    parts.hosts = match (protocol, address) {
        ("tcp" | "tcp4" | "tcp6" | "", "") => vec![Host::Tcp("localhost".to_owned(), PORT)],
        ("tcp" | "tcp4" | "tcp6", hosts) => hosts_of(hosts, PORT).ok_or_else(|| bad_port("datasource"))?,
        ("unix", "") => vec![Host::Unix(PathBuf::from(SOCKET))],
        ("unix", path) => vec![Host::Unix(PathBuf::from(path))],
        _ => {
            return Err(wrong("datasource", "'datasource' names a network that is neither tcp nor unix", HELP));
        }
    };
    query(parameters, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(datasource: &str) -> Result<Dsn, Mistake> {
        Dsn::parse(Place {
            datasource: &Secret::new(datasource),
            host: "",
            port: 0,
            database: "",
            username: "",
            password: &Secret::default(),
            password_file: None,
            additional_params: &BTreeMap::new(),
        })
    }

    fn shown(datasource: &str) -> String {
        let dsn = parse(datasource).unwrap_or_else(|mistake| panic!("{datasource}: {mistake:?}"));
        let password = dsn.password.written.as_ref().map_or("-", |password| password.expose());
        format!("{} {} {password} {}", dsn.shown(), dsn.user, dsn.mode.name())
    }

    #[test]
    fn urls_and_gos_datasources_name_the_database() {
        for (datasource, expected) in [
            ("mysql://a:p%40s%2Fs@db:3307/cb?tls=false", "db:3307/cb a p@s/s disable"),
            ("mariadb://a@db", "db:3306/ a - verify-full"),
            ("mysql+pymysql://a:b@[::1]:1/x?ssl-mode=VERIFY_CA", "::1:1/x a b verify-ca"),
            (
                "mysql://a@localhost/x?unix_socket=%2Frun%2Fmysqld%2Fmysqld.sock",
                "/run/mysqld/mysqld.sock/x a - verify-full",
            ),
            ("a:b@tcp(db:3307)/x?tls=skip-verify&parseTime=true&loc=UTC", "db:3307/x a b require"),
            ("a:p@s/s:w(o)rd@tcp(db)/x?tls=preferred", "db:3306/x a p@s/s:w(o)rd prefer"),
            ("a@unix(/run/mysqld/mysqld.sock)/x", "/run/mysqld/mysqld.sock/x a - verify-full"),
            ("a:b@tcp([::1]:3307)/", "::1:3307/ a b verify-full"),
            ("a:b@tcp/x?charset=utf8mb4", "localhost:3306/x a b verify-full"),
            ("a:b@/x%2Fy", "localhost:3306/x/y a b verify-full"),
            ("a@unix/x", "/tmp/mysql.sock/x a - verify-full"),
            ("a:b@tcp(db:3306)/x?ssl-ca=/etc/ssl/ca.pem&tls=true", "db:3306/x a b verify-full"),
            ("a:b@tcp(db:3306)/x?allowNativePasswords=true&allowAllFiles=false", "db:3306/x a b verify-full"),
        ] {
            assert_eq!(shown(datasource), expected, "{datasource}");
        }
        let dsn = parse("a@tcp(one:1,two)/x?timeout=1500ms&allowCleartextPasswords=true&program_name=me").unwrap();
        assert_eq!(dsn.hosts, [Host::Tcp("one".into(), 1), Host::Tcp("two".into(), 3306)]);
        assert_eq!(
            (dsn.connect_timeout, dsn.allow_clear, dsn.program.as_str()),
            (Duration::from_millis(1500), true, "me")
        );
        assert_eq!(parse("mysql://a@db/x?connect_timeout=3").unwrap().connect_timeout, Duration::from_secs(3));
        assert_eq!(parse("mysql://a@db/x?timeout=0s").unwrap().connect_timeout, CONNECT_TIMEOUT);
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for (datasource, start) in [
            ("postgres://a:secret@db/x", "'datasource' is no URL of MySQL or MariaDB"),
            ("mysql://a:secret%zz@db/x", "'datasource' holds a bad percent escape"),
            ("mysql://:secret@db/x", "no user is named"),
            ("mysql://a:secret@db:port/x", "the ports are no port numbers"),
            ("a:secret@tcp(db:99999)/x", "the ports are no port numbers"),
            ("a:secret@tcp(db:3306)/x?tls=custom", "'tls' has an unknown value"),
            ("a:secret@tcp(db:3306)/x?tls=true&ssl-mode=REQUIRED", "'tls' and 'ssl-mode' are both written"),
            ("a:secret@tcp(db:3306)/x?allowAllFiles=true", "'allowAllFiles' is not supported"),
            ("a:secret@tcp(db:3306)/x?multiStatements=true", "'multiStatements' is not supported"),
            ("a:secret@tcp(db:3306)/x?allowNativePasswords=false", "'allowNativePasswords' cannot be false"),
            ("a:secret@tcp(db:3306)/x?sql_mode=ANSI", "the connection parameter 'sql_mode' is not supported"),
            ("a:secret@tcp(db:3306)/x?ssl-cert=c", "'ssl-cert' and 'ssl-key' need each other"),
            ("a:secret@tcp(db:3306)/x?timeout=soon", "'timeout' is no time"),
            ("a:secret@tcp(db:3306)/x?connect_timeout=1s", "'connect_timeout' is no time"),
            (
                "a:secret@tcp(db:3306)/x?allowCleartextPasswords=maybe",
                "'allowCleartextPasswords' is neither true nor false",
            ),
            ("a:secret@pipe(db)/x", "'datasource' names a network that is neither tcp nor unix"),
            ("a:secret@tcp(db/x", "'datasource' is neither a URL nor one of Go's driver"),
            ("secret", "'datasource' is neither a URL nor one of Go's driver"),
            ("a:se\0cret@tcp(db)/x", "the connection's parameters hold a NUL byte"),
        ] {
            let mistake = parse(datasource).expect_err(datasource);
            assert!(mistake.message.starts_with(start), "{datasource}: {}", mistake.message);
            assert!(!format!("{mistake:?}").contains("secret"), "{mistake:?}");
        }
        assert!(!format!("{:?}", parse("a:secret@tcp(db)/x")).contains("secret"));
    }

    #[test]
    fn the_collectors_keys_name_it_too() {
        let params = BTreeMap::from([("tls".to_owned(), false.into()), ("connect_timeout".to_owned(), 3.into())]);
        let place = Place {
            datasource: &Secret::default(),
            host: "db",
            port: 3307,
            database: "x",
            username: "a",
            password: &Secret::new("p@:/"),
            password_file: None,
            additional_params: &params,
        };
        let dsn = Dsn::parse(place).unwrap();
        assert_eq!((dsn.shown().as_str(), dsn.connect_timeout), ("db:3307/x", Duration::from_secs(3)));
        assert_eq!((dsn.password.written, dsn.mode), (Some(Secret::new("p@:/")), SslMode::Disable));
        let socket =
            Dsn::parse(Place { host: "/run/mysqld/mysqld.sock", additional_params: &BTreeMap::new(), ..place });
        assert_eq!(socket.unwrap().shown(), "/run/mysqld/mysqld.sock/x");
        let both = Dsn::parse(Place { password_file: Some(Path::new("/run/secret")), ..place }).unwrap_err();
        assert_eq!(both.key, "password_file");
    }
}
