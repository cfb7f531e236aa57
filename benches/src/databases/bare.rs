//! The least that reading rows from PostgreSQL costs: its protocol on a unix socket, every cell looked at and nothing made of it.

use std::io::{Read, Result, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection of somebody who is let in without a question.
pub struct Bare {
    stream: UnixStream,
    buffer: Vec<u8>,
    unread: std::ops::Range<usize>,
}

/// As weir's own driver reads.
const CHUNK: usize = 64 << 10;

impl Bare {
    pub fn connect(socket: &Path) -> Result<Self> {
        let mut bare = Self { stream: UnixStream::connect(socket)?, buffer: vec![0; CHUNK], unread: 0..0 };
        let parameters = b"user\0postgres\0database\0postgres\0\0";
        let mut startup = (8 + parameters.len() as u32).to_be_bytes().to_vec();
        startup.extend(196_608_u32.to_be_bytes());
        startup.extend(parameters);
        bare.stream.write_all(&startup)?;
        bare.rows().map(|_| bare)
    }

    /// Runs a statement, asks for all columns in binary; gives rows and the bytes of their cells.
    pub fn read(&mut self, sql: &str) -> Result<(u64, u64)> {
        let mut out = Vec::new();
        message(&mut out, b'P', &[b"\0", sql.as_bytes(), b"\0\0\0"]);
        message(&mut out, b'B', &[b"\0\0", &[0, 0, 0, 0], &[0, 1, 0, 1]]);
        message(&mut out, b'E', &[b"\0", &[0; 4]]);
        message(&mut out, b'S', &[]);
        self.stream.write_all(&out)?;
        self.rows()
    }

    fn rows(&mut self) -> Result<(u64, u64)> {
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let (tag, body) = self.frame()?;
            match tag {
                b'D' => {
                    rows += 1;
                    bytes += cells(&self.buffer[body]);
                }
                b'Z' => return Ok((rows, bytes)),
                b'E' => return Err(std::io::Error::other(String::from_utf8_lossy(&self.buffer[body]).into_owned())),
                _ => {}
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, std::ops::Range<usize>)> {
        let mut wanted = 5;
        loop {
            while self.unread.len() < wanted {
                if self.buffer.len() - self.unread.start < wanted || self.unread.is_empty() {
                    self.buffer.copy_within(self.unread.clone(), 0);
                    self.unread = 0..self.unread.len();
                    self.buffer.resize(self.buffer.len().max(wanted), 0);
                }
                match self.stream.read(&mut self.buffer[self.unread.end..])? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    read => self.unread.end += read,
                }
            }
            let head: [u8; 5] = self.buffer[self.unread.start..][..5].try_into().expect("five bytes are there");
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if self.unread.len() > length {
                let body = self.unread.start + 5..self.unread.start + 1 + length;
                self.unread.start = body.end;
                return Ok((head[0], body));
            }
            wanted = 1 + length;
        }
    }
}

fn cells(body: &[u8]) -> u64 {
    let (mut rest, mut bytes) = (&body[2..], 0);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        bytes += std::hint::black_box(&after[..length]).len() as u64;
        rest = &after[length..];
    }
    bytes
}

fn message(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    out.push(tag);
    out.extend((4 + length as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend(*part));
}
