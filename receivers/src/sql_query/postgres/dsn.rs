//! Which database, as which user: a URL, libpq's `key=value`, or the Collector's keys (postgresql.org/docs/15/libpq-connect.html).

use std::collections::BTreeMap;
use std::path::Path;
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
    pub(super) database: String,
    pub(super) password: Password,
    pub(super) mode: SslMode,
    pub(super) tls: Arc<LateTls>,
    pub(super) connect_timeout: Duration,
    pub(super) application_name: String,
    pub(super) options: Option<String>,
}

/// The parameters that name files of TLS.
pub(super) const FILES: FileNames = ["sslrootcert", "sslcert", "sslkey"];

const PORT: &str = "5432";

/// libpq waits for ever, which no agent can.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Parameters of other clients and of libpq that change nothing here, or that are always so.
const MEANINGLESS: &[&str] =
    &["gssencmode", "krbsrvname", "client_encoding", "fallback_application_name", "keepalives"];

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
        let mut parameters = Parameters::default();
        let datasource = written.datasource.expose();
        let key = if datasource.is_empty() { "additional_params" } else { "datasource" };
        if datasource.is_empty() {
            parameters.set("host", written.host);
            if written.port != 0 {
                parameters.set("port", &written.port.to_string());
            }
            parameters.set("dbname", written.database);
            parameters.set("user", written.username);
            parameters.set("password", written.password.expose());
            for (name, value) in written.additional_params {
                parameters.set(name, &value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        } else if let Some((scheme, rest)) = datasource.split_once("://") {
            url(scheme, rest, &mut parameters)?;
        } else {
            key_values(datasource, &mut parameters)?;
        }
        parameters.finish(key, written.password_file)
    }

    /// As messages name it: without a password.
    pub(crate) fn shown(&self) -> String {
        shown(&self.hosts, &self.database)
    }
}

/// Parameters by libpq's names; the last one counts.
#[derive(Default)]
struct Parameters(BTreeMap<String, String>);

impl Parameters {
    fn set(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn finish(mut self, key: &'static str, password_file: Option<&Path>) -> Result<Dsn, Mistake> {
        let wrong = |message: String, help| Mistake { key, message, help };
        if self.0.values().any(|value| value.contains('\0')) {
            return Err(wrong("the connection's parameters hold a NUL byte".to_owned(), "leave it out"));
        }
        let (hosts, ports) = (self.take("host"), self.take("port"));
        let hosts = hosts_of(&hosts.unwrap_or_else(|| "localhost".to_owned()), ports.as_deref().unwrap_or(PORT))
            .ok_or_else(|| {
                wrong(
                    "the ports are no port numbers, or not as many as hosts".to_owned(),
                    "write one port, or one for each host",
                )
            })?;
        let user = self.take("user").or_else(|| self.take("username"));
        let Some(user) = user else {
            return Err(wrong(
                "no user is named".to_owned(),
                "write it before the `@` of the URL, or as user=…, or set 'username'",
            ));
        };
        let mode = match self.take("sslmode") {
            None => SslMode::default(),
            Some(mode) => SslMode::parse(&mode).ok_or_else(|| {
                wrong(
                    "'sslmode' has an unknown value".to_owned(),
                    "disable, prefer, require, verify-ca and verify-full (the default here) are known",
                )
            })?,
        };
        let mut files = TlsClientConfig::default();
        match (self.take("sslcert"), self.take("sslkey")) {
            (None, None) => {}
            (Some(certificate), Some(key)) => (files.cert_file, files.key_file) = (certificate, key),
            _ => return Err(wrong("'sslcert' and 'sslkey' need each other".to_owned(), "write both or neither")),
        }
        files.ca_file = self.take("sslrootcert").filter(|root| root != "system").unwrap_or_default();
        let connect_timeout = match self.take("connect_timeout").map(|text| text.parse::<u64>()) {
            None | Some(Ok(0)) => CONNECT_TIMEOUT,
            Some(Ok(seconds)) => Duration::from_secs(seconds),
            Some(Err(_)) => {
                return Err(wrong(
                    "'connect_timeout' is no whole number of seconds".to_owned(),
                    "write it without a unit",
                ));
            }
        };
        if self.take("target_session_attrs").is_some_and(|wanted| wanted != "any") {
            return Err(wrong(
                "'target_session_attrs' is not supported yet".to_owned(),
                "name the replica that is to be read",
            ));
        }
        let search_path = self.take("search_path").map(|path| format!("-c search_path={}", path.replace(' ', "\\ ")));
        let options: Vec<String> = self.take("options").into_iter().chain(search_path).collect();
        let dsn = Dsn {
            hosts,
            database: self.take("dbname").or_else(|| self.take("database")).unwrap_or_else(|| user.clone()),
            user,
            password: Password {
                written: self.take("password").map(Secret::new),
                file: password_file.map(Path::to_owned),
            },
            mode,
            tls: Arc::new(mode.tls(files)),
            connect_timeout,
            application_name: self.take("application_name").unwrap_or_else(|| "weir".to_owned()),
            options: (!options.is_empty()).then(|| options.join(" ")),
        };
        let unknown = self.0.keys().find(|name| !MEANINGLESS.contains(&name.as_str()));
        match unknown {
            Some(name) => Err(wrong(
                format!("the connection parameter '{name}' is not supported"),
                "known: host, port, dbname, user, password, sslmode, sslrootcert, sslcert, sslkey, connect_timeout, application_name, \
                 options, search_path",
            )),
            None if dsn.password.written.is_some() && dsn.password.file.is_some() => Err(Mistake {
                key: "password_file",
                message: "'password_file' cannot be set when the password is written".to_owned(),
                help: "leave one of them out",
            }),
            None => Ok(dsn),
        }
    }
}

fn hosts_of(hosts: &str, ports: &str) -> Option<Vec<Host>> {
    let hosts: Vec<&str> = hosts.split(',').collect();
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().ok()).collect::<Option<_>>()?;
    if ports.len() != 1 && ports.len() != hosts.len() {
        return None;
    }
    let host = |(host, port): (&str, &u16)| match host {
        path if path.starts_with('/') => Host::Unix(Path::new(path).join(format!(".s.PGSQL.{port}"))),
        name => Host::Tcp(name.trim_start_matches('[').trim_end_matches(']').to_owned(), *port),
    };
    Some(hosts.into_iter().zip(ports.iter().cycle()).map(host).collect())
}

