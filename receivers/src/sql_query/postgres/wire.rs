//! Frames from the server, each looked at before it is read.

use std::ops::Range;

use pipeline::net::client::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::error::Trouble;
use super::out::Out;

/// A stream, cut into frames.
pub(super) struct Wire {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
    unread: Range<usize>,
    /// Bytes of a row at most.
    max_row: usize,
}

/// What a frame is, and its body until the next one is asked for.
pub(super) type Frame<'a> = (u8, &'a [u8]);

/// What is read at once. A large result fills it; a small one leaves most of it untouched, so the system never gives it memory.
const CHUNK: usize = 64 << 10;

/// No frame but a row needs more: 1,664 columns with names of 63 bytes are 140 KiB, an error carries the statement's text.
const MAX_FRAME: usize = 1 << 20;

/// Tag and length.
const HEAD: usize = 5;

impl Wire {
    pub(super) fn new(stream: Box<dyn Io>, max_row: usize) -> Self {
        Self { stream, buffer: vec![0; CHUNK], unread: 0..0, max_row }
    }

    /// Sends messages.
    pub(super) async fn send(&mut self, out: &Out) -> Result<(), Trouble> {
        self.stream.write_all(&out.0).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next frame that is an answer: notices, notifications and settings are passed over.
    pub(super) async fn next(&mut self) -> Result<Frame<'_>, Trouble> {
        let (tag, body) = loop {
            let wanted = match self.buffer[self.unread.clone()].split_first_chunk::<HEAD>() {
                None => HEAD,
                Some((head, rest)) => {
                    let (tag, length) = self.head(*head)?;
                    if rest.len() >= length {
                        let start = self.unread.start + HEAD;
                        self.unread.start = start + length;
                        if matches!(tag, b'N' | b'S' | b'A') {
                            continue;
                        }
                        break (tag, start..start + length);
                    }
                    HEAD + length
                }
            };
            self.fill(wanted).await?;
        };
        Ok((tag, &self.buffer[body]))
    }

    /// Gives memory back that a large row took. What was not read yet is kept.
    pub(super) fn relax(&mut self) {
        if self.buffer.len() > CHUNK && self.unread.is_empty() {
            (self.buffer, self.unread) = (vec![0; CHUNK], 0..0);
        }
    }

    fn head(&self, [tag, length @ ..]: [u8; HEAD]) -> Result<(u8, usize), Trouble> {
        let counted = usize::try_from(i32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4));
        let Some(length) = counted else { return Err(Trouble::Protocol("a frame's length is below zero")) };
        match tag {
            b'D' if length > self.max_row => Err(Trouble::LargeRow(length)),
            b'D' => Ok((tag, length)),
            _ if length > MAX_FRAME => Err(Trouble::Protocol("a frame is larger than 1 MiB and no row")),
            _ => Ok((tag, length)),
        }
    }

    /// Reads on, until at least `wanted` bytes are there.
    async fn fill(&mut self, wanted: usize) -> Result<(), Trouble> {
        if self.buffer.len() - self.unread.start < wanted || self.unread.is_empty() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
            if self.buffer.len() < wanted {
                self.buffer.resize(wanted, 0);
            }
        }
        while self.unread.len() < wanted {
            let read = self.stream.read(&mut self.buffer[self.unread.end..]).await?;
            if read == 0 {
                return Err(Trouble::Closed);
            }
            self.unread.end += read;
        }
        Ok(())
    }
}
