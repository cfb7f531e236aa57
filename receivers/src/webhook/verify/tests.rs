use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use config::{Problems, Section};
use http::{HeaderMap, HeaderName, HeaderValue};
use pdata::UnixNanos;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const BODY: &[u8] = br#"{"event_id":"evt_1"}"#;
const SECONDS: u64 = 1_700_000_000;
const NOW: UnixNanos = UnixNanos(SECONDS * 1_000_000_000);
const SECRET: &str = "a secret of some length";

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    verify: Option<VerifySettings>,
}

fn plan(yaml: &str, loopback: bool) -> Result<Verifier, Problems> {
    let section = Section::from_yaml("webhook/x", yaml)?;
    let source: Source = section.decode()?;
    Verifier::plan(&section, "verify", source.verify.as_ref(), loopback)
}

/// A verifier of the keys under `verify`.
fn verifier(keys: &str) -> Verifier {
    plan(&format!("verify: {{{keys}}}"), false).unwrap_or_else(|problems| panic!("{problems}"))
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    map
}

/// What openssl says, in hexadecimal: an independent judge of the code.
fn openssl(algorithm: &str, secret: &[u8], message: &[u8]) -> String {
    let key: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut child = Command::new("openssl")
        .args(["dgst", &format!("-{algorithm}"), "-mac", "HMAC", "-macopt", &format!("hexkey:{key}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    child.stdin.take().unwrap().write_all(message).unwrap();
    let text = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    text.trim().rsplit(' ').next().unwrap().to_owned()
}

fn sign(secret: &str, message: &[u8]) -> String {
    openssl("sha256", secret.as_bytes(), message)
}

fn key(verifier: &Verifier, pairs: &[(&str, &str)], body: &[u8]) -> Result<Option<usize>, Refused> {
    verifier.verify(&headers(pairs), body, NOW).map(|verified| verified.key)
}

#[test]
fn a_body_signature_is_believed_and_everything_near_it_is_not() {
    let code = sign(SECRET, BODY);
    let good = format!("sha256={code}");
    for (scheme, header) in [("cycles", "x-cycles-signature"), ("github", "x-hub-signature-256")] {
        let verifier = verifier(&format!("scheme: {scheme}, secret: {SECRET}"));
        let judge = |values: &[&str]| {
            let pairs: Vec<_> = values.iter().map(|value| (header, *value)).collect();
            key(&verifier, &pairs, BODY)
        };
        assert_eq!(judge(&[&good]), Ok(Some(0)));
        assert_eq!(judge(&[&format!("sha256={}", code.to_uppercase())]), Ok(Some(0)), "hex has no case");
        assert_eq!(judge(&[]), Err(Refused::Missing));
        assert_eq!(judge(&[""]), Err(Refused::Missing));
        assert_eq!(judge(&[&good, &good]), Err(Refused::Repeated));
        assert_eq!(judge(&[&good, "sha256=00"]), Err(Refused::Repeated));
        assert_eq!(judge(&["", &good]), Err(Refused::Repeated));
        for malformed in [
            &code,
            "sha256=",
            &format!("SHA256={code}"),
            &good[..good.len() - 2],
            &format!("{good}00"),
            &format!("{good} "),
            &format!(" {good}"),
            &format!("{good},{good}"),
            "sha256=zz",
            "sha256=\u{e9}",
            &format!("sha1={}", &code[..40]),
        ] {
            assert_eq!(judge(&[malformed]), Err(Refused::Malformed), "{malformed:?}");
        }
        for bad in [&sign("another", BODY), &sign(SECRET, b"{}"), &"0".repeat(64)] {
            assert_eq!(judge(&[&format!("sha256={bad}")]), Err(Refused::Bad), "{bad}");
        }
        assert_eq!(key(&verifier, &[(header, &good)], b"{}"), Err(Refused::Bad), "another body");
    }
}

#[test]
fn a_rotated_secret_is_told_by_its_place() {
    let good = format!("sha256={}", sign(SECRET, BODY));
    for (secrets, place) in [
        (format!("[{SECRET}, new new new new new]"), 0),
        (format!("[new new new new new, {SECRET}]"), 1),
        (format!("[new new new new new, {SECRET}, {SECRET}]"), 1),
    ] {
        let verifier = verifier(&format!("scheme: cycles, secrets: {secrets}"));
        assert_eq!(key(&verifier, &[("x-cycles-signature", &good)], BODY), Ok(Some(place)));
    }
}

#[test]
fn which_key_fits_is_counted_from_its_first_use() {
    let meters = Meters::unread();
    let verifier = verifier(&format!("scheme: cycles, secrets: [new new new new new, {SECRET}]"));
    let verifier = verifier.watched(&meters, "webhook/x", "cycles");
    assert!(meters.counts().is_empty());
    for _ in 0..3 {
        key(&verifier, &[("x-cycles-signature", &format!("sha256={}", sign(SECRET, BODY)))], BODY).unwrap();
        key(&verifier, &[("x-cycles-signature", &format!("sha256={}", sign("old", BODY)))], BODY).unwrap_err();
    }
    let labels = [("receiver", "webhook/x"), ("source", "cycles"), ("key", "1")];
    let labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
    assert_eq!(meters.counts(), [("weir_webhook_signature_key_used", labels, 3)]);
}

/// The example of the Standard Webhooks specification (its reference libraries test with it).
#[test]
fn the_example_of_standard_webhooks_is_believed() {
    let keys = "scheme: standard_webhooks, secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw, tolerance: 0s";
    let headers = headers(&[
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v2,AAAA v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]);
    let verifier = verifier(keys);
    let verified = verifier.verify(&headers, br#"{"test": 2432232314}"#, NOW).unwrap();
    assert_eq!(verified.signed_id, Some("msg_p5jXN8AQM9LWM0D4loKWxJek"));
    assert_eq!(verified.signed_time, Some(UnixNanos(1_614_265_330_000_000_000)));
}

/// A key pair that openssl has made: the file with its private key, and the public one as senders hand it out.
fn key_pair() -> (tempfile::NamedTempFile, String) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    let path = file.path().to_str().unwrap();
    openssl(&["genpkey", "-algorithm", "ed25519", "-out", path]);
    let der = openssl(&["pkey", "-in", path, "-pubout", "-outform", "DER"]);
    let public = format!("whpk_{}", STANDARD.encode(&der[der.len() - 32..]));
    (file, public)
}

/// The headers of a request that openssl signs with a key pair.
fn signed(private: &tempfile::NamedTempFile, body: &[u8]) -> [(&'static str, String); 3] {
    let message = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(message.path(), [format!("msg_1.{SECONDS}.").as_bytes(), body].concat()).unwrap();
    let done = Command::new("openssl")
        .args(["pkeyutl", "-sign", "-rawin", "-inkey"])
        .args([private.path(), "-in".as_ref(), message.path()])
        .output()
        .expect("openssl is installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let signature = format!("v1a,{}", STANDARD.encode(done.stdout));
    [("webhook-id", "msg_1".to_owned()), ("webhook-timestamp", SECONDS.to_string()), ("webhook-signature", signature)]
}

#[test]
fn what_a_key_pair_of_openssl_signs_is_believed_beside_what_a_secret_signs() {
    let ((private, public), (other, _)) = (key_pair(), key_pair());
    let verifier = verifier(&format!("scheme: standard_webhooks, secrets: [whsec_MDEyMzQ1Njc4OWFiY2RlZg==, {public}]"));
    assert!(verifier.warnings().is_empty(), "{}", verifier.warnings());
    let judge = |mut headers: [(&'static str, String); 3], more: &str, body: &[u8]| {
        headers[2].1.push_str(more);
        key(&verifier, &headers.each_ref().map(|(name, value)| (*name, &**value)), body)
    };
    let by_secret = {
        let message = [format!("msg_1.{SECONDS}.").as_bytes(), BODY].concat();
        let hex = openssl("sha256", b"0123456789abcdef", &message);
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        format!(" v1,{}", STANDARD.encode(bytes.collect::<Vec<_>>()))
    };
    assert_eq!(judge(signed(&private, BODY), "", BODY), Ok(Some(1)));
    assert_eq!(judge(signed(&other, BODY), "", BODY), Err(Refused::Bad));
    assert_eq!(judge(signed(&private, BODY), "", b"{}"), Err(Refused::Bad));
    assert_eq!(judge(signed(&other, BODY), &by_secret, BODY), Ok(Some(0)), "the other kind beside it");
    let [.., (_, again)] = signed(&private, BODY);
    assert_eq!(judge(signed(&other, BODY), &format!(" {again}"), BODY), Ok(Some(1)), "the second of two");
    assert_eq!(judge(signed(&private, BODY), &format!(" {again} {again}"), BODY), Err(Refused::Malformed));
    assert_eq!(judge(signed(&private, BODY), "AAAA", BODY), Err(Refused::Malformed));
}

#[test]
fn an_id_that_could_end_elsewhere_is_malformed() {
    // Signed for the id `a` and the time 1: what is signed reads the same with the id `a.1` and what follows as the time.
    let body = format!("{SECONDS}.{{}}");
    let code = openssl("sha256", SECRET.as_bytes(), format!("a.1.{body}").as_bytes());
    let shifted: [(&str, &str); 2] = [("x-id", "a.1"), ("x-time", &SECONDS.to_string())];
    let verifier = verifier(&format!(
        "scheme: hmac, secret: {SECRET}, header: x-sig, signed_content: '{{id}}.{{timestamp}}.{{body}}', id_header: x-id, \
         timestamp_header: x-time"
    ));
    let honest = [("x-sig", code.as_str()), ("x-id", "a"), ("x-time", "1")];
    assert_eq!(key(&verifier, &honest, body.as_bytes()), Err(Refused::Stale), "authentic");
    assert_eq!(key(&verifier, &[("x-sig", &code), shifted[0], shifted[1]], b"{}"), Err(Refused::Malformed));
}

#[test]
fn a_signed_time_is_believed_for_five_minutes_both_ways() {
    for (offset, expected) in [
        (0, Ok(Some(0))),
        (-300, Ok(Some(0))),
        (300, Ok(Some(0))),
        (-301, Err(Refused::Stale)),
        (301, Err(Refused::Stale)),
    ] {
        let time = SECONDS.saturating_add_signed(offset).to_string();
        let stripe = sign(SECRET, &[time.as_bytes(), b".", BODY].concat());
        let slack = sign(SECRET, &[b"v0:", time.as_bytes(), b":", BODY].concat());
        let stripe = [("stripe-signature", &*format!("t={time},v1={stripe},v0=old"))];
        let slack = [("x-slack-signature", &*format!("v0={slack}")), ("x-slack-request-timestamp", &time)];
        for (scheme, pairs) in [("stripe", &stripe[..]), ("slack", &slack)] {
            let within = |tolerance: &str| verifier(&format!("scheme: {scheme}, secret: {SECRET}{tolerance}"));
            assert_eq!(key(&within(""), pairs, BODY), expected, "{scheme} {offset}");
            assert_eq!(key(&within(", tolerance: 10m"), pairs, BODY), Ok(Some(0)), "{scheme} {offset}");
            assert_eq!(key(&within(", tolerance: 0s"), pairs, BODY), Ok(Some(0)), "{scheme} {offset}");
        }
    }
}

#[test]
fn a_forger_is_not_told_that_a_time_is_stale() {
    let verifier = verifier(&format!("scheme: stripe, secret: {SECRET}"));
    let forged = format!("t=1,v1={}", sign("another", &[b"1.", BODY].concat()));
    assert_eq!(key(&verifier, &[("stripe-signature", &forged)], BODY), Err(Refused::Bad));
    // Nor does a time that was not the one signed help.
    let moved = format!("t={SECONDS},v1={}", sign(SECRET, &[b"1.", BODY].concat()));
    assert_eq!(key(&verifier, &[("stripe-signature", &moved)], BODY), Err(Refused::Bad));
}

#[test]
fn odd_times_are_malformed() {
    let verifier = verifier(&format!("scheme: stripe, secret: {SECRET}"));
    for time in ["", "-1", "1e9", " 1", "+1", "1 ", "999999999999", "0x10", "1.5", "\u{663}"] {
        let code = sign(SECRET, &[time.as_bytes(), b".", BODY].concat());
        let header = format!("t={time},v1={code}");
        assert_eq!(key(&verifier, &[("stripe-signature", &header)], BODY), Err(Refused::Malformed), "{time:?}");
    }
}

#[test]
fn all_hashes_and_encodings_of_hmac_agree_with_openssl() {
    let time = (SECONDS * 1_000).to_string();
    let message = [b"kind|v1|", time.as_bytes(), b"|", BODY].concat();
    for algorithm in ["sha1", "sha256", "sha512"] {
        let hex = openssl(algorithm, SECRET.as_bytes(), &message);
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        for (encoding, texts) in [
            ("hex", vec![hex.clone(), hex.to_uppercase()]),
            ("base64", vec![STANDARD.encode(&bytes)]),
            ("base64url", vec![URL_SAFE.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)]),
        ] {
            let verifier = verifier(&format!(
                "scheme: hmac, secret: {SECRET}, algorithm: {algorithm}, encoding: {encoding}, header: X-Sig, prefix: 'sig:', \
                 signed_content: '{{header:X-Kind}}|v1|{{timestamp}}|{{body}}', timestamp_header: X-Time, timestamp_unit: ms"
            ));
            for text in texts {
                let sig = format!("sig:{text}");
                let pairs = [("x-sig", sig.as_str()), ("x-kind", "kind"), ("x-time", &time)];
                assert_eq!(key(&verifier, &pairs, BODY), Ok(Some(0)), "{algorithm} {encoding}");
                assert_eq!(key(&verifier, &pairs[..2], BODY), Err(Refused::Missing), "{algorithm} {encoding}");
                let other = [pairs[0], ("x-kind", "other"), pairs[2]];
                assert_eq!(key(&verifier, &other, BODY), Err(Refused::Bad), "{algorithm} {encoding}");
                let twice = [pairs[0], pairs[1], pairs[1], pairs[2]];
                assert_eq!(key(&verifier, &twice, BODY), Err(Refused::Repeated), "{algorithm} {encoding}");
            }
        }
    }
}

#[test]
fn a_token_is_compared_whole() {
    let verifier = verifier("scheme: token, header: X-Gitlab-Token, secrets: [0123456789abcdef, fedcba9876543210]");
    for (values, expected) in [
        (&["0123456789abcdef"][..], Ok(Some(0))),
        (&["fedcba9876543210"], Ok(Some(1))),
        (&[], Err(Refused::Missing)),
        (&[""], Err(Refused::Missing)),
        (&["0123456789abcde"], Err(Refused::Bad)),
        (&["0123456789abcdef0"], Err(Refused::Bad)),
        (&["0123456789ABCDEF"], Err(Refused::Bad)),
        (&["0123456789abcdef "], Err(Refused::Bad)),
        (&["0123456789abcdef,fedcba9876543210"], Err(Refused::Bad)),
        (&["\u{e9}"], Err(Refused::Bad)),
        (&["0123456789abcdef", "0123456789abcdef"], Err(Refused::Repeated)),
    ] {
        let pairs: Vec<_> = values.iter().map(|value| ("x-gitlab-token", *value)).collect();
        assert_eq!(key(&verifier, &pairs, BODY), expected, "{values:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_taken_out_of_its_file_is_refused_within_five_seconds() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    let verifier = verifier(&format!("scheme: cycles, secret_file: {}", file.path().display()));
    let judge = |secret: &str| {
        let good = format!("sha256={}", sign(secret, BODY));
        key(&verifier, &[("x-cycles-signature", &good)], BODY)
    };
    let later = || tokio::time::advance(std::time::Duration::from_secs(5));
    assert_eq!(judge(SECRET), Ok(Some(0)));
    std::fs::write(file.path(), format!("another secret of some length\n{SECRET}\n")).unwrap();
    later().await;
    assert_eq!(judge(SECRET), Ok(Some(1)));
    assert_eq!(judge("another secret of some length"), Ok(Some(0)));
    std::fs::write(file.path(), "another secret of some length\n").unwrap();
    later().await;
    assert_eq!(judge(SECRET), Err(Refused::Bad));
    std::fs::remove_file(file.path()).unwrap();
    later().await;
    assert_eq!(judge("another secret of some length"), Err(Refused::Unready));
    assert_eq!(judge("none of them, now or ever"), Err(Refused::Unready));
}

#[test]
fn without_the_key_only_this_machine_is_believed() {
    assert_eq!(key(&plan("", true).unwrap(), &[], BODY), Ok(None));
    assert_eq!(key(&plan("verify: {scheme: none}", true).unwrap(), &[], BODY), Ok(None));
    let open = plan("verify: {scheme: none}", false).unwrap();
    assert_eq!(key(&open, &[], BODY), Ok(None));
    assert!(open.warnings().to_string().contains("nothing is verified here"), "{}", open.warnings());
    let missing = plan("", false).unwrap_err().to_string();
    assert!(missing.contains("'verify' is missing"), "{missing}");
}

#[test]
fn mistakes_are_told_with_their_places() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().display();
    for (keys, expected) in [
        ("{}", "1:9: error: webhook/x::verify::scheme: 'scheme' is missing"),
        ("{scheme: cycle}", "has unknown value"),
        ("{scheme: cycles}", "verify::secret: the secret is missing: nothing could be verified"),
        ("{scheme: cycles, secret: ''}", "1:34: error: webhook/x::verify::secret: the secret is empty"),
        ("{scheme: cycles, secrets: [aaaaaaaaaaaaaaaa, '']}", "verify::secrets[1]: the secret is empty"),
        ("{scheme: cycles, secrets: 'aaaaaaaaaaaaaaaa,bbbbbbbbbbbbbbbb'}", "'secrets' is a list"),
        ("{scheme: cycles, secrets: [a, b, c, d, e, f, g, h, i]}", "9 secrets are active, at most 8"),
        ("{scheme: cycles, secret: aaaaaaaaaaaaaaaa, secret_file: /nowhere/s}", "cannot read /nowhere/s"),
        ("{scheme: cycles, secret: aaaaaaaaaaaaaaaa, secret_file: EMPTY}", "holds no secret"),
        ("{scheme: cycles, secret: aaaaaaaaaaaaaaaa, tolerance: 5m}", "'tolerance' has nothing to bound"),
        ("{scheme: cycles, secret: aaaaaaaaaaaaaaaa, header: X-A}", "'header' belongs to hmac and token"),
        ("{scheme: github, secret: aaaaaaaaaaaaaaaa, algorithm: sha1}", "'algorithm' belongs to hmac"),
        ("{scheme: standard_webhooks, secret: 'whsec_!'}", "the secret is not base64"),
        ("{scheme: standard_webhooks, secret: whsec_}", "the secret is empty behind 'whsec_'"),
        ("{scheme: standard_webhooks, secret: whpk_MDEyMw==}", "the public key is not 32 bytes in base64"),
        ("{scheme: svix, secret: whpk_!}", "the public key is not 32 bytes in base64"),
        ("{scheme: svix, secret: whsk_MDEyMzQ1Njc4OWFiY2RlZg==}", "this is the key that signs"),
        ("{scheme: none, secret: aaaaaaaaaaaaaaaa}", "scheme none verifies nothing, but a secret is given"),
        ("{scheme: token, secret: aaaaaaaaaaaaaaaa}", "'header' is missing: the token stands in a header"),
        ("{scheme: token, header: X-T, secret: a a}", "the token holds a space"),
        ("{scheme: token, header: X-T, secret: aaaaaaaaaaaaaaaa, tolerance: 5m}", "this scheme signs no time"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa}", "'header' is missing: the code stands in a header"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: 'a b'}", "\"a b\" is no name of a header"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, signed_content: x}", "{body} must stand in it once"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, timestamp_header: X-T}", "it is not signed"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, id_header: X-I}", "it is not signed"),
        (
            "{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, signed_content: '{timestamp}.{body}'}",
            "'timestamp_header' is missing: {timestamp} stands in a header",
        ),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, timestamp_unit: ms}", "needs 'timestamp_header'"),
        ("{scheme: hmac, secret: aaaaaaaaaaaaaaaa, header: X-A, algorithm: md5}", "has unknown value"),
    ] {
        let yaml = format!("verify: {}", keys.replace("EMPTY", &empty.to_string()));
        let problems = plan(&yaml, false).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{keys}: {problems}");
        assert!(!problems.contains("aaaaaaaaaaaaaaaa"), "{keys}: {problems}");
    }
}

#[test]
fn a_secret_that_could_be_guessed_is_warned_of() {
    for (keys, expected) in [
        ("scheme: cycles, secret: 0123456789abcde", Some("the secret has 15 bytes")),
        ("scheme: cycles, secret: 0123456789abcdef", None),
        ("scheme: cycles, secret: \"0123456789abcde\\n\"", Some("the secret has 15 bytes")),
        ("scheme: standard_webhooks, secret: whsec_MDEyMzQ1Njc4OWFiY2Rl", Some("the secret has 15 bytes")),
        ("scheme: token, header: x, secret: short", Some("the token has 5 bytes")),
    ] {
        let warnings = verifier(keys).warnings().to_string();
        match expected {
            Some(expected) => assert!(warnings.contains(expected), "{keys}: {warnings}"),
            None => assert!(warnings.is_empty(), "{keys}: {warnings}"),
        }
    }
}

#[test]
fn nothing_shows_a_secret() {
    for keys in
        [format!("scheme: cycles, secret: {SECRET}"), "scheme: token, header: x, secret: 0123456789abcdef".to_owned()]
    {
        let shown = format!("{:?}", verifier(&keys));
        assert!(!shown.contains(SECRET) && !shown.contains("0123456789abcdef"), "{shown}");
    }
}

/// One verifier of every scheme.
fn all_schemes() -> Vec<Verifier> {
    let mut all: Vec<_> = ["cycles", "standard_webhooks", "svix", "github", "stripe", "slack"]
        .map(|scheme| verifier(&format!("scheme: {scheme}, secret: c2VjcmV0IG9mIHNvbWUgbGVuZ3Ro")))
        .into();
    all.push(verifier("scheme: token, header: x-token, secret: c2VjcmV0IG9mIHNvbWUgbGVuZ3Ro"));
    all.push(verifier(
        "scheme: hmac, header: x-sig, prefix: 'a=', encoding: base64url, algorithm: sha512, id_header: x-id, timestamp_header: \
         x-time, signed_content: '{id}:{timestamp}:{header:x-kind}:{body}', secret: c2VjcmV0IG9mIHNvbWUgbGVuZ3Ro",
    ));
    all
}

/// Names that the schemes look at.
const NAMES: [&str; 14] = [
    "x-cycles-signature",
    "webhook-signature",
    "webhook-timestamp",
    "webhook-id",
    "svix-signature",
    "svix-timestamp",
    "svix-id",
    "x-hub-signature-256",
    "stripe-signature",
    "x-slack-signature",
    "x-slack-request-timestamp",
    "x-token",
    "x-sig",
    "x-time",
];

proptest! {
    /// Whatever a stranger sends is refused, and nothing panics.
    #[test]
    fn strangers_are_refused(
        values in proptest::collection::vec((0..NAMES.len(), value()), 0..12),
        body in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut map = HeaderMap::new();
        for (name, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                map.append(HeaderName::from_static(NAMES[name]), value);
            }
        }
        for verifier in all_schemes() {
            let refused = verifier.verify(&map, &body, NOW).expect_err("a stranger holds no key");
            prop_assert!(!matches!(refused, Refused::Stale | Refused::Unready));
        }
    }
}

/// Values near those of senders, and anything at all.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "(sha256=|v0=|v1,|a=)?[0-9a-f]{0,130}".prop_map(String::into_bytes),
        "(t=[0-9]{1,12},)?(v1=[0-9a-f]{64},?){0,10}".prop_map(String::into_bytes),
        "(v1a?,[A-Za-z0-9+/]{43}= ?){0,10}".prop_map(String::into_bytes),
        "1[67][0-9]{8}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]
}
