//! Protocol Buffers on the wire: reading fields off a slice, writing them into a buffer.
//!
//! Nothing here knows a message. Reading never trusts a length: a field that reaches past its message is an error, and nothing is
//! allocated for it. Encoding: <https://protobuf.dev/programming-guides/encoding/>.

/// Why bytes are no valid message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends inside a field.
    Truncated,
    /// A varint is longer than ten bytes.
    Varint,
    /// Field number 0, or a wire type that does not exist (groups among them: OTLP has none).
    Tag,
    /// A known field has another wire type than its definition.
    Type,
    /// Text that is not UTF-8.
    Text,
    /// Values nested deeper than the limit.
    Depth,
    /// A message that stands in two parts, which decoders should join and no sender of OTLP makes.
    Split,
    /// What it holds would take out of all proportion more memory than its bytes.
    TooMuch,
}

/// One field: its number, and its payload as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub(crate) number: u32,
    pub(crate) payload: Payload<'a>,
}

/// The payload of a field as it stands.
///
/// Plain words and no enum of them: variants of different widths are moved as bytes, which the machine cannot forward from the words
/// they were just written as. That stall was half of what a point cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload<'a> {
    wire: Wire,
    /// The number of a payload that is one.
    word: u64,
    /// The bytes of a payload that is a run of them.
    bytes: &'a [u8],
}

/// The wire types that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// 0
    Varint,
    /// 1
    Fixed64,
    /// 2
    Bytes,
    /// 5
    Fixed32,
}

/// Reads the fields of one message in the order they stand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

type Read<T> = Result<T, Malformed>;

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the message ends inside a field",
            Self::Varint => "a varint is longer than ten bytes",
            Self::Tag => "a field has number 0 or an unknown wire type",
            Self::Type => "a field has the wrong wire type",
            Self::Text => "a text field is not UTF-8",
            Self::Depth => "values are nested too deep",
            Self::Split => "a message stands in several parts",
            Self::TooMuch => "the message unfolds to more than can be kept",
        })
    }
}

impl std::error::Error for Malformed {}

