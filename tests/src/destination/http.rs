//! HTTP/1.1 as the destination speaks it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{Mood, Shared};

pub(super) fn serve(mut stream: TcpStream, shared: &Shared) -> Option<()> {
    loop {
        let (head, body) = read_request(&mut stream)?;
        let (status, more, answer): (&str, &str, &[u8]) = match shared.meet(&body)? {
            Mood::Well | Mood::Slow => ("200 OK", "", b""),
            Mood::TakesInPart if head.contains("\r\ncontent-type: application/json") => (
                "200 OK",
                "Content-Type: application/json\r\n",
                br#"{"partialSuccess":{"rejectedDataPoints":"1","rejectedLogRecords":"1"}}"#,
            ),
            // ExportMetricsServiceResponse { partial_success: { rejected_data_points: 1 } }
            Mood::TakesInPart => ("200 OK", "Content-Type: application/x-protobuf\r\n", b"\x0a\x02\x08\x01"),
            Mood::Unavailable => ("503 Service Unavailable", "", b""),
            Mood::UnavailableFor => ("503 Service Unavailable", "Retry-After: 1\r\n", b""),
            Mood::Throttles => ("429 Too Many Requests", "Retry-After: 1\r\n", b""),
            Mood::Exhausted => ("429 Too Many Requests", "", b""),
            Mood::Refuses => ("400 Bad Request", "", b""),
            Mood::Unauthenticated => ("401 Unauthorized", "", b""),
            Mood::Resets => {
                return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").ok();
            }
            // Until the other end has enough of it.
            Mood::Hangs => return stream.read(&mut [0]).map(|_| ()).ok(),
            Mood::BreaksOff | Mood::Closed => return None,
        };
        let head = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {}\r\n\r\n", answer.len());
        stream.write_all(&[head.as_bytes(), answer].concat()).ok()?;
    }
}

/// The head of a request in small letters, and its body.
fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&chunk[..read]);
        let Some(end) = bytes.windows(4).position(|at| at == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.trim().parse::<usize>().ok())?;
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes[end + 4..end + 4 + length].to_vec()));
        }
    }
}
