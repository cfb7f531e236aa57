//! From an address to a server that is ready: socket, greeting, TLS, log-in.

use tokio::net::{TcpStream, UnixStream};

use super::auth::{Plugin, Privacy};
use super::bytes::Bytes;
use super::dsn::{Dsn, FILES};
use super::error::{ServerError, Trouble};
use super::greeting::{Flavor, Greeting, Hello, without_zero};
use super::out;
use super::wire::{ERROR, Wire};
use crate::sql_query::server::{Host, SslMode, told, unavailable};

/// What cancelling needs: which connection, and of which server. A name may lead to another one by then.
#[derive(Clone, Debug)]
pub(crate) struct CancelKey {
    address: Address,
    thread: u32,
}

/// Where exactly a server was found.
#[derive(Clone, Debug)]
enum Address {
    /// And by which name.
    Tcp(std::net::SocketAddr, String),
    Unix(std::path::PathBuf),
}

/// A server that let us in.
pub(super) struct LoggedIn {
    pub(super) wire: Wire,
    pub(super) key: CancelKey,
    pub(super) flavor: Flavor,
    /// Whether columns come with the names of their types.
    pub(super) names_types: bool,
}

/// A log-in takes at most so many packets of the server; one that is honest sends three.
const MOST_ROUNDS: usize = 8;

/// A connection with somebody logged in. All hosts are tried; the last one's trouble is told.
pub(super) async fn log_in(dsn: &Dsn, max_row: usize) -> Result<LoggedIn, Trouble> {
    let mut last = Trouble::Closed;
    for host in &dsn.hosts {
        let one = async {
            let (wire, address) = reach(dsn, host, max_row).await?;
            start(wire, address, dsn).await
        };
        match tokio::time::timeout(dsn.connect_timeout, one).await {
            Ok(Ok(ready)) => return Ok(ready),
            Ok(Err(trouble)) => last = trouble,
            Err(_) => {
                let why = format!(
                    "{} did not answer within {:?} (timeout of the datasource)",
                    dsn.shown(),
                    dsn.connect_timeout
                );
                last = unavailable(why);
            }
        }
    }
    Err(last)
}

/// Asks a server to end what a connection is doing, over a connection of its own.
pub(super) async fn cancel(dsn: &Dsn, key: &CancelKey) -> Result<(), Trouble> {
    let wire = match &key.address {
        Address::Tcp(address, _) => Wire::new(Box::new(tcp(dsn, *address).await?), 0),
        Address::Unix(path) => Wire::new(Box::new(unix(dsn, path).await?), 0),
    };
    let mut wire = start(wire, key.address.clone(), dsn).await?.wire;
    wire.command(&out::query(&format!("KILL QUERY {}", key.thread))).await?;
    let answer = wire.next().await?;
    if answer.first() == Some(&ERROR) {
        return Err(Trouble::Server(ServerError::parse(answer)));
    }
    wire.command(&out::QUIT).await
}

async fn reach(dsn: &Dsn, host: &Host, max_row: usize) -> Result<(Wire, Address), Trouble> {
    match host {
        Host::Unix(path) => Ok((Wire::new(Box::new(unix(dsn, path).await?), max_row), Address::Unix(path.clone()))),
        Host::Tcp(name, port) => {
            let stream = tcp(dsn, (name.as_str(), *port)).await?;
            let address = Address::Tcp(stream.peer_addr()?, name.clone());
            Ok((Wire::new(Box::new(stream), max_row), address))
        }
    }
}

