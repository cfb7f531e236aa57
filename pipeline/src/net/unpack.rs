//! `Content-Encoding` of requests: bodies unpacked while they come, within a cap and within the byte budget.
//!
//! A body is pushed in piece by piece. What comes out is held to a cap of its own, because a thousand bytes may stand behind each
//! one that came; its memory is asked of the [`Budget`](crate::Budget) before it is there.

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header};
use zstd::stream::raw::{InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::DParameter;

use crate::budget::Permit;
use crate::fault::Refusal;

/// How a body is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, which HTTP calls deflate.
    Deflate,
    /// RFC 8878.
    Zstd,
}

/// Unpacks one body.
pub struct Unpacker(Stage);

enum Stage {
    Identity(Capped),
    // Boxed: their state is large, and most bodies are small.
    Gzip(Box<MultiGzDecoder<Capped>>),
    Deflate(Box<Inflate>),
    Zstd(Box<Unzstd>),
}

struct Inflate {
    inflate: Decompress,
    out: Capped,
    ended: bool,
}

struct Unzstd {
    decoder: zstd::stream::raw::Decoder<'static>,
    out: Capped,
    /// Whether a frame has begun and not ended.
    inside: bool,
}

/// Why a body cannot be unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpackable {
    /// It has more bytes than the cap, unpacked.
    TooLarge {
        /// The cap.
        limit: usize,
    },
    /// There is no memory for it now.
    Busy(Refusal),
    /// The bytes are not what their coding says.
    Broken,
}

/// Bytes that came out, up to a cap.
struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    permit: Permit,
    failed: Option<Unpackable>,
}

/// The largest window of zstd that is unpacked, 8 MiB: what RFC 8878 asks of every decoder, and as much memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// Room made at once for what comes out.
const PIECE: usize = 64 << 10;

impl Coding {
    /// All that is understood, for `Accept-Encoding`.
    pub const NAMES: &str = "gzip, zstd, deflate, identity";

    /// By its name in HTTP or gRPC; none when it is not known here.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let is = |word: &str| name.eq_ignore_ascii_case(word);
        match () {
            () if is("") || is("identity") => Some(Self::Identity),
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip),
            () if is("deflate") || is("zlib") => Some(Self::Deflate),
            () if is("zstd") => Some(Self::Zstd),
            () => None,
        }
    }

    /// As the head of a request says. None when it names a coding that is not known here, or several.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Some(Self::Identity) };
        let name = value.to_str().ok().filter(|_| values.next().is_none())?;
        Self::named(name.trim())
    }
}

impl Unpacker {
    /// Unpacks at most `limit` bytes. `permit` is grown as they come; a body whose length is known, `expected`, gets its memory at
    /// once.
    #[must_use]
    pub fn new(coding: Coding, limit: usize, permit: Permit, expected: Option<usize>) -> Self {
        let mut out = Capped { bytes: Vec::new(), limit, permit, failed: None };
        Self(match coding {
            Coding::Identity => {
                // A refusal is told with the first byte.
                let reserved = out.reserve(expected.unwrap_or(0).min(limit));
                out.failed = reserved.err();
                Stage::Identity(out)
            }
            Coding::Gzip => Stage::Gzip(Box::new(MultiGzDecoder::new(out))),
            Coding::Deflate => Stage::Deflate(Box::new(Inflate { inflate: Decompress::new(true), out, ended: false })),
            Coding::Zstd => match decoder() {
                Ok(decoder) => Stage::Zstd(Box::new(Unzstd { decoder, out, inside: false })),
                // Only when there is no memory for it.
                Err(_) => Stage::Identity(Capped { failed: Some(Unpackable::Broken), ..out }),
            },
        })
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// Why the body is not taken; it is of no use after that.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Unpackable> {
        let pushed = match &mut self.0 {
            Stage::Identity(out) => out.append(piece),
            Stage::Gzip(gzip) => gzip.write_all(piece),
            Stage::Deflate(deflate) => deflate.push(piece),
            Stage::Zstd(zstd) => zstd.push(piece),
        };
        pushed.map_err(|_| self.why())
    }

    /// All that came out, and the permit for it.
    ///
    /// # Errors
    /// When the body ends before its coding does.
    pub fn finish(mut self) -> Result<(Vec<u8>, Permit), Unpackable> {
        let finished = match &mut self.0 {
            Stage::Identity(out) => out.append(&[]),
            Stage::Gzip(gzip) => gzip.try_finish(),
            // A body without a byte is none, packed or not.
            Stage::Deflate(deflate) if !deflate.ended && deflate.inflate.total_in() > 0 => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Stage::Zstd(zstd) if zstd.inside => Err(io::ErrorKind::UnexpectedEof.into()),
            Stage::Deflate(_) | Stage::Zstd(_) => Ok(()),
        };
        if finished.is_err() {
            return Err(self.why());
        }
        let out = self.out();
        Ok((std::mem::take(&mut out.bytes), std::mem::replace(&mut out.permit, Permit::none())))
    }