impl<'a> Fields<'a> {
    pub(crate) const fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field; none at the end of the message.
    ///
    /// Always inlined: a `Result<Option<Field>>` that is returned goes through memory, as bytes behind its discriminant.
    #[inline(always)]
    pub(crate) fn next(&mut self) -> Read<Option<Field<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0).ok_or(Malformed::Tag)?;
        let payload = match tag & 7 {
            0 => Payload::of_varint(self.varint()?),
            1 => Payload::of_fixed64(u64::from_le_bytes(self.fixed()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
                Payload::of_bytes(self.take(length)?)
            }
            5 => Payload::of_fixed32(u32::from_le_bytes(self.fixed()?)),
            _ => return Err(Malformed::Tag),
        };
        Ok(Some(Field { number, payload }))
    }

    /// All fields of this number (below 16) that stand next and hold bytes, as one run: what is only hashed or copied need not be
    /// taken apart. A tag that is longer than it need be ends the run.
    #[inline]
    pub(crate) fn run(&mut self, number: u8) -> Read<&'a [u8]> {
        debug_assert!((1..16).contains(&number));
        let (tag, whole) = (number << 3 | 2, self.rest);
        while let [first, length, after @ ..] = self.rest
            && *first == tag
        {
            self.rest = if *length < 0x80 {
                after.get(usize::from(*length)..).ok_or(Malformed::Truncated)?
            } else {
                let mut long = Self::of(&self.rest[1..]);
                let length = usize::try_from(long.varint()?).map_err(|_| Malformed::Truncated)?;
                long.rest.get(length..).ok_or(Malformed::Truncated)?
            };
        }
        Ok(&whole[..whole.len() - self.rest.len()])
    }

    /// What is left of the message.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    fn varint(&mut self) -> Read<u64> {
        // Nearly all tags and lengths are one byte; the length of a point with attributes is two.
        match self.rest {
            [byte, rest @ ..] if *byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high, rest @ ..] if *high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(*low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Read<u64> {
        let mut value = 0;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if *byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { Malformed::Truncated } else { Malformed::Varint })
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Read<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Payload<'a> {
    pub(crate) const fn of_varint(word: u64) -> Self {
        Self { wire: Wire::Varint, word, bytes: &[] }
    }

    pub(crate) const fn of_fixed64(word: u64) -> Self {
        Self { wire: Wire::Fixed64, word, bytes: &[] }
    }

    const fn of_fixed32(word: u32) -> Self {
        Self { wire: Wire::Fixed32, word: word as u64, bytes: &[] }
    }

    const fn of_bytes(bytes: &'a [u8]) -> Self {
        Self { wire: Wire::Bytes, word: 0, bytes }
    }

    #[inline]
    pub(crate) fn bytes(self) -> Read<&'a [u8]> {
        if self.wire == Wire::Bytes { Ok(self.bytes) } else { Err(Malformed::Type) }
    }

    /// The number of a payload of this wire type.
    #[inline]
    fn word(self, wire: Wire) -> Read<u64> {
        if self.wire == wire { Ok(self.word) } else { Err(Malformed::Type) }
    }

    /// The bytes of a message that may stand only once; `before` is what stood there.
    #[inline]
    pub(crate) fn only(self, before: &[u8]) -> Read<&'a [u8]> {
        if before.is_empty() { self.bytes() } else { Err(Malformed::Split) }
    }

    pub(crate) fn text(self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed::Text)
    }

    #[inline]
    pub(crate) fn varint(self) -> Read<u64> {
        self.word(Wire::Varint)
    }

    #[inline]
    pub(crate) fn fixed64(self) -> Read<u64> {
        self.word(Wire::Fixed64)
    }

    #[inline]
    pub(crate) fn double(self) -> Read<f64> {
        self.fixed64().map(f64::from_bits)
    }

    pub(crate) fn fixed32(self) -> Read<u32> {
        Ok(self.word(Wire::Fixed32)? as u32)
    }

    /// A `sint32`: zigzag.
    pub(crate) fn sint32(self) -> Read<i32> {
        let value = self.varint()? as u32;
        Ok((value >> 1) as i32 ^ -((value & 1) as i32))
    }

    /// How many fixed 64-bit values stand packed in it.
    pub(crate) const fn packed_fixed64(self) -> usize {
        self.bytes.len() / size_of::<u64>()
    }

    /// How many varints stand packed in it: each has one byte that does not go on.
    pub(crate) fn packed_varints(self) -> usize {
        self.bytes.iter().filter(|byte| **byte < 0x80).count()
    }

    /// One element of, or a packed run of, fixed 64-bit values.
    pub(crate) fn each_fixed64(self, mut each: impl FnMut(u64) -> Read<()>) -> Read<()> {
        if self.wire != Wire::Bytes {
            return each(self.word(Wire::Fixed64)?);
        }
        let (chunks, rest) = self.bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Malformed::Truncated);
        }
        chunks.iter().try_for_each(|chunk| each(u64::from_le_bytes(*chunk)))
    }

    /// One element of, or a packed run of, varints.
    pub(crate) fn each_varint(self, mut each: impl FnMut(u64) -> Read<()>) -> Read<()> {
        if self.wire != Wire::Bytes {
            return each(self.word(Wire::Varint)?);
        }
        let mut fields = Fields::of(self.bytes);
        while !fields.rest.is_empty() {
            each(fields.varint()?)?;
        }
        Ok(())
    }
}

/// Writing: fields appended to a buffer. Zero values are left out by the callers where proto3 leaves them out.
pub(crate) trait Write {
    fn varint(&mut self, value: u64);
    fn tag(&mut self, number: u32, wire_type: u8);

