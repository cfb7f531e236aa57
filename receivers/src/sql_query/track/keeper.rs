//! Keeps the cursor of one query: in the ledger, or in memory where there is none.

use std::cmp::Ordering;
use std::sync::Arc;

use pdata::Seed;
use pipeline::state::{Cursor, Entry, Ledger, State};
use serde::{Deserialize, Serialize};

use super::mark::{Mark, MarkType, Overlap, compare, shown};
use super::seen::{Seen, Shelf};
use super::{Late, Marks, SharedSeen, Step, Tracking, lock};
use crate::sql_query::intake::Cells;
use crate::sql_query::source::{ReadError, Reason};

/// Keeps the cursor of one query.
#[derive(Debug)]
pub(crate) struct CursorKeeper {
    /// The cursor's key: the query's name, and the target's where there are several. Never the SQL.
    name: Box<str>,
    rule: Arc<Tracking>,
    ledger: Option<Ledger>,
    /// The term under which the rows are read: 0 where nobody contends. An older one than on disk is refused.
    token: u64,
    seen: Option<SharedSeen>,
    /// Where this process has read to.
    saved: Option<Saved>,
    /// Where the read in progress began.
    began: Option<Saved>,
    /// Whether the keys in memory are those of the ledger.
    fresh: bool,
    /// The token that was refused.
    overtaken: Option<u64>,
    /// Why this query is not read any more.
    stopped: Option<String>,
    /// Keys that were forgotten before their time, since that was last asked.
    forgotten_early: usize,
}

/// What a read begins with.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beginning {
    pub(crate) parameters: Cells,
    pub(crate) types: Vec<Option<MarkType>>,
}

/// A cursor on disk, as JSON: people read it with `weir ledger ls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Saved {
    columns: Vec<Box<str>>,
    types: Vec<MarkType>,
    at: Marks,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Shelf>,
}

impl CursorKeeper {
    pub(crate) fn new(name: &str, rule: Arc<Tracking>, ledger: Option<Ledger>) -> Self {
        let seen = match &rule.late {
            Late::Overlap { max_keys, .. } => Some(SharedSeen::new(Seen::new(*max_keys).into())),
            Late::Miss | Late::Xmin => None,
        };
        Self {
            name: name.into(),
            rule,
            ledger,
            token: 0,
            seen,
            saved: None,
            began: None,
            fresh: false,
            overtaken: None,
            stopped: None,
            forgotten_early: 0,
        }
    }

    /// The keys that rows are compared with, and what they are hashed with.
    pub(crate) fn seen(&self) -> (Option<SharedSeen>, Seed) {
        (self.seen.clone(), self.ledger.as_ref().map_or_else(Seed::random, Ledger::seed))
    }

    /// Begins a read where the last one ended, in the term with this number.
    ///
    /// # Errors
    /// When the cursor cannot be used, or could not be moved afterwards.
    pub(crate) fn begin(&mut self, term: u64) -> Result<Beginning, ReadError> {
        if let Some(why) = &self.stopped {
            return Err(ReadError::new(Reason::Data, why.clone()));
        }
        self.token = term;
        if self.overtaken.is_some_and(|token| term <= token) {
            return Err(overtaken(&self.name));
        }
        self.overtaken = None;
        if let Some(ledger) = &self.ledger {
            if let State::NotReady { why } = ledger.state() {
                return Err(ReadError::new(
                    Reason::Storage,
                    format!("the cursor could not be kept, so nothing is read: {why}"),
                ));
            }
            // What the ledger shows is what counts: a save that seemed to fail may have been written after all.
            self.saved = ledger.cursor(&self.name).map(|cursor| self.parse(&cursor)).transpose()?;
            if self.saved.is_none() && ledger.cursors_left() == 0 {
                // Read all the same, its rows would be sent again and again.
                let why = format!(
                    "there is no room for the cursor '{}': 10000 are kept, those of a loop's rows that are gone too; give the \
                     receiver another name to begin anew",
                    self.name
                );
                return Err(ReadError::new(Reason::Storage, why));
            }
            if !std::mem::replace(&mut self.fresh, true)
                && let (Some(seen), Some(shelf)) = (&self.seen, self.saved.as_ref().and_then(|saved| saved.keys))
            {
                let segment = |number| ledger.cursor(&self.segment(number)).map(|cursor| cursor.value);
                lock(seen).restore(shelf, segment);
            }
        }
        self.began.clone_from(&self.saved);
        let Some(saved) = &self.saved else {
            let parameters = self.rule.start.iter().map(|mark| Some(self.parameter(mark, None))).collect();
            let types = self.rule.columns.iter().map(|column| column.of).collect();
            return Ok(Beginning { parameters, types });
        };
        self.check(saved)?;
        let mut at = saved.at.clone();
        if let (Late::Overlap { overlap, .. }, Some(first)) = (&self.rule.late, at.first_mut()) {
            *first = self.earlier(first, *overlap)?;
        }
        Ok(Beginning {
            parameters: at.iter().zip(&saved.types).map(|(mark, of)| Some(self.parameter(mark, Some(*of)))).collect(),
            types: saved.types.iter().copied().map(Some).collect(),
        })
    }

