//! Rows on their way out as log records: in pages, each of which can leave while the query is still being read.

use std::sync::Arc;

use pdata::{LogRecord, UnixNanos};
use pipeline::mapping::{LogMapper, LogRule, MapError, Record, Unread};
use pipeline::state::Entry;
use tokio::sync::mpsc;

#[cfg(feature = "sql-server")]
use super::counting::CountedMetric;
use super::counting::Counting;
use super::source::{ReadError, Reason};
use super::track::Step;
use super::track::progress::{Progress, Taken};

/// Rows that leave together.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) logs: Vec<LogRecord>,
    /// Of memory.
    pub(crate) bytes: usize,
    /// Rows that it is made of.
    pub(crate) rows: usize,
    /// What they do to counters.
    pub(crate) counts: Entry,
    /// What it means for the cursor of a tracked query.
    pub(crate) step: Step,
}

/// Makes pages of the rows of one query.
pub(crate) struct Pages {
    rules: Arc<[LogRule]>,
    mappers: Vec<LogMapper>,
    columns: Vec<Box<str>>,
    observed: UnixNanos,
    counting: Option<Counting>,
    pub(super) progress: Option<Progress>,
    page: Page,
    /// A full page that the driver has not handed over yet.
    ready: Option<Page>,
    /// To the one who carries them; nobody while nothing is read.
    to: Option<mpsc::Sender<Page>>,
    /// Whether the reading waits for room.
    held: bool,
}

/// What came of handing a page over without waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handed {
    /// It is on its way, or there was none.
    Over,
    /// There is no room yet.
    Full,
}

/// A page is full at whichever of these comes first: large enough that its own cost vanishes, small enough that those under way
/// (see `courier`) are a small part of what a read may add to memory.
const PAGE_RECORDS: usize = 4096;
const PAGE_BYTES: usize = 512 << 10;

/// Rows of one mark that a page which counts may have: some 10 MB.
pub(crate) const TIED_ROWS: usize = 65_536;

/// Pages between who reads and who carries.
pub(crate) const WAITING: usize = 1;

impl Pages {
    pub(crate) fn new(rules: Arc<[LogRule]>) -> Self {
        Self {
            rules,
            counting: None,
            progress: None,
            mappers: Vec::new(),
            columns: Vec::new(),
            observed: UnixNanos::UNSET,
            page: Page::default(),
            ready: None,
            to: None,
            held: false,
        }
    }

    /// Of a query that knows which rows are new.
    pub(crate) fn tracking(self, progress: Progress, counting: Option<Counting>) -> Self {
        Self { progress: Some(progress), counting, ..self }
    }

    #[cfg(feature = "sql-server")]
    pub(crate) fn rules(&self) -> &[LogRule] {
        &self.rules
    }

    /// What it counts.
    #[cfg(feature = "sql-server")]
    pub(crate) fn counted(&self) -> &[CountedMetric] {
        self.counting.as_ref().map_or(&[], Counting::metrics)
    }

    /// Whether any row makes a page.
    pub(crate) fn is_wanted(&self) -> bool {
        !self.rules.is_empty() || self.progress.is_some()
    }

    /// Gives pages to this one from now on.
    pub(crate) fn open(&mut self, to: mpsc::Sender<Page>) {
        self.to = Some(to);
    }

    /// Begins a read: what was left of an earlier one is dropped.
    pub(crate) fn begin(&mut self, columns: &[&str], time: UnixNanos) -> Result<(), MapError> {
        (self.page, self.ready, self.held) = (Page::default(), None, false);
        self.observed = time;
        let fits = self.columns.len() == columns.len() && self.columns.iter().zip(columns).all(|(a, b)| **a == **b);
        if !fits || self.mappers.len() != self.rules.len() {
            self.mappers =
                self.rules.iter().map(|rule| LogMapper::new(rule.clone(), columns)).collect::<Result<_, _>>()?;
            self.columns = columns.iter().map(|column| (*column).into()).collect();
        }
        if let Some(counting) = &mut self.counting {
            counting.begin(columns)?;
        }
        self.progress.as_mut().map_or(Ok(()), |progress| progress.begin(columns))
    }

