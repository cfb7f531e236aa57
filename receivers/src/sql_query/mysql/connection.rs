//! One connection: a transaction that only reads, and the queries in it.

mod exchange;

use std::time::Duration;

use tokio::time::Instant;

use super::column::{self, Column};
use super::connect::{self, CancelKey, LoggedIn};
use super::dsn::Dsn;
use super::error::{ServerError, Trouble};
use super::greeting::Flavor;
use super::out::{self, Parameter};
use super::row::Cells;
use super::statement;
use super::wire::Wire;
use crate::sql_query::describe::Described;
use crate::sql_query::intake::Intake;
use crate::sql_query::server::{self, Limits, lock_key, unavailable};
use crate::sql_query::source::{NO_PARAMETER, ReadError, Reason};

/// A connection with somebody logged in.
pub(crate) struct Connection {
    wire: Wire,
    key: CancelKey,
    flavor: Flavor,
    names_types: bool,
    database: String,
    opened: Instant,
    /// What the server keeps now; none on a fresh connection.
    limits: Option<Limits>,
    /// Rows at most, as it is set now; 0: all.
    select_limit: u32,
    /// Whether its transactions see one state, as they are set up now.
    isolated: Option<bool>,
    /// Whether something of the user's is set.
    touched: bool,
    /// Whether a transaction is open, as the server says.
    in_transaction: bool,
    /// Whether a backslash in a text takes the next character as it is, as the server says.
    escapes: bool,
    cells: Cells,
}

const NO_LOCK: Trouble = Trouble::Protocol("the question for a lock has no answer");

impl Connection {
    pub(super) async fn open(dsn: &Dsn, max_cell_bytes: u64, now: Instant) -> Result<Self, Trouble> {
        let max_row = usize::try_from(max_cell_bytes).unwrap_or(usize::MAX);
        let LoggedIn { wire, key, flavor, names_types } = connect::log_in(dsn, max_row).await?;
        Ok(Self {
            wire,
            key,
            flavor,
            names_types,
            database: dsn.database.clone(),
            opened: now,
            limits: None,
            select_limit: 0,
            isolated: None,
            touched: false,
            in_transaction: false,
            escapes: true,
            cells: Cells::default(),
        })
    }

    /// Has the server keep these limits for what follows.
    async fn limit(&mut self, limits: Limits) -> Result<(), Trouble> {
        if self.limits.is_some_and(|set| !limits.differs(set)) {
            return Ok(());
        }
        let fresh = self.limits.is_none();
        // A new connection, or one that was made new: texts in UTF-8 and times in UTC, whatever the server prefers. An agent that is
        // stopped with a transaction open must not keep the server from cleaning up.
        let (first, idle) = match self.flavor {
            _ if !fresh => ("", ""),
            Flavor::MariaDb => ("NAMES utf8mb4, time_zone = '+00:00', ", ", idle_transaction_timeout = 60"),
            Flavor::MySql => ("NAMES utf8mb4, time_zone = '+00:00', ", ", wait_timeout = 1800"),
        };
        let statement = match self.flavor {
            Flavor::MariaDb => {
                format!("max_statement_time = {}.{:03}", limits.statement_ms / 1000, limits.statement_ms % 1000)
            }
            Flavor::MySql => format!("max_execution_time = {}", limits.statement_ms),
        };
        // Locks are waited for in whole seconds; below one the statement's own limit is what ends it.
        let lock = (limits.lock_ms / 1000).max(1);
        self.run(&format!(
            "SET {first}{statement}, lock_wait_timeout = {lock}, innodb_lock_wait_timeout = {lock}{idle}"
        ))
        .await?;
        self.limits = Some(limits);
        Ok(())
    }

    async fn isolate(&mut self, snapshot: bool) -> Result<(), Trouble> {
        if self.isolated == Some(snapshot) {
            return Ok(());
        }
        let level = if snapshot { "REPEATABLE READ" } else { "READ COMMITTED" };
        // For all transactions of this connection: one that ended behind our back is followed by one that only reads too.
        self.run(&format!("SET SESSION TRANSACTION ISOLATION LEVEL {level}, READ ONLY")).await?;
        self.isolated = Some(snapshot);
        Ok(())
    }

    /// Has the server end results behind one row more than this, where the statement itself does not say; 0: nowhere.
    async fn select_limit(&mut self, rows: u32) -> Result<(), Trouble> {
        if self.select_limit == rows {
            return Ok(());
        }
        let limit = if rows == 0 { "DEFAULT".to_owned() } else { (u64::from(rows) + 1).to_string() };
        self.run(&format!("SET sql_select_limit = {limit}")).await?;
        self.select_limit = rows;
        Ok(())
    }

    /// Names of locks hold for the whole server, and may have 64 letters.
    fn lock_name(&self, name: &str) -> String {
        format!("'weir {:016x}'", lock_key(&format!("{}/{name}", self.database)))
    }
}

fn statement_error(why: impl Into<String>) -> Trouble {
    Trouble::Ours(ReadError::new(Reason::Statement, why), false)
}

impl server::Connection for Connection {
    type Said = ServerError;
    type Key = CancelKey;

    fn key(&self) -> Option<CancelKey> {
        Some(self.key.clone())
    }

