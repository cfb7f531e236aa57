//! The example that takes the events of Cycles, run as its users run it: delivered to by two subscriptions, killed, started again,
//! its switch turned. What must be shown is worked out by an oracle that shares nothing with weir.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tests::exposition::Exposition;
use tests::judges::{self, Names};
use tests::{Weir, http, repository};

const TENANTS: &str = "the-secret-of-the-tenants-subscription";
const NEXT: &str = "the-secret-that-comes-after-it";
const SYSTEM: &str = "the-secret-of-the-system-subscription";

type Series = BTreeMap<(String, BTreeMap<String, String>), f64>;

/// What Cycles sends, and what must come of it.
struct Cycles(Value);

/// A running example and where it takes events.
struct House {
    weir: Weir,
    door: SocketAddr,
}

impl Cycles {
    fn new(seed: u64) -> Self {
        let script = repository::root().join("tests/oracle/cycles.py");
        let output = Command::new("python3").arg(script).args([&seed.to_string(), TENANTS, NEXT, SYSTEM]).output();
        let output = output.expect("python3 is installed");
        assert!(output.status.success(), "the oracle: {}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).expect("the oracle writes JSON"))
    }

    fn deliveries(&self) -> &[Value] {
        self.0["deliveries"].as_array().expect("a list")
    }

    fn half(&self) -> usize {
        usize::try_from(self.0["half"].as_u64().expect("a number")).expect("it is small")
    }

    /// The series after `half` or `all` of the deliveries.
    fn expected(&self, tenant_tag: &str, after: &str) -> Series {
        let series = self.0["expected"][tenant_tag][after].as_array().expect("a list").iter();
        let one = |series: &Value| {
            let labels = series[1].as_object().expect("a map").iter();
            let labels = labels.map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned()));
            ((series[0].as_str().expect("a name").to_owned(), labels.collect()), series[2].as_f64().expect("a number"))
        };
        series.map(one).collect()
    }
}

impl House {
    fn start(state: &Path, tenant_tag: &str, door: SocketAddr) -> Self {
        let next = state.join("next-secret");
        std::fs::write(&next, format!("{NEXT}\n")).expect("the folder is writable");
        let launch = Weir::run("examples/cycles/weir.yaml").listen("METRICS_LISTEN", "/metrics");
        let launch = launch.env("CYCLES_LISTEN", door.to_string()).env("WEIR_STATE", state.join("state"));
        let launch = launch.env("CYCLES_WEBHOOK_SECRET", TENANTS).env("CYCLES_WEBHOOK_SECRET_FILE", next);
        let launch = launch.env("CYCLES_SYSTEM_WEBHOOK_SECRET", SYSTEM);
        let weir = launch.env("CYCLES_METRICS_TENANT_TAG_ENABLED", tenant_tag).start();
        tests::within(tests::PATIENCE, "taking events", || http::get(door, "/cycles", &[]).ok());
        Self { weir, door }
    }

    /// The series of Cycles, and of what was refused all that are not 0; less the probe of the start.
    fn series(&self) -> Series {
        let shown = Exposition::read(self.weir.scrape().text());
        let mut series = Series::new();
        for sample in shown.samples {
            assert!(sample.name.starts_with("cycles_"), "{}", sample.name);
            if sample.number() != 0.0 && sample.labels.get("reason").map(String::as_str) != Some("method") {
                series.insert((sample.name.clone(), sample.labels.clone()), sample.number());
            }
        }
        series
    }
}

fn door() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("there is a free port")
}

/// Delivers once; the status, when somebody answered.
fn deliver(door: SocketAddr, delivery: &Value) -> Option<u16> {
    let headers = delivery["headers"].as_array().expect("a list").iter();
    let headers: Vec<_> =
        headers.map(|pair| (pair[0].as_str().expect("text"), pair[1].as_str().expect("text"))).collect();
    let body = base64(delivery["content"].as_str().expect("text"));
    let path = delivery["path"].as_str().expect("text");
    http::request("POST", door, path, &headers, &body).ok().map(|response| response.status)
}

fn deliver_all(door: SocketAddr, deliveries: &[Value]) {
    for delivery in deliveries {
        assert_eq!(deliver(door, delivery).map(u64::from), delivery["status"].as_u64(), "{delivery}");
    }
}

/// Bytes of base64, without a crate of weir's.
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: u8| DIGITS.iter().position(|known| *known == byte);
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_usize, 0);
    for value in text.bytes().filter_map(digit) {
        (bits, held) = (bits << 6 | value, held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).expect("one byte"));
        }
    }
    bytes
}

fn without_refused(mut series: Series) -> Series {
    series.retain(|(name, _), _| name != "cycles_webhook_refused_total");
    series
}

