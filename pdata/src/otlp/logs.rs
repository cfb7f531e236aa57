//! Log records on the wire.

use std::sync::Arc;

use super::attributes::{self, RawOrigin};
use super::decode::Decoded;
use super::room::Room;
use super::wire::{Fields, Malformed, Write};
use crate::{AttributesBuilder, LogRecord, Logs, Origin, Severity, UnixNanos, Value, ValueRef};

/// Decodes a whole `ExportLogsServiceRequest`.
///
/// # Errors
/// When the bytes are no valid message, or one that would grow out of proportion; nothing of it is taken then.
pub fn decode_logs(body: &[u8]) -> Result<Decoded<Logs>, Malformed> {
    let mut taking = Taking { logs: Logs::default(), builder: AttributesBuilder::default(), room: Room::of(body) };
    let mut fields = Fields::of(body);
    while let Some(field) = fields.next()? {
        if field.number == 1 {
            taking.resource_logs(field.payload.bytes()?)?;
        }
    }
    Ok(Decoded { data: taking.logs, rejected: 0, why: None })
}

/// Log records in the making.
struct Taking {
    logs: Logs,
    builder: AttributesBuilder,
    room: Room,
}

impl Taking {
    fn resource_logs(&mut self, message: &[u8]) -> Result<(), Malformed> {
        let origin = RawOrigin::of_resource(message)?;
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                self.scope_logs(field.payload.bytes()?, origin)?;
            }
        }
        Ok(())
    }

    fn scope_logs(&mut self, message: &[u8], origin: RawOrigin<'_>) -> Result<(), Malformed> {
        let origin = origin.with_scope(message)?;
        let origin = Arc::new(origin.decode(&mut self.builder)?);
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 2 {
                let record = record(&mut self.builder, field.payload.bytes()?, origin.clone())?;
                self.room.take(record.heap_bytes())?;
                self.logs.records.push(record);
            }
        }
        Ok(())
    }
}

fn record(builder: &mut AttributesBuilder, message: &[u8], origin: Arc<Origin>) -> Result<LogRecord, Malformed> {
    let attributes = attributes::collect(builder, message, 6)?;
    let mut record = LogRecord { origin, attributes, ..LogRecord::default() };
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        let payload = field.payload;
        match field.number {
            1 => record.time = UnixNanos(payload.fixed64()?),
            2 => record.severity = Severity(u8::try_from(payload.varint()?).unwrap_or(0)),
            3 => record.severity_text = payload.text()?.into(),
            5 => record.body = attributes::value(payload.bytes()?)?,
            8 => record.flags = payload.fixed32()?,
            9 => record.trace_id = payload.bytes()?.try_into().unwrap_or_default(),
            10 => record.span_id = payload.bytes()?.try_into().unwrap_or_default(),
            11 => record.observed_time = UnixNanos(payload.fixed64()?),
            12 => record.event_name = payload.text()?.into(),
            _ => {}
        }
    }
    Ok(record)
}

/// Appends an `ExportLogsServiceRequest` with all records to `out`, in the order they stand.
pub fn encode_logs(logs: &Logs, out: &mut Vec<u8>) {
    for records in logs.records.chunk_by(|a, b| Arc::ptr_eq(&a.origin, &b.origin) || a.origin == b.origin) {
        let origin = &records[0].origin;
        out.message_field(1, |out| {
            attributes::write_resource(out, origin);
            out.message_field(2, |out| {
                attributes::write_scope(out, &origin.scope);
                records.iter().for_each(|record| out.message_field(2, |out| write_record(out, record)));
                attributes::write_text(out, 3, &origin.scope.schema_url);
            });
            attributes::write_text(out, 3, &origin.resource_schema_url);
        });
    }
}

fn write_record(out: &mut Vec<u8>, record: &LogRecord) {
    out.fixed64_field(1, record.time.0);
    out.fixed64_field(11, record.observed_time.0);
    if record.severity.0 != 0 {
        out.varint_field(2, u64::from(record.severity.0));
    }
    attributes::write_text(out, 3, &record.severity_text);
    if record.body != Value::Empty {
        out.message_field(5, |out| attributes::write_value(out, &ValueRef::Owned(&record.body)));
    }
    attributes::write(out, 6, &record.attributes);
    if record.flags != 0 {
        out.fixed32_field(8, record.flags);
    }
    if record.trace_id != [0; 16] {
        out.bytes_field(9, &record.trace_id);
    }
    if record.span_id != [0; 8] {
        out.bytes_field(10, &record.span_id);
    }
    attributes::write_text(out, 12, &record.event_name);
}
