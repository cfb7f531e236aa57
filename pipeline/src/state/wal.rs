//! The write-ahead log, read by ourselves: SQLite stops at the first bad frame in silence, which after a power loss is right
//! and after damage is not.
//!
//! Both look alike at the end of the log. They differ when two later transactions stand behind the bad frame: the first of
//! them was on disk before the second began, and what comes before it was on disk before that.
//!
//! Layout: <https://www.sqlite.org/fileformat2.html>, section 4.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::store::PAGE_BYTES;

/// What stands in a log.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Where the newest sound version of each page stands in the file.
    pub(super) pages: HashMap<u32, u64>,
    /// Frames that were on disk and are no longer sound. SQLite would drop them and all that follows.
    pub(super) damaged: u64,
}

struct Frame {
    page: u32,
    /// Whether it says that it ends a transaction of this log.
    commits: bool,
    /// Whether its checksum follows from the one that the frame before states.
    sound: bool,
    /// Whether that holds for all frames up to here.
    chained: bool,
    offset: u64,
}

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
/// Magic number; its lowest bit tells the byte order of checksums.
const MAGIC: u32 = 0x377f_0682;

impl Log {
    pub(super) fn read(file: &File) -> io::Result<Self> {
        let (frames, header_sound) = frames(file)?;
        let mut log = Self::sort(&frames);
        // Without its header SQLite would drop the whole log.
        log.damaged += u64::from(!header_sound && !log.pages.is_empty());
        Ok(log)
    }

    fn sort(frames: &[Frame]) -> Self {
        let chained = frames.iter().take_while(|frame| frame.chained).count();
        let mut end = frames[..chained].iter().rposition(|frame| frame.commits).map_or(0, |at| at + 1);
        let ends: Vec<_> = (chained..frames.len()).filter(|at| frames[*at].commits).collect();
        if let [.., before, last] = *ends
            && frames[last].sound
        {
            // The last transaction may be one that never was finished: it counts only when it is whole.
            let whole = frames[before + 1..=last].iter().all(|frame| frame.sound);
            end = if whole { last } else { before } + 1;
        }
        let mut log = Self::default();
        for frame in &frames[..end] {
            if frame.sound {
                log.pages.insert(frame.page, frame.offset);
            } else {
                log.damaged += 1;
            }
        }
        log
    }
}

/// All frames, and whether the header that they follow is sound.
fn frames(file: &File) -> io::Result<(Vec<Frame>, bool)> {
    let mut header = [0; HEADER];
    let mut bytes = vec![0; FRAME_HEADER + PAGE_BYTES];
    let mut frames = Vec::new();
    if !read(file, &mut header, 0)? {
        return Ok((frames, true));
    }
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut salt = [word(&header, 16), word(&header, 20)];
    let mut stated = [word(&header, 24), word(&header, 28)];
    let magic = word(&header, 0);
    let header_sound = magic & !1 == MAGIC && checksum([0, 0], &header[..24], magic & 1 == 1) == stated;
    // Without a header to tell: little-endian, as all machines that we are built for.
    let big = header_sound && magic & 1 == 1;
    let mut chained = header_sound;
    let mut offset = HEADER as u64;
    while read(file, &mut bytes, offset)? {
        let frame_salt = [word(&bytes, 8), word(&bytes, 12)];
        if !header_sound && frames.is_empty() {
            // A header that cannot be believed: the first frame tells which log this is.
            salt = frame_salt;
        }
        let sum = checksum(checksum(stated, &bytes[..8], big), &bytes[FRAME_HEADER..], big);
        stated = [word(&bytes, 16), word(&bytes, 20)];
        let sound = frame_salt == salt && sum == stated && word(&bytes, 0) != 0;
        chained &= sound;
        frames.push(Frame {
            page: word(&bytes, 0),
            commits: word(&bytes, 4) != 0 && frame_salt == salt,
            sound,
            chained,
            offset: offset + FRAME_HEADER as u64,
        });
        offset += bytes.len() as u64;
    }
    Ok((frames, header_sound))
}

fn checksum(mut sum: [u32; 2], bytes: &[u8], big: bool) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
        if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    };
    for pair in bytes.chunks_exact(8) {
        sum[0] = sum[0].wrapping_add(word(&pair[..4])).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(word(&pair[4..])).wrapping_add(sum[0]);
    }
    sum
}

fn read(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}
