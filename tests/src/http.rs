//! HTTP/1.1 as a scraper speaks it, on a plain socket: one request a connection, all waits bounded.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;

/// Asks for the text format, as old scrapers and vmagent do.
pub const TEXT: (&str, &str) = ("Accept", "text/plain;version=0.0.4");
/// Asks for OpenMetrics, as Prometheus does.
pub const OPEN_METRICS: (&str, &str) =
    ("Accept", "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1");
/// Says that compression is welcome.
pub const GZIP: (&str, &str) = ("Accept-Encoding", "gzip");

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, and values, as they came.
    pub headers: Vec<(String, String)>,
    /// The body without transfer and content coding.
    pub body: Vec<u8>,
    /// From before the connection was opened to after the last byte.
    pub took: Duration,
}

impl Response {
    /// The first header of that lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is not UTF-8, which no exposition may be.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body is UTF-8")
    }
}

/// GET with a limit of 30 s for each wait on the socket.
///
/// # Errors
/// When there is no connection or no complete, well-formed answer.
pub fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Response> {
    request("GET", address, path, headers, b"")
}

/// Any method, with a body when it is not empty.
///
/// # Errors
/// When there is no connection or no complete, well-formed answer.
pub fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    let begun = Instant::now();
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
    socket.set_read_timeout(Some(crate::PATIENCE))?;
    socket.set_write_timeout(Some(crate::PATIENCE))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    socket.write_all(head.as_bytes())?;
    socket.write_all(body)?;
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes)?;
    parse(&bytes, method == "HEAD", begun.elapsed())
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

fn parse(bytes: &[u8], headless: bool, took: Duration) -> std::io::Result<Response> {
    let end = bytes.windows(4).position(|at| at == b"\r\n\r\n").ok_or_else(|| malformed("no end of the head"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed("the head is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut response = Response {
        status: status.ok_or_else(|| malformed("no status"))?,
        headers,
        body: bytes[end + 4..].to_vec(),
        took,
    };
    if headless {
        return Ok(response);
    }
    if response.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        response.body = join_chunks(&response.body)?;
    } else if let Some(length) = response.header("content-length") {
        let length: usize = length.parse().map_err(|_| malformed("content-length is no number"))?;
        if response.body.len() != length {
            return Err(malformed("the body is shorter or longer than content-length"));
        }
    }
    if response.header("content-encoding") == Some("gzip") {
        let mut plain = Vec::new();
        GzDecoder::new(response.body.as_slice()).read_to_end(&mut plain)?;
        response.body = plain;
    }
    Ok(response)
}

fn join_chunks(mut rest: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut joined = Vec::new();
    loop {
        let end = rest.windows(2).position(|at| at == b"\r\n").ok_or_else(|| malformed("a chunk without a size"))?;
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size.trim(), 16).ok());
        let size = size.ok_or_else(|| malformed("a chunk size that is no number"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(joined);
        }
        let chunk = rest.get(..size).ok_or_else(|| malformed("a chunk that ends early"))?;
        joined.extend_from_slice(chunk);
        rest = rest.get(size + 2..).ok_or_else(|| malformed("a chunk without its end"))?;
    }
}
