//! What a ledger keeps besides its series.

use std::ops::Range;
use std::time::Duration;

use pdata::{Fingerprint, UnixNanos};

use super::codec::{self, Reader};
use super::window::{Window, WindowLimits};

/// Numbers and the window, written with every group.
#[derive(Clone, Debug)]
pub(super) struct Books {
    /// Number of this commit.
    pub(super) commit: u64,
    /// Rows of `series`, and of `value`.
    pub(super) series: u64,
    /// Rows of `family`, and of its copy.
    pub(super) families: u64,
    /// Rows of `cursor`.
    pub(super) cursors: u64,
    /// Number of the last record put into the spool.
    pub(super) spooled: u64,
    /// Records up to this number have been discharged.
    pub(super) discharged: u64,
    /// Rows of `young`.
    pub(super) young: Range<u64>,
    pub(super) merged: Option<Merged>,
    pub(super) sweep: Option<Sweep>,
    pub(super) window: Window,
}

/// How far a merge of young ids has come. Here, so that a process that does not live to its end leaves something to the next:
/// else they would pile up where each life is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Merged {
    /// It is about the rows of `young` before this one.
    pub(super) rows_end: u64,
    /// Their ids up to this one stand in the tree, or are forgotten.
    pub(super) reached: Fingerprint,
}

/// A pass over the tree, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sweep {
    /// What was stamped before this is forgotten.
    pub(super) floor: u64,
    /// The last id that was looked at.
    pub(super) reached: Option<Fingerprint>,
}

impl Default for Books {
    /// Books of nothing, as a place holder.
    fn default() -> Self {
        Self::new(Window::new(Duration::ZERO, 0, UnixNanos(0)))
    }
}

impl Books {
    pub(super) fn new(window: Window) -> Self {
        Self {
            commit: 0,
            series: 0,
            families: 0,
            cursors: 0,
            spooled: 0,
            discharged: 0,
            young: 0..0,
            merged: None,
            sweep: None,
            window,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for number in [self.commit, self.series, self.families, self.cursors, self.spooled, self.discharged] {
            codec::put_varint(out, number);
        }
        codec::put_varint(out, self.window.length().as_secs());
        codec::put_varint(out, self.window.horizon().0);
        codec::put_varint(out, self.window.slots().len() as u64);
        self.window.slots().flatten().for_each(|number| codec::put_varint(out, number));
        [self.young.start, self.young.end].into_iter().for_each(|number| codec::put_varint(out, number));
        put_progress(out, self.merged.map(|merged| (merged.rows_end, Some(merged.reached))));
        put_progress(out, self.sweep.map(|sweep| (sweep.floor, sweep.reached)));
    }

    /// Reads the books, with the window as it is configured now.
    pub(super) fn take(reader: &mut Reader<'_>, limits: WindowLimits) -> Option<Self> {
        let (commit, series, families) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let (cursors, spooled, discharged) = (reader.varint()?, reader.varint()?, reader.varint()?);
        let (was, horizon) = (Duration::from_secs(reader.varint()?), UnixNanos(reader.varint()?));
        let count = reader.count()?;
        let slot = |_| Some([reader.varint()?, reader.varint()?, reader.varint()?]);
        let slots: Vec<_> = (0..count).map(slot).collect::<Option<_>>()?;
        let window = Window::restored(limits.length, limits.max_bytes, was, horizon, slots.into_iter());
        // Version 1 ended here.
        let young = if reader.0.is_empty() { 0..0 } else { reader.varint()?..reader.varint()? };
        // And the first ledgers of version 2 here.
        let mut progress = || if reader.0.is_empty() { Some(None) } else { take_progress(reader) };
        let merged = progress()?.and_then(|(rows_end, reached)| Some(Merged { rows_end, reached: reached? }));
        let sweep = progress()?.map(|(floor, reached)| Sweep { floor, reached });
        Some(Self { commit, series, families, cursors, spooled, discharged, young, merged, sweep, window })
    }
}

/// A number and an id, where there are such.
type Progress = Option<(u64, Option<Fingerprint>)>;

fn put_progress(out: &mut Vec<u8>, progress: Progress) {
    let (number, reached) = progress.unwrap_or_default();
    out.push(u8::from(progress.is_some()) + u8::from(reached.is_some()));
    if progress.is_some() {
        codec::put_varint(out, number);
    }
    if let Some(reached) = reached {
        codec::put_fingerprint(out, reached);
    }
}

fn take_progress(reader: &mut Reader<'_>) -> Option<Progress> {
    match reader.byte()? {
        0 => Some(None),
        1 => Some(Some((reader.varint()?, None))),
        2 => Some(Some((reader.varint()?, Some(reader.fingerprint()?)))),
        _ => None,
    }
}
