//! A server to knock at, and ways to knock.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use pipeline::net::{Listeners, Peer, RequestBody, ResponseBody, Server, Service, Timeouts, full, text, unknown_path};
use pipeline::{Meters, Stop, Stopper};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A test that has not seen by then what it waits for has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running server.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) meters: Meters,
    pub(crate) listeners: Listeners,
    stopper: Stopper,
    task: JoinHandle<()>,
}

/// Deadlines short enough to wait for.
pub(crate) fn brisk() -> Timeouts {
    Timeouts {
        tls_handshake: Duration::from_millis(300),
        read_header_timeout: Duration::from_millis(300),
        read_timeout: Duration::from_millis(400),
        write_timeout: Duration::from_millis(400),
        idle_timeout: Duration::from_millis(600),
        ..Timeouts::default()
    }
}

impl House {
    pub(crate) async fn open(configure: impl FnOnce(Server) -> Server) -> Self {
        Self::open_with(Service::new(tower::service_fn(answer)), configure).await
    }

    pub(crate) async fn open_with(service: Service, configure: impl FnOnce(Server) -> Server) -> Self {
        let meters = Meters::unread();
        let listeners = Listeners::default();
        let lent = listeners.lend("127.0.0.1:0").await.unwrap();
        let server = configure(Server::new(lent).meters(&meters, "exporter", "test"));
        let address = server.local_addr();
        let (stopper, stop) = Stop::pair();
        Self { address, meters, listeners, stopper, task: tokio::spawn(server.serve(service, stop)) }
    }

    pub(crate) async fn knock(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The count with this name, and with this value of some label unless it is empty.
    pub(crate) fn count(&self, name: &str, label: &str) -> u64 {
        let counts = self.meters.counts();
        let wanted = counts.iter().filter(|(known, labels, _)| {
            *known == name && (label.is_empty() || labels.iter().any(|(_, value)| value == label))
        });
        wanted.map(|(.., count)| count).sum()
    }

    pub(crate) fn closed(&self, reason: &str) -> u64 {
        self.count("weir_listener_connections_closed", reason)
    }

    /// A good request on a connection of its own.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> (u16, String) {
        get(&mut self.knock().await, path, headers).await
    }

    pub(crate) fn ask_to_stop(&self) {
        self.stopper.stop();
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.task.is_finished()
    }

    pub(crate) async fn stop(self) -> Listeners {
        self.stopper.stop();
        timeout(PATIENCE, self.task).await.expect("the server stops").unwrap();
        self.listeners
    }
}

/// What the tests' server answers.
async fn answer(request: Request<RequestBody>) -> Result<Response<ResponseBody>, Infallible> {
    let peer = request.extensions().get::<Peer>().expect("every request has a peer").clone();
    Ok(match request.uri().path() {
        "/" => text(StatusCode::OK, "hello"),
        "/client" => text(StatusCode::OK, &peer.client.to_string()),
        "/echo" => match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes())),
            Err(error) => error.response(),
        },
        // Longer than any socket buffer.
        "/endless" => endless(64 * 1_024),
        "/endless/large" => endless(16 << 20),
        "/slow" => {
            tokio::time::sleep(Duration::from_millis(300)).await;
            text(StatusCode::OK, "slow")
        }
        "/never" => std::future::pending().await,
        "/panic" => panic!("as asked"),
        _ => unknown_path(),
    })
}

fn endless(piece: usize) -> Response<ResponseBody> {
    let piece = Bytes::from(vec![b'x'; piece]);
    let pieces = stream::repeat_with(move || Ok(Frame::data(piece.clone())));
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

/// A good request; the connection is asked to close.
pub(crate) async fn get(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    path: &str,
    headers: &str,
) -> (u16, String) {
    send(stream, &format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")).await
}

/// Sends bytes and reads the answer to the end of the connection: status, and all that came.
pub(crate) async fn send(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &str) -> (u16, String) {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the answer ends").unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// Reads one answer with a declared length and leaves the connection open.
pub(crate) async fn read_one(stream: &mut (impl AsyncRead + Unpin)) -> String {
    read_one_or_end(stream).await.expect("the connection stays open")
}

/// Reads one answer with a declared length; none when the connection ends before it is whole.
pub(crate) async fn read_one_or_end(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut answer = String::new();
    loop {
        let byte = timeout(PATIENCE, stream.read_u8()).await.expect("an answer comes, or the end").ok()?;
        answer.push(byte.into());
        if let Some((head, body)) = answer.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return Some(answer);
            }
        }
    }
}

/// Waits until the server has closed the connection, reading what comes.
pub(crate) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut scratch = vec![0; 64 * 1_024];
    let closed = async { while !matches!(stream.read(&mut scratch).await, Ok(0) | Err(_)) {} };
    timeout(PATIENCE, closed).await.expect("the server closes the connection");
}

/// Waits until something is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it comes true");
}