/// `user:password@host:port,host:port/database?name=value&…`, each part percent-encoded.
fn url(scheme: &str, rest: &str, parameters: &mut Parameters) -> Result<(), Mistake> {
    let wrong = |message: &str, help| Mistake { key: "datasource", message: message.to_owned(), help };
    // SQLAlchemy names its driver after a plus: the same variable may serve the application and weir.
    if !matches!(scheme.split('+').next(), Some("postgres" | "postgresql")) {
        return Err(wrong("'datasource' is no URL of PostgreSQL", "write postgres://user@host/database"));
    }
    let bad = || wrong("'datasource' holds a bad percent escape", "write a percent sign of a password as %25");
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut put = |name: &str, text: &str| decode(text).map(|text| parameters.set(name, &text)).ok_or_else(bad);
    put("user", user)?;
    put("password", password)?;
    put("dbname", database)?;
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    for host in hosts.split(',').filter(|_| !hosts.is_empty()) {
        let end_of_v6 = host.rfind(']').map_or(0, |at| at + 1);
        let (name, port) = match host[end_of_v6..].rfind(':') {
            Some(colon) => (&host[..end_of_v6 + colon], &host[end_of_v6 + colon + 1..]),
            None => (host, PORT),
        };
        names.push(name);
        ports.push(port);
    }
    put("host", &names.join(","))?;
    put("port", &ports.join(","))?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        put(&decode(name).ok_or_else(bad)?, value)?;
    }
    Ok(())
}

