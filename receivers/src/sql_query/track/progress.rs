//! Where rows come in: reads their marks, sees that they come in order, and leaves out those that are not to be passed.

use std::cmp::Ordering;
use std::sync::Arc;

use pdata::Seed;
use pipeline::mapping::{Cell, MapError, MissingColumn, Record};

#[cfg(feature = "sql-postgres")]
use super::late::{Horizon, Scope, Settling};
use super::mark::{Mark, MarkType, compare, shown};
use super::seen::Known;
use super::{Late, Marks, SharedSeen, Step, Tracking, lock};

/// The reading of one tracked query.
pub(crate) struct Progress {
    rule: Arc<Tracking>,
    /// What keys of rows are hashed with: the ledger's, so that they mean the same after a restart.
    seed: Seed,
    seen: Option<SharedSeen>,
    #[cfg(feature = "sql-postgres")]
    settling: Option<Settling>,
    /// By the cursor, or by the first row.
    types: Vec<Option<MarkType>>,
    columns: Vec<usize>,
    key_columns: Vec<usize>,
    /// The last row.
    last: Option<Marks>,
    /// The last row with another mark than the last one that was passed: all rows up to it have been passed.
    whole: Option<Marks>,
    /// The last row that was passed; where nothing orders the rows, the one that is furthest on.
    passed: Option<Marks>,
    row_key: Option<(u128, i64)>,
    keys: Vec<(u128, i64)>,
    scratch: Vec<u8>,
    pub(crate) tally: ProgressTally,
    /// It has enough rows: all others are left for the next read.
    pub(crate) enough: bool,
    /// The rows are not in the order in which they must be.
    pub(crate) disorder: bool,
}

/// Rows of one read, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProgressTally {
    pub(crate) rows: u64,
    /// Known from an earlier read.
    pub(crate) repeated: u64,
    /// Within the overlap, and older than what is remembered.
    pub(crate) too_old: u64,
    /// Left for a later read.
    pub(crate) unsettled: u64,
}

/// Whether a row is passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is, and whether a page may end before it.
    Pass {
        /// Its mark is another than that of the row before.
        fresh: bool,
    },
    Leave,
}

impl Progress {
    pub(crate) fn new(rule: Arc<Tracking>, seed: Seed, seen: Option<SharedSeen>) -> Self {
        Self {
            #[cfg(feature = "sql-postgres")]
            settling: (rule.late == Late::Xmin).then(|| Settling::new(rule.snapshot)),
            types: rule.columns.iter().map(|column| column.of).collect(),
            rule,
            seed,
            seen,
            columns: Vec::new(),
            key_columns: Vec::new(),
            last: None,
            whole: None,
            passed: None,
            row_key: None,
            keys: Vec::new(),
            scratch: Vec::new(),
            tally: ProgressTally::default(),
            enough: false,
            disorder: false,
        }
    }

    /// Columns that must be among those of the result.
    #[cfg(feature = "sql-server")]
    pub(crate) fn names(&self) -> impl Iterator<Item = &Box<str>> {
        let keys = match &self.rule.late {
            Late::Overlap { key, .. } => key.as_slice(),
            _ => &[],
        };
        self.rule.columns.iter().map(|column| &column.name).chain(keys)
    }

    /// The types that the cursor knows.
    pub(crate) fn know(&mut self, types: Vec<Option<MarkType>>) {
        self.types = types;
    }

    /// Whether the parameter at this place is a tracking value that is bound as a number. One of no known type is what it looks like;
    /// behind them are the columns of a loop, which are texts.
    pub(crate) fn binds_number(&self, parameter: usize) -> bool {
        match self.types.get(parameter) {
            Some(Some(MarkType::Int | MarkType::Timestamp) | None) => true,
            Some(Some(MarkType::Text | MarkType::Uuid)) | None => false,
        }
    }

    /// Rows that are enough; none where only the end of a read moves the cursor.
    #[cfg(feature = "sql-server")]
    pub(crate) fn max_rows(&self) -> Option<u64> {
        self.rule.ordered.then_some(self.rule.max_rows)
    }

