//! Gates on the wire.

use std::convert::Infallible;

use config::Section;
use http::{Request, Response, StatusCode};
use pipeline::Meters;
use pipeline::net::{Gates, GatesConfig, LimitsConfig, Peer, RequestBody, ResponseBody, Service, text};

use crate::house::House;

const TOKEN: &str = "0123456789abcdef";

async fn guarded(yaml: &str) -> House {
    let section = Section::from_yaml("prometheus", &format!("gates: {yaml}")).unwrap();
    #[derive(serde::Deserialize)]
    struct Config {
        gates: GatesConfig,
    }
    let config: Config = section.decode().unwrap();
    let gates = Gates::plan(&section, "gates", Some(&config.gates)).unwrap();
    let gates = gates.watched(&LimitsConfig::default(), &Meters::unread(), "exporter", "test");
    let service = tower::service_fn(|request: Request<RequestBody>| async move {
        let peer = request.extensions().get::<Peer>().expect("the guard keeps it").client;
        Ok::<_, Infallible>(if request.uri().path() == "/" {
            text(StatusCode::OK, &peer.to_string())
        } else {
            unknown()
        })
    });
    House::open_with(gates.guard(Service::new(service)), |server| server).await
}

fn unknown() -> Response<ResponseBody> {
    pipeline::net::unknown_path()
}

#[tokio::test]
async fn a_token_must_be_shown_whole_and_once() {
    let house = guarded("{token: 0123456789abcdef}").await;
    let good = format!("authorization: Bearer {TOKEN}\r\n");
    for (headers, status) in [
        (good.as_str(), 200),
        ("Authorization: bearer 0123456789abcdef\r\n", 200),
        // A space at the end of a line is no part of the value (RFC 9110, 5.5).
        ("authorization: Bearer 0123456789abcdef \r\n", 200),
        ("", 401),
        ("authorization:\r\n", 401),
        ("authorization: Bearer 0123456789abcde\r\n", 401),
        ("authorization: Bearer 0123456789abcdef, Bearer 0123456789abcdef\r\n", 401),
        (&good.repeat(2), 401),
    ] {
        let (got, answer) = house.get("/", headers).await;
        assert_eq!(got, status, "{headers}");
        assert_eq!(answer.contains("www-authenticate: Bearer\r\n"), status == 401, "{answer}");
    }
}

#[tokio::test]
async fn too_many_wrong_tokens_are_answered_429() {
    let house = guarded("{token: 0123456789abcdef}").await;
    let mut statuses = Vec::new();
    for _ in 0..80 {
        statuses.push(house.get("/", "authorization: Bearer wrong\r\n").await.0);
    }
    let first = statuses.iter().position(|status| *status == 429).expect("it comes");
    assert!(first >= 50 && statuses[..first].iter().all(|status| *status == 401), "{statuses:?}");
}

#[tokio::test]
async fn the_address_is_looked_at_before_the_token() {
    let house = guarded("{token: 0123456789abcdef, cidrs: 10.0.0.0/8, trusted_proxies: [127.0.0.1]}").await;
    let token = format!("authorization: Bearer {TOKEN}\r\n");
    for (headers, status) in [
        ("x-forwarded-for: 10.1.1.1\r\n".to_owned() + &token, 200),
        ("x-forwarded-for: 192.0.2.9\r\nx-forwarded-for: 10.1.1.1\r\n".to_owned() + &token, 200),
        ("x-forwarded-for: 10.1.1.1\r\n".to_owned(), 401),
        ("x-forwarded-for: 192.0.2.9\r\n".to_owned() + &token, 403),
        ("x-forwarded-for: 10.1.1.1, 192.0.2.9\r\n".to_owned() + &token, 403),
        ("x-real-ip: 10.1.1.1\r\n".to_owned() + &token, 403),
        (token.clone(), 403),
        (String::new(), 403),
    ] {
        let (got, answer) = house.get("/", &headers).await;
        assert_eq!(got, status, "{headers}");
        assert!(status != 200 || answer.ends_with("\r\n\r\n10.1.1.1\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_unmounted_route_looks_like_any_unknown_path() {
    let closed = guarded("{token: '', cidrs: []}").await;
    let open = guarded("{token: null, when_unset: open}").await;
    assert_eq!(open.get("/", "").await.0, 200);
    let body = |answer: String| answer.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    let unmounted = closed.get("/", &format!("authorization: Bearer {TOKEN}\r\n")).await;
    let unknown = open.get("/nowhere", "").await;
    assert_eq!((unmounted.0, body(unmounted.1)), (404, body(unknown.1)));
}
