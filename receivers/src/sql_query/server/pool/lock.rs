//! A lock in the database, held on a connection of its own. How, is the driver's.

use std::sync::Arc;
use std::time::Duration;

use pipeline::BoxFuture;

use super::Pool;
use crate::sql_query::server::{Connection, Server, TroubleOf};
use crate::sql_query::singleton::Lock;
use crate::sql_query::source::{ReadError, Reason};

/// The lock of one name in one database.
pub(super) struct ServerLock<S: Server> {
    pool: Arc<Pool<S>>,
    name: String,
    lease: Duration,
    /// With the lock when it is held, and idle when it is not.
    connection: Option<S::Connection>,
}

impl<S: Server> ServerLock<S> {
    pub(super) fn new(pool: Arc<Pool<S>>, name: &str, lease: Duration) -> Self {
        Self { pool, name: name.to_owned(), lease, connection: None }
    }

    async fn try_take(&mut self) -> Result<Option<u64>, ReadError> {
        // Taken out: an attempt that is dropped half-way leaves no connection in an unknown state behind.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.open().await?,
        };
        match connection.take_lock(&self.name, self.lease).await {
            Ok(taken) => {
                self.connection = Some(connection);
                Ok(taken)
            }
            Err(trouble) => Err(self.told(&trouble)),
        }
    }

    fn told(&self, trouble: &TroubleOf<S>) -> ReadError {
        let ReadError { reason, why } = trouble.tell(self.pool.asked(""));
        ReadError::new(reason, format!("{why} (singleton: db_lock)"))
    }
}

impl<S: Server> Lock for ServerLock<S> {
    fn take(&mut self) -> BoxFuture<'_, Result<Option<u64>, ReadError>> {
        Box::pin(self.try_take())
    }

    fn check(&mut self) -> BoxFuture<'_, Result<(), ReadError>> {
        Box::pin(async move {
            let Some(mut connection) = self.connection.take() else {
                return Err(ReadError::new(Reason::Unavailable, "the connection that holds the lock is gone"));
            };
            match connection.check_lock(&self.name).await {
                Ok(()) => {
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
