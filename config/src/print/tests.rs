//! What the effective configuration shows.

use crate::{Loaded, MapEnvironment, Sources, load, print};

const ENV: &[(&str, &str)] = &[("PW", "c4n4ry"), ("LISTEN", "0.0.0.0:80"), ("TLS", "{c4n4ry: c4n4ry}")];

fn loaded(text: &str) -> Loaded {
    let sources = Sources { configs: vec![format!("yaml:{text}")], sets: Vec::new() };
    load(&sources, &ENV.iter().copied().collect::<MapEnvironment>())
}

const TEXT: &str = "receivers:
  sql_query:
    password: c4n4ry
    tokens: [c4n4ry]
    host: ${env:PW}
    url: http://me:c4n4ry@host/x?y=1
    listen: ${env:LISTEN:-localhost:1}
    fallback: ${env:NO:-localhost:1}
    tls: ${env:TLS}
    port: 0x10
    text: \"no\"
    price: $$5
    keep: $${1}
    token_file: /run/token
    empty:
    list: []
";

#[test]
fn redacted_shows_no_secret_and_nothing_from_the_environment() {
    let shown = print(&loaded(TEXT), true);
    assert!(!shown.contains("c4n4ry") && !shown.contains("0.0.0.0"), "{shown}");
    for line in [
        "password: \"[REDACTED]\"",
        "host: ${env:PW}",
        "listen: ${env:LISTEN:-localhost:1}",
        "fallback: localhost:1",
        "url: http://me:[REDACTED]@host/x?y=1",
        "token_file: /run/token",
    ] {
        assert!(shown.contains(line), "{line} in\n{shown}");
    }
}

#[test]
fn unredacted_can_be_loaded_again_and_means_the_same() {
    let first = loaded(TEXT);
    let shown = print(&first, false);
    assert!(shown.contains("host: c4n4ry") && shown.contains("port: 16") && shown.contains("text: \"no\""), "{shown}");
    let again = loaded(&shown);
    assert_eq!(print(&again, false), shown);
}
