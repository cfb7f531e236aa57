//! `weir healthcheck`: one GET by hand, because a probe that starts every few seconds should cost nothing.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::Exit;
use super::arguments::HealthArgs;

/// The most of an answer that is read: its head and one line of why.
const ANSWER_BYTES: u64 = 4096;

/// Asks and tells.
pub(super) fn healthcheck(args: &HealthArgs, err: &mut dyn Write) -> Exit {
    match ask(&args.url, args.timeout.get()) {
        Ok(()) => Exit::Success,
        Err(why) => {
            writeln!(err, "not healthy: {why}").ok();
            Exit::Failure
        }
    }
}

fn ask(url: &str, timeout: Duration) -> Result<(), String> {
    let rest = url.strip_prefix("http://").ok_or_else(|| format!("{url:?} is not an http:// URL"))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = if has_port(authority) { authority.to_owned() } else { format!("{authority}:80") };
    let addresses = address.to_socket_addrs().map_err(|error| format!("{address}: {error}"))?;
    let mut last = format!("{address}: the name has no address");
    for one in addresses {
        match TcpStream::connect_timeout(&one, timeout) {
            Ok(stream) => return converse(stream, authority, path, timeout),
            Err(error) => last = format!("{one}: {error}"),
        }
    }
    Err(last)
}

fn has_port(authority: &str) -> bool {
    authority.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'))
}

fn converse(mut stream: TcpStream, authority: &str, path: &str, timeout: Duration) -> Result<(), String> {
    let fail = |error: std::io::Error| error.to_string();
    stream.set_read_timeout(Some(timeout)).map_err(fail)?;
    stream.set_write_timeout(Some(timeout)).map_err(fail)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(fail)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).map_err(fail)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).unwrap_or_default();
    if status == "200" {
        return Ok(());
    }
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body.lines().next().unwrap_or_default());
    Err(if status.is_empty() {
        "the answer is not HTTP".to_owned()
    } else {
        format!("{status} {}", body.escape_debug())
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn serve_once(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            let read = stream.read(&mut head).unwrap();
            assert!(head[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    fn ask_soon(url: &str) -> Result<(), String> {
        ask(url, Duration::from_secs(2))
    }

    #[test]
    fn only_200_is_healthy() {
        assert_eq!(ask_soon(&serve_once("HTTP/1.1 200 OK\r\n\r\n{}")), Ok(()));
        let answer = ask_soon(&serve_once("HTTP/1.1 503 Service Unavailable\r\n\r\n{\"reason\":\"starting\"}"));
        assert_eq!(answer.unwrap_err(), r#"503 {\"reason\":\"starting\"}"#);
        assert_eq!(ask_soon(&serve_once("SSH-2.0\r\n")).unwrap_err(), "the answer is not HTTP");
    }

    #[test]
    fn nobody_there_is_not_healthy() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert!(ask_soon(&format!("http://{address}/")).unwrap_err().starts_with(&address.to_string()));
        assert!(ask_soon("https://localhost/").unwrap_err().contains("not an http:// URL"));
    }
}
