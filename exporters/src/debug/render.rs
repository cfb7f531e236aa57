//! Telemetry as text for people.

use std::fmt::{self, Write};

use pdata::{Attributes, LogRecord, Metrics, Origin, Point, PointValue, SpanView, Traces};
use pipeline::{Batch, Payload};

use super::Verbosity;

/// Points or records told of one batch at most: a batch may have a hundred thousand.
const ITEMS_MAX: usize = 1000;

/// What there is to say of a batch, with a line end after each line.
pub(super) fn batch(batch: &Batch, verbosity: Verbosity) -> String {
    let mut out = String::new();
    let written = match &batch.payload {
        Payload::Metrics(metrics) => write_metrics(&mut out, batch, metrics, verbosity),
        Payload::Logs(logs) => write_logs(&mut out, &logs.records, verbosity),
        Payload::Traces(traces) => write_traces(&mut out, traces, verbosity),
    };
    written.expect("a string takes all that is written");
    out
}

fn write_metrics(out: &mut String, batch: &Batch, metrics: &Metrics, verbosity: Verbosity) -> fmt::Result {
    write!(out, "Metrics data points={}", metrics.points.len())?;
    if let Some(collection) = &batch.collection {
        write!(out, " source={} sequence={} page={:?}", collection.source, collection.sequence, collection.page)?;
    }
    out.push('\n');
    if verbosity == Verbosity::Basic {
        return Ok(());
    }
    for point in metrics.points.iter().take(ITEMS_MAX) {
        write_point(out, metrics, point, verbosity)?;
    }
    write_rest(out, metrics.points.len())
}

fn write_point(out: &mut String, metrics: &Metrics, point: &Point, verbosity: Verbosity) -> fmt::Result {
    let series = metrics.series(point.series);
    let (metric, identity) = (series.metric(), series.identity());
    write!(out, "{}", metric.name)?;
    write_attributes(out, &identity.attributes)?;
    out.push(' ');
    if point.is_end() {
        out.push_str("end");
    } else {
        write_value(out, &point.value)?;
    }
    out.push('\n');
    if verbosity == Verbosity::Detailed {
        writeln!(out, "    type={:?} unit={:?} description={:?}", metric.kind, metric.unit, metric.description)?;
        writeln!(out, "    start={} time={} flags={:?}", point.start.0, point.time.0, point.flags)?;
        write_origin(out, &identity.origin)?;
    }
    Ok(())
}

fn write_value(out: &mut String, value: &PointValue) -> fmt::Result {
    match value {
        PointValue::Int(int) => write!(out, "{int}"),
        PointValue::Double(double) => write!(out, "{double:?}"),
        PointValue::Histogram(h) => {
            write!(out, "count={} sum={:?} bounds={:?} counts={:?}", h.count, h.sum, h.bounds, h.counts)
        }
        PointValue::Exponential(h) => write!(
            out,
            "count={} sum={:?} scale={} zero={} positive={:?} negative={:?}",
            h.count, h.sum, h.scale, h.zero_count, h.positive, h.negative
        ),
        PointValue::Summary(s) => write!(out, "count={} sum={} quantiles={:?}", s.count, s.sum, s.quantiles),
    }
}

fn write_logs(out: &mut String, records: &[LogRecord], verbosity: Verbosity) -> fmt::Result {
    writeln!(out, "Logs records={}", records.len())?;
    if verbosity == Verbosity::Basic {
        return Ok(());
    }
    for record in records.iter().take(ITEMS_MAX) {
        write!(out, "{}{}", record.event_name, if record.event_name.is_empty() { "" } else { " " })?;
        write!(out, "{}", record.body)?;
        write_attributes(out, &record.attributes)?;
        out.push('\n');
        if verbosity == Verbosity::Detailed {
            writeln!(
                out,
                "    time={} observed={} severity={} {:?}",
                record.time.0, record.observed_time.0, record.severity.0, record.severity_text
            )?;
            write_origin(out, &record.origin)?;
        }
    }
    write_rest(out, records.len())
}

fn write_traces(out: &mut String, traces: &Traces, verbosity: Verbosity) -> fmt::Result {
    writeln!(out, "Traces spans={}", traces.spans())?;
    if verbosity == Verbosity::Basic {
        return Ok(());
    }
    let (mut told, mut written) = (0, Ok(()));
    traces.each_span(|span| {
        told += 1;
        if told <= ITEMS_MAX && written.is_ok() {
            written = write_span(out, span, verbosity);
        }
    });
    written?;
    write_rest(out, told)
}

fn write_span(out: &mut String, span: SpanView<'_>, verbosity: Verbosity) -> fmt::Result {
    write!(out, "{} trace_id=", span.name)?;
    span.trace_id.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    out.push_str(" span_id=");
    span.span_id.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    out.push('\n');
    if verbosity == Verbosity::Detailed {
        writeln!(out, "    start={} end={}", span.start, span.end)?;
    }
    Ok(())
}

fn write_origin(out: &mut String, origin: &Origin) -> fmt::Result {
    for (what, attributes) in [("resource", &origin.resource), ("scope", &origin.scope.attributes)] {
        if !attributes.is_empty() {
            write!(out, "    {what}")?;
            write_attributes(out, attributes)?;
            out.push('\n');
        }
    }
    if !origin.scope.name.is_empty() {
        writeln!(out, "    scope name={:?} version={:?}", origin.scope.name, origin.scope.version)?;
    }
    Ok(())
}

fn write_attributes(out: &mut String, attributes: &Attributes) -> fmt::Result {
    if attributes.is_empty() {
        return Ok(());
    }
    out.push('{');
    for (index, (key, value)) in attributes.iter().enumerate() {
        write!(out, "{}{key}={:?}", if index > 0 { "," } else { "" }, value.to_string())?;
    }
    out.push('}');
    Ok(())
}

fn write_rest(out: &mut String, items: usize) -> fmt::Result {
    match items.checked_sub(ITEMS_MAX) {
        None | Some(0) => Ok(()),
        Some(rest) => writeln!(out, "… and {rest} more"),
    }
}
