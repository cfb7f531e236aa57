//! Bodies: read as they came, since that is what was signed, and unpacked when they are believed.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use pipeline::Budget;
use pipeline::budget::Permit;
use pipeline::net::{BodyError, Coding, RequestBody, Unpackable, Unpacker};

use super::reason::Reason;

/// How a request says that its body is packed.
pub(crate) fn coding(headers: &HeaderMap) -> Result<Coding, Reason> {
    Coding::of(headers).ok_or(Reason::Encoding)
}

/// A body of at most `limit` bytes, as it came.
pub(super) async fn read(body: &mut RequestBody, limit: usize) -> Result<Bytes, Reason> {
    if http_body::Body::size_hint(body).lower() > limit as u64 {
        return Err(Reason::TooLarge);
    }
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.len() + all.len() + data.len() > limit {
            return Err(Reason::TooLarge);
        }
        // Most bodies are one piece and need no copy.
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        all.extend_from_slice(&std::mem::take(&mut first));
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

/// The same, with its memory asked of the budget while it comes.
pub(crate) async fn read_within(
    mut body: RequestBody,
    limit: usize,
    budget: &Budget,
) -> Result<(Bytes, Permit), Reason> {
    let declared = http_body::Body::size_hint(&body).exact().and_then(|size| usize::try_from(size).ok());
    let permit = budget.take(0).map_err(|_| Reason::Overloaded)?;
    let mut unpacker = Unpacker::new(Coding::Identity, limit, permit, declared);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            unpacker.push(&data)?;
        }
    }
    let (body, permit) = unpacker.finish()?;
    Ok((body.into(), permit))
}

/// The body as its sender meant it, of at most `limit` bytes. `permit` grows with what comes out, when it is budgeted.
pub(crate) fn unpack(coding: Coding, packed: Bytes, limit: usize, permit: Permit) -> Result<(Bytes, Permit), Reason> {
    if coding == Coding::Identity {
        return Ok((packed, permit));
    }
    let mut unpacker = Unpacker::new(coding, limit, permit, None);
    unpacker.push(&packed)?;
    let (body, permit) = unpacker.finish()?;
    Ok((body.into(), permit))
}

impl From<BodyError> for Reason {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge { .. } => Self::TooLarge,
            BodyError::TooSlow => Self::Slow,
            BodyError::Broken(_) => Self::Body,
        }
    }
}

impl From<Unpackable> for Reason {
    fn from(unpackable: Unpackable) -> Self {
        match unpackable {
            Unpackable::TooLarge { .. } => Self::TooLarge,
            Unpackable::Busy(_) => Self::Overloaded,
            Unpackable::Broken => Self::Body,
        }
    }
}
