//! gRPC as the destination speaks it: as little of HTTP/2 (RFC 9113) as the answers to unary calls need. Heads of requests are not
//! read: every call is an export.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use super::{Mood, Shared};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
/// Of SETTINGS and PING.
const ACK: u8 = 1;
/// Of DATA and HEADERS.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The error code that gRPC maps to CANCELLED, which is tried again.
const CANCEL: u32 = 8;
/// `:status: 200` and `content-type: application/grpc` in HPACK (RFC 7541), by the static table.
const HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";
/// google.rpc.Status { code, details: [google.rpc.RetryInfo { retry_delay: 50 ms }] } in base64, of RESOURCE_EXHAUSTED and of UNAVAILABLE.
const EXHAUSTED_50_MS: &str = "CAgaMwoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIHCgUQgOHrFw";
const UNAVAILABLE_50_MS: &str = "CA4aMwoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIHCgUQgOHrFw";

/// One connection.
struct Wire(TcpStream);

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

pub(super) fn serve(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut wire = Wire(stream);
    // "PRI * HTTP/2.0" and so on.
    wire.0.read_exact(&mut [0; 24]).ok()?;
    wire.write(SETTINGS, 0, 0, &[])?;
    let mut bodies = HashMap::<u32, Vec<u8>>::new();
    loop {
        let Frame { kind, flags, stream, payload } = wire.read()?;
        match kind {
            SETTINGS if flags & ACK == 0 => wire.write(SETTINGS, ACK, 0, &[])?,
            PING if flags & ACK == 0 => wire.write(PING, ACK, 0, &payload)?,
            RST_STREAM => drop(bodies.remove(&stream)),
            DATA => {
                let more = u32::try_from(payload.len()).ok()?.to_be_bytes();
                // A window may not grow by nothing.
                if !payload.is_empty() {
                    wire.write(WINDOW_UPDATE, 0, 0, &more)?;
                    wire.write(WINDOW_UPDATE, 0, stream, &more)?;
                }
                bodies.entry(stream).or_default().extend(payload);
                if flags & END_STREAM != 0 {
                    let mood = shared.meet(&bodies.remove(&stream).unwrap_or_default())?;
                    wire.answer(stream, mood)?;
                }
            }
            _ => {}
        }
    }
}

impl Wire {
    fn answer(&mut self, stream: u32, mood: Mood) -> Option<()> {
        let (status, details): (&str, Option<&str>) = match mood {
            // ExportMetricsServiceResponse { partial_success: { rejected_data_points: 1 } }
            Mood::TakesInPart => return self.response(stream, b"\0\0\0\0\x04\x0a\x02\x08\x01", "0", None),
            Mood::Well | Mood::Slow => return self.response(stream, &[0; 5], "0", None),
            Mood::Resets => {
                self.write(HEADERS, END_HEADERS, stream, HEAD)?;
                return self.write(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
            }
            Mood::Hangs => return Some(()),
            Mood::BreaksOff | Mood::Closed => return None,
            Mood::Unavailable => ("14", None),
            Mood::UnavailableFor => ("14", Some(UNAVAILABLE_50_MS)),
            Mood::Throttles => ("8", Some(EXHAUSTED_50_MS)),
            Mood::Exhausted => ("8", None),
            Mood::Refuses => ("3", None),
            Mood::Unauthenticated => ("16", None),
        };
        self.response(stream, &[], status, details)
    }

    fn response(&mut self, stream: u32, message: &[u8], status: &str, details: Option<&str>) -> Option<()> {
        self.write(HEADERS, END_HEADERS, stream, HEAD)?;
        if !message.is_empty() {
            self.write(DATA, 0, stream, message)?;
        }
        let mut trailers = literal("grpc-status", status);
        trailers.extend(details.map(|details| literal("grpc-status-details-bin", details)).unwrap_or_default());
        self.write(HEADERS, END_HEADERS | END_STREAM, stream, &trailers)
    }

    fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let [long, middle, short, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, long, middle, short]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        Some(Frame { kind, flags, stream: u32::from_be_bytes(stream), payload })
    }

    fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Option<()> {
        let [_, length @ ..] = u32::try_from(payload.len()).ok()?.to_be_bytes();
        let head = [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        self.0.write_all(&head).ok()
    }
}

/// A field that enters no table, its name and its value as they are; both of less than 127 bytes.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |word: &str| [u8::try_from(word.len()).expect("short")];
    [&[0][..], &length(name), name.as_bytes(), &length(value), value.as_bytes()].concat()
}
