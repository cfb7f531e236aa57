//! TLS on the wire. The certificates in `pki` are made by `pki/make.sh`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::Section;
use pipeline::net::{Gates, GatesConfig, Server, Service, TlsServerConfig, text};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::house::{House, brisk, get, until, until_closed};

fn pki(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/doors/pki").join(name)
}

fn path(name: &str) -> String {
    pki(name).to_str().unwrap().to_owned()
}

fn server_config() -> TlsServerConfig {
    TlsServerConfig { cert_file: path("server.pem"), key_file: path("server.key"), ..TlsServerConfig::default() }
}

fn mtls(names: &str) -> Gates {
    let section =
        Section::from_yaml("prometheus", &format!("client_ca_file: {}\nallowed_names: {names}", path("ca.pem")));
    let config = GatesConfig { mtls: Some(section.unwrap().decode().unwrap()), ..GatesConfig::default() };
    Gates::plan(&Section::empty("prometheus".parse().unwrap()), "gates", Some(&config)).unwrap()
}

fn open() -> Gates {
    Gates::plan(&Section::empty("prometheus".parse().unwrap()), "gates", None).unwrap()
}

async fn house(config: &TlsServerConfig, gates: &Gates) -> House {
    let hello = tower::service_fn(|_| async { Ok(text(http::StatusCode::OK, "hello")) });
    let tls = |server: Server| server.timeouts(brisk()).tls(config, gates).unwrap();
    House::open_with(gates.guard(Service::new(hello)), tls).await
}

/// Connects with the certificate of that name, if any, and with what ALPN is to offer.
async fn knock(house: &House, client: Option<&str>, alpn: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki("ca.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(name) => {
            let chain = vec![CertificateDer::from_pem_file(pki(&format!("{name}.pem"))).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(pki(&format!("{name}.key"))).unwrap())
                .unwrap()
        }
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), house.knock().await).await
}

/// The status of a good request, or 0 when there is no connection.
async fn status(house: &House, client: Option<&str>) -> u16 {
    let Ok(mut stream) = knock(house, client, b"http/1.1").await else { return 0 };
    let request = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    if stream.write_all(request.as_bytes()).await.is_err() {
        return 0;
    }
    let mut answer = Vec::new();
    // A certificate that is refused under TLS 1.3 shows at the first read.
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.ok();
    std::str::from_utf8(&answer).unwrap().get(9..12).map_or(0, |status| status.parse().unwrap())
}

#[tokio::test]
async fn both_protocols_are_offered_over_tls() {
    let house = house(&server_config(), &open()).await;
    let mut stream = knock(&house, None, b"http/1.1").await.unwrap();
    assert_eq!(get(&mut stream, "/", "").await.0, 200);
    let stream = knock(&house, None, b"h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 200);
}

#[tokio::test]
async fn half_a_handshake_is_shown_out() {
    let house = house(&server_config(), &open()).await;
    let mut silent = house.knock().await;
    let mut half = house.knock().await;
    half.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
    // A handshake, and then no request.
    let mut mute = knock(&house, None, b"http/1.1").await.unwrap();
    assert_eq!(get(&mut knock(&house, None, b"http/1.1").await.unwrap(), "/", "").await.0, 200);
    until_closed(&mut silent).await;
    until_closed(&mut half).await;
    until_closed(&mut mute).await;
    assert_eq!((house.closed("tls_handshake_timeout"), house.closed("read_header_timeout")), (2, 1));
    let (status, _) = get(&mut house.knock().await, "/", "").await;
    assert_eq!(status, 0, "a request without TLS is not answered");
    until(|| house.closed("tls_handshake") == 1).await;
}

#[tokio::test]
async fn a_gate_of_certificates_takes_those_of_its_ca_and_name() {
    let any = house(&server_config(), &mtls("[]")).await;
    assert_eq!(status(&any, Some("client")).await, 200);
    assert_eq!(status(&any, None).await, 403);
    assert_eq!(status(&any, Some("stranger")).await, 0);
    let named = house(&server_config(), &mtls("scraper.example")).await;
    assert_eq!(status(&named, Some("client")).await, 200);
    let other = house(&server_config(), &mtls("[other.example, 127.0.0.1]")).await;
    assert_eq!(status(&other, Some("client")).await, 403);
}

#[tokio::test]
async fn a_client_ca_of_the_door_lets_nobody_connect_without_a_certificate() {
    let config = TlsServerConfig { client_ca_file: Some(path("ca.pem")), ..server_config() };
    let house = house(&config, &open()).await;
    assert_eq!(status(&house, Some("client")).await, 200);
    assert_eq!(status(&house, None).await, 0);
    assert_eq!(status(&house, Some("stranger")).await, 0);
}

#[tokio::test]
async fn a_renewed_certificate_is_served_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
    let put = |name: &str| {
        std::fs::copy(pki(&format!("{name}.pem")), &cert).unwrap();
        std::fs::copy(pki(&format!("{name}.key")), &key).unwrap();
    };
    put("server");
    let config = TlsServerConfig {
        cert_file: cert.to_str().unwrap().to_owned(),
        key_file: key.to_str().unwrap().to_owned(),
        reload_interval: Some(config::Duration::from_millis(1)),
        ..TlsServerConfig::default()
    };
    let house = house(&config, &open()).await;
    let served = async || {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let stream = knock(&house, None, b"http/1.1").await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let old = CertificateDer::from_pem_file(pki("server.pem")).unwrap();
    let new = CertificateDer::from_pem_file(pki("renewed.pem")).unwrap();
    assert_eq!(served().await, old);
    std::fs::copy(pki("renewed.pem"), &cert).unwrap();
    assert_eq!(served().await, old, "the new certificate does not fit the old key");
    std::fs::remove_file(&key).unwrap();
    assert_eq!(served().await, old);
    put("renewed");
    assert_eq!(served().await, new);
}

#[test]
fn what_is_wrong_with_files_is_told_at_the_key() {
    let section = Section::from_yaml("prometheus", "tls: {cert_file: a, key_file: b, client_ca_file: c}").unwrap();
    let problems = |config: TlsServerConfig| config.problems(&section, "tls").to_string();
    assert_eq!(problems(server_config()), "");
    for (config, part) in [
        (TlsServerConfig { cert_file: String::new(), ..server_config() }, "::tls::cert_file: 'cert_file' is required"),
        (
            TlsServerConfig { cert_file: path("server.key"), ..server_config() },
            "server.key holds no certificate in PEM",
        ),
        (TlsServerConfig { key_file: path("server.pem"), ..server_config() }, "::tls::key_file: "),
        (TlsServerConfig { key_file: path("client.key"), ..server_config() }, "client.key is not the key of "),
        (TlsServerConfig { key_file: path("nowhere"), ..server_config() }, "cannot read "),
        (
            TlsServerConfig { client_ca_file: Some(path("server.key")), ..server_config() },
            "server.key holds no certificate in PEM",
        ),
    ] {
        let problems = problems(config);
        assert!(problems.contains(part), "{part}: {problems}");
    }
}
