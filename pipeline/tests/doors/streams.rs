//! Requests of one HTTP/2 connection, which run in its task.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pipeline::net::{Service, text};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::house::{House, PATIENCE};
use crate::slow::{H2_HELLO, h2_get};

type Client = SendRequest<Full<Bytes>>;

async fn client(house: &House) -> Client {
    let (client, connection) = handshake(TokioExecutor::new(), TokioIo::new(house.knock().await)).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(mut client: Client, path: &str, body: Vec<u8>) -> (StatusCode, Bytes) {
    let request = Request::post(format!("http://a{path}")).body(Full::new(Bytes::from(body))).unwrap();
    let answer = timeout(PATIENCE, client.send_request(request)).await.expect("it is answered").unwrap();
    (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn requests_of_one_connection_do_not_wait_for_each_other() {
    let house = House::open(|server| server).await;
    let client = client(&house).await;
    let never = tokio::spawn(ask(client.clone(), "/never", vec![]));
    let slow = tokio::spawn(ask(client.clone(), "/slow", vec![]));
    // Larger than all windows.
    let large: Vec<u8> = (0..4 << 20).map(|n: u32| n as u8).collect();
    let echoes: Vec<_> = (0..20).map(|_| tokio::spawn(ask(client.clone(), "/echo", large.clone()))).collect();
    assert_eq!(ask(client.clone(), "/panic", vec![]).await.0, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(ask(client, "/", vec![]).await.1, "hello\n");
    for echo in echoes {
        assert!(echo.await.unwrap().1 == large, "every body comes back whole");
    }
    assert_eq!(slow.await.unwrap().1, "slow\n");
    assert!(!never.is_finished());
    never.abort();
}

/// A service that tells when it was asked, and answers after a while; when it is dropped before, the second channel ends.
fn telling(pause: Duration) -> (Service, oneshot::Receiver<()>, oneshot::Receiver<()>) {
    let ((begun, begins), (held, ends)) = (oneshot::channel(), oneshot::channel());
    let once = std::sync::Mutex::new(Some((begun, held)));
    let service = Service::direct(move |_, _| {
        let once = once.lock().unwrap().take();
        Box::pin(async move {
            let (begun, held) = once.expect("it is asked once");
            begun.send(()).unwrap();
            tokio::time::sleep(pause).await;
            held.send(()).unwrap();
            Ok(text(StatusCode::OK, "slow"))
        })
    });
    (service, begins, ends)
}

#[tokio::test]
async fn a_connection_that_ends_takes_its_requests_along() {
    let (service, begins, ends) = telling(3 * PATIENCE);
    let house = House::open_with(service, |server| server).await;
    let mut stream = house.knock().await;
    stream.write_all(&[H2_HELLO, &h2_get("/")].concat()).await.unwrap();
    timeout(PATIENCE, begins).await.expect("it begins").unwrap();
    drop(stream);
    timeout(PATIENCE, ends).await.expect("it is dropped").unwrap_err();
}

#[tokio::test]
async fn a_request_that_runs_is_answered_before_its_connection_ends() {
    let (service, begins, _ends) = telling(Duration::from_millis(500));
    let house = House::open_with(service, |server| server).await;
    let slow = tokio::spawn(ask(client(&house).await, "/", vec![]));
    timeout(PATIENCE, begins).await.expect("it begins").unwrap();
    house.stop().await;
    assert_eq!(slow.await.unwrap().1, "slow\n");
}
