//! Commands and the packets that answer them.

use super::Connection;
use crate::sql_query::intake::Intake;
use crate::sql_query::mysql::bytes::Bytes;
use crate::sql_query::mysql::column::{Column, MOST_COLUMNS};
use crate::sql_query::mysql::error::{ServerError, Trouble};
use crate::sql_query::mysql::out::{self, Parameter};
use crate::sql_query::mysql::row::Row;
use crate::sql_query::mysql::wire::ERROR;

/// A statement that the server has read.
pub(super) struct Prepared<T> {
    pub(super) id: u32,
    pub(super) parameters: usize,
    pub(super) columns: Vec<T>,
}

/// Bits of the server's status.
const IN_TRANSACTION: u16 = 1;
const NO_BACKSLASH_ESCAPES: u16 = 1 << 9;

const UNEXPECTED: Trouble = Trouble::Protocol("an answer is none of those that belong to the question");
const LOCAL_FILE: Trouble =
    Trouble::Protocol("it asks for a file of this machine, which it never gets (LOAD DATA LOCAL)");

impl Connection {
    /// Has a statement read, and each column that it gives looked at by `look`.
    pub(super) async fn prepare<T>(
        &mut self,
        sql: &str,
        look: impl Fn(&[u8]) -> Result<T, Trouble>,
    ) -> Result<Prepared<T>, Trouble> {
        self.wire.command(&out::prepare(sql)).await?;
        let packet = self.wire.next().await?;
        match packet.first() {
            Some(0x00) => {}
            Some(&ERROR) => return Err(Trouble::Server(ServerError::parse(packet))),
            Some(0xfb) => return Err(LOCAL_FILE),
            _ => return Err(UNEXPECTED),
        }
        let mut read = Bytes(&packet[1..]);
        let (id, columns, parameters) = (read.u32()?, read.u16()?, read.u16()?);
        for _ in 0..parameters {
            self.wire.next().await?;
        }
        if parameters > 0 {
            self.end_of_definitions().await?;
        }
        let columns = if columns == 0 { Ok(Vec::new()) } else { self.columns(u64::from(columns), look).await? };
        match columns {
            Ok(columns) => Ok(Prepared { id, parameters: usize::from(parameters), columns }),
            Err(error) => {
                self.wire.later(&out::forget(id));
                Err(error)
            }
        }
    }

    /// Reads how a result begins.
    async fn count_of_columns(&mut self) -> Result<u64, Trouble> {
        let packet = self.wire.next().await?;
        match packet.first() {
            Some(&ERROR) => Err(Trouble::Server(ServerError::parse(packet))),
            Some(0xfb) => Err(LOCAL_FILE),
            Some(0x00) | None => Err(UNEXPECTED),
            Some(_) => Bytes(packet).number(),
        }
    }

    /// Reads the definitions of columns to their end. The inner error is one of ours, with nothing left unread.
    async fn columns<T>(
        &mut self,
        count: u64,
        look: impl Fn(&[u8]) -> Result<T, Trouble>,
    ) -> Result<Result<Vec<T>, Trouble>, Trouble> {
        if count > MOST_COLUMNS {
            return Err(Trouble::Protocol("a result has more columns than 4,096"));
        }
        let mut columns = Ok(Vec::new());
        for _ in 0..count {
            let column = look(self.wire.next().await?);
            match (column, &mut columns) {
                (Ok(column), Ok(columns)) => columns.push(column),
                (Err(error @ Trouble::Ours(..)), Ok(_)) => columns = Err(error),
                (Err(Trouble::Ours(..)) | Ok(_), Err(_)) => {}
                (Err(trouble), _) => return Err(trouble),
            }
        }
        self.end_of_definitions().await?;
        Ok(columns)
    }

    async fn end_of_definitions(&mut self) -> Result<(), Trouble> {
        let packet = self.wire.next().await?;
        if ends(packet) { Ok(()) } else { Err(Trouble::Protocol("the definitions of columns do not end")) }
    }

