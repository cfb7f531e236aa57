//! Packets from the server, each looked at before it is read, and packets to it (dev.mysql.com, "MySQL Packets").

use std::ops::Range;

use pipeline::net::client::Io;

use super::error::Trouble;
use crate::sql_query::server::Inflow;

/// A byte stream, cut into packets.
pub(super) struct Wire {
    inflow: Inflow,
    /// A row of several packets, put together.
    joined: Vec<u8>,
    /// Of the next packet, whoever sends it. Each command begins at 0.
    sequence: u8,
    /// Bytes of a row at most.
    max_row: usize,
    /// What needs no answer and goes out with the next command.
    unsent: Vec<u8>,
}

/// No packet but a row needs more: a column's definition has six names of 256 bytes, an error 512 characters.
const MAX_PACKET: usize = 64 << 10;

/// Length in three bytes, and a number.
const HEAD: usize = 4;

/// A packet of this length is continued by the next one.
const LONGEST: usize = 0xff_ffff;

/// First byte of an error.
pub(super) const ERROR: u8 = 0xff;

impl Wire {
    pub(super) fn new(stream: Box<dyn Io>, max_row: usize) -> Self {
        Self { inflow: Inflow::new(stream), joined: Vec::new(), sequence: 0, max_row, unsent: Vec::new() }
    }

    /// Sends a command.
    pub(super) async fn command(&mut self, payload: &[u8]) -> Result<(), Trouble> {
        self.sequence = 0;
        self.reply(payload).await
    }

    /// Leaves a command that has no answer for later: it goes out before the next one.
    pub(super) fn later(&mut self, payload: &[u8]) {
        let before = std::mem::replace(&mut self.sequence, 0);
        self.frame(payload);
        self.sequence = before;
    }

    /// Sends a packet that is part of a conversation.
    pub(super) async fn reply(&mut self, payload: &[u8]) -> Result<(), Trouble> {
        self.frame(payload);
        let packets = std::mem::take(&mut self.unsent);
        Ok(self.inflow.send(&packets).await?)
    }

    fn frame(&mut self, payload: &[u8]) {
        for part in payload.chunks(LONGEST).chain(payload.len().is_multiple_of(LONGEST).then_some(&[][..])) {
            let [low, middle, high, ..] = (part.len() as u32).to_le_bytes();
            self.unsent.extend([low, middle, high, self.sequence]);
            self.unsent.extend(part);
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    /// The next packet, which is no row.
    pub(super) async fn next(&mut self) -> Result<&[u8], Trouble> {
        match self.packet(0, MAX_PACKET).await {
            Ok((body, true)) => Ok(self.inflow.at(body)),
            Ok((_, false)) | Err(Trouble::LargeRow(_)) => {
                Err(Trouble::Protocol("a packet is larger than 64 KiB and no row"))
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The next packet, which may be a row.
    pub(super) async fn row(&mut self) -> Result<&[u8], Trouble> {
        let (body, whole) = self.packet(0, self.max_row).await?;
        if whole {
            return Ok(self.inflow.at(body));
        }
        self.joined.clear();
        self.joined.extend_from_slice(self.inflow.at(body));
        loop {
            let (body, whole) = self.packet(self.joined.len(), self.max_row).await?;
            self.joined.extend_from_slice(self.inflow.at(body));
            if whole {
                return Ok(&self.joined);
            }
        }
    }

    /// Bytes of memory that it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.inflow.held() + self.joined.capacity() + self.unsent.capacity()
    }

    /// Gives memory back that a large row took. What was not read yet is kept.
    pub(super) fn relax(&mut self) {
        self.joined = Vec::new();
        self.inflow.relax();
    }

    /// The stream again, to speak TLS on it; `None` when something has come behind what was read, which would be taken for what
    /// the server says under TLS.
    pub(super) fn into_stream(self) -> Option<Box<dyn Io>> {
        self.inflow.into_stream()
    }

    /// Goes on with the numbers of another wire.
    pub(super) fn continues(mut self, sequence: u8) -> Self {
        self.sequence = sequence;
        self
    }

    pub(super) fn sequence(&self) -> u8 {
        self.sequence
    }

    pub(super) fn max_row(&self) -> usize {
        self.max_row
    }

    /// Where the next packet's body stands, and whether it ends there. `before`: bytes that it continues; `most`: together.
    async fn packet(&mut self, before: usize, most: usize) -> Result<(Range<usize>, bool), Trouble> {
        self.fill(HEAD).await?;
        let head = self.inflow.unread();
        let (length, sequence) =
            (usize::from(head[0]) | usize::from(head[1]) << 8 | usize::from(head[2]) << 16, head[3]);
        if before + length > most {
            return Err(Trouble::LargeRow(before + length));
        }
        self.fill(HEAD + length).await?;
        let body = self.inflow.take(HEAD, length);
        // One that ends an idle connection is numbered as if it were a question.
        if sequence != self.sequence && self.inflow.at(body.clone()).first() != Some(&ERROR) {
            return Err(Trouble::Protocol("a packet is out of order"));
        }
        self.sequence = sequence.wrapping_add(1);
        Ok((body, length < LONGEST))
    }

    /// Reads on, until at least `wanted` bytes are there.
    async fn fill(&mut self, wanted: usize) -> Result<(), Trouble> {
        if self.inflow.fill(wanted).await? { Ok(()) } else { Err(Trouble::Closed) }
    }
}
