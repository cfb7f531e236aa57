//! The yardstick of this machine: hyper alone, in a process of its own, reads a body and answers 200. What its requests cost, the goals
//! were set against.

use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// The argument that makes this program the server; the address follows.
pub const ARGUMENT: &str = "--bare-hyper";

/// Serves until the process is ended.
pub fn serve(address: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await.expect("the address is free");
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let service = hyper::service::service_fn(answer);
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(async move { serving.await.ok() });
        }
    });
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    std::hint::black_box(body);
    Ok(Response::new(Full::new(Bytes::from_static(b"{\"accepted\":1}"))))
}
