//! Senders: signed events over connections that stay open, each sent when the one before it has been answered.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub const PATH: &str = "/hooks/hook";
pub const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Requests as they go over the wire, and how many distinct good events they carry.
pub struct Requests {
    pub all: Vec<Vec<u8>>,
    pub good: usize,
}

/// How a load ended.
pub struct Outcome {
    pub answers: BTreeMap<u16, usize>,
    pub took: Duration,
    /// Microseconds, sorted.
    latencies: Vec<u32>,
}

/// What is sent.
#[derive(Clone, Copy)]
pub struct Mix {
    pub events: usize,
    /// Of a hundred events, so many repeat an earlier one.
    pub repeats: u64,
    /// Of a hundred events, so many have a wrong signature.
    pub bad: u64,
}

const TYPES: [&str; 4] = ["breaker.opened", "payment.captured", "order.created", "quota.exceeded"];

/// Requests of 600 bytes of body, signed as GitHub signs. `seed` keeps the events of two loads apart.
pub fn requests(mix: Mix, seed: u64) -> Requests {
    let (mut random, mut all, mut distinct) =
        (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, Vec::<Vec<u8>>::new(), Vec::new());
    for number in 0..mix.events {
        let mut next = |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        if !distinct.is_empty() && next(100) < mix.repeats {
            let recent: usize = distinct[distinct.len() - 1 - next(distinct.len().min(1000) as u64) as usize];
            all.push(all[recent].clone());
            continue;
        }
        let mut body = format!(
            r#"{{"id":"evt_{seed:x}_{number:x}","type":"{}","tenant_id":"tenant-{:03}","created_at":1700000000,"data":{{"amount":{},"note":""#,
            TYPES[next(4) as usize],
            next(100),
            next(100_000)
        );
        while body.len() < 597 {
            body.push(char::from(b'a' + next(26) as u8));
        }
        body.push_str("\"}}");
        let bad = next(100) < mix.bad;
        if !bad {
            distinct.push(all.len());
        }
        all.push(request(body.as_bytes(), bad, ""));
    }
    Requests { all, good: distinct.len() }
}

/// A whole request. `headers` are lines that each end in CR LF.
pub fn request(body: &[u8], bad: bool, headers: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length will do");
    mac.update(body);
    let mut digest = mac.finalize().into_bytes();
    digest[0] ^= u8::from(bad);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{headers}X-Hub-Signature-256: sha256={hex}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends all requests over so many connections.
pub fn send(to: SocketAddr, connections: usize, requests: &Requests) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let all: Rc<Vec<Vec<u8>>> = Rc::new(requests.all.clone());
    let next = Rc::new(Cell::new(0));
    let local = tokio::task::LocalSet::new();
    let began = Instant::now();
    let senders = async {
        let senders: Vec<_> =
            (0..connections).map(|_| tokio::task::spawn_local(sender(to, all.clone(), next.clone()))).collect();
        let (mut answers, mut latencies) = (BTreeMap::new(), Vec::new());
        for sender in senders {
            for (status, took) in sender.await.expect("a sender does not panic") {
                *answers.entry(status).or_default() += 1;
                latencies.push(took);
            }
        }
        (answers, latencies)
    };
    let (answers, mut latencies) = runtime.block_on(local.run_until(senders));
    latencies.sort_unstable();
    Outcome { answers, took: began.elapsed(), latencies }
}

async fn sender(to: SocketAddr, all: Rc<Vec<Vec<u8>>>, next: Rc<Cell<usize>>) -> Vec<(u16, u32)> {
    let mut told = Vec::new();
    let Ok(mut stream) = TcpStream::connect(to).await else { return told };
    stream.set_nodelay(true).ok();
    let mut buffer = vec![0; 4096];
    while let Some(request) = all.get(next.replace(next.get() + 1)) {
        let began = Instant::now();
        if stream.write_all(request).await.is_err() {
            break;
        }
        let Some(status) = answer(&mut stream, &mut buffer).await else { break };
        told.push((status, u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX)));
    }
    told
}

/// The status of an answer with a length, read to its end.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Option<u16> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await.ok().filter(|read| *read > 0)?;
        filled += read;
        let text = std::str::from_utf8(&buffer[..filled]).ok()?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length? {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}

impl Outcome {
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.took.as_secs_f64()
    }

    pub fn percentile_ms(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(f64::NAN, |micros| f64::from(*micros) / 1000.0)
    }

    pub fn events(&self) -> usize {
        self.latencies.len()
    }
}
