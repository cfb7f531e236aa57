//! How a connection begins: what the server says of itself, and what we say (dev.mysql.com, "Connection Phase";
//! mariadb.com/kb/en/connection).

use super::bytes::Bytes;
use super::error::Trouble;
use super::out::counted;

/// What the server says of itself.
#[derive(Debug, PartialEq)]
pub(super) struct Greeting {
    pub(super) flavor: Flavor,
    /// The connection's number, to cancel by.
    pub(super) thread: u32,
    /// What the log-in is hashed with.
    pub(super) nonce: Vec<u8>,
    /// How it would like to be logged in at.
    pub(super) plugin: String,
    capabilities: u32,
    /// MariaDB's own.
    extended: u32,
}

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    MySql,
    MariaDb,
}

/// What we say of ourselves.
pub(super) struct Hello<'a> {
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) plugin: &'a str,
    pub(super) proof: &'a [u8],
    pub(super) program: &'a str,
    pub(super) tls: bool,
}

/// In MySQL's numbering. Never ours: LOCAL_FILES (the server could ask for any file that we can read), MULTI_STATEMENTS,
/// COMPRESS, and SESSION_TRACK. Without DEPRECATE_EOF all servers end results alike.
mod capability {
    pub(super) const MYSQL: u32 = 1;
    pub(super) const LONG_FLAG: u32 = 1 << 2;
    pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const SSL: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
    pub(super) const PLUGIN_AUTH: u32 = 1 << 19;
    pub(super) const CONNECT_ATTRS: u32 = 1 << 20;
    /// MariaDB's: the names of types that the protocol has no number for.
    pub(super) const EXTENDED_METADATA: u32 = 1 << 3;
}

/// utf8mb4_general_ci, which every server knows.
const UTF8MB4: u8 = 45;

/// Larger ones are neither sent nor believed.
const MAX_PACKET: u32 = 1 << 30;

impl Greeting {
    /// Reads version 10 of it.
    pub(super) fn read(packet: &[u8]) -> Result<Self, Trouble> {
        let mut read = Bytes(packet);
        if read.u8()? != 10 {
            return Err(Trouble::Protocol("its greeting has another version than 10"));
        }
        let version = String::from_utf8_lossy(read.until_zero()?).into_owned();
        let thread = read.u32()?;
        let mut nonce = read.take(8)?.to_vec();
        read.take(1)?;
        let low = read.u16()?;
        // Character set and status.
        read.take(3)?;
        let capabilities = u32::from(low) | u32::from(read.u16()?) << 16;
        let length = usize::from(read.u8()?);
        read.take(6)?;
        let extended = read.u32()?;
        let needed = capability::PROTOCOL_41 | capability::SECURE_CONNECTION | capability::PLUGIN_AUTH;
        if capabilities & needed != needed {
            return Err(Trouble::Protocol("it is older than MySQL 5.5"));
        }
        nonce.extend(read.take(length.saturating_sub(8).max(13))?);
        let plugin = String::from_utf8_lossy(read.until_zero()?).into_owned();
        let flavor = if version.contains("MariaDB") { Flavor::MariaDb } else { Flavor::MySql };
        let extended = if capabilities & capability::MYSQL == 0 { extended } else { 0 };
        Ok(Self { flavor, thread, nonce: without_zero(&nonce), plugin, capabilities, extended })
    }

    pub(super) fn speaks_tls(&self) -> bool {
        self.capabilities & capability::SSL != 0
    }

    /// Whether columns come with the names of their types.
    pub(super) fn names_types(&self) -> bool {
        self.extended & capability::EXTENDED_METADATA != 0
    }

    /// What asks for TLS: the beginning of what follows under it.
    pub(super) fn tls_request(&self, hello: &Hello<'_>) -> Vec<u8> {
        let mut ours = capability::LONG_FLAG
            | capability::PROTOCOL_41
            | capability::TRANSACTIONS
            | capability::SECURE_CONNECTION
            | capability::PLUGIN_AUTH
            | (self.capabilities & capability::CONNECT_ATTRS);
        if hello.tls {
            ours |= capability::SSL;
        }
        if !hello.database.is_empty() {
            ours |= capability::CONNECT_WITH_DB;
        }
        // MariaDB takes this bit for the sign of a client that does not know its own ones.
        if self.extended == 0 {
            ours |= capability::MYSQL;
        }
        let mut out = Vec::with_capacity(256);
        out.extend(ours.to_le_bytes());
        out.extend(MAX_PACKET.to_le_bytes());
        out.push(UTF8MB4);
        out.extend([0; 19]);
        out.extend((self.extended & capability::EXTENDED_METADATA).to_le_bytes());
        out
    }

    /// The log-in.
    pub(super) fn answer(&self, hello: &Hello<'_>) -> Vec<u8> {
        let mut out = self.tls_request(hello);
        let mut text = |text: &str| {
            out.extend(text.as_bytes());
            out.push(0);
        };
        text(hello.user);
        counted(&mut out, hello.proof);
        let mut text = |text: &str| {
            out.extend(text.as_bytes());
            out.push(0);
        };
        if !hello.database.is_empty() {
            text(hello.database);
        }
        text(hello.plugin);
        if self.capabilities & capability::CONNECT_ATTRS != 0 {
            let mut attributes = Vec::new();
            for part in ["program_name", hello.program, "_client_name", "weir"] {
                counted(&mut attributes, part.as_bytes());
            }
            counted(&mut out, &attributes);
        }
        out
    }
}

/// What the log-in is hashed with ends before a zero byte that is sent behind it.
pub(super) fn without_zero(nonce: &[u8]) -> Vec<u8> {
    nonce.strip_suffix(&[0]).unwrap_or(nonce).to_vec()
}