    /// Takes one row; whether it is passed on. When this fills a page, it must be handed over before the next row.
    pub(crate) fn row<R: Record + ?Sized>(&mut self, row: &R) -> Result<bool, MapError> {
        let fresh = match self.progress.as_mut().map(|progress| progress.take(row)).transpose()? {
            None => true,
            Some(Taken::Pass { fresh }) => fresh,
            Some(Taken::Leave) => return Ok(false),
        };
        if self.page.rows >= PAGE_RECORDS || self.page.logs.len() >= PAGE_RECORDS || self.page.bytes >= PAGE_BYTES {
            self.end_page(fresh)?;
        }
        for mapper in &mut self.mappers {
            let record = mapper.map(row, self.observed);
            self.page.bytes += bytes_of(&record);
            self.page.logs.push(record);
        }
        if let Some(counting) = &mut self.counting {
            counting.row(row, self.observed);
        }
        if let Some(progress) = &mut self.progress {
            progress.enter();
        }
        self.page.rows += 1;
        Ok(true)
    }

    /// Ends a page before the row at hand. What it counts changes with the cursor, which stands between two marks and never inside of
    /// one: so then a page takes all rows of a mark.
    fn end_page(&mut self, fresh: bool) -> Result<(), MapError> {
        if self.counting.is_some() && !fresh {
            if self.page.rows < TIED_ROWS {
                return Ok(());
            }
            return Err(MapError::Rule(tied()));
        }
        if self.ready.is_some() {
            return Err(MapError::Rule("this driver cannot send rows while it reads".to_owned()));
        }
        let step = self.progress.as_mut().map(Progress::cut);
        self.ready = Some(self.take_page(step));
        Ok(())
    }

    fn take_page(&mut self, step: Option<Step>) -> Page {
        let page = std::mem::take(&mut self.page);
        let counts = self.counting.as_mut().map(Counting::take).unwrap_or_default();
        Page { counts, step: step.unwrap_or_default(), ..page }
    }

    /// Whether a page must be handed over before the next row.
    pub(crate) fn is_full(&self) -> bool {
        self.ready.is_some()
    }

    /// Hands a full page over; waits while there is no room.
    ///
    /// # Errors
    /// When nobody takes it any more.
    #[cfg(feature = "sql-server")]
    pub(crate) async fn hand_over(&mut self) -> Result<(), ReadError> {
        let Some(page) = self.ready.take() else { return Ok(()) };
        let Some(to) = &self.to else { return Err(gone()) };
        self.held = true;
        to.send(page).await.map_err(|_| gone())?;
        self.held = false;
        Ok(())
    }

    /// The same without waiting, for drivers that read on a thread.
    ///
    /// # Errors
    /// When nobody takes it any more.
    pub(crate) fn try_hand_over(&mut self) -> Result<Handed, ReadError> {
        let Some(page) = self.ready.take() else { return Ok(Handed::Over) };
        let Some(to) = &self.to else { return Err(gone()) };
        match to.try_send(page) {
            Ok(()) => {
                self.held = false;
                Ok(Handed::Over)
            }
            Err(mpsc::error::TrySendError::Full(page)) => {
                (self.ready, self.held) = (Some(page), true);
                Ok(Handed::Full)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(gone()),
        }
    }

    /// Ends a read: gives what is left, and whether the reading ended while it waited for room.
    pub(crate) fn close(&mut self) -> (Page, bool) {
        self.to = None;
        let step = self.progress.as_mut().map(Progress::end);
        (self.take_page(step), std::mem::take(&mut self.held))
    }

    /// Cells that could not be read as what the rules say.
    pub(crate) fn take_unread(&mut self) -> Unread {
        let mut unread = Unread::default();
        self.mappers.iter_mut().for_each(|mapper| unread.add(mapper.take_unread()));
        unread
    }
}

fn bytes_of(record: &LogRecord) -> usize {
    size_of::<LogRecord>()
        + record.severity_text.len()
        + record.event_name.len()
        + record.body.heap_bytes()
        + record.attributes.heap_bytes()
}

pub(crate) fn tied() -> String {
    format!(
        "more than {TIED_ROWS} rows have one tracking value; add a column to 'tracking_column' that tells them apart"
    )
}

/// What the carrier says of itself takes the place of this.
fn gone() -> ReadError {
    ReadError::new(Reason::Stopped, "nobody takes the rows any more")
}
