//! One connection: a transaction that only reads, and the queries in it.

use std::time::Duration;

use tokio::time::Instant;

use super::connect::{self, CancelKey};
use super::decode::{self, Bytes, Column, PgRow, Place};
use super::dsn::Dsn;
use super::error::{ServerError, Trouble};
use super::out::Out;
use super::wire::Wire;
use crate::sql_query::describe::Described;
use crate::sql_query::intake::Intake;
use crate::sql_query::server::{self, Limits, Said, lock_key};
use crate::sql_query::source::{NO_PARAMETER, ReadError, Reason};

/// A connection with somebody logged in.
pub(crate) struct Connection {
    wire: Wire,
    /// For cancelling; poolers may give none.
    key: Option<CancelKey>,
    opened: Instant,
    /// What the server keeps now; unknown after a failure.
    limits: Option<Limits>,
    /// Cells of the row at hand, kept for their memory.
    cells: Vec<Place>,
}

impl Connection {
    pub(super) async fn open(dsn: &Dsn, max_cell_bytes: u64, now: Instant) -> Result<Self, Trouble> {
        let max_row = usize::try_from(max_cell_bytes).unwrap_or(usize::MAX);
        let (wire, key) = connect::log_in(dsn, max_row).await?;
        Ok(Self { wire, key, opened: now, limits: None, cells: Vec::new() })
    }

    async fn describe(
        &mut self,
        sql: &str,
        given: usize,
        intake: &Intake,
        limits: Limits,
    ) -> Result<(Vec<Column>, usize), Trouble> {
        let (columns, wanted) = self.parse(sql, limits, |body| Column::all(body, intake)).await?;
        let statement = |why: String| Trouble::Ours(ReadError::new(Reason::Statement, why), false);
        // One that does without the last columns of a loop is in order.
        if wanted > given {
            return Err(statement(format!("the statement has {wanted} parameters ($1, …) and gets {given}")));
        }
        if wanted == 0 && intake.tracks() {
            return Err(statement(NO_PARAMETER.to_owned()));
        }
        let columns = columns.ok_or_else(|| statement("the statement gives no rows; write a select".to_owned()))?;
        Ok((columns, wanted))
    }

