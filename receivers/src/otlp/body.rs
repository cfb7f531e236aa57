//! Bodies: read within their cap and the byte budget, unpacked while they come.

use std::ops::Deref;

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use pipeline::budget::Permit;
use pipeline::net::{BodyError, Coding, RequestBody, Unpackable, Unpacker};
use pipeline::{Budget, Refusal};

use super::answer::No;

/// A gRPC message's flag and length.
pub(super) const FRAME: usize = 5;

/// What is read, and what it takes of the budget.
pub(super) type Whole = (Body, Permit);

/// A request's body, unpacked.
#[derive(Debug)]
pub(super) enum Body {
    /// Put together here.
    Made(Vec<u8>),
    /// The one piece it came in, where the protocol has read it to: beside others, in memory that is larger than it.
    Piece(Bytes),
}

/// Puts a body together from the pieces it comes in.
struct Gathering<'a> {
    coding: Coding,
    most: usize,
    /// As it was announced.
    length: Option<usize>,
    budget: &'a Budget,
    so_far: SoFar,
}

enum SoFar {
    Nothing,
    All(Bytes, Permit),
    Some(Unpacker),
}

/// Reads the body of an HTTP request, of at most `most` bytes unpacked.
pub(super) async fn whole(mut body: RequestBody, coding: Coding, most: usize, budget: &Budget) -> Result<Whole, No> {
    let length = http_body::Body::size_hint(&body).exact().and_then(|size| usize::try_from(size).ok());
    let mut gathering = Gathering { coding, most, length, budget, so_far: SoFar::Nothing };
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            gathering.push(data)?;
        }
    }
    gathering.finish()
}

/// Reads the one message of a unary call (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
pub(super) async fn message(mut body: RequestBody, coding: Coding, most: usize, budget: &Budget) -> Result<Whole, No> {
    let (mut head, mut seen) = ([0; FRAME], 0);
    let mut begun: Option<(Gathering<'_>, usize)> = None;
    while let Some(frame) = body.frame().await {
        let Ok(mut data) = frame?.into_data() else { continue };
        let of_head = data.len().min(FRAME - seen);
        head[seen..seen + of_head].copy_from_slice(&data[..of_head]);
        seen += of_head;
        if seen < FRAME {
            continue;
        }
        let (gathering, left) = match &mut begun {
            Some(begun) => begun,
            none => none.insert(begin(head, coding, most, budget)?),
        };
        data.advance(of_head);
        *left = left.checked_sub(data.len()).ok_or_else(|| No::bad("there is more than one message in the call"))?;
        gathering.push(data)?;
    }
    match begun {
        Some((gathering, 0)) => gathering.finish(),
        _ => Err(No::bad("the call ends before its message does")),
    }
}

/// What the message's head says: how it is packed, and how long it is.
fn begin(head: [u8; FRAME], coding: Coding, most: usize, budget: &Budget) -> Result<(Gathering<'_>, usize), No> {
    let [flag, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let coding = match flag {
        0 => Coding::Identity,
        1 => coding,
        _ => return Err(No::bad("a message's flag is neither 0 nor 1")),
    };
    if length > most {
        return Err(No::TooLarge(format!("the message has {length} bytes, and at most {most} are taken")));
    }
    Ok((Gathering { coding, most, length: Some(length), budget, so_far: SoFar::Nothing }, length))
}

impl Gathering<'_> {
    fn push(&mut self, piece: Bytes) -> Result<(), No> {
        match &mut self.so_far {
            SoFar::Some(unpacker) => return Ok(unpacker.push(&piece)?),
            SoFar::All(..) if piece.is_empty() => return Ok(()),
            SoFar::All(..) => return Err(No::bad("the request's body is longer than was said")),
            SoFar::Nothing => {}
        }
        self.so_far = if self.is_all(&piece) {
            let permit = self.budget.take(piece.len()).map_err(No::busy)?;
            SoFar::All(piece, permit)
        } else {
            let mut unpacker = self.unpacker()?;
            unpacker.push(&piece)?;
            SoFar::Some(unpacker)
        };
        Ok(())
    }

    /// Whether a piece is the body: then nothing needs to be copied.
    fn is_all(&self, piece: &Bytes) -> bool {
        self.coding == Coding::Identity && self.length == Some(piece.len()) && piece.len() <= self.most
    }

    fn unpacker(&self) -> Result<Unpacker, No> {
        let permit = self.budget.take(0).map_err(No::busy)?;
        Ok(Unpacker::new(self.coding, self.most, permit, self.length))
    }

    fn finish(self) -> Result<Whole, No> {
        let unpacker = match self.so_far {
            SoFar::All(piece, permit) => return Ok((Body::Piece(piece), permit)),
            SoFar::Some(unpacker) => unpacker,
            SoFar::Nothing => self.unpacker()?,
        };
        let (bytes, permit) = unpacker.finish()?;
        Ok((Body::Made(bytes), permit))
    }
}

impl Body {
    /// For who keeps it: in memory of its own size, as the budget has it.
    pub(super) fn kept(self) -> Bytes {
        match self {
            Self::Made(bytes) => bytes.into(),
            Self::Piece(bytes) => Bytes::copy_from_slice(&bytes),
        }
    }
}

impl Deref for Body {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Made(bytes) => bytes,
            Self::Piece(bytes) => bytes,
        }
    }
}

impl From<BodyError> for No {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            BodyError::TooSlow => Self::Slow,
            // What broke is the client's doing and may quote its bytes.
            BodyError::Broken(_) => Self::bad("the request's body is broken"),
        }
    }
}

impl From<Unpackable> for No {
    fn from(unpackable: Unpackable) -> Self {
        match unpackable {
            Unpackable::TooLarge { .. } => Self::TooLarge(unpackable.to_string()),
            Unpackable::Busy(refusal) => Self::busy(refusal),
            Unpackable::Broken => Self::bad(unpackable.to_string()),
        }
    }
}

impl No {
    /// The byte budget is used up.
    pub(super) fn busy(refusal: Refusal) -> Self {
        let after = match &refusal {
            Refusal::Retry { after, .. } => *after,
            Refusal::Reject { .. } | Refusal::Partial { .. } => None,
        };
        Self::Busy { after: after.unwrap_or(super::answer::RETRY_AFTER), why: refusal.to_string() }
    }
}
