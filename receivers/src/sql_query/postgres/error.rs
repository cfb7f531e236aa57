//! What goes wrong with a server, for whoever runs the agent.

use crate::sql_query::server::{Said, TIME_UP};
use crate::sql_query::source::{ReadError, Reason};

/// Why something on a connection did not work.
pub(super) type Trouble = crate::sql_query::server::Trouble<ServerError>;

/// An error as the server tells it.
#[derive(Debug, Default, Clone)]
pub(crate) struct ServerError {
    fatal: bool,
    pub(super) code: String,
    message: String,
    hint: String,
    /// In characters of the statement, from 1.
    position: Option<usize>,
}

/// Longer texts of a server are cut.
const LONGEST: usize = 400;

impl ServerError {
    /// Reads the fields of an ErrorResponse.
    pub(super) fn parse(mut body: &[u8]) -> Self {
        let mut error = Self::default();
        while let Some((kind, rest)) = body.split_first()
            && *kind != 0
        {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let value: String = String::from_utf8_lossy(&rest[..end]).chars().take(LONGEST).collect();
            body = rest.get(end + 1..).unwrap_or_default();
            match kind {
                b'V' => error.fatal = value != "ERROR",
                b'C' => error.code = value,
                b'M' => error.message = value,
                b'H' => error.hint = value,
                b'P' => error.position = value.parse().ok(),
                _ => {}
            }
        }
        error
    }

    /// The message, where in the statement, and the server's hint.
    fn tell(&self, sql: &str) -> String {
        let mut text = self.message.replace('\n', " ");
        let near = self.position.and_then(|position| position.checked_sub(1)).map(|skip| sql.chars().skip(skip));
        let near: String = near.map(|rest| rest.take(30).take_while(|c| *c != '\n').collect()).unwrap_or_default();
        if !near.is_empty() && !text.contains("at or near") {
            text = format!("{text}, at `{near}`");
        }
        if !self.hint.is_empty() {
            text = format!("{text} (hint: {})", self.hint.replace('\n', " "));
        }
        text
    }
}

impl Said for ServerError {
    const KIND: &'static str = "PostgreSQL";

    fn ends_connection(&self) -> bool {
        self.fatal
    }

    fn is_lost_connection(&self) -> bool {
        self.fatal && self.code.starts_with("57")
    }

    fn tell(&self, database: &str, sql: &str) -> ReadError {
        server(self, database, sql)
    }

    fn position(&self) -> Option<usize> {
        self.position?.checked_sub(1)
    }
}

/// By SQLSTATE (postgresql.org/docs/15/errcodes-appendix.html).
fn server(error: &ServerError, database: &str, sql: &str) -> ReadError {
    let said = error.tell(sql);
    let (reason, why) = match error.code.as_str() {
        "57014" if error.message.contains("statement timeout") => (Reason::Timeout, TIME_UP.to_owned()),
        "57014" => (Reason::Stopped, format!("somebody cancelled the query on the server: {said}")),
        "55P03" => (
            Reason::Locked,
            "a table stayed locked by another session until the deadline (see pg_locks, pg_blocking_pids)".to_owned(),
        ),
        "42501" if error.message.contains("row-level security") => {
            (Reason::Statement, format!("row-level security would hide rows from this role: {said}"))
        }
        "42501" => (Reason::Statement, format!("the role of this connection may not do that: {said}")),
        "25006" => (
            Reason::Statement,
            format!("the statement does more than read this database, which is all it may do: {said}"),
        ),
        "25P02" => (Reason::Statement, "an earlier statement of this transaction failed".to_owned()),
        "40001" if error.message.contains("recovery") => (
            Reason::Unavailable,
            format!("the replica gave up the read ({said}): set hot_standby_feedback, or read less at once"),
        ),
        "28P01" | "28000" => (Reason::Unavailable, format!("{database} refuses the log-in: {said}")),
        "3D000" => (Reason::Unavailable, format!("{database}: {said}")),
        code if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            (Reason::Unavailable, format!("{database}: {said}"))
        }
        code if code.starts_with("22") => (Reason::Data, said),
        _ => (Reason::Statement, said),
    };
    ReadError::new(reason, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_place_in_the_statement() {
        let body =
            b"SERROR\0VERROR\0C42703\0Mcolumn \"cpu_cores\" does not exist\0HPerhaps you meant \"CPU_cores\".\0P8\0\0";
        let error = ServerError::parse(body);
        assert!(!error.ends_connection());
        let told = Said::tell(&error, "pg", "select cpu_cores from compute_units");
        assert_eq!(told.reason, Reason::Statement);
        assert_eq!(
            told.why,
            "column \"cpu_cores\" does not exist, at `cpu_cores from compute_units` (hint: Perhaps you meant \"CPU_cores\".)"
        );
    }

    #[test]
    fn fields_that_do_not_end_are_read_as_far_as_they_go() {
        let error = ServerError::parse(b"VFATAL\0C57P01\0Mgone");
        assert_eq!((error.fatal, error.code.as_str(), error.message.as_str()), (true, "57P01", "gone"));
        assert!(error.is_lost_connection());
        ServerError::parse(b"");
        ServerError::parse(b"M");
    }
}
