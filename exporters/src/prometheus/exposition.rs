//! The table without an endpoint: for `weir run --once`, benchmarks and tests.

use config::{Problems, Section};
use pdata::prom::Escaping;
use pipeline::{Batch, Meters};

use super::kind::Format;
use super::stream::{Shared, View};
use super::table::{Table, TableRules};

/// What a `prometheus` exporter would show of the batches it was given.
pub struct Exposition {
    shared: Shared,
    timestamps: bool,
}

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// Text exposition 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// With default settings and room for `max_series`.
    #[must_use]
    pub fn with_room_for(max_series: usize) -> Self {
        let rules = TableRules { max_series, ..TableRules::default() };
        Self { shared: Shared::new(Table::new(rules, &Meters::unread(), "prometheus")), timestamps: false }
    }

    /// With the names, labels and bounds of a `prometheus` exporter's section.
    ///
    /// # Errors
    /// All problems of the section.
    pub fn of(section: &Section) -> Result<Self, Problems> {
        let checked = super::config::Checked::of(section)?;
        let table = Table::new(checked.table_rules(), &Meters::unread(), &section.id().to_string());
        Ok(Self { shared: Shared::new(table), timestamps: checked.config.send_timestamps })
    }

    /// Takes a batch in.
    pub fn apply(&self, batch: &Batch) {
        self.shared.with(|table| table.apply(batch, 0));
    }

    /// Writes the exposition in pieces of about 64 KiB.
    pub fn write(&self, format: TextFormat, mut sink: impl FnMut(&[u8])) {
        let format = match format {
            TextFormat::Text => Format::Text,
            TextFormat::OpenMetrics => Format::OpenMetrics,
        };
        let mut stream =
            self.shared.stream(View { format, escaping: Escaping::Underscores, timestamps: self.timestamps });
        let mut piece = Vec::new();
        let mut more = true;
        while more {
            more = stream.fill(&mut piece, PIECE);
            sink(&piece);
            piece.clear();
        }
    }

    /// The exposition in text 0.0.4.
    #[must_use]
    pub fn text(&self) -> String {
        let mut all = Vec::new();
        self.write(TextFormat::Text, |piece| all.extend_from_slice(piece));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Series in the table.
    #[must_use]
    pub fn series(&self) -> usize {
        self.shared.with(|table| table.cells.live())
    }

    /// Bytes of heap that the table uses, as far as it can tell.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.shared.with(|table| table.heap_bytes())
    }
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").field("series", &self.series()).finish_non_exhaustive()
    }
}

/// Bytes of one piece of a body.
pub(super) const PIECE: usize = 60 << 10;

/// The text exposition of some batches, with default settings.
#[must_use]
pub fn render_once<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> String {
    let exposition = Exposition::with_room_for(usize::MAX);
    batches.into_iter().for_each(|batch| exposition.apply(batch));
    exposition.text()
}
