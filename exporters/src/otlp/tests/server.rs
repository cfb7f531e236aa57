//! A server that follows a script, behind pipes in memory, so that all of it runs in stepped time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Instant;

use pipeline::net::client::{Dial, Io};

/// What the server does with one request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// An answer over HTTP.
    Http { status: u16, headers: Vec<(&'static str, String)>, body: Bytes },
    /// A status in trailers, after a message if there is one.
    Grpc { code: i32, details: Vec<u8>, message: Option<Bytes> },
    /// A status in the headers, with no body at all.
    TrailersOnly { code: i32 },
    /// The connection cannot be opened.
    Refuses,
    /// No answer, ever.
    Hangs,
    /// An answer that breaks off in its body.
    Breaks,
    /// A good answer with a body of so many bytes.
    Huge(usize),
    /// A good answer whose body comes at a byte a second, without end.
    Drips,
}

/// A request that came in.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Since the server was made.
    pub(super) at: Duration,
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// What came, when only that is wanted.
#[derive(Debug, Default)]
struct Counted {
    records: u64,
    /// The number behind the first letter of the last event name.
    last: Option<u64>,
    out_of_order: bool,
    tries: Vec<Duration>,
}

#[derive(Clone)]
pub(super) struct Server(Arc<Inner>);

struct Inner {
    began: Instant,
    http2: bool,
    tls: Option<tokio_rustls::TlsAcceptor>,
    /// Until when every request gets this reply.
    ill: Option<(Duration, Reply)>,
    /// Requests in whose body these bytes stand get this reply.
    refusing: Option<(&'static [u8], Reply)>,
    /// Requests are counted, and not kept.
    counting: Option<Mutex<Counted>>,
    script: Mutex<VecDeque<Reply>>,
    seen: Mutex<Vec<Seen>>,
    dials: AtomicUsize,
}

type Body = StreamBody<BoxStream<'static, io::Result<Frame<Bytes>>>>;

impl Reply {
    pub(super) fn status(status: u16) -> Self {
        Self::Http { status, headers: vec![], body: Bytes::new() }
    }

    pub(super) fn with(status: u16, name: &'static str, value: impl Into<String>) -> Self {
        Self::Http { status, headers: vec![(name, value.into())], body: Bytes::new() }
    }

    pub(super) fn protobuf(status: u16, body: Vec<u8>) -> Self {
        let headers = vec![("content-type", "application/x-protobuf".to_owned())];
        Self::Http { status, headers, body: body.into() }
    }

    pub(super) fn json(status: u16, body: &str) -> Self {
        let headers = vec![("content-type", "application/json; charset=utf-8".to_owned())];
        Self::Http { status, headers, body: body.to_owned().into() }
    }

    pub(super) fn grpc(code: i32) -> Self {
        Self::Grpc { code, details: vec![], message: None }
    }
}

impl Server {
    /// Over HTTP/1.1. When the script is over it is well.
    pub(super) fn http(script: Vec<Reply>) -> Self {
        Self::new(script, false)
    }

    /// Over HTTP/2, speaking gRPC.
    pub(super) fn grpc(script: Vec<Reply>) -> Self {
        Self::new(script, true)
    }

    fn new(script: Vec<Reply>, http2: bool) -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            http2,
            tls: None,
            ill: None,
            refusing: None,
            counting: None,
            script: Mutex::new(script.into()),
            seen: Mutex::default(),
            dials: AtomicUsize::new(0),
        }))
    }

    /// The same behind TLS; before it is dialled.
    pub(super) fn with_tls(self, config: Arc<rustls::ServerConfig>) -> Self {
        self.change(|inner| inner.tls = Some(config.into()))
    }

    /// The same, ill for that long; before it is dialled.
    pub(super) fn ill_for(self, span: Duration, reply: Reply) -> Self {
        self.change(|inner| inner.ill = Some((span, reply)))
    }

    /// The same, with another reply to requests that hold these bytes when they are unpacked; before it is dialled.
    pub(super) fn refusing(self, bytes: &'static [u8], reply: Reply) -> Self {
        self.change(|inner| inner.refusing = Some((bytes, reply)))
    }

    /// The same, counting the log records that it takes instead of keeping requests; before it is dialled.
    pub(super) fn counting(self) -> Self {
        self.change(|inner| inner.counting = Some(Mutex::default()))
    }

    /// How many records were taken, and whether their batches came in the order of their numbers, each once.
    pub(super) fn counted(&self) -> (u64, bool) {
        let counted = self.0.counting.as_ref().expect("the test counts").lock().unwrap();
        (counted.records, !counted.out_of_order)
    }

    /// Tries that came before.
    pub(super) fn tries_in(&self, span: Duration) -> usize {
        let counted = self.0.counting.as_ref().expect("the test counts").lock().unwrap();
        counted.tries.iter().filter(|at| **at < span).count()
    }

    fn count(&self, seen: &Seen) {
        let mut counted = self.0.counting.as_ref().expect("the test counts").lock().unwrap();
        counted.tries.push(seen.at);
        if self.is_ill() || seen.body.is_empty() {
            return;
        }
        let logs = pdata::otlp::decode_logs(&super::telemetry::gunzip(&seen.body)).unwrap().data;
        counted.records += logs.records.len() as u64;
        let number = logs.records[0].event_name[1..].parse().unwrap();
        counted.out_of_order |= counted.last.map_or(0, |last| last + 1) != number;
        counted.last = Some(number);
    }

    fn is_ill(&self) -> bool {
        self.0.ill.as_ref().is_some_and(|(until, _)| self.0.began.elapsed() < *until)
    }

    fn change(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::into_inner(self.0).expect("nobody else has it yet");
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// What it does next.
    fn next(&self) -> Option<Reply> {
        match &self.0.ill {
            Some((until, reply)) if self.0.began.elapsed() < *until => Some(reply.clone()),
            _ => self.0.script.lock().unwrap().pop_front(),
        }
    }

    /// Whether the connection that is asked for cannot be opened.
    fn refuses(&self) -> bool {
        match &self.0.ill {
            Some((until, reply)) if self.0.began.elapsed() < *until => matches!(reply, Reply::Refuses),
            _ => self.0.script.lock().unwrap().pop_front_if(|reply| matches!(reply, Reply::Refuses)).is_some(),
        }
    }

    pub(super) fn requests(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// Connections that were opened.
    pub(super) fn dials(&self) -> usize {
        self.0.dials.load(Ordering::Relaxed)
    }

    pub(super) fn dial(&self) -> Dial {
        let server = self.clone();
        Arc::new(move |_, _| {
            let server = server.clone();
            Box::pin(async move { server.accept() })
        })
    }

    fn accept(&self) -> io::Result<Box<dyn Io>> {
        if self.refuses() {
            self.see(Seen {
                at: self.0.began.elapsed(),
                path: String::new(),
                authority: String::new(),
                headers: HeaderMap::new(),
                body: Bytes::new(),
            });
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        self.0.dials.fetch_add(1, Ordering::Relaxed);
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let server = self.clone();
        match &self.0.tls {
            None => self.serve(Box::new(theirs)),
            Some(tls) => {
                let shaking = tls.accept(theirs);
                tokio::spawn(async move {
                    if let Ok(stream) = shaking.await {
                        server.serve(Box::new(stream));
                    }
                });
            }
        }
        Ok(Box::new(ours))
    }

    /// Serves one connection.
    fn serve(&self, io: Box<dyn Io>) {
        let server = self.clone();
        let service = service_fn(move |request| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        let io = TokioIo::new(io);
        if self.0.http2 {
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service);
            tokio::spawn(async move { serving.await.ok() });
        } else {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
            tokio::spawn(async move { serving.await.ok() });
        }
    }

    fn see(&self, seen: Seen) {
        if self.0.counting.is_some() {
            return self.count(&seen);
        }
        self.0.seen.lock().unwrap().push(seen);
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let at = self.0.began.elapsed();
        let (head, body) = request.into_parts();
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let host = head.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default().to_owned();
        let authority = head.uri.authority().map_or(host, |authority| authority.to_string());
        let refused =
            self.0.refusing.as_ref().filter(|(bytes, _)| {
                super::telemetry::gunzip(&body).windows(bytes.len()).any(|window| window == *bytes)
            });
        let refused = refused.map(|(_, reply)| reply.clone());
        self.see(Seen { at, path: head.uri.path().to_owned(), authority, headers: head.headers, body });
        let reply = refused.or_else(|| self.next());
        let well = if self.0.http2 { Reply::grpc(0) } else { Reply::status(200) };
        self.respond(reply.unwrap_or(well)).await
    }

    async fn respond(&self, reply: Reply) -> Response<Body> {
        let data = |bytes: Bytes| stream::iter([Ok(Frame::data(bytes))]);
        let kind = if self.0.http2 { "application/grpc" } else { "application/x-protobuf" };
        let plain = |body: BoxStream<'static, io::Result<Frame<Bytes>>>| {
            Response::builder().header("content-type", kind).body(StreamBody::new(body)).unwrap()
        };
        match reply {
            Reply::Http { status, headers, body } => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                response.body(StreamBody::new(data(body).boxed())).unwrap()
            }
            Reply::Grpc { code, details, message } => {
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", code.into());
                trailers.insert("grpc-message", "the%20server%20says".parse().unwrap());
                if !details.is_empty() {
                    let text = base64::engine::general_purpose::STANDARD_NO_PAD.encode(details);
                    trailers.insert("grpc-status-details-bin", text.parse().unwrap());
                }
                let framed = message.map(|message| {
                    let mut frame = vec![0; 5];
                    frame[1..5].copy_from_slice(&(message.len() as u32).to_be_bytes());
                    frame.extend_from_slice(&message);
                    Ok(Frame::data(Bytes::from(frame)))
                });
                plain(stream::iter(framed.into_iter().chain([Ok(Frame::trailers(trailers))])).boxed())
            }
            Reply::TrailersOnly { code } => {
                let mut response = plain(stream::empty().boxed());
                response.headers_mut().insert("grpc-status", code.into());
                response
            }
            Reply::Refuses | Reply::Hangs => std::future::pending().await,
            Reply::Breaks => {
                let broken =
                    stream::iter([Ok(Frame::data(Bytes::from_static(b"\x0a"))), Err(io::ErrorKind::BrokenPipe.into())]);
                plain(broken.boxed())
            }
            Reply::Huge(bytes) => {
                let chunk = Bytes::from(vec![0; 32 << 10]);
                let chunks = stream::repeat_with(move || Ok(Frame::data(chunk.clone()))).take(bytes.div_ceil(32 << 10));
                plain(chunks.boxed())
            }
            Reply::Drips => {
                let drops = stream::unfold((), |()| async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Some((Ok(Frame::data(Bytes::from_static(b"\0"))), ()))
                });
                plain(drops.boxed())
            }
        }
    }
}
