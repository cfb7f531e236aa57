//! Bytes of a packet, taken from the front (dev.mysql.com, "Basic Data Types").

use super::error::Trouble;

/// What is left of a packet.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

const CUT_OFF: Trouble = Trouble::Protocol("a packet ends before its content does");

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Trouble> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Trouble> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CUT_OFF)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Trouble> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Trouble> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Trouble> {
        self.array().map(u32::from_le_bytes)
    }

    /// A number that says its own length.
    pub(super) fn number(&mut self) -> Result<u64, Trouble> {
        match self.u8()? {
            0xfc => self.u16().map(u64::from),
            0xfd => self.array().map(|[low, middle, high]| u64::from(u32::from_le_bytes([low, middle, high, 0]))),
            0xfe => self.array().map(u64::from_le_bytes),
            0xfb | 0xff => Err(Trouble::Protocol("a length is none")),
            small => Ok(u64::from(small)),
        }
    }

    /// Bytes that say their own length.
    pub(super) fn counted(&mut self) -> Result<&'a [u8], Trouble> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| CUT_OFF)?)
    }

    /// Up to the next zero byte, which is taken too.
    pub(super) fn until_zero(&mut self) -> Result<&'a [u8], Trouble> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(CUT_OFF)?;
        let text = self.take(end)?;
        self.take(1)?;
        Ok(text)
    }
}