    fn opened(&self) -> Instant {
        self.opened
    }

    async fn begin(&mut self, snapshot: bool, limits: Limits, session: &[String]) -> Result<(), Trouble> {
        self.limit(limits).await?;
        self.isolate(snapshot).await?;
        let how = if snapshot { "WITH CONSISTENT SNAPSHOT, READ ONLY" } else { "READ ONLY" };
        self.run(&format!("START TRANSACTION {how}")).await?;
        for statement in session {
            self.set(statement).await?;
        }
        Ok(())
    }

    async fn read(
        &mut self,
        sql: &str,
        parameters: &[Option<Box<str>>],
        intake: &mut Intake,
        began: pdata::UnixNanos,
        limits: &(dyn Fn() -> Limits + Sync),
    ) -> Result<(), Trouble> {
        self.limit(limits()).await?;
        statement::check_reads(sql).map_err(statement_error)?;
        let (sql, places) = statement::positional(sql, self.escapes).map_err(statement_error)?;
        let names_types = self.names_types;
        let prepared = self.prepare(&sql, |packet| Column::read(packet, names_types, intake)).await?;
        let given = parameters.len();
        let places = places.unwrap_or_else(|| (0..prepared.parameters).collect());
        let chosen: Option<Vec<Parameter<'_>>> = places
            .iter()
            .map(|place| {
                Some(match parameters.get(*place)?.as_deref() {
                    None => Parameter::Null,
                    Some(text) => match text.parse() {
                        Ok(int) if intake.binds_number(*place) => Parameter::Int(int),
                        _ => Parameter::Text(text),
                    },
                })
            })
            .collect();
        let outcome = match chosen {
            _ if prepared.columns.is_empty() => Err(statement_error("the statement gives no rows; write a select")),
            _ if prepared.parameters == 0 && intake.tracks() => Err(statement_error(NO_PARAMETER)),
            Some(chosen) if chosen.len() == prepared.parameters => {
                self.execute(&prepared, &chosen, intake, began).await
            }
            _ => {
                let wanted = places.iter().max().map_or(0, |last| last + 1);
                Err(statement_error(format!("the statement has {wanted} parameters ($1, …) and gets {given}")))
            }
        };
        self.wire.later(&out::forget(prepared.id));
        outcome
    }

    async fn set(&mut self, statement: &str) -> Result<(), Trouble> {
        self.touched = true;
        self.run(statement).await
    }

    async fn look_at(&mut self, sql: &str, limits: Limits, _: bool) -> Result<Described, Trouble> {
        self.limit(limits).await?;
        statement::check_reads(sql).map_err(statement_error)?;
        let (sql, places) = statement::positional(sql, self.escapes).map_err(statement_error)?;
        let names_types = self.names_types;
        let prepared = self.prepare(&sql, |packet| column::described(packet, names_types)).await?;
        self.wire.later(&out::forget(prepared.id));
        let last = places.map(|places| places.iter().max().map_or(0, |last| last + 1));
        Ok(Described { columns: prepared.columns, parameters: last.unwrap_or(prepared.parameters) })
    }

    /// A statement that failed leaves its transaction open, all but a deadlock.
    async fn recover(&mut self) -> Result<(), Trouble> {
        self.run("DO 0").await?;
        if self.in_transaction { Ok(()) } else { Err(Trouble::Closed) }
    }

    /// By the connection, which the server ends when it hears nothing for a lease: a holder that is frozen or cut off loses the lock
    /// there, whatever it believes.
    async fn take_lock(&mut self, name: &str, lease: Duration) -> Result<Option<u64>, Trouble> {
        let seconds = lease.as_secs().max(1);
        self.limit(Limits::within(lease)).await?;
        self.run(&format!("SET wait_timeout = {seconds}")).await?;
        // The number of the term is the server's clock when the lock was granted: one clock for all who contend. An earlier holder
        // was granted it before, and its lock has ended since.
        let ask = format!(
            "SELECT GET_LOCK({}, 0), CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS UNSIGNED)",
            self.lock_name(name)
        );
        match self.ask(&ask).await?.as_slice() {
            [Some(taken), Some(term)] if taken == "1" => Ok(Some(term.parse().map_err(|_| NO_LOCK)?)),
            [Some(_), _] => Ok(None),
            _ => Err(NO_LOCK),
        }
    }

    async fn check_lock(&mut self, name: &str) -> Result<(), Trouble> {
        let ask = format!("SELECT IS_USED_LOCK({}) = CONNECTION_ID()", self.lock_name(name));
        match self.ask(&ask).await?.as_slice() {
            [Some(ours)] if ours == "1" => Ok(()),
            _ => Err(unavailable("the lock is held no more".to_owned())),
        }
    }

    async fn end(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").await?;
        if self.touched {
            // What the user set would hold for the next tenant too.
            self.wire.command(&out::RESET).await?;
            self.done().await?;
            (self.touched, self.limits, self.isolated, self.select_limit) = (false, None, None, 0);
        }
        self.wire.relax();
        Ok(())
    }

    async fn close(mut self) {
        // Nobody waits for an answer, and none would matter.
        self.wire.command(&out::QUIT).await.ok();
    }
}