    /// Keeps what a page means, together with what it counted. Nothing is written when nothing has changed.
    ///
    /// # Errors
    /// When it cannot be kept: the rows of this page are read again.
    pub(crate) async fn save(&mut self, step: Step, mut entry: Entry) -> Result<(), ReadError> {
        let before = self.saved.clone();
        self.advance(step.mark);
        if let (Some(seen), Some(saved), Late::Overlap { overlap, .. }) = (&self.seen, &mut self.saved, &self.rule.late)
        {
            let position = saved.at.first().zip(saved.types.first()).and_then(|(mark, of)| mark.position(*of));
            let low = position.map_or(i64::MIN, |position| position.saturating_sub(overlap.length()));
            let mut seen = lock(seen);
            let changed = seen.remember(&step.keys, low);
            saved.keys = Some(seen.shelf());
            drop(seen);
            self.forgotten_early += changed.forgotten_early;
            for (number, value) in changed.segments {
                let key = format!("{}#keys/{number}", self.name).into();
                entry = entry.with_cursor(Cursor { key, value, token: self.token });
            }
        }
        if self.saved == before && entry.is_empty() {
            return Ok(());
        }
        self.write(entry).await
    }

    /// The rows were not in order, so what was read before may be less than it seemed: the query is not read any more until the
    /// configuration is changed, and then from where this read began. What was counted cannot be taken back, so then the cursor stays.
    pub(crate) async fn stop(&mut self, why: &str, counts: bool) -> Result<(), ReadError> {
        self.stopped = Some(format!("{why}; the query is not read any more until the agent is started again"));
        if counts || self.saved == self.began {
            return Ok(());
        }
        let beginning = |saved: &Saved| Saved { at: self.rule.start.clone(), ..saved.clone() };
        self.saved = self.began.clone().or_else(|| self.saved.as_ref().map(beginning));
        self.write(Entry::new()).await
    }

    /// Keys that were forgotten before their time since this was last asked, and how many there are.
    pub(crate) fn keys(&mut self) -> (usize, usize) {
        (std::mem::take(&mut self.forgotten_early), self.seen.as_ref().map_or(0, |seen| lock(seen).len()))
    }

    /// As it is bound into the statement of this database.
    fn parameter(&self, mark: &Mark, of: Option<MarkType>) -> Box<str> {
        let text = mark.parameter();
        match (text.strip_suffix('Z'), of) {
            (Some(time), Some(MarkType::Timestamp)) if self.rule.zoneless => time.replace('T', " ").into(),
            _ => text,
        }
    }

    /// Where a read begins that overlaps the last one.
    fn earlier(&self, first: &Mark, overlap: Overlap) -> Result<Mark, ReadError> {
        match (first.before(overlap), first, self.rule.start.first()) {
            (Some(earlier), ..) => Ok(earlier),
            // Before all times: where the configuration says.
            (None, Mark::Text(_), Some(start)) => Ok(start.clone()),
            _ => {
                let why = format!(
                    "'overlap' is a time, and the tracking column holds numbers such as {}; write a number",
                    first.parameter()
                );
                Err(ReadError::new(Reason::Data, why))
            }
        }
    }

