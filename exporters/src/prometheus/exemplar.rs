//! Exemplars: the latest of each counter and of each bucket, as OpenMetrics writes them after a sample.

use std::fmt::Write;

use hashbrown::HashMap;
use pdata::prom::{Strategy, is_legal_label, label_name, push_escaped, push_float};
use pdata::{Exemplar, Number};
use smallvec::SmallVec;

use super::distribution::{Classic, Distribution};
use super::labels::is_reserved;

/// Exemplars by cell.
#[derive(Default)]
pub(super) struct Exemplars {
    by_cell: HashMap<u32, SmallVec<[Kept; 1]>>,
    /// How many there are.
    len: usize,
    classic: Classic,
}

/// One exemplar.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    /// The observed value: it must lie in the bucket that it is written after.
    pub(super) value: f64,
    /// Upper bound of its bucket; +Inf for the last and for counters.
    bound: f64,
    /// ` # {labels} value time`.
    pub(super) text: Box<str>,
}

/// Exemplars at most, over all series: about 16 MB of text.
const EXEMPLARS_MAX: usize = 100_000;

/// Characters of names and values together, by OpenMetrics 1.0.
const CHARS_MAX: usize = 128;

impl Exemplars {
    /// Keeps an exemplar in place of the one before it. False when there are too many.
    pub(super) fn put(
        &mut self,
        cell: u32,
        exemplar: &Exemplar,
        distribution: Option<&Distribution>,
        strategy: Strategy,
    ) -> bool {
        let value = exemplar.value.as_f64();
        let mut bound = f64::INFINITY;
        if let Some(distribution) = distribution {
            if value.is_nan() || !distribution.write_classic(&mut self.classic) {
                return true;
            }
            let bounds = &self.classic.bounds;
            bound = bounds.get(bounds.partition_point(|bound| *bound < value)).copied().unwrap_or(bound);
        }
        let kept = self.by_cell.entry(cell).or_default();
        let new = Kept { value, bound, text: render(exemplar, strategy).into() };
        if let Some(old) = kept.iter_mut().find(|old| old.bound == bound) {
            *old = new;
            return true;
        }
        if self.len >= EXEMPLARS_MAX {
            if kept.is_empty() {
                self.by_cell.remove(&cell);
            }
            return false;
        }
        self.len += 1;
        kept.push(new);
        true
    }

    pub(super) fn get(&self, cell: u32) -> &[Kept] {
        self.by_cell.get(&cell).map_or(&[], |kept| kept)
    }

    pub(super) fn remove(&mut self, cell: u32) {
        self.len -= self.by_cell.remove(&cell).map_or(0, |kept| kept.len());
    }
}

/// ` # {trace_id="…",span_id="…",attribute="…"} value time`. The ids come first and win over attributes of the same name; attributes
/// are added in order as long as the limit on characters allows.
fn render(exemplar: &Exemplar, strategy: Strategy) -> String {
    let mut labels = Labels { text: String::from(" # {"), names: SmallVec::new(), chars: 0 };
    for (name, id) in [("trace_id", &exemplar.trace_id[..]), ("span_id", &exemplar.span_id[..])] {
        if id.iter().any(|byte| *byte != 0) {
            labels.add(
                name,
                &id.iter().fold(String::new(), |mut hex, byte| {
                    write!(hex, "{byte:02x}").expect("a string takes all that is written");
                    hex
                }),
            );
        }
    }
    for (key, value) in exemplar.filtered_attributes.iter() {
        // Quoted names cannot be told to every scraper, and this text is the same for all: such an attribute is left out.
        if let Some(name) = label_name(strategy, key).filter(|name| is_legal_label(name) && !is_reserved(name)) {
            labels.add(&name, &value.to_string());
        }
    }
    let mut text = labels.text.into_bytes();
    text.extend_from_slice(b"} ");
    match exemplar.value {
        Number::Int(int) => text.extend_from_slice(itoa::Buffer::new().format(int).as_bytes()),
        Number::Double(double) => push_float(&mut text, double),
    }
    if exemplar.time.is_set() {
        text.push(b' ');
        push_seconds(&mut text, exemplar.time.0);
    }
    String::from_utf8(text).expect("all that was added is text")
}

/// Adds a time in seconds with milliseconds, as OpenMetrics writes it.
pub(super) fn push_seconds(out: &mut Vec<u8>, nanos: u64) {
    let millis = nanos / 1_000_000;
    out.extend_from_slice(itoa::Buffer::new().format(millis / 1000).as_bytes());
    let rest = millis % 1000;
    out.extend_from_slice(&[b'.', digit(rest / 100), digit(rest / 10), digit(rest)]);
}

fn digit(number: u64) -> u8 {
    b'0' + (number % 10) as u8
}

struct Labels {
    text: String,
    names: SmallVec<[String; 4]>,
    chars: usize,
}

impl Labels {
    fn add(&mut self, name: &str, value: &str) {
        let chars = self.chars + name.chars().count() + value.chars().count();
        if chars > CHARS_MAX || self.names.iter().any(|known| known == name) {
            return;
        }
        self.chars = chars;
        if !self.names.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(name);
        self.text.push_str("=\"");
        push_escaped(&mut self.text, value);
        self.text.push('"');
        self.names.push(name.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdata::{Attributes, UnixNanos};

    fn exemplar(value: f64, attributes: &[(&str, &str)]) -> Exemplar {
        Exemplar {
            point: 0,
            time: UnixNanos(1_700_000_000_250_000_000),
            value: Number::Double(value),
            trace_id: [0xab; 16],
            span_id: [0; 8],
            filtered_attributes: Attributes::from_pairs(attributes.iter().copied()),
        }
    }

    #[test]
    fn ids_win_and_attributes_are_added_while_there_is_room() {
        let long = "x".repeat(90);
        let attributes = [("a.b", "1"), ("long", long.as_str()), ("trace.id", "mine"), ("z", "2")];
        assert_eq!(
            render(&exemplar(0.5, &attributes), Strategy::default()),
            r#" # {trace_id="abababababababababababababababab",a_b="1",z="2"} 0.5 1700000000.250"#
        );
    }

    #[test]
    fn the_latest_of_each_bucket_is_kept() {
        let histogram = pdata::Histogram { bounds: vec![1.0], counts: vec![1, 1], ..Default::default() };
        let distribution = Distribution::Histogram(histogram);
        let mut exemplars = Exemplars::default();
        for value in [0.5, 1.0, 7.0] {
            assert!(exemplars.put(3, &exemplar(value, &[]), Some(&distribution), Strategy::default()));
        }
        assert_eq!(exemplars.get(3).iter().map(|kept| kept.value).collect::<Vec<_>>(), [1.0, 7.0]);
        exemplars.remove(3);
        assert_eq!((exemplars.len, exemplars.get(3).len()), (0, 0));
    }
}
