//! Walks through a segment, around what is damaged.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::frame::{HEAD, HEADER_MAX, Head, MARKER, crc, parse_header};

/// A segment that is being walked through.
#[derive(Debug)]
pub(super) struct Walk<'f> {
    file: &'f File,
    /// Where the next frame begins.
    pub(super) at: u64,
    end: u64,
}

/// What stands at a place of a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A frame; its payload was not looked at.
    Frame(Head, u64),
    /// Bytes that are no frame, up to the next one or to the end.
    Damaged { from: u64, to: u64 },
    /// Nothing more.
    End,
}

/// How much is read at once while a frame is looked for.
const WINDOW: usize = 64 << 10;

impl<'f> Walk<'f> {
    /// From the first frame.
    pub(super) fn new(file: &'f File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let at = key_of(file)?.map_or(0, |(_, length)| length);
        Ok(Self { file, at, end })
    }

    /// From `at` to `end`.
    pub(super) fn between(file: &'f File, at: u64, end: u64) -> Self {
        Self { file, at, end }
    }

    /// The next step.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let from = self.at;
        if from >= self.end {
            return Ok(Step::End);
        }
        if let Some(head) = self.head_at(from)? {
            self.at = from + head.frame();
            return Ok(Step::Frame(head, from));
        }
        self.at = self.search(from + 1)?;
        Ok(Step::Damaged { from, to: self.at })
    }

    /// The head at a place, when the whole frame is within the segment.
    fn head_at(&self, at: u64) -> io::Result<Option<Head>> {
        let mut bytes = [0; HEAD];
        if at + HEAD as u64 > self.end || read_at(self.file, &mut bytes, at)? < HEAD {
            return Ok(None);
        }
        Ok(Head::parse(&bytes).filter(|head| at + head.frame() <= self.end))
    }

    /// Where the next frame begins, or the end.
    fn search(&self, mut from: u64) -> io::Result<u64> {
        let mut window = vec![0; WINDOW];
        while from < self.end {
            let most = usize::try_from(self.end - from).unwrap_or(WINDOW).min(WINDOW);
            let read = read_at(self.file, &mut window[..most], from)?;
            if read < MARKER.len() {
                break;
            }
            for (at, found) in window[..read].windows(MARKER.len()).enumerate() {
                if found == MARKER && self.head_at(from + at as u64)?.is_some() {
                    return Ok(from + at as u64);
                }
            }
            // A marker may lie across the border.
            from += (read - (MARKER.len() - 1)) as u64;
        }
        Ok(self.end)
    }
}

/// The payload of the frame at `at`; none when it is damaged.
pub(super) fn payload(file: &File, head: &Head, at: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; head.length as usize];
    let read = read_at(file, &mut bytes, at + HEAD as u64)?;
    Ok((read == bytes.len() && crc(&bytes) == head.check).then_some(bytes))
}

/// The key in a segment's header, and the header's length; none when it is damaged.
pub(super) fn key_of(file: &File) -> io::Result<Option<(String, u64)>> {
    let mut header = [0; HEADER_MAX];
    let read = read_at(file, &mut header, 0)?;
    Ok(parse_header(&header[..read]).map(|(key, length)| (key, length as u64)))
}

/// Fills `bytes` as far as the file goes.
pub(super) fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
