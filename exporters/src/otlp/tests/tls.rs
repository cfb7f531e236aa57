//! TLS of both exporters, with a throw-away CA. The certificates in `pki` are made by `pki/make.sh`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::*;

fn pki(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/otlp/tests/pki").join(name)
}

fn path(name: &str) -> String {
    pki(name).to_str().unwrap().to_owned()
}

/// A server's side of TLS, with the certificate of that name; `clients`: only those of our CA may come.
fn server_config(name: &str, clients: bool, alpn: &[u8]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = if clients {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(pki("ca.pem")).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(pki(&format!("{name}.pem"))).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pki(&format!("{name}.key"))).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.into()
}

/// What comes of one try over HTTPS and over gRPC: nothing, or why not.
async fn tries(certificate: &str, clients: bool, tls: &str) -> [Option<String>; 2] {
    let once = "retry_on_failure: {enabled: false}";
    let section_of = |kind: &str, endpoint: &str| section(kind, &format!("endpoint: {endpoint}\n{once}\ntls: {tls}"));

    let server = Server::http(vec![]).with_tls(server_config(certificate, clients, b"http/1.1"));
    let section = section_of("otlp_http", "https://otel.example");
    let mut plan = super::super::http::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let http = plan.ready(&surroundings("otlp_http")).unwrap();

    let server = Server::grpc(vec![]).with_tls(server_config(certificate, clients, b"h2"));
    let section = section_of("otlp_grpc", "otel.example:443");
    let mut plan = super::super::grpc::check(&section).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let grpc = plan.ready(&surroundings("otlp_grpc")).unwrap();

    let outcomes = [http.export(&metrics_batch()).await, grpc.export(&metrics_batch()).await];
    outcomes.map(|outcome| match outcome {
        Ok(()) => None,
        // The server may be renewed: this is no reason to drop data.
        Err(Refusal::Retry { why, .. }) => Some(why),
        Err(other) => panic!("{other:?}"),
    })
}

fn all_say(outcomes: [Option<String>; 2], part: &str) {
    for outcome in outcomes {
        let why = outcome.expect("a try that fails");
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_with_a_certificate_of_our_ca_is_believed() {
    let by_file = format!("{{ca_file: {}}}", path("ca.pem"));
    assert_eq!(tries("server", false, &by_file).await, [None, None]);
    let pem = std::fs::read_to_string(pki("ca.pem")).unwrap().replace('\n', "\\n");
    assert_eq!(tries("server", false, &format!("{{ca_pem: \"{pem}\"}}")).await, [None, None]);
    for version in ["1.2", "1.3"] {
        let only = format!("{{ca_file: {}, min_version: \"{version}\", max_version: \"{version}\"}}", path("ca.pem"));
        assert_eq!(tries("server", false, &only).await, [None, None]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_of_another_ca_is_not_believed() {
    all_say(tries("server", false, &format!("{{ca_file: {}}}", path("other-ca.pem"))).await, "UnknownIssuer");
    all_say(tries("server", false, "{}").await, "UnknownIssuer");
    assert_eq!(tries("server", false, "{insecure_skip_verify: true}").await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn the_name_in_the_certificate_must_be_the_one_that_was_asked_for() {
    let ca = path("ca.pem");
    all_say(tries("elsewhere", false, &format!("{{ca_file: {ca}}}")).await, "not valid for name");
    let tls = format!("{{ca_file: {ca}, server_name_override: elsewhere.example}}");
    assert_eq!(tries("elsewhere", false, &tls).await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_wants_our_certificate_gets_it() {
    let ca = path("ca.pem");
    let without = tries("server", true, &format!("{{ca_file: {ca}}}")).await;
    assert!(without.iter().all(Option::is_some), "{without:?}");
    let tls = format!("{{ca_file: {ca}, cert_file: {}, key_file: {}}}", path("client.pem"), path("client.key"));
    assert_eq!(tries("server", true, &tls).await, [None, None]);
}

#[tokio::test(start_paused = true)]
async fn certificates_are_read_again_and_broken_ones_leave_the_old_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::copy(pki("other-ca.pem"), &ca).unwrap();
    let server = Server::http(vec![]).with_tls(server_config("server", false, b"http/1.1"));
    let yaml = format!(
        "endpoint: https://otel.example\nretry_on_failure: {{enabled: false}}\ndisable_keep_alives: true\ntls: {{ca_file: {}}}",
        ca.display()
    );
    let mut plan =
        super::super::http::check(&section("otlp_http", &yaml)).unwrap_or_else(|problems| panic!("{problems}"));
    plan.dial = server.dial();
    let exporter = plan.ready(&surroundings("otlp_http")).unwrap();
    exporter.export(&metrics_batch()).await.unwrap_err();
    std::fs::copy(pki("ca.pem"), &ca).unwrap();
    tokio::time::advance(secs(2)).await;
    exporter.export(&metrics_batch()).await.unwrap();
    for broken in [Some("not PEM"), None] {
        match broken {
            Some(text) => std::fs::write(&ca, text).unwrap(),
            None => std::fs::remove_file(&ca).unwrap(),
        }
        tokio::time::advance(secs(2)).await;
        exporter.export(&metrics_batch()).await.unwrap();
    }
}
