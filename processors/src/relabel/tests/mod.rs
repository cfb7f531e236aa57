mod process;
mod rules;
mod sections;

use std::sync::Arc;

use ::config::Section;
use pdata::{Identity, Kind, Metrics, Number, Point, PointFlags, PointValue, Series, SeriesTable, UnixNanos};
use pipeline::testing::{identity, process};
use pipeline::{Batch, Clock, Meters};

use super::Relabel;

/// A processor with a table, and what it makes of points.
struct Rig {
    processor: Relabel,
    table: Arc<SeriesTable>,
    meters: Meters,
}

/// A point to be sent: its series, time in seconds, value, and the rest with defaults.
struct Sent {
    identity: Identity,
    start: u64,
    time: u64,
    value: PointValue,
    flags: PointFlags,
}

impl Rig {
    fn new(yaml: &str) -> Self {
        let section = Section::from_yaml("relabel", yaml).unwrap();
        let (table, meters) = (SeriesTable::with_defaults(), Meters::unread());
        // Began at second 1000.
        let clock = Clock::stepped(UnixNanos(1000 * SECOND));
        let processor = Relabel::from_section(&section, table.clone(), clock, &meters).unwrap();
        Self { processor, table, meters }
    }

    fn batch(&self, sent: Vec<Sent>) -> Batch {
        self.batch_by(sent, SeriesTable::intern)
    }

    fn batch_by(&self, sent: Vec<Sent>, find: fn(&SeriesTable, Identity) -> Series) -> Batch {
        let mut metrics = Metrics::new(self.table.pin());
        for Sent { identity, start, time, value, flags } in sent {
            let series = metrics.adopt(&find(&self.table, identity));
            let (start, time) = (UnixNanos(start * SECOND), UnixNanos(time * SECOND));
            metrics.points.push(Point { series, start, time, value, flags });
        }
        Batch::new(metrics, UnixNanos(2000 * SECOND))
    }

    /// What comes out, one line a point.
    fn send(&mut self, sent: Vec<Sent>) -> Vec<String> {
        let batch = self.batch(sent);
        process(&mut self.processor, batch).iter().flat_map(lines).collect()
    }

    /// What a counter says, summed over its labels.
    fn count(&self, name: &str, label: &str) -> u64 {
        let counts = self.meters.counts();
        let matching = counts.iter().filter(|(known, labels, _)| {
            *known == name && (label.is_empty() || labels.iter().any(|(_, value)| value == label))
        });
        matching.map(|(_, _, value)| value).sum()
    }
}

impl Sent {
    fn starting(self, start: u64) -> Self {
        Self { start, ..self }
    }

    fn flagged(self, flags: PointFlags) -> Self {
        Self { flags, ..self }
    }

    fn ended(self) -> Self {
        self.flagged(PointFlags::NO_RECORDED_VALUE)
    }
}

const SECOND: u64 = 1_000_000_000;

fn sent(identity: Identity, time: u64, value: impl Into<PointValue>) -> Sent {
    Sent { identity, start: 0, time, value: value.into(), flags: PointFlags::empty() }
}

fn counter(labels: &[(&str, &str)], time: u64, value: i64) -> Sent {
    sent(identity("c", Kind::COUNTER, labels), time, Number::Int(value))
}

fn gauge(labels: &[(&str, &str)], time: u64, value: i64) -> Sent {
    sent(identity("g", Kind::Gauge, labels), time, Number::Int(value))
}

/// Name, labels, start and time in seconds, value.
fn lines(batch: &Batch) -> Vec<String> {
    let metrics = batch.metrics().unwrap();
    let line = |point: &Point| {
        let series = metrics.series(point.series);
        let labels = series.attributes().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
        let value = match &point.value {
            _ if point.is_end() => "end".to_owned(),
            PointValue::Int(int) => int.to_string(),
            PointValue::Double(double) => format!("{double:?}"),
            other => format!("{other:?}"),
        };
        let held = if point.flags.has(PointFlags::HELD) { " held" } else { "" };
        let (start, time) = (point.start.as_seconds(), point.time.as_seconds());
        format!("{}{{{}}} {start}..{time} {value}{held}", series.metric().name, labels.join(","))
    };
    metrics.points.iter().map(line).collect()
}
