//! Pushing over gRPC: unary calls over HTTP/2, several under way on each connection.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// Calls under way on a connection, as exporters and Collectors have them.
const UNDER_WAY: usize = 4;
/// What a connection may send unasked: a request of a thousand points must not wait for its client.
const WINDOW: u32 = 4 << 20;

/// A message as it goes over the wire: not packed, and its length.
pub fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message is smaller than 4 GiB");
    [&[0], &length.to_be_bytes()[..], message].concat().into()
}

/// Makes every `step`th of `calls` calls from `from` on over one connection, going round through the bodies.
pub fn push(address: SocketAddr, bodies: &[Bytes], calls: usize, from: usize, step: usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let sender = connect(address).await;
        let under_way = (0..UNDER_WAY).map(|first| {
            let mut sender = sender.clone();
            async move {
                for call in (from + first * step..calls).step_by(step * UNDER_WAY) {
                    make(&mut sender, address, bodies[call % bodies.len()].clone()).await;
                }
            }
        });
        futures_util::future::join_all(under_way).await;
    });
}

async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    stream.set_nodelay(true).expect("a socket takes it");
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("it speaks HTTP/2");
    tokio::task::spawn_local(connection);
    sender
}

async fn make(sender: &mut SendRequest<Full<Bytes>>, address: SocketAddr, body: Bytes) {
    let uri = format!("http://{address}/opentelemetry.proto.collector.metrics.v1.MetricsService/Export");
    let call = Request::post(uri).header(header::CONTENT_TYPE, "application/grpc").header(header::TE, "trailers");
    let call = call.body(Full::new(body)).expect("it is a request");
    let answer = sender.send_request(call).await.expect("it answers");
    let status = answer.status();
    let answer = answer.into_body().collect().await.expect("it answers to the end");
    let code = answer.trailers().and_then(|trailers| trailers.get("grpc-status"));
    assert_eq!((status, code.map(http::HeaderValue::as_bytes)), (StatusCode::OK, Some(&b"0"[..])));
}
