//! What goes wrong with a server, for whoever runs the agent.

use super::bytes::Bytes;
use crate::sql_query::server::{Said, TIME_UP};
use crate::sql_query::source::{ReadError, Reason};

/// Why something on a connection did not work.
pub(super) type Trouble = crate::sql_query::server::Trouble<ServerError>;

/// An error as the server tells it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct ServerError {
    pub(super) code: u16,
    state: String,
    message: String,
}

/// Longer texts of a server are cut.
const LONGEST: usize = 400;

impl ServerError {
    /// Reads an ERR_Packet. Before the log-in it has no SQLSTATE.
    pub(super) fn parse(packet: &[u8]) -> Self {
        let mut read = Bytes(packet.get(1..).unwrap_or_default());
        let code = read.u16().unwrap_or_default();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(LONGEST).collect::<String>();
        let state = match read.0 {
            [b'#', rest @ ..] if rest.len() >= 5 => {
                let (state, message) = rest.split_at(5);
                read.0 = message;
                text(state)
            }
            _ => String::new(),
        };
        Self { code, state, message: text(read.0).replace('\n', " ") }
    }
}

impl Said for ServerError {
    const KIND: &'static str = "MySQL";

    fn ends_connection(&self) -> bool {
        self.is_lost_connection() || matches!(self.code, 1040 | 1152 | 1158..=1161) || self.state.starts_with("08")
    }

    /// Shut down, killed (MariaDB, MySQL), or idle for too long.
    fn is_lost_connection(&self) -> bool {
        matches!(self.code, 1053 | 1927 | 3169 | 4031)
    }

    /// By the numbers of errors (dev.mysql.com, "Server Error Message Reference"; mariadb.com/kb/en/mariadb-error-code-reference).
    fn tell(&self, database: &str, _: &str) -> ReadError {
        let said = &self.message;
        let (reason, why) = match self.code {
            1969 | 3024 => (Reason::Timeout, TIME_UP.to_owned()),
            1317 => (Reason::Stopped, format!("somebody cancelled the query on the server: {said}")),
            1205 | 1213 => (
                Reason::Locked,
                format!("a table stayed locked by another session until the deadline (see `show processlist`): {said}"),
            ),
            1044 | 1045 | 1130 | 1251 | 1275 | 1862 | 1698 | 3118 | 4151 => {
                (Reason::Unavailable, format!("{database} refuses the log-in: {said}"))
            }
            1142 | 1143 | 1227 | 1345 | 1370 => {
                (Reason::Statement, format!("the role of this connection may not do that: {said}"))
            }
            1290 | 1792 | 1836 => (
                Reason::Statement,
                format!("the statement does more than read this database, which is all it may do: {said}"),
            ),
            1040 | 1049 | 1053 | 1129 | 1203 | 1226 | 1927 | 3169 | 4031 => {
                (Reason::Unavailable, format!("{database}: {said}"))
            }
            1194 | 1195 | 126 | 127 | 144 | 145 => (Reason::Corrupt, format!("{database}: {said}")),
            _ if self.state.starts_with("22") => (Reason::Data, said.clone()),
            _ if self.state.starts_with("08") => (Reason::Unavailable, format!("{database}: {said}")),
            _ => (Reason::Statement, said.clone()),
        };
        ReadError::new(reason, why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_with_and_without_a_state() {
        let full = ServerError::parse(b"\xff\x1e\x04#42S22Unknown column 'x' in\n'field list'");
        assert_eq!((full.code, full.state.as_str()), (1054, "42S22"));
        assert_eq!(full.tell("db", "").why, "Unknown column 'x' in 'field list'");
        let early = ServerError::parse(b"\xff\x10\x04Too many connections");
        assert_eq!((early.code, early.state.as_str()), (1040, ""));
        assert_eq!(early.tell("db", "").reason, Reason::Unavailable);
        for cut_off in [&b"\xff"[..], b"\xff\x10", b"\xff\x10\x04", b"\xff\x10\x04#42", b""] {
            ServerError::parse(cut_off);
        }
        assert_eq!(ServerError::parse(&[0xff; 9_000]).message.chars().count(), LONGEST);
    }
}
