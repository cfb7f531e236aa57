//! A scrape's body: rendered piece by piece as the scraper takes it.

use std::io::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body::{Body, Frame};
use pipeline::net::BoxError;

use super::exposition::PIECE;
use super::stream::Stream;

/// A body that nobody renders ahead of its reader: a slow scraper costs one page of values and one piece of text.
pub(super) struct ScrapeBody {
    stream: Stream,
    coding: Coding,
    ended: bool,
}

enum Coding {
    Identity,
    Gzip(Box<Gzip>),
}

struct Gzip {
    encoder: GzEncoder<Vec<u8>>,
    plain: Vec<u8>,
}

/// Compressed bytes that make a piece: at a ratio of 14 it stands for 450 KB of text.
const GZIP_PIECE: usize = 32 << 10;

/// Text that one poll compresses at most, about a millisecond of work.
const GZIP_PLAIN: usize = 1 << 20;

impl ScrapeBody {
    pub(super) fn new(stream: Stream, gzip: bool) -> Self {
        let coding = if gzip {
            // Level 1: a fourteenth of the size for a third of the time of level 6.
            let encoder = GzEncoder::new(Vec::with_capacity(GZIP_PIECE), Compression::fast());
            Coding::Gzip(Box::new(Gzip { encoder, plain: Vec::new() }))
        } else {
            Coding::Identity
        };
        Self { stream, coding, ended: false }
    }

    fn next_piece(&mut self) -> std::io::Result<Vec<u8>> {
        let Coding::Gzip(gzip) = &mut self.coding else {
            let mut piece = Vec::with_capacity(PIECE + 4096);
            self.ended = !self.stream.fill(&mut piece, PIECE);
            return Ok(piece);
        };
        let mut compressed = 0;
        while !self.ended && gzip.encoder.get_ref().len() < GZIP_PIECE && compressed < GZIP_PLAIN {
            gzip.plain.clear();
            self.ended = !self.stream.fill(&mut gzip.plain, PIECE);
            gzip.encoder.write_all(&gzip.plain)?;
            compressed += gzip.plain.len();
        }
        if self.ended {
            gzip.encoder.try_finish()?;
        }
        Ok(std::mem::replace(gzip.encoder.get_mut(), Vec::with_capacity(GZIP_PIECE)))
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        while !self.ended {
            match self.next_piece() {
                Ok(piece) if piece.is_empty() => {}
                Ok(piece) => return Poll::Ready(Some(Ok(Frame::data(piece.into())))),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
