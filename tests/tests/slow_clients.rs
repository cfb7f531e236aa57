//! A door that takes events, under clients of the eight slow kinds: each is closed in time, and good requests do not notice.

#![allow(clippy::disallowed_types, reason = "real clients live in real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tests::{PATIENCE, Weir, http, within};

/// What a client does that takes its time.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    OneByte,
    HalfPreface,
    HeadByteByByte,
    BodyByteByByte,
    HalfTlsHello,
    NoWindow,
    NeverReads,
}

/// Each kind and how many seconds a door bears it, at least and at most: heads and handshakes 5 s, bodies 10 s or until they have
/// come at less than 1 KiB/s for 2 s, answers that nobody takes 30 s.
const KINDS: [(Slow, u64, u64); 8] = [
    (Slow::Silent, 5, 5),
    (Slow::OneByte, 5, 5),
    (Slow::HalfPreface, 5, 5),
    (Slow::HeadByteByByte, 5, 5),
    (Slow::BodyByteByByte, 2, 10),
    (Slow::HalfTlsHello, 5, 5),
    (Slow::NoWindow, 30, 30),
    (Slow::NeverReads, 30, 30),
];

/// Clients of each kind.
const EACH: usize = 4;

/// How far from its limit a client may be closed; to be late is allowed for as long again as the machine let this test itself wait.
const SLACK: Duration = Duration::from_secs(1);

const GOOD: &str = r#"{"circuit_name":"pay","old_state":"closed","new_state":"open","timestamp":"#;

impl Slow {
    /// Connects, does what it does, and gives how long it was borne.
    fn until_closed(self, plain: SocketAddr, tls: SocketAddr) -> Duration {
        let to = if matches!(self, Self::HalfTlsHello) { tls } else { plain };
        let mut stream = TcpStream::connect(to).expect("the door is open");
        stream.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
        let drip: &[u8] = match self {
            Self::HeadByteByByte => b"POST /signals HTTP/1.1\r\nHost: w\r\n",
            Self::BodyByteByByte => b"{\"circuit_name\":\"a name without end",
            _ => b"",
        };
        let began = self.begin(&mut stream);
        let mut drip = drip.iter();
        while began.elapsed() < Duration::from_secs(60) {
            if let Some(byte) = drip.next()
                && stream.write_all(&[*byte]).is_err()
            {
                return began.elapsed();
            }
            if self.is_closed(&mut stream) {
                return began.elapsed();
            }
        }
        began.elapsed()
    }

    /// Gives when the door last saw something of it, but for what comes byte by byte.
    fn begin(self, stream: &mut TcpStream) -> Instant {
        let said: &[u8] = match self {
            Self::Silent | Self::HeadByteByByte => b"",
            Self::OneByte => b"P",
            Self::HalfPreface => b"PRI * HTTP/2.0\r\n\r\nS",
            Self::BodyByteByByte => b"POST /signals HTTP/1.1\r\nHost: w\r\nContent-Length: 1000\r\n\r\n",
            // The head of a handshake record that promises 512 bytes.
            Self::HalfTlsHello => b"\x16\x03\x01\x02\x00\x01\x00",
            // Preface; SETTINGS with an initial window of 0; HEADERS of GET /signals, whose answer has a body.
            Self::NoWindow => {
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
                  \0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\
                  \0\0\x0f\x01\x05\0\0\0\x01\x82\x86\x04\x08/signals\x41\x01w"
            }
            Self::NeverReads => return fill(stream),
        };
        let connected = Instant::now();
        stream.write_all(said).expect("a few bytes can be sent");
        connected
    }

