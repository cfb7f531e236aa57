//! Sample lines.

use pdata::prom::{LabelNumber, float_label, is_legal_metric, push_escaped, push_float};

use super::distribution::{Classic, Distribution};
use super::exemplar::{Kept, push_seconds};
use super::kind::{Exposed, Format};
use super::layout::Shown;
use super::page::{Page, Row};
use super::stream::View;

/// Writes the lines of one family.
pub(super) struct Lines {
    view: View,
    kind: Exposed,
    sample: Name,
    bucket: Name,
    sum: Name,
    count: Name,
    classic: Classic,
    /// Bounds and their text: series of a family nearly always share them.
    bounds: Vec<f64>,
    bound_texts: Vec<String>,
}

/// A sample's name, with what stands around its labels.
struct Name {
    /// Before labels: `name{` or `{"name"`.
    open: Vec<u8>,
    /// Instead of labels: `name ` or `{"name"} `.
    bare: Vec<u8>,
    quoted: bool,
}

/// What a line says besides its value.
#[derive(Clone, Copy)]
pub(super) struct Sample<'a> {
    pub(super) labels: &'a [u8],
    pub(super) time: Option<u64>,
    pub(super) exemplars: &'a [Kept],
}

impl Lines {
    pub(super) fn new(view: View, shown: &Shown) -> Self {
        let name = |more| Name::new(&shown.sample(more));
        Self {
            view,
            kind: shown.kind,
            sample: name(""),
            bucket: name("_bucket"),
            sum: name("_sum"),
            count: name("_count"),
            classic: Classic::default(),
            bounds: Vec::new(),
            bound_texts: Vec::new(),
        }
    }

    pub(super) fn is_number(&self) -> bool {
        self.kind.is_number()
    }

    /// One number's line, its labels straight from the leaf: the way of nearly all lines.
    pub(super) fn number(&self, page: &Page, row: &Row<'_>, out: &mut Vec<u8>) {
        let name = &self.sample;
        let start = out.len();
        out.extend_from_slice(&name.open);
        let opened = out.len();
        row.leaf.decode(row.row, &page.texts, out);
        if out.len() > opened || name.quoted {
            out.extend_from_slice(b"} ");
        } else {
            out.truncate(start);
            out.extend_from_slice(&name.bare);
        }
        push_number(out, page.bits(row.index), page.is_integer(row.index));
        self.finish(page.time(row.index), self.of_counter(page.exemplars(row.index)), out);
    }

    /// One number's line with labels worked out before.
    pub(super) fn number_with(&self, (bits, integer): (u64, bool), sample: &Sample<'_>, out: &mut Vec<u8>) {
        self.sample.write(sample.labels, None, out);
        push_number(out, bits, integer);
        self.finish(sample.time, self.of_counter(sample.exemplars), out);
    }