    /// Runs a statement that was read, and takes its rows.
    pub(super) async fn execute(
        &mut self,
        prepared: &Prepared<Column>,
        parameters: &[Parameter<'_>],
        intake: &mut Intake,
        began: pdata::UnixNanos,
    ) -> Result<(), Trouble> {
        // One more than are wanted tells whether there are more.
        let limit = intake.limit();
        self.select_limit(limit).await?;
        self.wire.command(&out::execute(prepared.id, parameters)).await?;
        let count = self.count_of_columns().await?;
        // What is known of the types only now has rows behind it.
        let names_types = self.names_types;
        let columns = self.columns(count, |packet| Column::read(packet, names_types, intake)).await?.map_err(unread)?;
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        intake.begin(&names, began).map_err(|error| Trouble::Ours(error.into(), true))?;
        let mut rows = 0;
        let mut cut_short = Ok(());
        loop {
            let body = self.wire.row().await?;
            match body.first() {
                Some(0x00) if limit > 0 && rows == limit => cut_short = intake.cut_short(),
                Some(0x00) => {
                    rows += 1;
                    self.cells.read(body, &columns)?;
                    let row = Row { body, cells: &self.cells };
                    intake.row(&row).map_err(|error| Trouble::Ours(error.into(), true))?;
                    if intake.is_full() {
                        intake.hand_over().await.map_err(|error| Trouble::Ours(error, true))?;
                    }
                }
                Some(&ERROR) => return Err(Trouble::Server(ServerError::parse(body))),
                Some(0xfe) if ends(body) => {
                    let status = status(&body[3..])?;
                    self.heard(status);
                    return cut_short.map_err(|error| Trouble::Ours(error.into(), false));
                }
                _ => return Err(UNEXPECTED),
            }
        }
    }

    /// Runs a statement of ours, which gives no rows.
    pub(super) async fn run(&mut self, sql: &str) -> Result<(), Trouble> {
        self.wire.command(&out::query(sql)).await?;
        self.done().await
    }

    /// Runs one statement of ours; gives the cells of its only row as text.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Vec<Option<String>>, Trouble> {
        self.wire.command(&out::query(sql)).await?;
        let count = self.count_of_columns().await?;
        let columns = self.columns(count, |_| Ok(())).await??.len();
        let mut read = Bytes(self.wire.next().await?);
        if read.0.first() == Some(&ERROR) {
            return Err(Trouble::Server(ServerError::parse(read.0)));
        }
        let mut cell = || match read.0 {
            [0xfb, rest @ ..] => {
                read.0 = rest;
                Ok(None)
            }
            _ => read.counted().map(|text| Some(String::from_utf8_lossy(text).into_owned())),
        };
        let row = (0..columns).map(|_| cell()).collect::<Result<_, _>>()?;
        if ends(self.wire.next().await?) { Ok(row) } else { Err(UNEXPECTED) }
    }

    /// Hears that a command has been run.
    pub(super) async fn done(&mut self) -> Result<(), Trouble> {
        let packet = self.wire.next().await?;
        match packet {
            [0x00, rest @ ..] => {
                let mut read = Bytes(rest);
                // Rows that were changed, and the last number that was given.
                read.number()?;
                read.number()?;
                let status = status(read.0)?;
                self.heard(status);
                Ok(())
            }
            [ERROR, ..] => Err(Trouble::Server(ServerError::parse(packet))),
            [0xfb, ..] => Err(LOCAL_FILE),
            _ => Err(UNEXPECTED),
        }
    }

    fn heard(&mut self, status: u16) {
        self.in_transaction = status & IN_TRANSACTION != 0;
        self.escapes = status & NO_BACKSLASH_ESCAPES == 0;
    }
}

fn status(bytes: &[u8]) -> Result<u16, Trouble> {
    Bytes(bytes).u16()
}

/// Whether a packet ends a list.
fn ends(packet: &[u8]) -> bool {
    packet.len() == 5 && packet[0] == 0xfe
}

fn unread(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Ours(error, _) => Trouble::Ours(error, true),
        other => other,
    }
}
