//! What it costs to find out whether a webhook is genuine, and that a forged one costs no more than a good one.

use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue};
use pdata::UnixNanos;
use receivers::webhook_measure::Verification;
use sha2::Sha256;

use crate::measure::{Cost, Report, best_of};

const SECRET: &str = "the-current-secret-of-all-schemes";
/// Roughly the body of an event of Cycles.
const BODY_BYTES: usize = 600;
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 5;

/// A way to sign, and the header in which it does.
struct Way {
    scheme: &'static str,
    header: &'static str,
    /// What stands before the code, and before the body in what is signed.
    before: String,
    signed: String,
}

pub fn run() {
    let now = UnixNanos(1_700_000_000_000_000_000);
    let ways = [
        Way { scheme: "cycles", header: "x-cycles-signature", before: "sha256=".into(), signed: String::new() },
        Way {
            scheme: "stripe",
            header: "stripe-signature",
            before: "t=1700000000,v1=".into(),
            signed: "1700000000.".into(),
        },
    ];
    let mut report = Report::new("Signatures: a 600-byte body");
    for way in &ways {
        for keys in ["", ", secrets: [another-secret-of-some-length]"] {
            let yaml = format!("verify: {{scheme: {}, secret: {SECRET}{keys}}}", way.scheme);
            let verification = Verification::new(&yaml).expect("it is right");
            let count = if keys.is_empty() { "1 key" } else { "2 keys" };
            let body = vec![b'x'; BODY_BYTES];
            let cost = |value: &str, expected: Result<(), &str>| {
                let mut headers = HeaderMap::new();
                if !value.is_empty() {
                    headers.insert(way.header, HeaderValue::from_str(value).expect("plain text"));
                }
                best_of(ROUNDS, REQUESTS, || {
                    for _ in 0..REQUESTS {
                        let found = verification.verify(std::hint::black_box(&headers), &body, now).map(|_| ());
                        assert_eq!(found, expected);
                    }
                })
            };
            let code = code(SECRET, way, &body);
            let good = cost(&format!("{}{code}", way.before), Ok(()));
            report.cost(format!("{}, {count}: good", way.scheme), good, "request", Some("0 allocations"));
            let mut against = |what: &str, other: Cost| {
                let share = format!("{:.0} ns, {:.2} of a good one", other.ns, other.ns / good.ns);
                report.figure(format!("{}, {count}: {what}", way.scheme), share, Some("at most 1"));
            };
            let other = self::code("a-secret-that-nobody-here-has", way, &body);
            against("signed with another key", cost(&format!("{}{other}", way.before), Err("signature_bad")));
            let near = format!("{}{}", &code[..63], if code.ends_with('0') { '1' } else { '0' });
            against("wrong in its last digit", cost(&format!("{}{near}", way.before), Err("signature_bad")));
            against("no signature at all", cost(&format!("{}zz", way.before), Err("signature_malformed")));
            against("no header", cost("", Err("signature_missing")));
        }
    }
    report.print();
}

fn code(secret: &str, way: &Way, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(way.signed.as_bytes());
    mac.update(body);
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}