    fn of_counter<'a>(&self, exemplars: &'a [Kept]) -> Option<&'a Kept> {
        exemplars.first().filter(|_| self.kind == Exposed::Counter)
    }

    /// The lines of a histogram or summary.
    pub(super) fn distribution(&mut self, distribution: &Distribution, sample: &Sample<'_>, out: &mut Vec<u8>) {
        let mut classic = std::mem::take(&mut self.classic);
        if distribution.write_classic(&mut classic) {
            self.histogram(&classic, sample, out);
        } else if let Distribution::Summary(summary) = distribution {
            self.summary(summary, sample, out);
        }
        self.classic = classic;
    }

    fn histogram(&mut self, classic: &Classic, sample: &Sample<'_>, out: &mut Vec<u8>) {
        if self.bounds != classic.bounds {
            let style = self.number_style();
            self.bounds.clone_from(&classic.bounds);
            self.bound_texts = classic.bounds.iter().map(|bound| float_label(*bound, style)).collect();
        }
        let bounds = classic.bounds.iter().copied().chain([f64::INFINITY]);
        let texts = self.bound_texts.iter().map(String::as_str).chain(["+Inf"]);
        let counts = classic.cumulative.iter().copied().chain([classic.count]);
        let mut lower = f64::NEG_INFINITY;
        for ((bound, text), count) in bounds.zip(texts).zip(counts) {
            self.bucket.write(sample.labels, Some(("le", text)), out);
            push_unsigned(out, count);
            // The bounds of an exponential histogram may have moved since the exemplar came: it must still lie in its bucket.
            let within = |kept: &&Kept| kept.value <= bound && (kept.value > lower || lower == f64::NEG_INFINITY);
            self.finish(sample.time, sample.exemplars.iter().rev().find(within), out);
            lower = bound;
        }
        let negative_bounds = classic.bounds.first().is_some_and(|bound| *bound < 0.0);
        self.sum_and_count(classic.sum.filter(|_| !negative_bounds || self.is_text()), classic.count, sample, out);
    }

    fn summary(&self, summary: &pdata::Summary, sample: &Sample<'_>, out: &mut Vec<u8>) {
        let style = self.number_style();
        let mut quantiles = summary.quantiles.clone();
        quantiles.sort_by(|a, b| a.quantile.total_cmp(&b.quantile));
        quantiles.dedup_by(|b, a| a.quantile == b.quantile);
        for quantile in quantiles {
            // OpenMetrics allows neither others nor negative values.
            let allowed = (0.0..=1.0).contains(&quantile.quantile) && !matches!(quantile.value, v if v < 0.0);
            if self.is_text() || allowed {
                self.sample.write(sample.labels, Some(("quantile", &float_label(quantile.quantile, style))), out);
                push_float(out, quantile.value);
                self.finish(sample.time, None, out);
            }
        }
        self.sum_and_count(Some(summary.sum), summary.count, sample, out);
    }

    /// OpenMetrics takes both or none, and no sum that is negative or not a number; text takes what there is.
    fn sum_and_count(&self, sum: Option<f64>, count: u64, sample: &Sample<'_>, out: &mut Vec<u8>) {
        let sum = sum.filter(|sum| self.is_text() || *sum >= 0.0);
        if let Some(sum) = sum {
            self.sum.write(sample.labels, None, out);
            push_float(out, sum);
            self.finish(sample.time, None, out);
        }
        if sum.is_some() || self.is_text() {
            self.count.write(sample.labels, None, out);
            push_unsigned(out, count);
            self.finish(sample.time, None, out);
        }
    }

    fn finish(&self, time: Option<u64>, exemplar: Option<&Kept>, out: &mut Vec<u8>) {
        if let Some(time) = time {
            out.push(b' ');
            match self.view.format {
                Format::Text => push_unsigned(out, time / 1_000_000),
                Format::OpenMetrics => push_seconds(out, time),
            }
        }
        if let Some(exemplar) = exemplar {
            out.extend_from_slice(exemplar.text.as_bytes());
        }
        out.push(b'\n');
    }

    fn is_text(&self) -> bool {
        self.view.format == Format::Text
    }

    fn number_style(&self) -> LabelNumber {
        if self.is_text() { LabelNumber::Text } else { LabelNumber::OpenMetrics }
    }
}

impl Name {
    fn new(name: &str) -> Self {
        if is_legal_metric(name) {
            return Self { open: [name, "{"].concat().into(), bare: [name, " "].concat().into(), quoted: false };
        }
        let mut open = String::from("{\"");
        push_escaped(&mut open, name);
        open.push('"');
        Self { bare: [&open, "} "].concat().into(), open: open.into(), quoted: true }
    }

    /// Adds name and labels, up to the value. A quoted name's labels begin with their comma.
    fn write(&self, labels: &[u8], extra: Option<(&str, &str)>, out: &mut Vec<u8>) {
        if labels.is_empty() && extra.is_none() {
            out.extend_from_slice(&self.bare);
            return;
        }
        out.extend_from_slice(&self.open);
        out.extend_from_slice(labels);
        if let Some((name, value)) = extra {
            if self.quoted || !labels.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"=\"");
            out.extend_from_slice(value.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b"} ");
    }
}

fn push_number(out: &mut Vec<u8>, bits: u64, integer: bool) {
    if integer {
        out.extend_from_slice(itoa::Buffer::new().format(bits as i64).as_bytes());
    } else {
        push_float(out, f64::from_bits(bits));
    }
}

fn push_unsigned(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
