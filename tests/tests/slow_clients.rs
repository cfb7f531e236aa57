//! A door that takes events, under clients of the eight slow kinds: each is closed in time, and good requests do not notice.

#![allow(clippy::disallowed_types, reason = "real clients live in real time")]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
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

/// Each kind, and the longest a door bears it: heads and handshakes 5 s, bodies 10 s, answers that nobody takes 30 s.
const KINDS: [(Slow, u64); 8] = [
    (Slow::Silent, 5),
    (Slow::OneByte, 5),
    (Slow::HalfPreface, 5),
    (Slow::HeadByteByByte, 5),
    (Slow::BodyByteByByte, 10),
    (Slow::HalfTlsHello, 5),
    (Slow::NoWindow, 30),
    (Slow::NeverReads, 30),
];

/// Clients of each kind.
const EACH: usize = 4;

/// Beyond the limit: what a busy machine adds, most of all where buffers have to fill first.
const LATE: Duration = Duration::from_secs(8);

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
        self.begin(&mut stream);
        let began = Instant::now();
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

    fn begin(self, stream: &mut TcpStream) {
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
        stream.write_all(said).expect("a few bytes can be sent");
    }

    /// Waits up to a second.
    fn is_closed(self, stream: &mut TcpStream) -> bool {
        if matches!(self, Self::NeverReads) {
            std::thread::sleep(Duration::from_millis(200));
            return stream.write(b"x").is_err_and(|error| error.kind() != ErrorKind::WouldBlock);
        }
        match stream.read(&mut [0; 4096]) {
            Ok(0) => true,
            Ok(_) => false,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Asks on and on and takes no answer, until nothing more goes out.
fn fill(stream: &mut TcpStream) {
    stream.set_nonblocking(true).expect("a socket can be asked without waiting");
    // A few of these fill every buffer on the way: ten thousand signals, each refused with a reason.
    let body = format!("[{}{{}}]", "{},".repeat(9_999));
    let request = format!("POST /signals HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let request = request.as_bytes();
    let (mut stuck, mut at) = (0, 0);
    while stuck < 50 {
        match stream.write(&request[at..]) {
            Ok(sent) => (at, stuck) = ((at + sent) % request.len(), 0),
            Err(_) => {
                stuck += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
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
    std::thread::scope(|scope| {
        let clients: Vec<_> = KINDS
            .iter()
            .flat_map(|kind| [kind; EACH])
            .map(|(kind, limit)| (kind, limit, scope.spawn(move || kind.until_closed(plain, tls))))
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        // Other programs on the machine can spoil a round, but not all of them.
        let rounds: Vec<Duration> = (0..5).map(|round| slowest(plain, round)).collect();
        assert!(rounds.iter().any(|took| *took < Duration::from_millis(50)), "good requests took {rounds:?}");
        for (kind, limit, client) in clients {
            let borne = client.join().expect("a client does not panic");
            assert!(borne <= Duration::from_secs(*limit) + LATE, "{kind:?} was borne for {borne:?}, not {limit} s");
        }
    });
    assert!(weir.resident_mib() < 64.0, "slow clients cost {} MiB", weir.resident_mib());
    weir.stop();
}