/// `name=value name = 'a value'`; a backslash takes the next character as it is.
fn key_values(text: &str, parameters: &mut Parameters) -> Result<(), Mistake> {
    let wrong = || Mistake {
        key: "datasource",
        message: "'datasource' is neither a URL nor a list of name=value".to_owned(),
        help: "write postgres://user@host/database or host=… user=… dbname=…",
    };
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or_else(wrong)?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let after = after.trim_start();
        let quoted = after.strip_prefix('\'');
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, letter) in quoted.unwrap_or(after).char_indices() {
            if escaped {
                value.push(letter);
                escaped = false;
            } else if letter == '\\' {
                escaped = true;
            } else if letter == '\'' && quoted.is_some() || letter.is_whitespace() && quoted.is_none() {
                end = Some(at + 1);
                break;
            } else {
                value.push(letter);
            }
        }
        parameters.set(name, &value);
        rest = match (end, quoted) {
            (Some(end), _) => quoted.unwrap_or(after).get(end..).unwrap_or("").trim_start(),
            (None, None) => "",
            (None, Some(_)) => return Err(wrong()),
        };
    }
    Ok(())
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

    fn tcp(host: &str, port: u16) -> Host {
        Host::Tcp(host.to_owned(), port)
    }

    fn shown(datasource: &str) -> String {
        let dsn = parse(datasource).unwrap();
        let password = dsn.password.written.as_ref().map_or("-", |password| password.expose());
        format!("{} {} {password} {}", dsn.shown(), dsn.user, dsn.mode.name())
    }

    #[test]
    fn urls_and_lists_name_the_database() {
        for (datasource, expected) in [
            ("postgres://a:p%40s%2Fs@db:6432/cb?sslmode=disable", "db:6432/cb a p@s/s disable"),
            ("postgresql://a@db", "db:5432/a a - verify-full"),
            ("postgresql+asyncpg://a:b@[::1]:1/x", "::1:1/x a b verify-full"),
            ("postgres:///x?host=/run/postgresql&user=a", "/run/postgresql/.s.PGSQL.5432/x a - verify-full"),
            ("postgres://a@%2Frun%2Fpg/x", "/run/pg/.s.PGSQL.5432/x a - verify-full"),
            ("host=db user=a password='it''s' dbname=x", "db:5432/x a it verify-full"),
            ("host = db port=6432  user = a password = 'o\\'k \\\\' sslmode=require", "db:6432/a a o'k \\ require"),
            ("user=a", "localhost:5432/a a - verify-full"),
        ] {
            if expected.contains(" it ") {
                // libpq's quoting knows no doubled quotes: what follows is no name=value.
                assert!(parse(datasource).is_err());
            } else {
                assert_eq!(shown(datasource), expected, "{datasource}");
            }
        }
        let dsn = parse("postgres://a@one:1,two:2/x?options=-c%20geqo%3Doff&search_path=a,%20b").unwrap();
        assert_eq!(dsn.hosts, [tcp("one", 1), tcp("two", 2)]);
        assert_eq!(dsn.options.as_deref(), Some("-c geqo=off -c search_path=a,\\ b"));
        assert_eq!(parse("host=one,two port=7 user=a").unwrap().hosts, [tcp("one", 7), tcp("two", 7)]);
    }

    #[test]
    fn mistakes_are_told_without_the_password() {
        for (datasource, start) in [
            ("mysql://a:secret@db/x", "'datasource' is no URL of PostgreSQL"),
            ("postgres://a:secret%zz@db/x", "'datasource' holds a bad percent escape"),
            ("postgres://:secret@db/x", "no user is named"),
            ("postgres://a:secret@db:port/x", "the ports are no port numbers"),
            ("postgres://a:secret@db/x?sslmode=verify", "'sslmode' has an unknown value"),
            ("postgres://a:secret@db/x?pool_max_conns=4", "the connection parameter 'pool_max_conns' is not supported"),
            ("postgres://a:secret@db/x?target_session_attrs=standby", "'target_session_attrs' is not supported yet"),
            ("postgres://a:secret@db/x?sslcert=c", "'sslcert' and 'sslkey' need each other"),
            ("user=a password='secret", "'datasource' is neither a URL nor a list"),
            ("secret", "'datasource' is neither a URL nor a list"),
            ("user=a password=se%00cret\0", "the connection's parameters hold a NUL byte"),
        ] {
            let mistake = parse(datasource).unwrap_err();
            assert!(mistake.message.starts_with(start), "{datasource}: {}", mistake.message);
            assert!(!format!("{mistake:?}").contains("secret"), "{mistake:?}");
        }
        assert!(!format!("{:?}", parse("postgres://a:secret@db/x")).contains("secret"));
    }

    #[test]
    fn the_collectors_keys_name_it_too() {
        let params =
            BTreeMap::from([("sslmode".to_owned(), "disable".into()), ("connect_timeout".to_owned(), 3.into())]);
        let dsn = Dsn::parse(Place {
            datasource: &Secret::default(),
            host: "db",
            port: 6432,
            database: "x",
            username: "a",
            password: &Secret::new("p@:/"),
            password_file: None,
            additional_params: &params,
        });
        let dsn = dsn.unwrap();
        assert_eq!((dsn.shown().as_str(), dsn.connect_timeout), ("db:6432/x", Duration::from_secs(3)));
        assert_eq!(dsn.password.written, Some(Secret::new("p@:/")));
    }
}
