//! The exposition as a stream of text: page by page, the lock held only while a page is copied.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashSet;
use pdata::prom::{Escaping, push_help, unit_name};
use pdata::{Fingerprint, Seed};

use super::kind::{Exposed, Format};
use super::labels::push_name;
use super::layout::{Layout, Section, Shown};
use super::lines::{Lines, Sample};
use super::page::{Page, PageBudget, Position, Wanted};
use super::table::Table;
use super::transcode::transcode;

/// The table, shared by the exporter and its scrapes.
#[derive(Clone)]
pub(super) struct Shared {
    table: Arc<Mutex<Table>>,
    budget: PageBudget,
}

/// One scrape's body in the making.
pub(super) struct Stream {
    shared: Shared,
    view: View,
    layout: Arc<Layout>,
    stage: Stage,
    /// Sections done or in hand.
    next: usize,
    current: Option<Current>,
    /// Whether the family in hand has its header already.
    opened: bool,
    dedupe: Option<Dedupe>,
    labels: Vec<u8>,
    raw: Vec<u8>,
}

/// In which form a scraper wants the exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct View {
    pub(super) format: Format,
    pub(super) escaping: Escaping,
    /// Whether samples carry their times.
    pub(super) timestamps: bool,
}

enum Stage {
    /// `target_info`, after this job and instance.
    Targets(Option<Box<str>>),
    Sections,
    Done,
}

/// A page that is being written.
struct Current {
    page: Page,
    position: Position,
    lines: Lines,
    transcode: bool,
    section: usize,
}

/// Series of the family in hand that have been written, where escaping may have made several one.
struct Dedupe {
    seed: Seed,
    written: HashSet<Fingerprint>,
}

/// Targets written under one hold of the lock: about 64 KiB of text.
const TARGETS_PER_HOLD: usize = 256;

impl Shared {
    pub(super) fn new(table: Table) -> Self {
        Self { table: Arc::new(Mutex::new(table)), budget: PageBudget::default() }
    }