    /// Waits up to a second.
    fn is_closed(self, stream: &mut TcpStream) -> bool {
        if matches!(self, Self::NeverReads) {
            std::thread::sleep(Duration::from_millis(50));
            return stream.write(b"x").is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        }
        match stream.read(&mut [0; 4096]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Asks on and on and takes no answer, until nothing more goes out for a second. Gives when the last byte did.
fn fill(stream: &mut TcpStream) -> Instant {
    stream.set_nonblocking(true).expect("a socket can be asked without waiting");
    // Signals that are refused, each with a reason: enough to fill every buffer on the way soon, few enough a request that weir, busy
    // with one of them, is not taken for one that waits.
    let body = format!("[{}{{}}]", "{},".repeat(499));
    let request = format!("POST /signals HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let request = request.as_bytes();
    let (mut last, mut at) = (Instant::now(), 0);
    while last.elapsed() < Duration::from_secs(1) {
        match stream.write(&request[at..]) {
            Ok(sent) => (at, last) = ((at + sent) % request.len(), Instant::now()),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    last
}

/// The longest that the machine let a thread wait that wanted to run, until `done`.
fn longest_wait(done: &AtomicBool) -> Duration {
    let nap = Duration::from_millis(10);
    let mut longest = Duration::ZERO;
    while !done.load(Ordering::Relaxed) {
        let began = Instant::now();
        std::thread::sleep(nap);
        longest = longest.max(began.elapsed().saturating_sub(nap));
    }
    longest
}

fn weir(folder: &Path) -> (Weir, SocketAddr, SocketAddr) {
    let free =
        || TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("there is a free port");
    let (plain, tls) = (free(), free());
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost -days 2";
    let made = Command::new("sh").arg("-c").arg(script).current_dir(folder).output().expect("there is a shell");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
    let folder = folder.display();
    let limits = "limits: {connections: 4096, connections_per_address: 4096}";
    let yaml = format!(
        "
receivers:
  breaker/plain: {{endpoint: '{plain}', storage: file_storage, durability: relaxed, {limits}}}
  breaker/tls:
    endpoint: '{tls}'
    storage: file_storage
    {limits}
    tls: {{cert_file: '{folder}/cert.pem', key_file: '{folder}/key.pem'}}
exporters:
  prometheus: {{endpoint: '${{env:WEIR_LISTEN}}'}}
extensions:
  file_storage: {{directory: '{folder}/state', create_directory: true}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines: {{metrics: {{receivers: [breaker/plain, breaker/tls], exporters: [prometheus]}}}}
"
    );
    let weir = Weir::run_text(&yaml).start();
    for door in [plain, tls] {
        within(PATIENCE, "an open door", || TcpStream::connect(door).ok());
    }
    (weir, plain, tls)
}

/// The 99th of 100 good requests, each on a connection of its own.
fn slowest(to: SocketAddr, round: usize) -> Duration {
    let mut took: Vec<Duration> = (0..100)
        .map(|number| {
            let body = format!("{GOOD}{}.{number}}}", 1_700_000_000 + round);
            let began = Instant::now();
            let answer =
                http::request("POST", to, "/signals", &[("Content-Type", "application/json")], body.as_bytes());
            assert_eq!(answer.expect("good requests are answered").status, 200);
            began.elapsed()
        })
        .collect();
    took.sort();
    took[98]
}

#[test]
fn slow_clients_of_every_kind_are_closed_in_time_and_good_requests_stay_prompt() {
    let folder = tempfile::tempdir().expect("there is room");
    let (weir, plain, tls) = weir(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let machine = scope.spawn(|| longest_wait(&done));
        let clients: Vec<_> = KINDS
            .iter()
            .flat_map(|kind| [kind; EACH])
            .map(|kind| (kind, scope.spawn(move || kind.0.until_closed(plain, tls))))
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        // Other programs on the machine can spoil a round, but not all of them.
        let rounds: Vec<Duration> = (0..5).map(|round| slowest(plain, round)).collect();
        let borne: Vec<_> =
            clients.into_iter().map(|(kind, client)| (kind, client.join().expect("a client does not panic"))).collect();
        done.store(true, Ordering::Relaxed);
        let waited = machine.join().expect("it only sleeps");
        assert!(rounds.iter().any(|took| *took < Duration::from_millis(50)), "good requests took {rounds:?}");
        for ((kind, least, most), borne) in borne {
            let fits = (Duration::from_secs(*least) - SLACK)..=(Duration::from_secs(*most) + SLACK + waited);
            assert!(fits.contains(&borne), "{kind:?} was borne for {borne:?}, not {least} to {most} s; {waited:?}");
        }
    });
    assert!(weir.resident_mib() < 64.0, "slow clients cost {} MiB", weir.resident_mib());
    weir.stop();
}
