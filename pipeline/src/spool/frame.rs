//! How parcels stand in a file. A segment is a header, then frames, one after another, never changed once they are on disk.
//!
//! Integers are little-endian. Header: `weirlog` and the version, the length of the partition's key (u16), the key, the CRC-32 of all
//! before. A frame's head has 44 bytes with a check of its own, so that a flipped bit in a length cannot lead astray; its payload
//! (a note, then the body) has another, so that damage to one parcel costs that parcel.

use config::Signal;
use flate2::Crc;

/// How a body is compressed, as `Content-Encoding` calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the payload.
    pub(super) length: u32,
    /// Rises from parcel to parcel.
    pub(super) seq: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub(super) time: u64,
    /// So many bytes of the segment were on disk for sure when this was written. What is broken behind the largest of these was never
    /// answered for: a torn write, no damage.
    pub(super) sure: u32,
    /// Points or records.
    pub(super) items: u32,
    pub(super) signal: Signal,
    pub(super) encoding: Encoding,
    /// Bytes of the note at the beginning of the payload.
    pub(super) note: u16,
    /// Of the payload.
    pub(super) check: u32,
}

/// Bytes of a head.
pub(super) const HEAD: usize = 44;
/// The first bytes of every head: where to look for the next frame after damage.
pub(super) const MARKER: [u8; 4] = [0xf7, b'w', b'f', 0x1a];
/// The first bytes of every segment.
const MAGIC: [u8; 8] = *b"weirlog\x01";
/// The longest key of a partition.
pub(super) const KEY_MAX: usize = 1024;
/// The largest header of a segment.
pub(super) const HEADER_MAX: usize = MAGIC.len() + 2 + KEY_MAX + 4;
/// The largest payload: what OTLP allows in a request, and a note.
pub(super) const PAYLOAD_MAX: u32 = (64 << 20) + (64 << 10);

/// The header of a partition's segments.
pub(super) fn header(key: &str) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let length = u16::try_from(key.len()).expect("keys are cut at KEY_MAX");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(key.as_bytes());
    let check = crc(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out
}

/// The key in a header, and the header's length. None when it is damaged.
pub(super) fn parse_header(bytes: &[u8]) -> Option<(String, usize)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let length = usize::from(u16::from_le_bytes(*rest.first_chunk()?));
    let end = MAGIC.len() + 2 + length;
    let check = u32::from_le_bytes(*bytes.get(end..)?.first_chunk()?);
    if length > KEY_MAX || crc(&bytes[..end]) != check {
        return None;
    }
    let key = std::str::from_utf8(&bytes[MAGIC.len() + 2..end]).ok()?;
    Some((key.to_owned(), end + 4))
}

impl Head {
    /// Appends the head to `out`.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let from = out.len();
        out.extend_from_slice(&MARKER);
        out.extend_from_slice(&self.length.to_le_bytes());
        out.extend_from_slice(&self.seq.to_le_bytes());
        out.extend_from_slice(&self.time.to_le_bytes());
        out.extend_from_slice(&self.sure.to_le_bytes());
        out.extend_from_slice(&self.items.to_le_bytes());
        let signal = match self.signal {
            Signal::Metrics => 1,
            Signal::Logs => 2,
            Signal::Traces => 3,
        };
        let encoding = match self.encoding {
            Encoding::Identity => 0,
            Encoding::Gzip => 1,
            Encoding::Zstd => 2,
        };
        out.extend_from_slice(&[signal, encoding]);
        out.extend_from_slice(&self.note.to_le_bytes());
        out.extend_from_slice(&self.check.to_le_bytes());
        let check = crc(&out[from..]);
        out.extend_from_slice(&check.to_le_bytes());
    }

    /// None when it is no head, or a damaged one.
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | (u64::from(u32_at(at + 4)) << 32);
        if bytes[..4] != MARKER || crc(&bytes[..HEAD - 4]) != u32_at(HEAD - 4) {
            return None;
        }
        let signal = match bytes[32] {
            1 => Signal::Metrics,
            2 => Signal::Logs,
            3 => Signal::Traces,
            _ => return None,
        };
        let encoding = match bytes[33] {
            0 => Encoding::Identity,
            1 => Encoding::Gzip,
            2 => Encoding::Zstd,
            _ => return None,
        };
        let note = u16::from_le_bytes([bytes[34], bytes[35]]);
        let head = Self {
            length: u32_at(4),
            seq: u64_at(8),
            time: u64_at(16),
            sure: u32_at(24),
            items: u32_at(28),
            signal,
            encoding,
            note,
            check: u32_at(36),
        };
        (head.length <= PAYLOAD_MAX && u32::from(note) <= head.length).then_some(head)
    }

    /// Bytes of the whole frame.
    pub(super) fn frame(&self) -> u64 {
        HEAD as u64 + u64::from(self.length)
    }
}

/// CRC-32 (IEEE).
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// CRC-32 of two pieces, one after the other.
pub(super) fn crc_of(one: &[u8], two: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(one);
    crc.update(two);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        Head {
            length: 100,
            seq: u64::MAX - 1,
            time: 1_795_219_200_000_000_000,
            sure: 7,
            items: 3,
            signal: Signal::Logs,
            encoding: Encoding::Zstd,
            note: 5,
            check: 0xdead_beef,
        }
    }

    #[test]
    fn a_head_reads_as_it_was_written_and_no_flipped_bit_passes() {
        let mut bytes = Vec::new();
        head().put(&mut bytes);
        let bytes: [u8; HEAD] = bytes.try_into().unwrap();
        assert_eq!(Head::parse(&bytes), Some(head()));
        for bit in 0..HEAD * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::parse(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_header_names_its_partition_and_no_flipped_bit_passes() {
        let bytes = header("tenant ä");
        assert_eq!(parse_header(&bytes), Some(("tenant ä".to_owned(), bytes.len())));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_header(&flipped), None, "bit {bit}");
        }
        assert_eq!(parse_header(b""), None);
    }
}