    /// The table, for as long as the closure runs.
    pub(super) fn with<R>(&self, work: impl FnOnce(&mut Table) -> R) -> R {
        // A panic while the lock was held would have been in our own code; what was written until then is still memory-safe and
        // worth showing.
        work(&mut self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a scrape.
    pub(super) fn stream(&self, view: View) -> Stream {
        let layout = self.with(|table| table.layout(view.format, view.escaping));
        Stream {
            shared: self.clone(),
            view,
            layout,
            stage: Stage::Targets(None),
            next: 0,
            current: None,
            opened: false,
            dedupe: None,
            labels: Vec::new(),
            raw: Vec::new(),
        }
    }
}

impl Stream {
    /// Adds text to `out` until it is at least `enough` bytes long. False when there is no more.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> bool {
        while out.len() < enough {
            match &self.stage {
                Stage::Targets(after) => {
                    let after = after.clone();
                    self.write_targets(after, out);
                }
                Stage::Sections if self.current.is_some() => self.write_rows(out, enough),
                Stage::Sections => match self.layout.sections.get(self.next) {
                    Some(section) if !section.continues => {
                        self.opened = false;
                        self.dedupe = None;
                        self.open(None, out);
                    }
                    Some(_) => self.open(None, out),
                    None => {
                        if self.view.format == Format::OpenMetrics {
                            out.extend_from_slice(b"# EOF\n");
                        }
                        self.stage = Stage::Done;
                    }
                },
                Stage::Done => return false,
            }
        }
        true
    }

    /// Copies the next page of the next section and writes the header where one is due.
    fn open(&mut self, after: Option<&[u8]>, out: &mut Vec<u8>) {
        let (index, layout) = (self.next, self.layout.clone());
        let section = &layout.sections[index];
        self.next += 1;
        let wanted = Wanted { times: self.view.timestamps, exemplars: self.view.format == Format::OpenMetrics };
        let (view, opened, budget) = (self.view, self.opened, &self.shared.budget);
        let taken = self.shared.with(|table| {
            let page = Page::take(table, section, after, wanted, budget)?;
            if !page.shows_any() {
                return Some((page, None));
            }
            let shown = settle(section, &page);
            let family = &table.families.slots()[section.family];
            let header = (!opened).then(|| header(view.format, &shown, &family.unit, &family.help));
            Some((page, Some((shown, header))))
        });
        let Some((page, shown)) = taken else { return };
        let more = page.more;
        if let Some((shown, header)) = shown {
            if let Some(header) = header {
                out.extend_from_slice(header.as_bytes());
                self.opened = true;
            }
            if self.dedupe.is_none() && can_repeat(&layout, index) {
                self.dedupe = Some(Dedupe { seed: Seed::random(), written: HashSet::new() });
            }
            let position = page.position();
            let lines = Lines::new(view, &shown);
            self.current = Some(Current { page, position, lines, transcode: section.transcode, section: index });
        } else if more {
            // Nothing to show on a whole page of a large family: go on behind it.
            let mut last = Vec::new();
            page.last_text(&mut last);
            self.next = index;
            self.open(Some(&last), out);
        }
    }

    fn write_rows(&mut self, out: &mut Vec<u8>, enough: usize) {
        let Some(mut current) = self.current.take() else { return };
        let plain = !current.transcode && self.dedupe.is_none();
        while out.len() < enough {
            let Some(row) = current.page.next(&mut current.position) else {
                if current.page.more {
                    let mut last = Vec::new();
                    current.page.last_text(&mut last);
                    self.next = current.section;
                    drop(current);
                    self.open(Some(&last), out);
                }
                return;
            };
            if !current.page.is_shown(row.index) {
                continue;
            }
            if plain && current.lines.is_number() {
                current.lines.number(&current.page, &row, out);
                continue;
            }
            self.labels.clear();
            if current.transcode {
                self.raw.clear();
                row.leaf.decode(row.row, &current.page.texts, &mut self.raw);
                transcode(&self.raw, self.view.escaping, &mut self.labels);
            } else {
                row.leaf.decode(row.row, &current.page.texts, &mut self.labels);
            }
            if let Some(dedupe) = &mut self.dedupe
                && !dedupe.written.insert(dedupe.seed.fingerprint(&self.labels))
            {
                continue;
            }
            let sample = Sample {
                labels: &self.labels,
                time: current.page.time(row.index),
                exemplars: current.page.exemplars(row.index),
            };
            match current.page.distribution(row.index) {
                Some(distribution) => current.lines.distribution(distribution, &sample, out),
                None => {
                    let number = (current.page.bits(row.index), current.page.is_integer(row.index));
                    current.lines.number_with(number, &sample, out);
                }
            }
        }
        self.current = Some(current);
    }

    fn write_targets(&mut self, after: Option<Box<str>>, out: &mut Vec<u8>) {
        let View { format, escaping, .. } = self.view;
        let (labels, first) = (&mut self.labels, after.is_none());
        self.stage = self.shared.with(|table| {
            let targets = table.kinship.targets();
            let mut last = None;
            for (identity, text) in targets.after(after.as_deref()).take(TARGETS_PER_HOLD) {
                if first && last.is_none() {
                    let name = if format == Format::Text { "target_info" } else { "target" };
                    let shown = Shown { family: name.into(), suffix: "", kind: Exposed::Info };
                    out.extend_from_slice(header(format, &shown, "", "Target metadata").as_bytes());
                }
                labels.clear();
                if targets.foreign && escaping != Escaping::Utf8 {
                    transcode(text.as_bytes(), escaping, labels);
                } else {
                    labels.extend_from_slice(text.as_bytes());
                }
                out.extend_from_slice(b"target_info{");
                out.extend_from_slice(labels);
                out.extend_from_slice(b"} 1\n");
                last = Some(identity);
            }
            last.map_or(Stage::Sections, |last| Stage::Targets(Some(last.into())))
        });
    }
}

/// The type under which this page's values may be shown: what is no 0 or 1 is no state, what is not 1 is no info.
fn settle(section: &Section, page: &Page) -> Shown {
    let fits = match section.shown.kind {
        Exposed::StateSet => page.only_has(&[0.0, 1.0]),
        Exposed::Info => page.only_has(&[1.0]),
        _ => true,
    };
    // A family that goes over several pages has to keep its type: it cannot be looked at as a whole.
    let whole = !page.more || !matches!(section.shown.kind, Exposed::StateSet | Exposed::Info);
    if fits && whole { section.shown.clone() } else { section.shown.as_gauge() }
}

/// Whether two rows of the family may have one text after escaping: label names may fall together, or families.
fn can_repeat(layout: &Layout, index: usize) -> bool {
    let section = &layout.sections[index];
    section.transcode || section.continues || layout.sections.get(index + 1).is_some_and(|next| next.continues)
}

fn header(format: Format, shown: &Shown, unit: &str, help: &str) -> String {
    let mut text = String::new();
    let mut name = String::new();
    push_metric_name(&mut name, &shown.family);
    let push_help_line = |text: &mut String| {
        if !help.is_empty() {
            text.push_str("# HELP ");
            text.push_str(&name);
            text.push(' ');
            push_help(text, help, format == Format::OpenMetrics);
            text.push('\n');
        }
    };
    if format == Format::Text {
        push_help_line(&mut text);
    }
    text.push_str("# TYPE ");
    text.push_str(&name);
    text.push(' ');
    text.push_str(shown.kind.word(format));
    text.push('\n');
    if format == Format::OpenMetrics {
        let unit = unit_name(unit);
        let told = !unit.is_empty()
            && shown.family.strip_suffix(unit.as_str()).is_some_and(|stem| stem.ends_with('_'))
            && !matches!(shown.kind, Exposed::Info | Exposed::StateSet);
        if told {
            text.push_str("# UNIT ");
            text.push_str(&name);
            text.push(' ');
            text.push_str(&unit);
            text.push('\n');
        }
        push_help_line(&mut text);
    }
    text
}

/// Adds a metric's name, quoted when the classic grammar does not allow it.
fn push_metric_name(out: &mut String, name: &str) {
    if pdata::prom::is_legal_metric(name) {
        out.push_str(name);
    } else {
        push_name(out, name);
    }
}
