//! Opening connections: names to addresses, TCP, TLS.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tower::Service;

use super::tls::Tls;
use crate::BoxFuture;

/// Opens a byte stream to a host and port.
pub type Dial = Arc<dyn Fn(String, u16) -> BoxFuture<'static, io::Result<Box<dyn Io>>> + Send + Sync>;

/// A byte stream.
pub trait Io: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Io for T {}

/// Opens connections for the pool.
#[derive(Clone)]
pub struct Connector {
    dial: Dial,
    /// For `https` addresses.
    tls: Option<Arc<Tls>>,
    /// Where to connect, whatever the request's address says: gRPC's `authority` may differ from the endpoint.
    target: Option<(String, u16)>,
}

/// An open connection, as hyper wants it.
pub struct Wire(TokioIo<Box<dyn Io>>);

/// One address among several gets this long, so that the next has its chance within a try.
const ADDRESS_TIME: Duration = Duration::from_secs(3);

/// Addresses on which clouds answer the host itself with its credentials: the link-local ranges and those outside of them.
const METADATA: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

impl Connector {
    /// Connects with `dial`, and with `tls` over it where an address says `https`.
    pub fn new(dial: Dial, tls: Option<Arc<Tls>>) -> Self {
        Self { dial, tls, target: None }
    }

    /// Connects there, whatever requests say.
    #[must_use]
    pub fn to(self, host: &str, port: u16) -> Self {
        Self { target: Some((host.to_owned(), port)), ..self }
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Wire>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let named = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
            let secure = uri.scheme_str() == Some("https");
            let (host, port) = this.target.clone().unwrap_or_else(|| {
                let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
                (named.clone(), port)
            });
            let stream = (this.dial)(host, port).await?;
            let stream = match (&this.tls, secure) {
                (Some(tls), true) => tls.connect(&named, stream).await?,
                (None, true) => return Err(io::Error::other("no TLS was set up for an https address")),
                (_, false) => stream,
            };
            Ok(Wire(TokioIo::new(stream)))
        })
    }
}

/// Dials over TCP. Unless `anywhere`, addresses that only the host's cloud answers on are refused; that is looked at on what a name
/// resolves to, because names can be pointed anywhere.
pub fn tcp(anywhere: bool) -> Dial {
    Arc::new(move |host, port| {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((host.as_str(), port)).await?.collect();
            let open: Vec<_> = found.iter().filter(|address| anywhere || !is_guarded(address.ip())).copied().collect();
            if open.is_empty() {
                let why = match found.first() {
                    Some(address) => {
                        format!("{host} resolves to {}, which is refused: see `allow_link_local`", address.ip())
                    }
                    None => format!("{host} resolves to no address"),
                };
                return Err(io::Error::other(why));
            }
            let stream = first_of(&open).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Io>)
        })
    })
}

/// Whether it is link-local or a cloud's metadata service.
pub fn is_guarded(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_link_local() => true,
        IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
        other => METADATA.contains(&other),
    }
}

async fn first_of(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = io::Error::other("no address");
    for (index, address) in addresses.iter().enumerate() {
        let connecting = TcpStream::connect(address);
        let outcome = if index + 1 == addresses.len() {
            // The last one has what is left of the try.
            connecting.await
        } else {
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer"));
            tokio::time::timeout(ADDRESS_TIME, connecting).await.unwrap_or_else(|_| Err(late()))
        };
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => last = io::Error::new(error.kind(), format!("{address}: {error}")),
        }
    }
    Err(last)
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
