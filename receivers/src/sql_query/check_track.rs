//! What is tracked of a query: from what the user wrote to [`Tracking`].

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::check::Check;
use super::settings::{Consistency, Query, When};
use super::source::NO_PARAMETER;
use super::track::mark::{Mark, MarkType, Overlap};
use super::track::seen::MOST_KEYS;
use super::track::{Late, Tracking, TrackingColumn};

/// Keys that are remembered unless something else is written: 2.4 MB on disk, and some 6 MB in memory.
const MAX_KEYS: u32 = 100_000;

/// Fewer would be forgotten before a page is over.
const LEAST_KEYS: usize = 1_000;

/// Keys of all rows of a loop: 700 MB in memory, if all of them are used, and less than half of the cursors of a ledger.
const LOOP_KEYS: u64 = 10_000_000;

impl Check<'_> {
    /// What a query tracks, if it does. `counts`: whether it has metrics that count new rows.
    pub(super) fn tracking(&mut self, index: usize, query: &Query, counts: bool) -> Option<Tracking> {
        let at = |key: &str| format!("queries[{index}].{key}");
        let Some(written) = &query.tracking_column else {
            self.idle_keys(index, query);
            return None;
        };
        let mut columns = self.tracking_columns(&at("tracking_column"), written);
        self.surroundings(index, query, counts);
        let late = self.late(index, query, &mut columns);
        let start = self.start(&at("tracking_start_value"), query.tracking_start_value.as_ref(), &columns);
        let ordered = is_ordered(&query.sql);
        self.order(index, query, &columns, ordered, counts || late != Late::Miss);
        if !query.sql.contains(['$', '?', ':', '@']) {
            let help = "such as where id > $1 (in YAML $$1), or where id > ? for sqlite and mysql";
            self.help(&at("sql"), NO_PARAMETER, help);
        }
        Some(Tracking {
            columns,
            start,
            ordered,
            max_rows: u64::from(query.max_rows),
            zoneless: self.settings.driver == "mysql",
            snapshot: self.settings.consistency == Consistency::Snapshot,
            late,
        })
    }

    /// Keys that mean nothing without `tracking_column`.
    fn idle_keys(&mut self, index: usize, query: &Query) {
        for (key, written) in [
            ("tracking_start_value", query.tracking_start_value.is_some()),
            ("late_commits", query.late_commits.is_some()),
            ("overlap", query.overlap.is_some()),
            ("key_columns", !query.key_columns.is_empty()),
            ("max_keys", query.max_keys.is_some()),
        ] {
            if written {
                let help = "name a column that only grows, such as an id";
                self.help(&format!("queries[{index}].{key}"), format!("'{key}' needs a 'tracking_column'"), help);
            }
        }
        for (metric, _) in query.metrics.iter().enumerate().filter(|(_, metric)| metric.new_rows.is_some()) {
            let path = format!("queries[{index}].metrics[{metric}].new_rows");
            self.help(&path, "'new_rows' needs a 'tracking_column'", "without it nobody knows which rows are new");
        }
    }

    fn tracking_columns(&mut self, path: &str, written: &Value) -> Vec<TrackingColumn> {
        let list = match written {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        let mut names = BTreeSet::new();
        let mut columns = Vec::with_capacity(list.len());
        for (index, column) in list.iter().enumerate() {
            let at = if written.is_array() { format!("{path}[{index}]") } else { path.to_owned() };
            let Some(column) = self.tracking_column(&at, column) else { continue };
            if !names.insert(column.name.clone()) {
                self.error(&at, format!("the column '{}' stands twice", column.name));
            }
            columns.push(column);
        }
        if list.is_empty() {
            self.error(path, "'tracking_column' cannot be empty");
        }
        columns
    }

    fn tracking_column(&mut self, path: &str, written: &Value) -> Option<TrackingColumn> {
        let (name, of) = match written {
            Value::String(name) => (name.as_str(), None),
            Value::Object(keys) => {
                for key in keys.keys().filter(|key| !["name", "type"].contains(&key.as_str())) {
                    self.help(&format!("{path}.{key}"), format!("unknown key '{key}'"), "known are name and type");
                }
                (keys.get("name").and_then(Value::as_str).unwrap_or_default(), keys.get("type"))
            }
            _ => ("", None),
        };
        if name.is_empty() {
            self.help(path, "a tracking column needs a name", "write id, or {name: id, type: int}");
            return None;
        }
        let known = |of: &Value| MarkType::ALL.into_iter().find(|known| of.as_str() == Some(known.name()));
        let found = of.map(known);
        if found == Some(None) {
            let help = "known are int, text, timestamp and uuid";
            self.help(&format!("{path}.type"), "a tracking column has no such type", help);
        }
        Some(TrackingColumn { name: name.into(), of: found.flatten() })
    }

    fn start(&mut self, path: &str, written: Option<&Value>, columns: &[TrackingColumn]) -> Vec<Mark> {
        let Some(written) = written else {
            let help = "write where to begin: 0, 1970-01-01, or 00000000-0000-0000-0000-000000000000 for a uuid";
            self.help(path, "'tracking_start_value' cannot be empty beside 'tracking_column'", help);
            return Vec::new();
        };
        let list = match written {
            Value::Array(list) => list.as_slice(),
            one => std::slice::from_ref(one),
        };
        if list.len() != columns.len() {
            let message =
                format!("'tracking_start_value' has {} values and 'tracking_column' {}", list.len(), columns.len());
            self.help(path, message, "write a list with one value for each column");
            return Vec::new();
        }
        let mut start = Vec::with_capacity(list.len());
        for (index, (value, column)) in list.iter().zip(columns).enumerate() {
            let at = if written.is_array() { format!("{path}[{index}]") } else { path.to_owned() };
            match Mark::written(value, column.of) {
                Some(mark) => start.push(mark),
                None => {
                    let of = column.of.map_or("int or text", MarkType::name);
                    self.error(&at, format!("{value} is no {of}, which '{}' is", column.name));
                }
            }
        }
        start
    }

    /// What cannot stand beside it.
    fn surroundings(&mut self, index: usize, query: &Query, counts: bool) {
        let at = |key: &str| format!("queries[{index}].{key}");
        // A scrape asks for a state. New rows are read for whom they are sent to, whether or not somebody scrapes.
        if self.settings.collection == When::OnScrape {
            let help = "read it in a receiver with 'collection: interval'";
            self.help(&at("tracking_column"), "'tracking_column' cannot be read on a scrape", help);
        }
        if query.expect_rows {
            let help = "leave it out";
            self.help(&at("expect_rows"), "'expect_rows' would fail every read that finds nothing new", help);
        }
        for (metric, _) in query.metrics.iter().enumerate().filter(|(_, metric)| metric.new_rows.is_none()) {
            let path = format!("queries[{index}].metrics[{metric}]");
            let message = "a metric of a query with 'tracking_column' sees new rows only, and needs 'new_rows'";
            self.help(&path, message, "count them (new_rows: count), or put the metric into a query of its own");
        }
        match (&self.settings.storage, counts) {
            (None, true) => {
                let help = "storage: file_storage, with an extension file_storage";
                self.help(&at("metrics"), "'new_rows' needs a 'storage': a counter that forgets is none", help);
            }
            (None, false) => self.warn(
                &at("tracking_column"),
                "without 'storage' the tracking value is forgotten when the agent ends, and all rows are sent again",
                "storage: file_storage, with an extension file_storage",
            ),
            (Some(_), _) if query.name.is_none() => self.warn(
                &at("tracking_column"),
                format!("the tracking value is kept under the query's place in the list, '{index}'"),
                "give the query a 'name', so that the list can be changed",
            ),
            (Some(_), _) => {}
        }
    }

    fn late(&mut self, index: usize, query: &Query, columns: &mut [TrackingColumn]) -> Late {
        let at = |key: &str| format!("queries[{index}].{key}");
        let xmin = match query.late_commits.as_deref() {
            None | Some("miss") => false,
            Some("xmin") => true,
            Some(other) => {
                let help = "known are miss and xmin; an 'overlap' is the other way";
                self.help(&at("late_commits"), format!("'late_commits' cannot be '{other}'"), help);
                return Late::Miss;
            }
        };
        if xmin && self.settings.driver != "postgres" {
            let help = "use 'overlap' and 'key_columns' there";
            self.help(&at("late_commits"), "'late_commits: xmin' needs the driver postgres", help);
        }
        if xmin && columns.iter().any(|column| column.of == Some(MarkType::Text)) {
            let help = "track an int, a timestamp or a uuid, or use 'overlap'";
            self.help(
                &at("late_commits"),
                "'late_commits: xmin' cannot compare texts: their order is the database's",
                help,
            );
        }
        let Some(written) = &query.overlap else {
            for (key, written) in
                [("key_columns", !query.key_columns.is_empty()), ("max_keys", query.max_keys.is_some())]
            {
                if written {
                    self.help(&at(key), format!("'{key}' needs an 'overlap'"), "such as overlap: 5m");
                }
            }
            return if xmin { Late::Xmin } else { Late::Miss };
        };
        if xmin {
            self.help(&at("overlap"), "'overlap' and 'late_commits: xmin' do the same", "leave one of them out");
        }
        self.columns(&at("key_columns"), &query.key_columns);
        if query.key_columns.is_empty() {
            let help = "name the primary key, so that rows which are read again are known";
            self.help(&at("key_columns"), "'key_columns' cannot be empty beside 'overlap'", help);
        }
        // Each row of a loop has keys of its own.
        let rows = self.settings.for_each.as_ref().map_or(1, |each| u64::from(each.max_rows.max(1)));
        let most = (LOOP_KEYS / rows).clamp(LEAST_KEYS as u64, MOST_KEYS as u64);
        let default = u64::from(MAX_KEYS).min(most);
        let max_keys = query.max_keys.map_or(default, u64::from);
        if !(LEAST_KEYS as u64..=most).contains(&max_keys) {
            let rows = if rows > 1 { format!(" for a loop of {rows} rows (for_each.max_rows)") } else { String::new() };
            self.error(&at("max_keys"), format!("'max_keys' must be from {LEAST_KEYS} to {most}{rows}"));
        }
        let max_keys = usize::try_from(max_keys).unwrap_or(MOST_KEYS);
        let overlap = self.overlap(&at("overlap"), written, columns);
        let key = query.key_columns.iter().map(|column| column.as_str().into()).collect();
        overlap.map_or(Late::Miss, |overlap| Late::Overlap { overlap, key, max_keys })
    }

    /// A time for timestamps, a number for ints; it says which of them the first column is where that is not written.
    fn overlap(&mut self, path: &str, written: &Value, columns: &mut [TrackingColumn]) -> Option<Overlap> {
        let span = |text: &str| text.parse::<config::Duration>().ok().map(config::Duration::get);
        let overlap = match written {
            Value::Number(number) => number.as_i64().filter(|ids| *ids > 0).map(Overlap::Ids),
            Value::String(text) => span(text).filter(|span| *span > Duration::ZERO).map(Overlap::Time),
            _ => None,
        };
        let Some(overlap) = overlap else {
            self.help(
                path,
                "'overlap' must be a time such as 5m, or a number of ids",
                "longer than a transaction is open",
            );
            return None;
        };
        let first = columns.first_mut()?;
        let fits = match (overlap, first.of) {
            (Overlap::Time(_), None) => MarkType::Timestamp,
            (Overlap::Ids(_), None) => MarkType::Int,
            (Overlap::Time(_), Some(MarkType::Timestamp)) => MarkType::Timestamp,
            (Overlap::Ids(_), Some(of @ (MarkType::Int | MarkType::Timestamp))) => of,
            (_, Some(of)) => {
                let message = format!("this 'overlap' does not fit '{}', which is of type {}", first.name, of.name());
                self.help(path, message, "a time for a timestamp, a number for an int; others cannot overlap");
                return None;
            }
        };
        first.of = Some(fits);
        Some(overlap)
    }

    /// Where nothing orders the rows, only the end of a read says how far it came.
    fn order(&mut self, index: usize, query: &Query, columns: &[TrackingColumn], ordered: bool, needs: bool) {
        let text = columns.iter().any(|column| column.of == Some(MarkType::Text));
        if ordered || query.sql.trim().is_empty() || columns.is_empty() {
            return;
        }
        let names: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
        let (path, help) = (format!("queries[{index}].sql"), format!("add: order by {}", names.join(", ")));
        if needs || text {
            self.help(&path, "the rows must be ordered by 'tracking_column'", help);
        } else {
            self.warn(&path, "without an order the tracking value moves only at the end of a read", help);
        }
    }
}

/// Whether the words stand anywhere in the statement; that the rows are in order is checked when they come.
fn is_ordered(sql: &str) -> bool {
    let words: Vec<String> = sql.split_whitespace().map(str::to_ascii_lowercase).collect();
    words.windows(2).any(|pair| pair[0].ends_with("order") && pair[1] == "by")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_seen_whatever_its_case_and_spacing() {
        assert!(is_ordered("select 1 from t where id > $1 ORDER\n  BY id"));
        assert!(is_ordered("select 1 from (t)order by id"));
        assert!(!is_ordered("select order_by from t"));
    }
}