    /// Begins a read of a result with these columns.
    pub(crate) fn begin(&mut self, names: &[&str]) -> Result<(), MapError> {
        (self.last, self.whole, self.passed) = (None, None, None);
        (self.tally, self.enough, self.disorder) = (ProgressTally::default(), false, false);
        self.keys.clear();
        let find = |column: &str, by: &str| find(names, column, by);
        self.columns =
            self.rule.columns.iter().map(|column| find(&column.name, "tracking_column")).collect::<Result<_, _>>()?;
        if let Late::Overlap { key, .. } = &self.rule.late {
            self.key_columns = key.iter().map(|column| find(column, "key_columns")).collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    /// Looks at one row.
    ///
    /// # Errors
    /// When it has no mark or stands in the wrong place.
    pub(crate) fn take<R: Record + ?Sized>(&mut self, row: &R) -> Result<Taken, MapError> {
        let marks = self.marks(row)?;
        let types = self.known_types();
        let order = self.last.as_ref().map(|last| compare(&marks, last, &types));
        // Where only the database knows, unequal rows are taken to be in its order.
        let fresh = order != Some(Some(Ordering::Equal));
        if self.rule.ordered {
            if order == Some(Some(Ordering::Less)) {
                self.disorder = true;
                return Err(MapError::Rule(self.misplaced(&marks)));
            }
            // Between two marks, so that the next read goes on behind the last row.
            self.enough |= fresh && self.tally.rows >= self.rule.max_rows;
            if self.enough {
                return Ok(Taken::Leave);
            }
        }
        self.tally.rows += 1;
        self.row_key = None;
        let settled = self.settles(&marks, &types);
        self.last = Some(marks.clone());
        if !settled {
            self.tally.unsettled += 1;
            return Ok(Taken::Leave);
        }
        if fresh && self.rule.ordered {
            self.whole = self.passed.take();
        }
        let further = |passed: &Marks| compare(&marks, passed, &types) != Some(Ordering::Less);
        if self.rule.ordered || self.passed.as_ref().is_none_or(further) {
            self.passed = Some(marks);
        }
        if self.knows(row, &types) { Ok(Taken::Leave) } else { Ok(Taken::Pass { fresh }) }
    }

    /// The row that was looked at is part of the page from here on.
    pub(crate) fn enter(&mut self) {
        self.keys.extend(self.row_key.take());
    }

    /// What a page means that ends before the row that was looked at last.
    pub(crate) fn cut(&mut self) -> Step {
        let mark = if self.rule.ordered { self.whole.clone() } else { None };
        self.step(mark)
    }

    /// What the last page of a read means, which came to its end.
    pub(crate) fn end(&mut self) -> Step {
        let mark = self.passed.clone();
        self.step(mark)
    }

    fn step(&mut self, mark: Option<Marks>) -> Step {
        Step { mark: mark.map(|marks| (marks, self.known_types())), keys: std::mem::take(&mut self.keys) }
    }

    /// Who must be waited for, where that is asked for.
    #[cfg(feature = "sql-postgres")]
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.settling.as_ref().map(|_| Scope::of(self.types.first().copied().flatten()))
    }

    /// What the server says before the rows are read.
    #[cfg(feature = "sql-postgres")]
    pub(crate) fn before(&mut self, horizon: &Horizon) {
        if let Some(settling) = &mut self.settling {
            settling.begin(horizon);
        }
    }

    /// What it says after the last one.
    #[cfg(feature = "sql-postgres")]
    pub(crate) fn after(&mut self, horizon: Horizon) {
        if let Some(settling) = &mut self.settling {
            settling.end(horizon);
        }
    }

    /// Whether no row can appear any more at or before this one, where that is waited for.
    #[cfg(feature = "sql-postgres")]
    fn settles(&mut self, marks: &Marks, types: &[MarkType]) -> bool {
        self.settling.as_mut().is_none_or(|settling| settling.passes(marks, types))
    }

    /// Only PostgreSQL tells who could still commit one, and only with it this can be asked for.
    #[cfg(not(feature = "sql-postgres"))]
    fn settles(&mut self, _: &Marks, _: &[MarkType]) -> bool {
        true
    }

    fn marks<R: Record + ?Sized>(&mut self, row: &R) -> Result<Marks, MapError> {
        let number = self.tally.rows + 1;
        let mut marks = Vec::with_capacity(self.columns.len());
        for ((index, column), of) in self.columns.iter().zip(&self.rule.columns).zip(&mut self.types) {
            let (cell, name) = (row.cell(*index), &column.name);
            if cell == Cell::Null {
                let why = format!(
                    "tracking column '{name}' is NULL in row {number}; leave such rows out (where {name} is not null)"
                );
                return Err(MapError::Rule(why));
            }
            let Some(known) = of.or_else(|| MarkType::guess(cell)) else {
                let why = format!(
                    "tracking column '{name}' holds {} in row {number}; only an int, text, timestamp or uuid can be tracked",
                    holds(cell)
                );
                return Err(MapError::Rule(why));
            };
            let Some(mark) = Mark::read(cell, known) else {
                let why = format!(
                    "tracking column '{name}' holds {} in row {number}, and the cursor is of type {}; cast it in the SQL, or begin anew \
                     under another 'name' of the query",
                    holds(cell),
                    known.name()
                );
                return Err(MapError::Rule(why));
            };
            *of = Some(known);
            marks.push(mark);
        }
        Ok(marks)
    }

    /// Whether a row was passed before, or is too old to know.
    fn knows<R: Record + ?Sized>(&mut self, row: &R, types: &[MarkType]) -> bool {
        let (Some(seen), Some(marks)) = (&self.seen, &self.last) else { return false };
        self.scratch.clear();
        for index in &self.key_columns {
            let text = row.cell(*index).text();
            let length = text.as_ref().map_or(u32::MAX, |text| u32::try_from(text.len()).unwrap_or(u32::MAX));
            self.scratch.extend_from_slice(&length.to_le_bytes());
            self.scratch.extend_from_slice(text.as_deref().unwrap_or_default().as_bytes());
        }
        let [high, low] = self.seed.fingerprint(&self.scratch).0;
        let key = u128::from(high) << 64 | u128::from(low);
        // Only an int or a timestamp can be the first column where there is an overlap.
        let position = marks.first().zip(types.first()).and_then(|(mark, of)| mark.position(*of)).unwrap_or(i64::MAX);
        match lock(seen).knows(key, position) {
            Known::No => self.row_key = Some((key, position)),
            Known::Passed => self.tally.repeated += 1,
            Known::TooOld => self.tally.too_old += 1,
        }
        self.row_key.is_none()
    }

    fn known_types(&self) -> Vec<MarkType> {
        self.types.iter().map(|of| of.unwrap_or(MarkType::Text)).collect()
    }

    fn misplaced(&self, marks: &Marks) -> String {
        let columns: Vec<&str> = self.rule.columns.iter().map(|column| &*column.name).collect();
        format!(
            "row {} with {} comes after {}: rows must come in the order of 'tracking_column' (order by {})",
            self.tally.rows + 1,
            shown(marks),
            self.last.as_ref().map(|last| shown(last)).unwrap_or_default(),
            columns.join(", ")
        )
    }
}

/// Where a column stands. One that stands twice is as bad as none.
pub(crate) fn find(names: &[&str], column: &str, wanted_by: &str) -> Result<usize, MapError> {
    let mut places = names.iter().enumerate().filter(|(_, name)| **name == column).map(|(index, _)| index);
    match (places.next(), places.next()) {
        (Some(index), None) => Ok(index),
        _ => Err(MapError::Column(MissingColumn {
            column: column.into(),
            wanted_by: wanted_by.into(),
            found: names.iter().map(|name| (*name).into()).collect(),
        })),
    }
}

/// What a cell holds, for messages.
fn holds(cell: Cell<'_>) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Bool(_) => "a boolean".to_owned(),
        Cell::Int(int) => format!("the number {int}"),
        Cell::Double(double) => format!("the number {double}"),
        Cell::Time(_) => "a time".to_owned(),
        Cell::Bytes(_) => "bytes".to_owned(),
        Cell::Text(text) => {
            let text = String::from_utf8_lossy(text);
            format!("the text '{}'", text.chars().take(40).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TrackingColumn;
    use super::super::mark::MarkType;
    use super::*;

    fn progress(columns: &[(&str, Option<MarkType>)]) -> Progress {
        let column = |(name, of): &(&str, Option<MarkType>)| TrackingColumn { name: (*name).into(), of: *of };
        let columns: Vec<_> = columns.iter().map(column).collect();
        let rule = Tracking {
            columns,
            start: Vec::new(),
            ordered: true,
            max_rows: 4,
            zoneless: false,
            snapshot: false,
            late: Late::Miss,
        };
        let mut progress = Progress::new(Arc::new(rule), Seed::random(), None);
        progress.begin(&["at", "id", "body"]).unwrap();
        progress
    }

    fn take(progress: &mut Progress, at: Cell<'_>, id: i64) -> Result<Taken, String> {
        progress.take(&[at, Cell::Int(id), Cell::Text(b"x")][..]).map_err(|error| error.to_string())
    }

    fn at(step: Step) -> Option<String> {
        step.mark.map(|(marks, _)| shown(&marks))
    }

    const FRESH: Result<Taken, String> = Ok(Taken::Pass { fresh: true });
    const TIED: Result<Taken, String> = Ok(Taken::Pass { fresh: false });

    #[test]
    fn a_page_that_ends_among_rows_of_one_mark_ends_before_them() {
        let mut progress = progress(&[("id", None)]);
        assert_eq!(take(&mut progress, Cell::Null, 1), FRESH);
        assert_eq!(at(progress.cut()), None);
        assert_eq!(take(&mut progress, Cell::Null, 2), FRESH);
        assert_eq!(at(progress.cut()).as_deref(), Some("1"));
        assert_eq!(take(&mut progress, Cell::Null, 2), TIED);
        assert_eq!(at(progress.cut()).as_deref(), Some("1"));
        assert_eq!(at(progress.end()).as_deref(), Some("2"));
    }

    #[test]
    fn several_columns_are_compared_as_a_row() {
        let mut progress = progress(&[("at", None), ("id", None)]);
        let day = |day: &'static str| Cell::Text(day.as_bytes());
        assert_eq!(take(&mut progress, day("2026-01-01"), 9), FRESH);
        assert_eq!(take(&mut progress, day("2026-01-02"), 1), FRESH);
        assert_eq!(
            take(&mut progress, day("2026-01-01"), 10).unwrap_err(),
            "row 3 with (2026-01-01, 10) comes after (2026-01-02, 1): rows must come in the order of 'tracking_column' (order by at, id)"
        );
        assert!(progress.disorder);
    }

    #[test]
    fn what_cannot_be_tracked_is_one_clear_error() {
        let error = |of: Option<MarkType>, cell: Cell<'_>| {
            let mut progress = progress(&[("at", of)]);
            take(&mut progress, cell, 1).unwrap_err()
        };
        assert_eq!(
            error(None, Cell::Null),
            "tracking column 'at' is NULL in row 1; leave such rows out (where at is not null)"
        );
        assert_eq!(
            error(None, Cell::Double(0.5)),
            "tracking column 'at' holds the number 0.5 in row 1; only an int, text, timestamp or uuid can be tracked"
        );
        assert_eq!(
            error(Some(MarkType::Int), Cell::Text(b"soon")),
            "tracking column 'at' holds the text 'soon' in row 1, and the cursor is of type int; cast it in the SQL, or begin anew under \
             another 'name' of the query"
        );
        let missing = progress(&[("at", None)]).begin(&["id", "body"]).unwrap_err().to_string();
        assert_eq!(missing, "column 'at' (of tracking_column) not found in result set; it has id, body");
    }

    #[test]
    fn a_read_has_enough_between_two_marks_and_never_inside_of_one() {
        let mut progress = progress(&[("id", None)]);
        for id in [1, 2, 3] {
            assert_eq!(take(&mut progress, Cell::Null, id), FRESH);
        }
        assert_eq!(take(&mut progress, Cell::Null, 4), FRESH);
        assert_eq!(take(&mut progress, Cell::Null, 4), TIED);
        assert_eq!(take(&mut progress, Cell::Null, 5), Ok(Taken::Leave));
        assert_eq!(take(&mut progress, Cell::Null, 6), Ok(Taken::Leave));
        assert_eq!(at(progress.end()).as_deref(), Some("4"));
    }
}
