//! Heads and bodies that are too large, and other bad manners.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt as _;

use crate::house::{House, PATIENCE, brisk, send};

#[tokio::test]
async fn a_bomb_of_headers_is_answered_431() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let many: String = (0..101).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(20_000));
    let endless = format!("x: {}", "y".repeat(1 << 20));
    for headers in [many, long, endless] {
        let (status, answer) = send(&mut house.knock().await, &format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
        assert_eq!(status, 431, "{answer}");
    }
    let most: String = (0..98).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert_eq!(house.get("/", &most).await.0, 200);
}

#[tokio::test]
async fn a_bomb_of_headers_over_http2_does_not_get_through() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let io = TokioIo::new(house.knock().await);
    let (mut client, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = |bytes: usize| {
        let request = Request::get(format!("http://{}/", house.address)).header("x", "y".repeat(bytes));
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let answer = client.send_request(request(1_000)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello\n");
    let answer = client.send_request(request(40_000)).await;
    assert!(answer.as_ref().map_or(true, |answer| answer.status() == 431), "{answer:?}");
    drop(client);
    tokio::time::timeout(PATIENCE, connection).await.unwrap().unwrap().ok();
}

#[tokio::test]
async fn a_body_past_the_cap_is_answered_413_and_the_answer_arrives() {
    let house = House::open(|server| server.timeouts(brisk()).max_body(10)).await;
    let post = async |rest: String| {
        let mut stream = house.knock().await;
        send(&mut stream, &format!("POST /echo HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{rest}")).await
    };
    assert_eq!(post("content-length: 10\r\n\r\n0123456789".to_owned()).await.0, 200);
    let declared = format!("content-length: 500000\r\n\r\n{}", "x".repeat(500_000));
    assert_eq!(post(declared).await.0, 413);
    let chunked = format!("transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", "5\r\n01234\r\n".repeat(3));
    assert_eq!(post(chunked).await.0, 413);
    assert_eq!(post("transfer-encoding: chunked\r\n\r\nnonsense\r\n".to_owned()).await.0, 400);
}

#[tokio::test]
async fn a_client_that_is_still_sending_when_it_is_refused_may_finish_and_read_why() {
    let house = House::open(|server| server.timeouts(brisk()).max_body(10)).await;
    for head in ["POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 40000\r\n\r\n", "POST /echo HTTP/2.0.0\r\n"] {
        let mut stream = house.knock().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            stream.write_all(&[b'x'; 10_000]).await.unwrap();
        }
        let (status, answer) = send(&mut stream, "").await;
        assert!([413, 400].contains(&status), "{answer}");
    }
}

#[tokio::test]
async fn nonsense_is_answered_400_and_a_panic_500_and_the_server_goes_on() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    for nonsense in [
        "\x16\x03\x01\x02\x00\x01\x00\x01",
        "GET /\r\n\r\n",
        "G\0T / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nbad header\r\n\r\n",
    ] {
        let (status, answer) = send(&mut house.knock().await, nonsense).await;
        assert!(status == 400 || answer.is_empty(), "{nonsense:?}: {answer}");
    }
    assert_eq!(house.get("/panic", "").await.0, 500);
    assert_eq!(house.count("weir_listener_panics", ""), 1);
    assert_eq!(house.get("/", "").await.0, 200);
}
