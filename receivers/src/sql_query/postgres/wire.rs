//! Frames from the server, each looked at before it is read.

use pipeline::net::client::Io;

use super::error::Trouble;
use super::out::Out;
use crate::sql_query::server::Inflow;

/// A stream, cut into frames.
pub(super) struct Wire {
    inflow: Inflow,
    /// Bytes of a row at most.
    max_row: usize,
}

/// What a frame is, and its body until the next one is asked for.
pub(super) type Frame<'a> = (u8, &'a [u8]);

/// No frame but a row needs more: 1,664 columns with names of 63 bytes are 140 KiB, an error carries the statement's text.
const MAX_FRAME: usize = 1 << 20;

/// Tag and length.
const HEAD: usize = 5;

impl Wire {
    pub(super) fn new(stream: Box<dyn Io>, max_row: usize) -> Self {
        Self { inflow: Inflow::new(stream), max_row }
    }

    /// Sends messages.
    pub(super) async fn send(&mut self, out: &Out) -> Result<(), Trouble> {
        Ok(self.inflow.send(&out.0).await?)
    }

    /// The next frame that is an answer: notices, notifications and settings are passed over.
    pub(super) async fn next(&mut self) -> Result<Frame<'_>, Trouble> {
        let (tag, body) = loop {
            let wanted = match self.inflow.unread().split_first_chunk::<HEAD>() {
                None => HEAD,
                Some((head, rest)) => {
                    let (tag, length) = self.head(*head)?;
                    if rest.len() >= length {
                        let body = self.inflow.take(HEAD, length);
                        if matches!(tag, b'N' | b'S' | b'A') {
                            continue;
                        }
                        break (tag, body);
                    }
                    HEAD + length
                }
            };
            self.fill(wanted).await?;
        };
        Ok((tag, self.inflow.at(body)))
    }

    /// Gives memory back that a large row took. What was not read yet is kept.
    pub(super) fn relax(&mut self) {
        self.inflow.relax();
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
        if self.inflow.fill(wanted).await? { Ok(()) } else { Err(Trouble::Closed) }
    }
}
