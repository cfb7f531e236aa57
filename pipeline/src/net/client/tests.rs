//! Connecting over real sockets.

use std::net::Ipv4Addr;

use super::*;

#[tokio::test]
async fn names_that_lead_to_the_hosts_cloud_are_refused_when_they_are_resolved() {
    let error = tcp(false)("169.254.1.1".to_owned(), 80).await.err().expect("refused before it is tried");
    assert!(error.to_string().contains("allow_link_local"), "{error}");
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_refuses() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // Resolves to ::1 first on most systems, where nobody listens.
    let (dialled, accepted) = tokio::join!(tcp(false)("localhost".to_owned(), port), listener.accept());
    assert!(dialled.is_ok() && accepted.is_ok());
}

#[test]
fn errors_are_told_with_what_is_below_them_and_not_twice() {
    let inner = std::io::Error::other("connection refused");
    let outer = std::io::Error::other(inner);
    assert_eq!(Broken::from_error(&outer), Broken("connection refused".to_owned()));
}
