//! How one line looks.

use pdata::UnixNanos;
use serde_json::Value;
use tracing::{Level, Metadata};

use super::fields::{Fields, quote};
use crate::telemetry::config::Encoding;
use crate::time::iso8601_millis;

/// How lines look.
pub(super) struct Style {
    encoding: Encoding,
    caller: bool,
    /// Members that every line has.
    initial: String,
}

impl Style {
    pub(super) fn new(encoding: Encoding, caller: bool, initial: &[(String, Value)]) -> Self {
        let mut members = String::new();
        for (index, (key, value)) in initial.iter().enumerate() {
            members.push_str(if index > 0 { ", " } else { "" });
            quote(&mut members, key);
            members.push_str(": ");
            members.push_str(&value.to_string());
        }
        Self { encoding, caller, initial: members }
    }

    /// One line with its end.
    pub(super) fn line(&self, now: UnixNanos, metadata: &Metadata<'_>, fields: &Fields) -> String {
        let caller = self.caller.then(|| caller(metadata)).flatten();
        match self.encoding {
            Encoding::Console => self.console(now, metadata, caller, fields),
            Encoding::Json => self.json(now, metadata, caller, fields),
        }
    }

    fn console(&self, now: UnixNanos, metadata: &Metadata<'_>, caller: Option<String>, fields: &Fields) -> String {
        let mut line = format!("{}\t{}", iso8601_millis(now), name(*metadata.level()));
        for part in caller.iter().map(String::as_str).chain([fields.message.as_str()]) {
            line.push('\t');
            line.push_str(part);
        }
        let members = [self.initial.as_str(), fields.members.as_str()];
        let members: Vec<_> = members.into_iter().filter(|members| !members.is_empty()).collect();
        if !members.is_empty() {
            line.push_str("\t{");
            line.push_str(&members.join(", "));
            line.push('}');
        }
        line.push('\n');
        line
    }

    fn json(&self, now: UnixNanos, metadata: &Metadata<'_>, caller: Option<String>, fields: &Fields) -> String {
        let mut line = format!("{{\"level\": \"{}\", \"ts\": \"{}\"", name(*metadata.level()), iso8601_millis(now));
        if let Some(caller) = caller {
            line.push_str(", \"caller\": ");
            quote(&mut line, &caller);
        }
        // The message is escaped but for what a JSON string wants besides.
        line.push_str(", \"msg\": \"");
        line.push_str(&fields.message.replace('\\', "\\\\").replace('"', "\\\""));
        line.push('"');
        for members in [&self.initial, &fields.members] {
            if !members.is_empty() {
                line.push_str(", ");
                line.push_str(members);
            }
        }
        line.push_str("}\n");
        line
    }
}

/// The last two parts of the path and the line, as the Collector shows them; `src` says nothing and is left out.
fn caller(metadata: &Metadata<'_>) -> Option<String> {
    let mut parts = metadata.file()?.rsplit('/').filter(|part| *part != "src");
    let file = parts.next()?;
    let line = metadata.line().unwrap_or(0);
    Some(parts.next().map_or_else(|| format!("{file}:{line}"), |folder| format!("{folder}/{file}:{line}")))
}

fn name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}