    /// Moves on, never back: rows of an overlap are behind the cursor.
    fn advance(&mut self, mark: Option<(Marks, Vec<MarkType>)>) {
        let Some((marks, types)) = mark else { return };
        let behind =
            |saved: &Saved| matches!(compare(&marks, &saved.at, &types), Some(Ordering::Less | Ordering::Equal));
        if !self.saved.as_ref().is_some_and(behind) {
            let keys = self.saved.take().and_then(|saved| saved.keys);
            let columns = self.rule.columns.iter().map(|column| column.name.clone()).collect();
            self.saved = Some(Saved { columns, types, at: marks, keys });
        }
    }

    async fn write(&mut self, entry: Entry) -> Result<(), ReadError> {
        let (Some(ledger), Some(saved)) = (&self.ledger, &self.saved) else { return Ok(()) };
        let value = serde_json::to_vec(saved).unwrap_or_default().into();
        let token = self.token;
        let entry = entry.with_cursor(Cursor { key: self.name.clone(), value, token });
        let Err(refusal) = ledger.submit(entry).await else { return Ok(()) };
        // In memory it has moved and on disk perhaps not: the next read looks there.
        self.fresh = false;
        if ledger.cursor(&self.name).is_some_and(|cursor| cursor.token > token) {
            self.overtaken = Some(token);
            return Err(overtaken(&self.name));
        }
        Err(ReadError::new(
            Reason::Storage,
            format!("the cursor could not be kept, so the rows are read again: {refusal}"),
        ))
    }

    fn parse(&self, cursor: &Cursor) -> Result<Saved, ReadError> {
        serde_json::from_slice(&cursor.value).map_err(|error| {
            let why = format!(
                "the cursor '{}' on disk is none of this version of weir ({error}); give the query another 'name' to begin anew",
                self.name
            );
            ReadError::new(Reason::Storage, why)
        })
    }

    /// A cursor of other columns or other types means nothing to this query.
    fn check(&self, saved: &Saved) -> Result<(), ReadError> {
        let columns = saved.columns.iter().eq(self.rule.columns.iter().map(|column| &column.name));
        let written = self.rule.columns.iter().map(|column| column.of);
        let types = written.zip(&saved.types).all(|(written, of)| written.is_none_or(|written| written == *of));
        if columns && types {
            return Ok(());
        }
        let known = saved.columns.iter().zip(&saved.types);
        let on_disk: Vec<_> = known.map(|(name, of)| format!("{name} ({})", of.name())).collect();
        let of = |of: Option<MarkType>| of.map_or(String::new(), |of| format!(" ({})", of.name()));
        let wanted: Vec<_> =
            self.rule.columns.iter().map(|column| format!("{}{}", column.name, of(column.of))).collect();
        let why = format!(
            "the cursor '{}' on disk is of {}, at {}, and 'tracking_column' is {}; write that again, or give the query another 'name' and a \
             'tracking_start_value' to begin anew",
            self.name,
            on_disk.join(", "),
            shown(&saved.at),
            wanted.join(", ")
        );
        Err(ReadError::new(Reason::Storage, why))
    }

    fn segment(&self, number: u32) -> String {
        format!("{}#keys/{number}", self.name)
    }
}

fn overtaken(name: &str) -> ReadError {
    let why = format!(
        "somebody else has taken over the cursor '{name}' (its fencing token is newer); the query is not read here"
    );
    ReadError::new(Reason::Overtaken, why)
}

/// For messages and tests.
impl Mark {
    /// From what the user wrote as a start value; `None` when it is none of this type.
    pub(crate) fn written(value: &serde_json::Value, of: Option<MarkType>) -> Option<Self> {
        let text = match value {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Number(number) => number.to_string(),
            _ => return None,
        };
        let cell = pipeline::mapping::Cell::Text(text.as_bytes());
        match of {
            Some(MarkType::Timestamp) if value.is_number() => text.parse().ok().map(Self::Int),
            Some(of) => Self::read(cell, of),
            None => Some(text.parse().map_or_else(|_| Self::Text(text.as_str().into()), Self::Int)),
        }
    }
}
