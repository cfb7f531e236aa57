//! The HTTP client of exporters that push: pooled connections, TLS, headers, bounded answers.
//!
//! What comes from a server is as foreign as what comes from a sender: at most [`READ_MAX`] bytes of an answer are read and
//! [`KEEP_MAX`] kept, heads are bounded, redirects are not followed, and addresses that only the host's cloud answers on are refused
//! unless they are asked for.

mod connect;
mod headers;
mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};

#[cfg(test)]
pub(crate) use connect::Io;
pub(crate) use connect::{Connector, Dial, is_guarded, tcp};
pub(crate) use headers::{HeaderSource, Headers};
pub(crate) use tls::{Tls, TlsClientConfig};

use super::{Miss, Reason};

/// Connections to one exporter's destinations.
#[derive(Debug)]
pub(crate) struct Client {
    connector: Connector,
    settings: ClientSettings,
    pool: ArcSwap<Pool>,
    /// Whether a try was cut off on a connection that others would still be put on.
    suspect: AtomicBool,
}

type Pool = legacy::Client<Connector, Full<Bytes>>;

/// How connections are kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientSettings {
    /// The version to speak. There is no negotiation: OTLP over HTTP gains nothing from HTTP/2, and gRPC is nothing else.
    pub(crate) version: Version,
    /// Idle connections that are kept.
    pub(crate) max_idle: usize,
    /// How long an idle connection is kept.
    pub(crate) idle_timeout: Duration,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    /// With pings while requests are on their way, if wanted.
    Http2(Option<Pings>),
}

/// HTTP/2 keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pings {
    pub(crate) every: Duration,
    pub(crate) timeout: Duration,
    pub(crate) while_idle: bool,
}

/// A server's answer, read to its end or to the bound.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    /// The first [`KEEP_MAX`] bytes of the body.
    pub(crate) kept: Vec<u8>,
    /// Whether the body has more than [`READ_MAX`] bytes.
    pub(crate) too_large: bool,
}

/// The most of a body that is read, so that its connection can be used again (OTLP: responses are at most 4 MiB).
pub(crate) const READ_MAX: usize = 4 << 20;
/// The most of a body that is kept: a status or a partial success with its text.
pub(crate) const KEEP_MAX: usize = 64 << 10;
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
    pub(crate) fn new(connector: Connector, settings: ClientSettings) -> Self {
        let pool = ArcSwap::from_pointee(pool(&connector, &settings));
        Self { connector, settings, pool, suspect: AtomicBool::new(false) }
    }

    /// Sends a request and reads the answer. Safe to drop, which cuts the request off.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Miss> {
        if self.suspect.swap(false, Ordering::Relaxed) {
            // Tries that are on their way on the old connections end there; new ones get new connections.
            self.pool.store(pool(&self.connector, &self.settings).into());
        }
        let mut watch = Watch(Some(&self.suspect));
        let pool = self.pool.load_full();
        let outcome = async {
            let response = pool.request(request).await.map_err(|error| broken(&error))?;
            read(response).await
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

async fn read(response: Response<Incoming>) -> Result<Answer, Miss> {
    let (head, mut body) = response.into_parts();
    let mut answer =
        Answer { status: head.status, headers: head.headers, trailers: None, kept: Vec::new(), too_large: false };
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&error))?;
        match frame.into_data() {
            Ok(data) => {
                seen += data.len();
                let room = KEEP_MAX - answer.kept.len();
                answer.kept.extend_from_slice(&data[..data.len().min(room)]);
                if seen > READ_MAX {
                    answer.too_large = true;
                    return Ok(answer);
                }
            }
            Err(frame) => answer.trailers = frame.into_trailers().ok().or(answer.trailers),
        }
    }
    Ok(answer)
}

/// No connection, or one that broke: what was sent may or may not have arrived, so it is sent again.
fn broken(error: &(dyn std::error::Error + 'static)) -> Miss {
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
    Miss::retry(Reason::Connection, None, why)
}

#[cfg(test)]
mod tests;
