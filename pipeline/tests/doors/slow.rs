//! Slow clients are shown out in time, and nobody else notices.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::house::{House, brisk, read_one, read_one_or_end, until, until_closed};

/// The HTTP/2 preface and an empty SETTINGS frame.
pub(crate) const H2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// HEADERS of stream 1: GET http / with everything from HPACK's static table but the path.
pub(crate) fn h2_get(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path.as_bytes());
    let mut frame = vec![0, 0, u8::try_from(block.len()).unwrap(), 1, 0x05, 0, 0, 0, 1];
    frame.extend(block);
    frame
}

/// Sends one byte again and again until the connection is closed.
async fn trickle(stream: &mut TcpStream, every: Duration) {
    for _ in 0..200 {
        let mut byte = [0];
        tokio::select! {
            read = stream.read(&mut byte) => if matches!(read, Ok(0) | Err(_)) { return },
            () = sleep(every) => if stream.write_all(b"a").await.is_err() { return },
        }
    }
    panic!("the server takes a trickle for ever");
}

/// Runs a client and says how long it was let.
async fn timed(client: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    client.await;
    began.elapsed()
}

async fn says_and_waits(house: &House, bytes: &[u8]) {
    let mut stream = house.knock().await;
    stream.write_all(bytes).await.unwrap();
    until_closed(&mut stream).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_slow_client_is_shown_out_while_good_requests_go_on() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let slow_head = async {
        let mut stream = house.knock().await;
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        trickle(&mut stream, Duration::from_millis(20)).await;
    };
    let slow_body = async {
        let mut stream = house.knock().await;
        stream.write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        assert!(read_one(&mut stream).await.starts_with("HTTP/1.1 408"));
        until_closed(&mut stream).await;
    };
    let slow_second_head = async {
        let mut stream = house.knock().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        read_one(&mut stream).await;
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        trickle(&mut stream, Duration::from_millis(20)).await;
    };
    let idle = async {
        let mut stream = house.knock().await;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        read_one(&mut stream).await;
        until_closed(&mut stream).await;
    };
    let good = async {
        let mut longest = Duration::ZERO;
        for _ in 0..100 {
            let began = Instant::now();
            assert_eq!(house.get("/", "").await.0, 200);
            longest = longest.max(began.elapsed());
            sleep(Duration::from_millis(10)).await;
        }
        longest
    };
    let (times, longest) = tokio::join!(
        async {
            tokio::join!(
                timed(says_and_waits(&house, b"")),
                timed(says_and_waits(&house, b"G")),
                timed(says_and_waits(&house, &H2_HELLO[..9])),
                timed(says_and_waits(&house, H2_HELLO)),
                timed(says_and_waits(&house, b"GET / HTTP/1.1\r\nhost: a\r\n")),
                timed(slow_head),
                timed(slow_body),
                timed(slow_second_head),
                timed(idle),
            )
        },
        good
    );
    let (nothing, one_byte, preface, no_stream, half_head, slow_head, slow_body, second, idle) = times;
    for (what, took, least) in [
        ("nothing", nothing, 300),
        ("one byte", one_byte, 300),
        ("half a preface", preface, 300),
        ("no stream", no_stream, 300),
        ("half a head", half_head, 300),
        ("a slow head", slow_head, 300),
        ("a slow body", slow_body, 400),
        ("a slow second head", second, 300),
        ("idle", idle, 600),
    ] {
        let took = took.as_millis();
        assert!((least..least + 1_500).contains(&took), "{what}: {took} ms, {:?}", house.meters);
    }
    assert!(longest < Duration::from_millis(500), "a good request took {longest:?}");
    assert_eq!((house.closed("read_header_timeout"), house.closed("idle_timeout")), (7, 1));
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_shown_out() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let mut stream = house.knock().await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(|| house.closed("write_timeout") == 1).await;
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn a_reader_that_takes_its_time_but_takes_is_served() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let mut stream = house.knock().await;
    // In pieces so large that each takes longer than the deadline.
    stream.write_all(b"GET /endless/large HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut scratch = vec![0; 2 << 20];
    for _ in 0..12 {
        sleep(Duration::from_millis(100)).await;
        stream.read_exact(&mut scratch).await.unwrap();
    }
    assert_eq!(house.closed("write_timeout"), 0);
}

#[tokio::test]
async fn an_http2_reader_that_gives_no_window_is_shown_out() {
    let house = House::open(|server| server.timeouts(brisk())).await;
    let mut stream = house.knock().await;
    stream.write_all(H2_HELLO).await.unwrap();
    stream.write_all(&h2_get("/endless")).await.unwrap();
    // It reads all that comes, so that the socket never fills.
    until_closed(&mut stream).await;
    assert_eq!(house.closed("write_timeout"), 1);
}

#[tokio::test]
async fn an_old_connection_is_asked_to_end() {
    let timeouts = pipeline::net::Timeouts { connection_age: Duration::from_millis(200), ..brisk() };
    let house = House::open(|server| server.timeouts(timeouts)).await;
    let mut stream = house.knock().await;
    for answered in 0..100 {
        // The end may come while a request is on its way.
        let sent = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.is_ok();
        let answer = if sent { read_one_or_end(&mut stream).await } else { None };
        let Some(answer) = answer else {
            assert!(answered > 0, "a young connection is served");
            return;
        };
        assert!(answer.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the connection never ends");
}
