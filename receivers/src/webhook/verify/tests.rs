use http::{HeaderMap, HeaderName, HeaderValue};
use pdata::UnixNanos;

use super::*;

const BODY: &[u8] = br#"{"event_id":"evt_1"}"#;
const NOW: UnixNanos = UnixNanos(1_700_000_000_000_000_000);
const SECRET: &str = "a secret of some length";

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut map = HeaderMap::new();
    pairs.iter().map(pair).for_each(|(name, value)| drop(map.append(name, value)));
    map
}

/// What openssl says: an independent judge of the code.
fn openssl_hmac(secret: &str, message: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut child = Command::new("openssl")
        .args(["dgst", "-sha256", "-hmac", secret])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().unwrap().write_all(message).unwrap();
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    text.trim().rsplit(' ').next().unwrap().to_owned()
}

fn find<'a>(scheme: &Scheme, secrets: &[&str], headers: &'a HeaderMap, body: &[u8]) -> Finding<'a> {
    let keys: Vec<_> = secrets.iter().map(|secret| scheme.key(secret).unwrap()).collect();
    verify(scheme, &keys, headers, body, NOW)
}

#[test]
fn a_body_signature_is_believed_and_everything_near_it_is_not() {
    for (scheme, header) in [(Scheme::cycles(), "x-cycles-signature"), (Scheme::github(), "x-hub-signature-256")] {
        let code = openssl_hmac(SECRET, BODY);
        let good = format!("sha256={code}");
        let judge = |pairs: &[(&str, &str)]| match find(&scheme, &[SECRET], &headers(pairs), BODY) {
            Finding::Authentic(_) => "authentic",
            Finding::Forged(flaw) => flaw.word(),
        };
        assert_eq!(judge(&[(header, &good)]), "authentic");
        assert_eq!(
            judge(&[(header, &good.to_uppercase().replace("SHA256", "sha256"))]),
            "authentic",
            "hex has no case"
        );
        assert_eq!(judge(&[]), "missing");
        assert_eq!(judge(&[(header, "")]), "missing");
        assert_eq!(judge(&[(header, &good), (header, &good)]), "repeated");
        assert_eq!(judge(&[(header, &code)]), "malformed", "no prefix");
        assert_eq!(judge(&[(header, "sha256=")]), "malformed");
        assert_eq!(judge(&[(header, &format!("SHA256={code}"))]), "malformed");
        assert_eq!(judge(&[(header, &good[..good.len() - 2])]), "mismatch", "a prefix of the code");
        assert_eq!(judge(&[(header, &format!("{good}00"))]), "mismatch", "the code and more");
        assert_eq!(judge(&[(header, &format!("{good} "))]), "mismatch", "a trailing space");
        assert_eq!(judge(&[(header, "sha256=zz")]), "mismatch", "no hex");
        assert_eq!(judge(&[(header, "sha256=\u{e9}")]), "malformed", "no ASCII");
        assert_eq!(judge(&[(header, &format!("sha256={}", openssl_hmac("another", BODY)))]), "mismatch");
    }
}

#[test]
fn a_changed_body_is_forged() {
    let headers = headers(&[("x-cycles-signature", &format!("sha256={}", openssl_hmac(SECRET, BODY)))]);
    assert_eq!(find(&Scheme::cycles(), &[SECRET], &headers, b"{}"), Finding::Forged(Flaw::Mismatch));
}

#[test]
fn a_rotated_secret_is_told_by_its_place() {
    let headers = headers(&[("x-cycles-signature", &format!("sha256={}", openssl_hmac(SECRET, BODY)))]);
    for (secrets, key) in [(vec![SECRET, "new"], 0), (vec!["new", SECRET], 1), (vec!["new", SECRET, SECRET], 1)] {
        let Finding::Authentic(signed) = find(&Scheme::cycles(), &secrets, &headers, BODY) else { panic!("forged") };
        assert_eq!(signed, Signed { id: None, time: None, key });
    }
}

/// The example of the Standard Webhooks specification (its reference libraries test with it).
#[test]
fn the_example_of_standard_webhooks_is_believed() {
    let scheme = Scheme { tolerance: None, ..Scheme::standard_webhooks() };
    let headers = headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v2,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]);
    let body = br#"{"test": 2432232314}"#;
    let Finding::Authentic(signed) = find(&scheme, &["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], &headers, body) else {
        panic!("the specification's own example is forged")
    };
    assert_eq!(signed.id, Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    assert_eq!(signed.time, Some(UnixNanos(1_614_265_330_000_000_000)));
}

#[test]
fn a_signed_time_is_believed_for_five_minutes_both_ways() {
    let now = NOW.0 / 1_000_000_000;
    for (offset, expected) in
        [(0, None), (-299, None), (299, None), (-301, Some(Flaw::Stale)), (301, Some(Flaw::Stale))]
    {
        let time = (now as i64 + offset).to_string();
        let stripe = openssl_hmac(SECRET, &[time.as_bytes(), b".", BODY].concat());
        let slack = openssl_hmac(SECRET, &[b"v0:", time.as_bytes(), b":", BODY].concat());
        let stripe = headers(&[("stripe-signature", &format!("t={time},v1={stripe},v0=old"))]);
        let slack = headers(&[("x-slack-signature", &format!("v0={slack}")), ("x-slack-request-timestamp", &time)]);
        for (scheme, headers) in [(Scheme::stripe(), stripe), (Scheme::slack(), slack)] {
            let flaw = match find(&scheme, &[SECRET], &headers, BODY) {
                Finding::Authentic(_) => None,
                Finding::Forged(flaw) => Some(flaw),
            };
            assert_eq!(flaw, expected, "{offset} s");
        }
    }
}

#[test]
fn a_time_that_was_not_signed_with_the_body_is_forged() {
    let now = (NOW.0 / 1_000_000_000).to_string();
    let code = openssl_hmac(SECRET, &[b"1", b".".as_slice(), BODY].concat());
    let headers = headers(&[("stripe-signature", &format!("t={now},v1={code}"))]);
    assert_eq!(find(&Scheme::stripe(), &[SECRET], &headers, BODY), Finding::Forged(Flaw::Mismatch));
}

#[test]
fn odd_times_are_malformed() {
    for time in ["", "-1", "1e9", " 1", "+1", "999999999999", "0x10"] {
        let headers = headers(&[("stripe-signature", &format!("t={time},v1=00"))]);
        assert_eq!(find(&Scheme::stripe(), &[SECRET], &headers, BODY), Finding::Forged(Flaw::Malformed), "{time:?}");
    }
    let twice = headers(&[("stripe-signature", "t=1,t=2,v1=00")]);
    assert_eq!(find(&Scheme::stripe(), &[SECRET], &twice, BODY), Finding::Forged(Flaw::Repeated));
}

#[test]
fn a_header_with_a_thousand_signatures_costs_no_more_than_eight() {
    let many = format!("t=1{}", ",v1=00".repeat(1000));
    assert_eq!(signature::parse(&Scheme::stripe().form, &many).unwrap().signatures.len(), SIGNATURES_MAX);
}

#[test]
fn without_keys_nothing_is_believed() {
    let headers = headers(&[("x-cycles-signature", &format!("sha256={}", openssl_hmac("", BODY)))]);
    assert_eq!(find(&Scheme::cycles(), &[], &headers, BODY), Finding::Forged(Flaw::Mismatch));
}
