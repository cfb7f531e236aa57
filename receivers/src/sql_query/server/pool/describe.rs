//! Asking about statements, in a transaction that reads nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Flight, Pool};
use crate::sql_query::describe::{Answers, Described, Description, Refused};
use crate::sql_query::server::{Connection, Server, TIME_UP, Trouble, TroubleOf, does_more};
use crate::sql_query::source::{ReadError, Reason};

impl<S: Server> Pool<S> {
    pub(super) async fn describe(self: Arc<Self>, statements: Vec<Arc<str>>, time: Duration) -> Description {
        let deadline = self.clock.now() + time;
        let mut flight = Flight { pool: self.clone(), connection: None };
        let begun = timeout_at(deadline, flight.begin(false, &[], deadline, deadline)).await;
        begun.unwrap_or_else(|_| Err(self.slow_start(flight.connection.is_some())))?;
        let mut answers = Answers::default();
        let mut complete = true;
        for (index, statement) in self.server.session(&[]).into_iter().enumerate() {
            // What needs the parameters of a loop cannot be set without its rows.
            let Some(sql) = statement else {
                complete = false;
                continue;
            };
            if let Err(refused) = flight.set(&sql, deadline).await {
                answers.session.push((index, refused));
                complete = false;
            }
        }
        for sql in &statements {
            answers.statements.push(flight.look_at(sql, complete, deadline).await);
        }
        flight.land().await;
        Ok(answers)
    }
}

impl<S: Server> Flight<S> {
    async fn set(&mut self, sql: &str, deadline: Instant) -> Result<(), Refused> {
        let attempt = async {
            let Some(connection) = &mut self.connection else { return Err(Trouble::Closed) };
            connection.set(sql).await
        };
        let outcome = timeout_at(deadline, attempt).await;
        // Positions would be those in our words, not in the user's.
        self.judge(outcome.ok(), sql, deadline).await.map_err(|refused| refused.error.into())
    }

    /// `complete`: whether everything is set that will be set when it is read.
    async fn look_at(&mut self, sql: &str, complete: bool, deadline: Instant) -> Result<Described, Refused> {
        if let Some(verb) = writing_verb(sql) {
            return Err(does_more(verb).into());
        }
        let now = self.pool.clock.now();
        // Half of what is left: a table that is locked must not keep the other statements from being asked about.
        let until = now + deadline.saturating_duration_since(now) / 2;
        let limits = self.pool.limits(now, until, deadline);
        let attempt = async {
            let Some(connection) = &mut self.connection else { return Err(Trouble::Closed) };
            connection.look_at(sql, limits, complete).await
        };
        let outcome = timeout_at(deadline, attempt).await;
        self.judge(outcome.ok(), sql, deadline).await
    }

    /// What an outcome means, `None` being that there was none in time; makes the connection fit for the next statement.
    async fn judge<T>(
        &mut self,
        outcome: Option<Result<T, TroubleOf<S>>>,
        sql: &str,
        deadline: Instant,
    ) -> Result<T, Refused> {
        let trouble = match outcome {
            Some(Ok(done)) => return Ok(done),
            Some(Err(trouble)) => trouble,
            None => {
                self.abandon();
                return Err(Refused::new(Reason::Timeout, TIME_UP));
            }
        };
        if trouble.breaks() || !self.recover(deadline).await {
            self.abandon();
        }
        let error: ReadError = trouble.tell(self.pool.asked(sql));
        Err(Refused { error, at: trouble.position() })
    }
}

/// The verb of a statement that writes, in capitals. The server would only say so when it runs.
fn writing_verb(sql: &str) -> Option<&'static str> {
    let first = sql.trim_start_matches(|letter: char| letter.is_whitespace() || letter == '(');
    let word = first.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    ["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CALL", "COPY"]
        .into_iter()
        .find(|verb| verb.eq_ignore_ascii_case(word))
}
