//! The least that reading rows from MariaDB costs: its text protocol on a unix socket, every cell looked at and nothing made of it.

use std::io::{BufRead as _, BufReader, Error, Read as _, Result, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection as root, who has no password.
pub struct BareMysql {
    stream: BufReader<UnixStream>,
    /// A packet that does not lie whole in the reader's buffer.
    split: Vec<u8>,
}

/// As weir's own driver reads.
const CHUNK: usize = 64 << 10;
/// Protocol 4.1, with a database, and with an authentication plugin that is named.
const CAPABILITIES: u32 = 0x0000_0200 | 0x0000_8000 | 0x0008_0000 | 0x0000_0008;
const UTF8MB4: u8 = 45;
/// First bytes of packets.
const OK: u8 = 0x00;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;
const COM_QUERY: u8 = 3;

impl BareMysql {
    pub fn connect(socket: &Path, database: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        let mut bare = Self { stream: BufReader::with_capacity(CHUNK, stream), split: Vec::new() };
        bare.packet(|_| ())?;
        let mut answer = CAPABILITIES.to_le_bytes().to_vec();
        answer.extend(u32::MAX.to_le_bytes());
        answer.push(UTF8MB4);
        answer.extend([0; 23]);
        answer.extend(b"root\0\0");
        answer.extend(database.as_bytes());
        answer.extend(b"\0mysql_native_password\0");
        bare.send(1, &answer)?;
        match bare.packet(|body| body[0])? {
            OK => Ok(bare),
            // Another plugin is asked for: without a password all of them take nothing.
            EOF => {
                bare.send(3, &[])?;
                bare.packet(|body| body[0]).and_then(|first| if first == OK { Ok(bare) } else { Err(refused()) })
            }
            _ => Err(refused()),
        }
    }

    /// Runs a statement; gives rows and the bytes of their cells.
    pub fn read(&mut self, sql: &str) -> Result<(u64, u64)> {
        self.send(0, &[&[COM_QUERY], sql.as_bytes()].concat())?;
        let columns = match self.packet(|body| body[0])? {
            OK => return Ok((0, 0)),
            ERR => return Err(refused()),
            columns => columns,
        };
        // Their definitions, and what ends them.
        (0..=columns).try_for_each(|_| self.packet(|_| ()))?;
        let (mut rows, mut bytes) = (0, 0);
        loop {
            let row = self.packet(|body| match body {
                [EOF, ..] if body.len() < 9 => Ok(None),
                [ERR, ..] => Err(refused()),
                body => Ok(Some(cells(body))),
            })??;
            let Some(row) = row else { return Ok((rows, bytes)) };
            rows += 1;
            bytes += row;
        }
    }

    fn send(&mut self, sequence: u8, body: &[u8]) -> Result<()> {
        let mut packet = (body.len() as u32 | u32::from(sequence) << 24).to_le_bytes().to_vec();
        packet.extend(body);
        self.stream.get_mut().write_all(&packet)
    }

    fn packet<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
        if self.stream.buffer().len() >= length {
            let told = look(&self.stream.buffer()[..length]);
            self.stream.consume(length);
            return Ok(told);
        }
        self.split.resize(length, 0);
        self.stream.read_exact(&mut self.split)?;
        Ok(look(&self.split))
    }
}

fn refused() -> Error {
    Error::other("the server refuses")
}

/// Bytes of the cells of a row of text, which are all shorter than 251 bytes here.
fn cells(mut row: &[u8]) -> u64 {
    let mut bytes = 0;
    while let Some((length, after)) = row.split_first() {
        let length = usize::from(*length);
        bytes += std::hint::black_box(&after[..length]).len() as u64;
        row = &after[length..];
    }
    bytes
}