    /// Has the server read a statement; gives what `read` makes of its columns, if it has any, and the number of its parameters.
    async fn parse<T>(
        &mut self,
        sql: &str,
        limits: Limits,
        read: impl Fn(&[u8]) -> Result<T, Trouble>,
    ) -> Result<(Option<T>, usize), Trouble> {
        let mut out = Out::default();
        let limited = self.limit(&mut out, limits);
        out.parse_and_describe(sql);
        self.wire.send(&out).await?;
        if limited {
            self.done().await?;
        }
        let mut columns = Ok(None);
        let mut wanted = 0;
        loop {
            match self.wire.next().await? {
                (b'1' | b'n', _) => {}
                (b't', body) => wanted = usize::from(Bytes(body).u16()?),
                (b'T', body) => {
                    columns = match read(body) {
                        Err(error @ Trouble::Ours(..)) => Err(error),
                        other => Ok(Some(other?)),
                    }
                }
                (b'E', body) => {
                    let error = ServerError::parse(body);
                    return Err(self.failed(error).await);
                }
                (b'Z', _) => return Ok((columns?, wanted)),
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Has the server plan the statement that it read last: only then it says what the role may not read.
    async fn plan(&mut self, parameters: usize) -> Result<(), Trouble> {
        let mut out = Out::default();
        out.bind_only(&vec![None; parameters]);
        self.wire.send(&out).await?;
        loop {
            match self.wire.next().await? {
                (b'2', _) => {}
                (b'E', body) => {
                    let error = ServerError::parse(body);
                    return Err(self.failed(error).await);
                }
                (b'Z', _) => return Ok(()),
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Which part of a statement writes, if one does: a plan tells, and `EXPLAIN` plans without running. Reading would be refused only
    /// when it runs.
    async fn writes(&mut self, sql: &str, limits: Limits) -> Result<Option<String>, Trouble> {
        let explain = format!("EXPLAIN (FORMAT JSON, COSTS OFF) {sql}");
        let (_, parameters) = self.parse(&explain, limits, |_| Ok(())).await?;
        let mut out = Out::default();
        out.bind_and_execute(&vec![None; parameters], std::iter::empty(), 0);
        self.wire.send(&out).await?;
        let plan = self.first_row().await?.into_iter().next().flatten().unwrap_or_default();
        Ok(serde_json::from_str(&plan).ok().as_ref().and_then(modification))
    }

    /// Says other limits for what follows, in the same breath; whether there will be an answer to it.
    fn limit(&mut self, out: &mut Out, limits: Limits) -> bool {
        let differs = self.limits.is_none_or(|set| limits.differs(set));
        if differs {
            out.query(&sql(limits));
            self.limits = Some(limits);
        }
        differs
    }

    /// Runs one statement; gives the cells of its first row as text.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<Option<String>>, Trouble> {
        let mut out = Out::default();
        out.query(sql);
        self.wire.send(&out).await?;
        self.first_row().await
    }

    async fn first_row(&mut self) -> Result<Vec<Option<String>>, Trouble> {
        let mut row = None;
        loop {
            match self.wire.next().await? {
                (b'D', body) if row.is_none() => row = Some(decode::texts(body)?),
                (b'C' | b'T' | b'D' | b'I' | b'2', _) => {}
                (b'E', body) => {
                    let error = ServerError::parse(body);
                    return Err(self.failed(error).await);
                }
                (b'Z', _) => return Ok(row.unwrap_or_default()),
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Runs statements whose results do not matter.
    async fn run(&mut self, sql: &str) -> Result<(), Trouble> {
        let mut out = Out::default();
        out.query(sql);
        self.wire.send(&out).await?;
        self.done().await
    }

    /// Hears that statements have been run.
    async fn done(&mut self) -> Result<(), Trouble> {
        loop {
            match self.wire.next().await? {
                (b'C' | b'T' | b'D' | b'I', _) => {}
                (b'E', body) => {
                    let error = ServerError::parse(body);
                    return Err(self.failed(error).await);
                }
                (b'Z', _) => return Ok(()),
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// An error has come; reads on to where the server is ready again, if it will be.
    async fn failed(&mut self, error: ServerError) -> Trouble {
        let error = Trouble::Server(error);
        while !error.breaks() {
            match self.wire.next().await {
                Ok((b'Z', _)) => break,
                Ok(_) => {}
                Err(trouble) => return trouble,
            }
        }
        error
    }
}

impl server::Connection for Connection {
    type Said = ServerError;
    type Key = CancelKey;

    fn key(&self) -> Option<CancelKey> {
        self.key.clone()
    }

    fn opened(&self) -> Instant {
        self.opened
    }

    /// Everything is set inside of the transaction and ends with it: a pooler may give the next one to another server.
    async fn begin(&mut self, snapshot: bool, limits: Limits, session: &[String]) -> Result<(), Trouble> {
        let session: String = session.iter().map(|statement| format!("{statement}; ")).collect();
        let isolation = if snapshot { "REPEATABLE READ" } else { "READ COMMITTED" };
        // An agent that is stopped with a transaction open must not keep the server from cleaning up.
        let sql = format!(
            "BEGIN ISOLATION LEVEL {isolation} READ ONLY; {}; SET LOCAL idle_in_transaction_session_timeout = '60s'; \
             SET LOCAL datestyle = 'ISO'; {session}SAVEPOINT weir",
            sql(limits)
        );
        self.limits = Some(limits);
        self.run(&sql).await
    }

    async fn set(&mut self, statement: &str) -> Result<(), Trouble> {
        self.run(&format!("{statement}; SAVEPOINT weir")).await
    }

    async fn look_at(&mut self, sql: &str, limits: Limits, complete: bool) -> Result<Described, Trouble> {
        let (columns, parameters) = self.parse(sql, limits, decode::described).await?;
        match self.plan(parameters).await {
            // Without the setting that a policy names, planning may stumble where reading will not.
            Err(Trouble::Server(error)) if !complete && error.code != FORBIDDEN && !error.ends_connection() => {
                self.recover().await?;
            }
            planned => {
                planned?;
                if mentions_writing(sql)
                    && let Some(verb) = self.writes(sql, limits).await?
                {
                    return Err(Trouble::Ours(server::does_more(&verb.to_uppercase()), false));
                }
            }
        }
        Ok(Described { columns: columns.unwrap_or_default(), parameters })
    }

    async fn recover(&mut self) -> Result<(), Trouble> {
        // The limits that were set since then are forgotten with the rest.
        self.limits = None;
        self.run("ROLLBACK TO SAVEPOINT weir").await
    }

    /// By a transaction and not by a session: a pooler in transaction mode gives a session's locks to whoever comes next, and keeps a
    /// transaction on one server connection until it ends. It is `READ COMMITTED` and has no number, so between its statements it keeps
    /// nothing from being cleaned up. A holder that is frozen or cut off loses the lock with it, whatever it believes.
    async fn take_lock(&mut self, name: &str, lease: Duration) -> Result<Option<u64>, Trouble> {
        let (lease, key) = (lease.as_millis(), lock_key(name).cast_signed());
        self.run(&format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL idle_in_transaction_session_timeout = {lease}; \
             SET LOCAL statement_timeout = {lease}"
        ))
        .await?;
        // The number of the term is the server's clock when the lock was granted: one clock for all who contend. An earlier holder
        // was granted it before, and its lock has ended since.
        let ask = format!(
            "SELECT pg_try_advisory_xact_lock({key})::int, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
        );
        let row = self.ask(&ask).await?;
        let number = |at: usize| row.get(at).cloned().flatten().and_then(|text| text.parse::<u64>().ok());
        let (Some(taken), Some(term)) = (number(0), number(1)) else { return Err(NO_LOCK) };
        if taken == 0 {
            self.run("ROLLBACK").await?;
        }
        Ok((taken == 1).then_some(term))
    }

    /// Whatever it answers, the transaction was open: with it the lock is.
    async fn check_lock(&mut self, _: &str) -> Result<(), Trouble> {
        self.ask("SELECT 1").await.map(drop)
    }

    async fn end(&mut self) -> Result<(), Trouble> {
        self.run("ROLLBACK").await?;
        self.wire.relax();
        Ok(())
    }

    async fn close(mut self) {
        let mut out = Out::default();
        out.terminate();
        // Nobody waits for an answer, and none would matter.
        self.wire.send(&out).await.ok();
    }

    async fn read(
        &mut self,
        sql: &str,
        parameters: &[Option<Box<str>>],
        intake: &mut Intake,
        began: pdata::UnixNanos,
        limits: &(dyn Fn() -> Limits + Sync),
    ) -> Result<(), Trouble> {
        let scope = intake.scope();
        if let Some(scope) = scope {
            let horizon = self.horizon(scope).await?;
            intake.before(&horizon);
        }
        let (columns, wanted) = self.describe(sql, parameters.len(), intake, limits()).await?;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        intake.begin(&names, began).map_err(|error| Trouble::Ours(error.into(), false))?;
        let mut out = Out::default();
        let limited = self.limit(&mut out, limits());
        if limited {
            // Reading it took long, and the word about the limits has ended it.
            out.parse(sql);
        }
        out.bind_and_execute(&parameters[..wanted], columns.iter().map(Column::format), intake.limit());
        self.wire.send(&out).await?;
        if limited {
            self.done().await?;
        }
        let mut cut_short = Ok(());
        loop {
            match self.wire.next().await? {
                (b'D', body) => {
                    decode::lay_out(body, &columns, &mut self.cells)?;
                    let row = PgRow { body, columns: &columns, cells: &self.cells };
                    intake.row(&row).map_err(|error| Trouble::Ours(error.into(), true))?;
                    if intake.is_full() {
                        intake.hand_over().await.map_err(|error| Trouble::Ours(error, true))?;
                    }
                }
                (b'1' | b'2' | b'C' | b'I', _) => {}
                (b's', _) => cut_short = intake.cut_short(),
                (b'E', body) => {
                    let error = ServerError::parse(body);
                    return Err(self.failed(error).await);
                }
                (b'Z', _) => break,
                _ => return Err(UNEXPECTED),
            }
        }
        cut_short.map_err(|error| Trouble::Ours(error.into(), false))?;
        if let Some(scope) = scope {
            let horizon = self.horizon(scope).await?;
            intake.after(horizon);
        }
        Ok(())
    }
}

/// Whether a statement may hold another one that writes: a plan is asked for only then.
fn mentions_writing(sql: &str) -> bool {
    let mut words = sql.split(|letter: char| !letter.is_ascii_alphabetic());
    words.any(|word| ["insert", "update", "delete", "merge"].iter().any(|verb| verb.eq_ignore_ascii_case(word)))
}

/// What a plan in JSON changes: `Insert`, `Update`, `Delete` or `Merge`.
fn modification(plan: &serde_json::Value) -> Option<String> {
    match plan {
        serde_json::Value::Object(node) => {
            let changes = node.get("Node Type").is_some_and(|kind| kind == "ModifyTable");
            let operation =
                || node.get("Operation").and_then(serde_json::Value::as_str).unwrap_or("a write").to_owned();
            changes.then(operation).or_else(|| node.values().find_map(modification))
        }
        serde_json::Value::Array(nodes) => nodes.iter().find_map(modification),
        _ => None,
    }
}

fn sql(limits: Limits) -> String {
    let Limits { statement_ms, lock_ms } = limits;
    format!("SET LOCAL statement_timeout = {statement_ms}; SET LOCAL lock_timeout = {lock_ms}")
}

/// SQLSTATE of what the role may not do.
const FORBIDDEN: &str = "42501";

const NO_LOCK: Trouble = Trouble::Protocol("the question for a lock has no answer");

const UNEXPECTED: Trouble = Trouble::Protocol("an answer is none of those that belong to the question");