    fn out(&mut self) -> &mut Capped {
        match &mut self.0 {
            Stage::Identity(out) => out,
            Stage::Gzip(gzip) => gzip.get_mut(),
            Stage::Deflate(deflate) => &mut deflate.out,
            Stage::Zstd(zstd) => &mut zstd.out,
        }
    }

    fn why(&mut self) -> Unpackable {
        self.out().failed.take().unwrap_or(Unpackable::Broken)
    }
}

fn decoder() -> io::Result<zstd::stream::raw::Decoder<'static>> {
    let mut decoder = zstd::stream::raw::Decoder::new()?;
    decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG_MAX))?;
    Ok(decoder)
}

impl Inflate {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut rest = piece;
        while !rest.is_empty() {
            if self.ended {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.out.make_room()?;
            let (before, length) = (self.inflate.total_in(), self.out.bytes.len());
            let status = self.inflate.decompress_vec(rest, &mut self.out.bytes, FlushDecompress::None);
            self.ended = status.map_err(io::Error::other)? == Status::StreamEnd;
            self.out.check()?;
            let taken = usize::try_from(self.inflate.total_in() - before).map_err(io::Error::other)?;
            rest = &rest[taken..];
            if taken == 0 && self.out.bytes.len() == length && !self.ended {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        // What did not fit into the room is kept by the decoder: it is asked again until it gives nothing more.
        while !self.ended && self.out.bytes.len() == self.out.bytes.capacity() {
            self.out.make_room()?;
            let length = self.out.bytes.len();
            let status = self.inflate.decompress_vec(&[], &mut self.out.bytes, FlushDecompress::None);
            self.ended = status.map_err(io::Error::other)? == Status::StreamEnd;
            self.out.check()?;
            if self.out.bytes.len() == length {
                break;
            }
        }
        Ok(())
    }
}

impl Unzstd {
    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        let mut input = InBuffer::around(piece);
        loop {
            let length = self.out.bytes.len();
            self.out.make_room()?;
            let before = input.pos();
            let hint = {
                let mut output = OutBuffer::around_pos(&mut self.out.bytes, length);
                self.decoder.run(&mut input, &mut output)?
            };
            self.out.check()?;
            let moved = input.pos() > before || self.out.bytes.len() > length;
            if moved {
                self.inside = hint != 0;
            }
            // What does not fit into the room is kept by the decoder: it is asked again until it gives nothing more.
            let full = self.out.bytes.len() == self.out.bytes.capacity();
            if !moved || (input.pos() == piece.len() && !full) {
                return Ok(());
            }
        }
    }
}

impl Capped {
    /// Makes room for `total` bytes in all.
    fn reserve(&mut self, total: usize) -> Result<(), Unpackable> {
        if total <= self.bytes.capacity() {
            return Ok(());
        }
        // Doubling, as vectors do, and never further than a byte past the cap.
        let capacity = total.max(self.bytes.capacity() * 2).min(self.limit + 1).max(total);
        self.permit.resize(capacity).map_err(Unpackable::Busy)?;
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }

    /// Makes room for the next piece, and for one byte past the cap at most.
    fn make_room(&mut self) -> io::Result<()> {
        let total = (self.bytes.len() + PIECE).min(self.limit + 1);
        self.reserve(total).map_err(|failed| self.fail(failed))
    }

    /// Whether the cap holds.
    fn check(&mut self) -> io::Result<()> {
        if self.bytes.len() > self.limit {
            let limit = self.limit;
            return Err(self.fail(Unpackable::TooLarge { limit }));
        }
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.failed.is_some() {
            return Err(io::ErrorKind::Other.into());
        }
        let total = self.bytes.len() + piece.len();
        if total > self.limit {
            let limit = self.limit;
            return Err(self.fail(Unpackable::TooLarge { limit }));
        }
        if let Err(failed) = self.reserve(total) {
            return Err(self.fail(failed));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    fn fail(&mut self, failed: Unpackable) -> io::Error {
        self.failed = Some(failed);
        io::ErrorKind::Other.into()
    }
}

impl Write for Capped {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.append(piece).map(|()| piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for Unpacker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unpacker").finish_non_exhaustive()
    }
}

impl std::fmt::Display for Unpackable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "the request's body has more than {limit} bytes"),
            Self::Busy(refusal) => refusal.fmt(f),
            Self::Broken => f.write_str("the request's body is not what its content encoding says"),
        }
    }
}

impl std::error::Error for Unpackable {}

#[cfg(test)]
mod tests;
