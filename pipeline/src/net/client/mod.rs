//! The way out: the HTTP client of components that call others, and TLS for whatever they speak.
//!
//! Pooled connections, TLS, headers, bounded answers. What comes from a server is as foreign as what comes from a sender: at most
//! [`ClientSettings::read_max`] bytes of an answer are read and [`ClientSettings::keep_max`] kept, heads are bounded, redirects are not
//! followed, and addresses that only the host's cloud answers on are refused unless they are asked for.

mod connect;
mod headers;
mod tls;
mod verify;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

pub use connect::{Connector, Dial, Io, Wire, is_guarded, tcp};
pub use headers::{HeaderSource, Headers};
pub use tls::{LateTls, Tls, TlsClientConfig};
pub use verify::Verify;

pub use super::Wrong;

/// Connections to one component's destinations.
#[derive(Debug)]
pub struct Client {
    connector: Connector,
    settings: ClientSettings,
    pool: ArcSwap<Pool>,
    /// Whether a try was cut off on a connection that others would still be put on.
    suspect: AtomicBool,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// How connections are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientSettings {
    /// The version to speak. There is no negotiation: OTLP over HTTP gains nothing from HTTP/2, and gRPC is nothing else.
    pub version: Version,
    /// Idle connections that are kept.
    pub max_idle: usize,
    /// How long an idle connection is kept.
    pub idle_timeout: Duration,
    /// The most bytes of a body that are read: to its end its connection can be used again, past this the answer is too large.
    pub read_max: usize,
    /// The most bytes of a body that are kept.
    pub keep_max: usize,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 9112.
    Http1,
    /// RFC 9113, with pings while requests are on their way, if wanted.
    Http2(Option<Pings>),
}

/// HTTP/2 keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pings {
    /// How often.
    pub every: Duration,
    /// How long the answer to one may take before the connection counts as dead.
    pub timeout: Duration,
    /// Also when no request is on its way.
    pub while_idle: bool,
}

/// A server's answer, read to its end or to the bound.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its head.
    pub headers: HeaderMap,
    /// What came behind the body.
    pub trailers: Option<HeaderMap>,
    /// The first [`ClientSettings::keep_max`] bytes of the body.
    pub kept: Vec<u8>,
    /// Whether the body has more than [`ClientSettings::read_max`] bytes.
    pub too_large: bool,
}

/// No connection, or one that broke: what was sent may or may not have arrived. One line, with what is below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// The most bytes of an answer's head.
const HEAD_MAX: usize = 64 << 10;

/// Marks the client's connections as suspect when a try is dropped before its end. Over HTTP/1 the drop closes the connection; over
/// HTTP/2 it only resets a stream, and a connection that leads nowhere any more would get all later tries too.
struct Watch<'a>(Option<&'a AtomicBool>);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if let Some(suspect) = self.0 {
            suspect.store(true, Ordering::Relaxed);
        }
    }
}

impl Client {
    /// Connections that `connector` opens; none yet.
    pub fn new(connector: Connector, settings: ClientSettings) -> Self {
        let pool = ArcSwap::from_pointee(pool(&connector, &settings));
        Self { connector, settings, pool, suspect: AtomicBool::new(false) }
    }

    /// Sends a request and reads the answer. Safe to drop, which cuts the request off.
    ///
    /// # Errors
    /// The connection cannot be opened, or breaks before the answer's end.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Broken> {
        if self.suspect.swap(false, Ordering::Relaxed) {
            // Tries that are on their way on the old connections end there; new ones get new connections.
            self.pool.store(pool(&self.connector, &self.settings).into());
        }
        let mut watch = Watch(Some(&self.suspect));
        let pool = self.pool.load_full();
        let outcome = async {
            let response = pool.request(request).await.map_err(|error| Broken::from_error(&error))?;
            read(response, &self.settings).await
        };
        let answer = outcome.await;
        watch.0 = None;
        answer
    }
}

fn pool(connector: &Connector, settings: &ClientSettings) -> Pool {
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_max_idle_per_host(settings.max_idle)
        .pool_idle_timeout(settings.idle_timeout)
        .http1_max_buf_size(HEAD_MAX);
    if let Version::Http2(pings) = settings.version {
        // An answer is small; what a server may send ahead is bounded by the windows.
        builder
            .http2_only(true)
            .http2_initial_stream_window_size(64 << 10)
            .http2_initial_connection_window_size(1 << 20)
            .http2_max_header_list_size(HEAD_MAX as u32);
        if let Some(Pings { every, timeout, while_idle }) = pings {
            builder
                .http2_keep_alive_interval(every)
                .http2_keep_alive_timeout(timeout)
                .http2_keep_alive_while_idle(while_idle);
        }
    }
    builder.build(connector.clone())
}

async fn read(response: Response<Incoming>, settings: &ClientSettings) -> Result<Answer, Broken> {
    let (head, mut body) = response.into_parts();
    let mut answer =
        Answer { status: head.status, headers: head.headers, trailers: None, kept: Vec::new(), too_large: false };
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Broken::from_error(&error))?;
        match frame.into_data() {
            Ok(data) => {
                seen += data.len();
                let room = settings.keep_max.saturating_sub(answer.kept.len());
                answer.kept.extend_from_slice(&data[..data.len().min(room)]);
                if seen > settings.read_max {
                    answer.too_large = true;
                    return Ok(answer);
                }
            }
            Err(frame) => answer.trailers = frame.into_trailers().ok().or(answer.trailers),
        }
    }
    Ok(answer)
}

impl Broken {
    fn from_error(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut why = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Layers repeat what is below them.
            if !why.ends_with(&text) {
                why.push_str(": ");
                why.push_str(&text);
            }
            source = error.source();
        }
        Self(why)
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Broken {}

#[cfg(test)]
mod tests;
