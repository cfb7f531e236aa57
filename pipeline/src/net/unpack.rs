//! `Content-Encoding` of requests: bodies unpacked while they come, within a cap and within the byte budget.
//!
//! A body is pushed in piece by piece. What comes out is held to a cap of its own, because a thousand bytes may stand behind each
//! one that came; its memory is asked of the [`Budget`](crate::Budget) before it is there.
//!
//! What unpacks like a bomb is not kept but counted, up to the cap: memory that is new to the process cost more than the unpacking. When
//! it turns out to be none it is unpacked once more from the few bytes that came.

mod capped;

use std::io::{self, Write};

use flate2::write::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header};
use zstd::stream::raw::{InBuffer, Operation as _, OutBuffer};
use zstd::zstd_safe::{DParameter, get_frame_content_size};

use crate::budget::Permit;
use crate::fault::Refusal;
use capped::{Capped, RATIO, SUSPECT};

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
pub struct Unpacker {
    coding: Coding,
    stage: Stage,
    /// All that came, while the body may be a bomb: at most a [`RATIO`]th of the cap.
    packed: Option<Vec<u8>>,
}

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
    begun: bool,
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

/// The largest window of zstd that is unpacked, 8 MiB: what RFC 8878 asks of every decoder, and as much memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What is packed is taken in steps, so that a bomb is known before it has come to its end in one.
const STEP: usize = 16 << 10;

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
        let mut out = Capped::new(limit, permit);
        if coding == Coding::Identity {
            // A refusal is told with the first byte.
            out.expect(expected.unwrap_or(0).min(limit));
        }
        let packed = (coding != Coding::Identity && limit > SUSPECT).then(Vec::new);
        Self { coding, stage: Stage::new(coding, out), packed }
    }

    /// Takes the next piece of the body.
    ///
    /// # Errors
    /// Why the body is not taken; it is of no use after that.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), Unpackable> {
        let pushed = piece.chunks(STEP).try_for_each(|step| self.step(step));
        pushed.map_err(|_| self.why())
    }

    fn step(&mut self, step: &[u8]) -> io::Result<()> {
        let Some(packed) = &mut self.packed else { return self.stage.push(step) };
        let (all, out) = (packed.len() + step.len(), self.stage.out());
        if all > out.limit / RATIO {
            // Whatever comes now, the whole is no bomb.
            self.keep()?;
            return self.stage.push(step);
        }
        out.fed(all)?;
        packed.extend_from_slice(step);
        self.stage.push(step)
    }

    /// Has what came so far in memory, if it was only counted, and keeps what comes.
    fn keep(&mut self) -> io::Result<()> {
        let Some(packed) = self.packed.take() else { return Ok(()) };
        if self.stage.out().keep()? {
            let out = self.stage.out().renew();
            self.stage = Stage::new(self.coding, out);
            self.stage.push(&packed)?;
        }
        Ok(())
    }

    /// All that came out, and the permit for it.
    ///
    /// # Errors
    /// When the body ends before its coding does.
    pub fn finish(mut self) -> Result<(Vec<u8>, Permit), Unpackable> {
        if self.keep().and_then(|()| self.stage.finish()).is_err() {
            return Err(self.why());
        }
        Ok(self.stage.out().take())
    }

    fn why(&mut self) -> Unpackable {
        self.stage.out().failed.take().unwrap_or(Unpackable::Broken)
    }
}

impl Stage {
    fn new(coding: Coding, mut out: Capped) -> Self {
        match coding {
            Coding::Identity => Self::Identity(out),
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(out))),
            Coding::Deflate => Self::Deflate(Box::new(Inflate { inflate: Decompress::new(true), out, ended: false })),
            Coding::Zstd => match decoder() {
                Ok(decoder) => Self::Zstd(Box::new(Unzstd { decoder, out, inside: false, begun: false })),
                // Only when there is no memory for it.
                Err(_) => {
                    out.failed = Some(Unpackable::Broken);
                    Self::Identity(out)
                }
            },
        }
    }

    fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(out) => out.append(piece),
            Self::Gzip(gzip) => gzip.write_all(piece),
            Self::Deflate(deflate) => deflate.push(piece),
            Self::Zstd(zstd) => zstd.push(piece),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Identity(out) => out.append(&[]),
            Self::Gzip(gzip) => gzip.try_finish(),
            // A body without a byte is none, packed or not.
            Self::Deflate(deflate) if !deflate.ended && deflate.inflate.total_in() > 0 => {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Self::Zstd(zstd) if zstd.inside => Err(io::ErrorKind::UnexpectedEof.into()),
            Self::Deflate(_) | Self::Zstd(_) => Ok(()),
        }
    }

    fn out(&mut self) -> &mut Capped {
        match self {
            Self::Identity(out) => out,
            Self::Gzip(gzip) => gzip.get_mut(),
            Self::Deflate(deflate) => &mut deflate.out,
            Self::Zstd(zstd) => &mut zstd.out,
        }
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
        // Who says too much is believed: if it is a lie it is his own body that is refused.
        if let (false, Ok(Some(size))) = (std::mem::replace(&mut self.begun, true), get_frame_content_size(piece))
            && size > self.out.limit as u64
        {
            return Err(self.out.too_large());
        }
        let mut input = InBuffer::around(piece);
        loop {
            self.out.make_room()?;
            let length = self.out.bytes.len();
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
