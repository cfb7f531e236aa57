//! A byte stream, read ahead: what the wires of all drivers stand on.

use std::ops::Range;

use pipeline::net::client::Io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A stream, and what was read of it and not taken yet.
pub(crate) struct Inflow {
    stream: Box<dyn Io>,
    buffer: Vec<u8>,
    unread: Range<usize>,
}

/// What is read at once. A large result fills it; a small one leaves most of it untouched, so the system never gives it memory.
const CHUNK: usize = 64 << 10;

impl Inflow {
    pub(crate) fn new(stream: Box<dyn Io>) -> Self {
        Self { stream, buffer: vec![0; CHUNK], unread: 0..0 }
    }

    /// What was read and not taken.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    /// Passes over `head` bytes, and takes the `length` behind them: gives their place, which holds until more is read. They are there.
    pub(crate) fn take(&mut self, head: usize, length: usize) -> Range<usize> {
        let start = self.unread.start + head;
        self.unread.start = start + length;
        start..start + length
    }

    /// What stands at a place.
    pub(crate) fn at(&self, place: Range<usize>) -> &[u8] {
        &self.buffer[place]
    }

    /// Reads on, until at least `wanted` bytes are there; whether they are, or the stream has ended.
    ///
    /// # Errors
    /// When it breaks.
    pub(crate) async fn fill(&mut self, wanted: usize) -> std::io::Result<bool> {
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
                return Ok(false);
            }
            self.unread.end += read;
        }
        Ok(true)
    }

    /// Sends.
    ///
    /// # Errors
    /// When the stream breaks.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Gives memory back that something large took. What was not taken yet is kept.
    pub(crate) fn relax(&mut self) {
        if self.buffer.len() > CHUNK && self.unread.is_empty() {
            (self.buffer, self.unread) = (vec![0; CHUNK], 0..0);
        }
    }

    /// The stream again, such as for TLS on it; `None` when something has come behind what was taken.
    #[cfg(feature = "sql-mysql")]
    pub(crate) fn into_stream(self) -> Option<Box<dyn Io>> {
        self.unread.is_empty().then_some(self.stream)
    }

    /// Bytes of memory that it holds.
    #[cfg(all(test, feature = "sql-mysql"))]
    pub(crate) fn held(&self) -> usize {
        self.buffer.capacity()
    }
}
