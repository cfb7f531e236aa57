//! An advisory lock, held by a transaction on a connection of its own.
//!
//! By a transaction and not by a session: a pooler in transaction mode gives a session's locks to whoever comes next, and keeps a
//! transaction on one server connection until it ends. It is `READ COMMITTED` and has no number, so between its statements it keeps
//! nothing from being cleaned up. The server itself ends it when nothing is heard for a lease (`idle_in_transaction_session_timeout`): a
//! holder that is frozen or cut off loses the lock there, whatever it believes.

use std::sync::Arc;
use std::time::Duration;

use pipeline::BoxFuture;

use super::Pool;
use crate::sql_query::postgres::connection::Connection;
use crate::sql_query::postgres::error::Trouble;
use crate::sql_query::singleton::Lock;
use crate::sql_query::source::{ReadError, Reason};

/// The lock of one name in one database.
pub(super) struct PgLock {
    pool: Arc<Pool>,
    key: i64,
    lease: Duration,
    /// In the middle of a transaction when it is held, and idle when it is not.
    connection: Option<Connection>,
}

impl PgLock {
    pub(super) fn new(pool: Arc<Pool>, name: &str, lease: Duration) -> Self {
        Self { pool, key: key(name), lease, connection: None }
    }

    async fn try_take(&mut self) -> Result<Option<u64>, ReadError> {
        // Taken out: an attempt that is dropped half-way leaves no connection in an unknown state behind.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.open().await?,
        };
        let (lease, key) = (self.lease.as_millis(), self.key);
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL idle_in_transaction_session_timeout = {lease}; \
             SET LOCAL statement_timeout = {lease}"
        );
        // The number of the term is the server's clock when the lock was granted: one clock for all who contend. An earlier holder
        // was granted it before, and its lock has ended since.
        let ask = format!(
            "SELECT pg_try_advisory_xact_lock({key})::int, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        );
        let taken = async {
            connection.run(&begin).await?;
            let row = connection.ask(&ask).await?;
            let number = |at: usize| row.get(at).cloned().flatten().and_then(|text| text.parse::<u64>().ok());
            let (Some(taken), Some(term)) = (number(0), number(1)) else { return Err(Trouble::Protocol(NO_ANSWER)) };
            if taken == 0 {
                connection.run("ROLLBACK").await?;
            }
            Ok((taken == 1).then_some(term))
        };
        match taken.await {
            Ok(taken) => {
                self.connection = Some(connection);
                Ok(taken)
            }
            Err(trouble) => Err(self.told(&trouble)),
        }
    }

    fn told(&self, trouble: &Trouble) -> ReadError {
        let ReadError { reason, why } = trouble.tell(self.pool.asked(""));
        ReadError::new(reason, format!("{why} (singleton: db_lock)"))
    }
}

impl Lock for PgLock {
    fn take(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(self.try_take())
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let Some(mut connection) = self.connection.take() else {
                return Err(ReadError::new(Reason::Unavailable, "the connection that holds the lock is gone"));
            };
            // Whatever it answers, the transaction was open: with it the lock is.
            match connection.ask("SELECT 1").await {
                Ok(_) => {
                    self.connection = Some(connection);
                    Ok(())
                }
                Err(trouble) => Err(self.told(&trouble)),
            }
        })
    }

    fn release(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let Some(mut connection) = self.connection.take() {
                connection.end().await.ok();
                connection.close().await;
            }
        })
    }
}

const NO_ANSWER: &str = "the question for a lock has no answer";

/// FNV-1a in 64 bits: the same for every version and build of weir.
fn key(name: &str) -> i64 {
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash.cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_always_the_same_key() {
        assert_eq!(key(""), 0xcbf2_9ce4_8422_2325_u64.cast_signed());
        assert_eq!(key("a"), 0xaf63_dc4c_8601_ec8c_u64.cast_signed());
        assert_ne!(key("weir:sql_query/x"), key("weir:sql_query/y"));
    }
}
