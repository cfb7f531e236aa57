//! Programs under test: started on loopback, ended by pid, watched from outside.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running program; killed when dropped.
pub struct Program {
    child: Child,
    /// Where it serves.
    pub address: SocketAddr,
}

/// What one HTTP answer was.
pub struct Answer {
    pub status: u16,
    pub body_bytes: usize,
    /// From the request's last byte to the answer's first.
    pub first_byte: Duration,
}

impl Program {
    /// Starts a program that will serve at `address`.
    pub fn start(command: &mut Command, address: SocketAddr) -> std::io::Result<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, address })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks for `path` until it answers 200; none when it does not within `patience`.
    pub fn wait_ready(&self, path: &str, patience: Duration) -> Option<Duration> {
        let began = Instant::now();
        while began.elapsed() < patience {
            if get(self.address, path, "").is_ok_and(|answer| answer.status == 200) {
                return Some(began.elapsed());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        None
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A free port on loopback.
pub fn free_address() -> SocketAddr {
    free_addresses::<1>()[0]
}

/// Free ports on loopback, no two the same: all are held until the last one is found.
pub fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind("127.0.0.1:0").expect("loopback has free ports"));
    listeners.map(|listener| listener.local_addr().expect("a bound socket has an address"))
}

/// The agent's binary, built by the same cargo profile as this one.
pub fn weir() -> PathBuf {
    let me = std::env::current_exe().expect("the benchmark knows its own path");
    me.with_file_name("weir")
}

/// One request on a connection of its own. `headers` are whole lines, each ended by CR LF.
pub fn get(address: SocketAddr, path: &str, headers: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n")?;
    let asked = Instant::now();
    let mut buffer = vec![0; 1 << 16];
    let first = stream.read(&mut buffer)?;
    let first_byte = asked.elapsed();
    let head = String::from_utf8_lossy(&buffer[..first]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut body_bytes = first;
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(Answer { status, body_bytes, first_byte }),
            read => body_bytes += read,
        }
    }
}
