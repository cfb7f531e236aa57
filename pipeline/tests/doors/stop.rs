//! The end of a server.

use std::time::Duration;

use pipeline::net::{Server, Timeouts};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::house::{House, brisk, get, read_one, read_one_or_end, until, until_closed};

#[tokio::test]
async fn requests_that_run_are_finished_and_idle_connections_are_closed_at_once() {
    let house = House::open(|server| server).await;
    let mut idle = house.knock().await;
    idle.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    read_one(&mut idle).await;
    let mut half_open = house.knock().await;
    half_open.write_all(b"GET / HT").await.unwrap();
    let mut busy = house.knock().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(|| house.count("weir_listener_connections_accepted", "") == 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    house.ask_to_stop();
    until_closed(&mut idle).await;
    until_closed(&mut half_open).await;
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    assert!(!house.has_stopped());
    assert!(read_one(&mut busy).await.ends_with("slow\n"));
    house.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_stop() {
    let timeouts = Timeouts { drain: Duration::from_millis(200), ..brisk() };
    let house = House::open(|server| server.timeouts(timeouts)).await;
    let mut stream = house.knock().await;
    stream.write_all(b"GET /never HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    until(|| house.count("weir_listener_connections_accepted", "") == 1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    house.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn who_came_while_nobody_served_is_served_by_the_successor() {
    let house = House::open(|server| server).await;
    let address = house.address;
    let listeners = house.stop().await;
    let mut early = TcpStream::connect(address).await.unwrap();
    let lent = listeners.lend(&address.to_string()).await.unwrap();
    let (_stopper, stop) = pipeline::Stop::pair();
    let hello = tower::service_fn(|_| async { Ok(pipeline::net::text(http::StatusCode::OK, "successor")) });
    tokio::spawn(Server::new(lent).serve(pipeline::net::Service::new(hello), stop));
    assert!(get(&mut early, "/", "").await.1.ends_with("successor\n"));
}

#[tokio::test]
async fn a_client_that_has_ended_its_side_is_answered_where_requests_are_finished() {
    for finishing in [true, false] {
        let house = House::open(|server| if finishing { server.finishing() } else { server }).await;
        let mut stream = house.knock().await;
        stream.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_one_or_end(&mut stream).await;
        assert_eq!(answer.is_some_and(|answer| answer.ends_with("slow\n")), finishing);
        until_closed(&mut stream).await;
        house.stop().await;
    }
}