    fn varint_field(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    fn fixed64_field(&mut self, number: u32, value: u64);
    fn fixed32_field(&mut self, number: u32, value: u32);
    fn bytes_field(&mut self, number: u32, bytes: &[u8]);

    fn double_field(&mut self, number: u32, value: f64) {
        self.fixed64_field(number, value.to_bits());
    }

    /// Begins a message whose length is known only when it is written, and gives what [`end_message`](Self::end_message) wants to
    /// know: the length gets five bytes, padded (any decoder takes a varint with needless continuation bytes), so that nothing is
    /// moved.
    fn begin_message(&mut self, number: u32) -> usize;
    /// Ends the message that began at `start`.
    fn end_message(&mut self, start: usize);

    /// A whole message.
    fn message_field(&mut self, number: u32, body: impl FnOnce(&mut Self)) {
        let start = self.begin_message(number);
        body(self);
        self.end_message(start);
    }
}

/// Bytes of a length that is filled in later: enough for 32 bits.
const PADDED: usize = 5;

impl Write for Vec<u8> {
    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }

    #[inline]
    fn tag(&mut self, number: u32, wire_type: u8) {
        self.varint(u64::from(number) << 3 | u64::from(wire_type));
    }

    #[inline]
    fn fixed64_field(&mut self, number: u32, value: u64) {
        self.tag(number, 1);
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32_field(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }

    fn begin_message(&mut self, number: u32) -> usize {
        self.tag(number, 2);
        let start = self.len() + PADDED;
        self.resize(start, 0);
        start
    }

    fn end_message(&mut self, start: usize) {
        let mut length = self.len() - start;
        for (index, byte) in self[start - PADDED..start].iter_mut().enumerate() {
            let more = if index + 1 < PADDED { 0x80 } else { 0 };
            *byte = (length & 0x7f) as u8 | more;
            length >>= 7;
        }
        debug_assert_eq!(length, 0, "a message stays below 32 GiB");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(message: &[u8]) -> Read<Vec<Field<'_>>> {
        let (mut fields, mut all) = (Fields::of(message), Vec::new());
        while let Some(field) = fields.next()? {
            all.push(field);
        }
        Ok(all)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 1_u32..1 << 29, int: u64, word: u32, bytes: Vec<u8>) {
            let mut out = Vec::new();
            out.varint_field(number, int);
            out.fixed64_field(number, int);
            out.fixed32_field(number, word);
            out.message_field(number, |out| out.extend_from_slice(&bytes));
            out.bytes_field(number, &bytes);
            let payloads: Vec<_> = all(&out).unwrap().into_iter().map(|field| (field.number, field.payload)).collect();
            let packed = Payload::of_bytes(&bytes);
            let expected = [Payload::of_varint(int), Payload::of_fixed64(int), Payload::of_fixed32(word), packed, packed];
            prop_assert_eq!(payloads, expected.map(|payload| (number, payload)));
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            all(&bytes).ok();
        }
    }

    proptest! {
        #[test]
        fn a_run_is_what_stands_there_and_what_fields_would_read(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            padded in 0_usize..6,
            cut in 0_usize..2,
        ) {
            let mut out = Vec::new();
            for (index, value) in values.iter().enumerate() {
                if index == padded {
                    out.message_field(7, |out| out.extend_from_slice(value));
                } else {
                    out.bytes_field(7, value);
                }
            }
            let end = out.len();
            out.varint_field(8, 1);
            let mut fields = Fields::of(&out);
            prop_assert_eq!(fields.run(7), Ok(&out[..end]));
            prop_assert_eq!(fields.next().unwrap().map(|field| field.number), Some(8));
            // Cut short, both say so.
            let short = &out[..end - cut.min(end)];
            let mut fields = Fields::of(short);
            let by_run = fields.run(7).and_then(|_| fields.next()).map(|_| ());
            prop_assert_eq!(by_run, all(short).map(|_| ()));
        }
    }

    #[test]
    fn lying_lengths_and_endless_varints_are_refused() {
        assert_eq!(all(&[0x0a, 0xff, 0xff, 0xff, 0x7f]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x0a, 5, 1, 2]), Err(Malformed::Truncated));
        assert_eq!(all(&[0x08, 0x80]), Err(Malformed::Truncated));
        assert_eq!(all(&[[0x08].as_slice(), &[0xff; 11]].concat()), Err(Malformed::Varint));
        assert_eq!(all(&[0x00]), Err(Malformed::Tag));
        assert_eq!(all(&[0x0b]), Err(Malformed::Tag), "groups");
    }
}