async fn tcp(dsn: &Dsn, address: impl tokio::net::ToSocketAddrs) -> Result<TcpStream, Trouble> {
    let stream = TcpStream::connect(address).await.map_err(|error| unreachable(dsn, &error))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn unix(dsn: &Dsn, path: &std::path::Path) -> Result<UnixStream, Trouble> {
    UnixStream::connect(path).await.map_err(|error| unreachable(dsn, &error))
}

fn unreachable(dsn: &Dsn, error: &std::io::Error) -> Trouble {
    unavailable(format!("{} cannot be reached: {error}; is the server up, and is the address right?", dsn.shown()))
}

/// Logs in and waits until the server is ready.
async fn start(mut wire: Wire, address: Address, dsn: &Dsn) -> Result<LoggedIn, Trouble> {
    let first = wire.next().await?;
    if first.first() == Some(&ERROR) {
        return Err(Trouble::Server(ServerError::parse(first)));
    }
    let greeting = Greeting::read(first)?;
    let password = dsn.password.read()?;
    let private = matches!(address, Address::Unix(_));
    // Who can read the file is on this machine: MySQL's clients speak no TLS there either.
    let tls = !private && dsn.mode != SslMode::Disable && (greeting.speaks_tls() || dsn.mode != SslMode::Prefer);
    if tls && !greeting.speaks_tls() {
        return Err(unavailable(format!(
            "{} speaks no TLS: set up TLS there, or write tls=false where the network is trusted",
            dsn.shown()
        )));
    }
    let privacy = match dsn.mode {
        _ if private => Privacy::Private,
        _ if !tls => Privacy::None,
        SslMode::VerifyFull | SslMode::VerifyCa => Privacy::Private,
        _ => Privacy::Hidden,
    };
    // What would give the password away is never said without being asked for.
    let plugin = Plugin::by_name(&greeting.plugin).filter(|plugin| *plugin != Plugin::Clear).unwrap_or(Plugin::Native);
    let secret = password.as_deref().unwrap_or_default();
    let proof = plugin.proof(secret, &greeting.nonce);
    let hello = Hello {
        user: &dsn.user,
        database: &dsn.database,
        plugin: plugin.name(),
        proof: &proof,
        program: &dsn.program,
        tls,
    };
    if let Address::Tcp(_, name) = &address
        && tls
    {
        wire.reply(&greeting.tls_request(&hello)).await?;
        wire = under_tls(wire, name, dsn).await?;
    }
    wire.reply(&greeting.answer(&hello)).await?;
    let log_in = LogIn { dsn, secret, privacy, plugin, switched: false };
    log_in.finish(&mut wire, password.is_some()).await?;
    let key = CancelKey { address, thread: greeting.thread };
    Ok(LoggedIn { wire, key, flavor: greeting.flavor, names_types: greeting.names_types() })
}

async fn under_tls(wire: Wire, name: &str, dsn: &Dsn) -> Result<Wire, Trouble> {
    let tls = dsn.tls.get().map_err(|wrong| unavailable(told(&wrong, FILES)))?;
    let (sequence, max_row) = (wire.sequence(), wire.max_row());
    let stream = wire.into_stream();
    let stream = stream.ok_or(Trouble::Protocol("it goes on in the clear where TLS begins"))?;
    let stream = tls.connect(name, stream).await.map_err(|error| {
        let help = match dsn.mode {
            SslMode::VerifyFull | SslMode::VerifyCa => "; name the authority's certificate with ssl-ca",
            _ => "",
        };
        unavailable(format!("TLS with {} failed ({}): {error}{help}", dsn.shown(), dsn.mode.name()))
    })?;
    Ok(Wire::new(stream, max_row).continues(sequence))
}

/// A log-in on its way.
struct LogIn<'a> {
    dsn: &'a Dsn,
    secret: &'a str,
    privacy: Privacy,
    plugin: Plugin,
    /// Whether the server has asked for another way already.
    switched: bool,
}

impl LogIn<'_> {
    async fn finish(mut self, wire: &mut Wire, has_password: bool) -> Result<(), Trouble> {
        for _ in 0..MOST_ROUNDS {
            let packet = wire.next().await?;
            let answer = match packet {
                [0x00, ..] => return Ok(()),
                [ERROR, ..] => {
                    let error = Trouble::Server(ServerError::parse(packet));
                    return Err(if has_password { error } else { self.without_password(error) });
                }
                [0xfe, rest @ ..] => Some(self.switch(rest)?),
                // The server knows the password's hash already.
                [0x01, 0x03] if self.plugin == Plugin::CachingSha2 => None,
                [0x01, 0x04] if self.plugin == Plugin::CachingSha2 => Some(self.whole_password()?),
                _ => return Err(Trouble::Protocol("it says something unexpected during the log-in")),
            };
            if let Some(answer) = answer {
                wire.reply(&answer).await?;
            }
        }
        Err(Trouble::Protocol("the log-in does not end"))
    }

    /// The server wants another way to log in than it said first.
    fn switch(&mut self, rest: &[u8]) -> Result<Vec<u8>, Trouble> {
        if self.switched {
            return Err(Trouble::Protocol("it asks for one log-in after another"));
        }
        self.switched = true;
        let mut rest = Bytes(rest);
        // Before MySQL 4.1 nothing is named, and no password is safe.
        let name =
            if rest.0.is_empty() { "mysql_old_password".into() } else { String::from_utf8_lossy(rest.until_zero()?) };
        let Some(plugin) = Plugin::by_name(&name) else {
            let name: String = name.chars().take(64).collect();
            return Err(unavailable(format!(
                "{} asks for a log-in that is not supported: {name} (known: caching_sha2_password, mysql_native_password)",
                self.dsn.shown()
            )));
        };
        self.plugin = plugin;
        if plugin == Plugin::Clear {
            self.may_show_password()?;
        }
        Ok(plugin.proof(self.secret, &without_zero(rest.0)))
    }

    fn may_show_password(&self) -> Result<(), Trouble> {
        let why = match self.privacy {
            _ if !self.dsn.allow_clear => "which it never gets unless allowCleartextPasswords=true is written",
            Privacy::Private => return Ok(()),
            _ => "which it never gets without TLS that knows the server (tls=true)",
        };
        Err(unavailable(format!("{} asks for the password itself (mysql_clear_password), {why}", self.dsn.shown())))
    }

    /// The server has forgotten the password's hash since its start, and can only make it of the password.
    fn whole_password(&self) -> Result<Vec<u8>, Trouble> {
        if self.privacy == Privacy::None {
            return Err(unavailable(format!(
                "{} wants the password itself this time (caching_sha2_password), which it never gets without TLS; write tls=true, \
                 or log this user in once by other means",
                self.dsn.shown()
            )));
        }
        Ok(Plugin::Clear.proof(self.secret, &[]))
    }

    fn without_password(&self, error: Trouble) -> Trouble {
        match error {
            Trouble::Server(said) if said.code == 1045 => unavailable(format!(
                "{} asks for a password and none is set (password, password_file)",
                self.dsn.shown()
            )),
            other => other,
        }
    }
}
