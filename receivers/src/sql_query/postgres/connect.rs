//! From an address to a server that is ready: socket, TLS, log-in.

use pipeline::net::client::Io;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::decode::Bytes;
use super::dsn::{Dsn, FILES};
use super::error::{ServerError, Trouble};
use super::out::{Out, SSL_REQUEST};
use super::wire::Wire;
use crate::sql_query::server::{Host, SslMode, told, unavailable};

/// What a server gave us to cancel with, and where it listens.
#[derive(Clone, Debug)]
pub(crate) struct CancelKey {
    host: Host,
    process: i32,
    secret: i32,
}

/// A wire with somebody logged in. All hosts are tried; the last one's trouble is told.
pub(super) async fn log_in(dsn: &Dsn, max_row: usize) -> Result<(Wire, Option<CancelKey>), Trouble> {
    let mut last = Trouble::Closed;
    for host in &dsn.hosts {
        let one = async {
            let mut wire = Wire::new(stream(dsn, host).await?, max_row);
            let key = start(&mut wire, dsn).await?;
            Ok((wire, key.map(|(process, secret)| CancelKey { host: host.clone(), process, secret })))
        };
        match tokio::time::timeout(dsn.connect_timeout, one).await {
            Ok(Ok(ready)) => return Ok(ready),
            Ok(Err(trouble)) => last = trouble,
            Err(_) => {
                let why = format!("{} did not answer within {:?} (connect_timeout)", dsn.shown(), dsn.connect_timeout);
                last = unavailable(why);
            }
        }
    }
    Err(last)
}

/// Asks a server to end what a connection is doing, over a connection of its own.
pub(super) async fn cancel(dsn: &Dsn, key: &CancelKey) -> Result<(), Trouble> {
    let mut stream = stream(dsn, &key.host).await?;
    let mut out = Out::default();
    out.cancel(key.process, key.secret);
    stream.write_all(&out.0).await?;
    stream.flush().await?;
    // The server answers by hanging up, when it has passed the request on.
    stream.read_u8().await.ok();
    Ok(())
}

async fn stream(dsn: &Dsn, host: &Host) -> Result<Box<dyn Io>, Trouble> {
    let refused = |error: std::io::Error| {
        unavailable(format!("{} cannot be reached: {error}; is the server up, and is the address right?", dsn.shown()))
    };
    let (name, port) = match host {
        // Who can read the file is on this machine: libpq speaks no TLS there either.
        Host::Unix(path) => return Ok(Box::new(UnixStream::connect(path).await.map_err(refused)?)),
        Host::Tcp(name, port) => (name, *port),
    };
    let mut tcp = TcpStream::connect((name.as_str(), port)).await.map_err(refused)?;
    tcp.set_nodelay(true)?;
    if dsn.mode == SslMode::Disable {
        return Ok(Box::new(tcp));
    }
    tcp.write_all(&SSL_REQUEST).await?;
    // One byte and no more: what a man in the middle sends behind it must not be taken for what the server says.
    match tcp.read_u8().await? {
        b'S' => {}
        b'N' if dsn.mode == SslMode::Prefer => return Ok(Box::new(tcp)),
        b'N' => {
            return Err(unavailable(format!(
                "{} speaks no TLS: set up TLS there, or write sslmode=disable where the network is trusted",
                dsn.shown()
            )));
        }
        _ => return Err(Trouble::Protocol("it answers the question for TLS with neither yes nor no")),
    }
    let tls = dsn.tls.get().map_err(|wrong| unavailable(told(&wrong, FILES)))?;
    tls.connect(name, Box::new(tcp)).await.map_err(|error| {
        let help = match dsn.mode {
            SslMode::VerifyFull | SslMode::VerifyCa => "; name the authority's certificate with sslrootcert",
            _ => "",
        };
        unavailable(format!("TLS with {} failed (sslmode {}): {error}{help}", dsn.shown(), dsn.mode.name()))
    })
}

/// Logs in and waits until the server is ready. Gives process and secret, which poolers may leave out.
async fn start(wire: &mut Wire, dsn: &Dsn) -> Result<Option<(i32, i32)>, Trouble> {
    let mut parameters = vec![("user", &*dsn.user), ("database", &*dsn.database), ("client_encoding", "UTF8")];
    parameters.push(("application_name", &dsn.application_name));
    parameters.extend(dsn.options.as_deref().map(|options| ("options", options)));
    let mut out = Out::default();
    out.startup(&parameters);
    wire.send(&out).await?;
    let mut key = None;
    let mut scram = None;
    loop {
        let (tag, body) = wire.next().await?;
        let mut body = Bytes(body);
        match tag {
            b'R' => {
                if let Some(answer) = authenticate(&mut body, dsn, &mut scram).await? {
                    wire.send(&answer).await?;
                }
            }
            b'K' => key = Some((i32::from_be_bytes(body.array()?), i32::from_be_bytes(body.array()?))),
            b'Z' => return Ok(key),
            b'E' => return Err(Trouble::Server(ServerError::parse(body.0))),
            // A server that is older than the minor protocol version says so; we ask for none.
            b'v' => {}
            _ => return Err(Trouble::Protocol("it says something unexpected during the log-in")),
        }
    }
}

async fn authenticate(
    body: &mut Bytes<'_>,
    dsn: &Dsn,
    scram: &mut Option<ScramSha256>,
) -> Result<Option<Out>, Trouble> {
    let mut out = Out::default();
    let bad = |error: std::io::Error| unavailable(format!("the log-in at {} failed: {error}", dsn.shown()));
    match (i32::from_be_bytes(body.array()?), scram.as_mut()) {
        (0, None) => return Ok(None),
        (0, Some(_)) => return Err(Trouble::Protocol("it lets us in without the proof that it knows the password")),
        (3, _) => out.password(password(dsn)?.as_bytes()),
        (5, _) => out.password(md5_hash(dsn.user.as_bytes(), password(dsn)?.as_bytes(), body.array()?).as_bytes()),
        (10, _) => {
            let mut known = false;
            while body.0.first().is_some_and(|byte| *byte != 0) {
                known |= body.until_zero()? == SCRAM_SHA_256.as_bytes();
            }
            if !known {
                return Err(unavailable(format!("{} asks for a log-in that is not supported", dsn.shown())));
            }
            let begun = ScramSha256::new(password(dsn)?.as_bytes(), ChannelBinding::unsupported());
            out.sasl_initial(SCRAM_SHA_256, begun.message());
            *scram = Some(begun);
        }
        (11, Some(begun)) => {
            begun.update(body.0).map_err(bad)?;
            out.sasl(begun.message());
        }
        (12, Some(begun)) => {
            // Here the server proves that it knows the password too.
            begun.finish(body.0).map_err(bad)?;
            *scram = None;
            return Ok(None);
        }
        _ => {
            let why = format!(
                "{} asks for a log-in that is not supported (known: scram-sha-256, md5, password)",
                dsn.shown()
            );
            return Err(unavailable(why));
        }
    }
    Ok(Some(out))
}

/// The password as it is now.
fn password(dsn: &Dsn) -> Result<String, Trouble> {
    dsn.password.read()?.ok_or_else(|| {
        unavailable(format!("{} asks for a password and none is set (password, password_file)", dsn.shown()))
    })
}