fn assert_same(found: &Series, expected: &Series) {
    let differs = |(key, value): &(&_, &f64), other: &Series| other.get(*key) != Some(value);
    let more: Vec<_> = found.iter().filter(|pair| differs(pair, expected)).collect();
    let less: Vec<_> = expected.iter().filter(|pair| differs(pair, found)).collect();
    assert!(more.is_empty() && less.is_empty(), "shown: {more:#?}\nexpected: {less:#?}");
}

#[test]
fn what_is_delivered_is_counted_as_the_oracle_says_with_and_without_tenants() {
    for (seed, tenant_tag) in [(1, "true"), (2, "false")] {
        let (state, cycles) = (tempfile::tempdir().expect("there is room"), Cycles::new(seed));
        let house = House::start(state.path(), tenant_tag, door());
        assert!(house.series().is_empty(), "no series before the first event");
        deliver_all(house.door, &cycles.deliveries()[..cycles.half()]);
        assert_same(&house.series(), &cycles.expected(tenant_tag, "half"));
        deliver_all(house.door, &cycles.deliveries()[cycles.half()..]);
        assert_same(&house.series(), &cycles.expected(tenant_tag, "all"));
        let tagged = house.series().keys().any(|(_, labels)| labels.contains_key("tenant"));
        assert_eq!(tagged, tenant_tag == "true", "the label is absent, not empty");
        judges::accept(&house.weir, None, Names::Given);
        house.weir.stop();
    }
}

#[test]
fn turning_the_switch_loses_no_total() {
    let (state, cycles) = (tempfile::tempdir().expect("there is room"), Cycles::new(3));
    let house = House::start(state.path(), "true", door());
    deliver_all(house.door, &cycles.deliveries()[..cycles.half()]);
    house.weir.stop();

    let house = House::start(state.path(), "false", door());
    assert_same(&house.series(), &without_refused(cycles.expected("false", "half")));
    deliver_all(house.door, &cycles.deliveries()[cycles.half()..]);
    assert_same(&without_refused(house.series()), &without_refused(cycles.expected("false", "all")));
    house.weir.stop();

    let house = House::start(state.path(), "true", door());
    let (mut shown, mut totals) = (house.series(), Series::new());
    for ((name, labels), value) in &mut shown {
        let mut labels = labels.clone();
        let of_tenants = name.contains("received") || name.contains("expired") || name.contains("overdraft");
        assert_eq!(labels.remove("tenant").is_some(), of_tenants, "{name} {labels:?}");
        *totals.entry((name.clone(), labels)).or_default() += *value;
    }
    assert_same(&totals, &without_refused(cycles.expected("false", "all")));
    house.weir.stop();
}

/// How often weir is killed while four senders deliver.
const KILLS: usize = 8;

#[test]
fn what_is_killed_counts_on_and_senders_that_try_again_count_once() {
    let (state, cycles) = (tempfile::tempdir().expect("there is room"), Cycles::new(4));
    let door = door();
    let mut house = Some(House::start(state.path(), "true", door));
    let (next, failed, done) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let deliveries = cycles.deliveries();
    let wrong = Mutex::new(Vec::new());
    let kills = thread::scope(|scope| {
        let send = || {
            while let Some(delivery) = deliveries.get(next.fetch_add(1, Ordering::Relaxed)) {
                // As the dispatcher does, but sooner: the same delivery again until it is answered.
                let answered = || {
                    let status = deliver(door, delivery);
                    if status.is_none_or(|status| status == 503) {
                        failed.fetch_add(1, Ordering::Relaxed);
                        return None;
                    }
                    status
                };
                let status = tests::within(tests::PATIENCE, "an answer", answered);
                if Some(u64::from(status)) != delivery["status"].as_u64() {
                    wrong.lock().expect("nobody panics with it").push(format!("{status}: {delivery}"));
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        let senders: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        let mut random = tests::Random::new(11);
        let mut kills = 0;
        for kill in 1..=KILLS {
            let due = deliveries.len() * kill / (KILLS + 1);
            tests::within(tests::PATIENCE, "deliveries", || (done.load(Ordering::Relaxed) >= due).then_some(()));
            thread::sleep(Duration::from_millis(random.below(10) as u64));
            kills += usize::from(done.load(Ordering::Relaxed) < deliveries.len());
            // Ended by SIGKILL when it is dropped.
            drop(house.take());
            house = Some(House::start(state.path(), "true", door));
        }
        senders.into_iter().for_each(|sender| sender.join().expect("a sender ends"));
        kills
    });
    assert!(wrong.lock().expect("nobody panics with it").is_empty(), "{:?}", wrong.lock());
    assert!(kills >= KILLS / 2, "only {kills} of {KILLS} kills fell among the deliveries");
    assert!(failed.load(Ordering::Relaxed) > 0, "no delivery was cut off");
    let house = house.expect("it was started again");
    assert_same(&without_refused(house.series()), &without_refused(cycles.expected("true", "all")));
    house.weir.stop();
}
