//! Bodies: read within their cap and the byte budget, unpacked while they come.

use http_body_util::BodyExt as _;
use pipeline::budget::Permit;
use pipeline::net::{BodyError, Coding, RequestBody, Unpackable, Unpacker};
use pipeline::{Budget, Refusal};

use super::answer::No;

/// A gRPC message's flag and length.
pub(super) const FRAME: usize = 5;

/// What is read, and what it takes of the budget.
pub(super) type Whole = (Vec<u8>, Permit);

/// Reads the body of an HTTP request, of at most `most` bytes unpacked.
pub(super) async fn whole(mut body: RequestBody, coding: Coding, most: usize, budget: &Budget) -> Result<Whole, No> {
    let declared = http_body::Body::size_hint(&body).exact().and_then(|size| usize::try_from(size).ok());
    let mut unpacker = Unpacker::new(coding, most, budget.take(0).map_err(No::busy)?, declared);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            unpacker.push(&data)?;
        }
    }
    Ok(unpacker.finish()?)
}

/// Reads the one message of a unary call (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
pub(super) async fn message(mut body: RequestBody, coding: Coding, most: usize, budget: &Budget) -> Result<Whole, No> {
    let (mut head, mut seen) = ([0; FRAME], 0);
    let mut unpacking: Option<(Unpacker, usize)> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        let of_head = data.len().min(FRAME - seen);
        head[seen..seen + of_head].copy_from_slice(&data[..of_head]);
        seen += of_head;
        if seen < FRAME {
            continue;
        }
        let (unpacker, left) = match &mut unpacking {
            Some(begun) => begun,
            none => none.insert(begin(head, coding, most, budget)?),
        };
        let data = &data[of_head..];
        *left = left.checked_sub(data.len()).ok_or_else(|| No::bad("there is more than one message in the call"))?;
        unpacker.push(data)?;
    }
    match unpacking {
        Some((unpacker, 0)) => Ok(unpacker.finish()?),
        _ => Err(No::bad("the call ends before its message does")),
    }
}

/// What the message's head says: how it is packed, and how long it is.
fn begin(head: [u8; FRAME], coding: Coding, most: usize, budget: &Budget) -> Result<(Unpacker, usize), No> {
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
    let permit = budget.take(0).map_err(No::busy)?;
    Ok((Unpacker::new(coding, most, permit, Some(length)), length))
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
