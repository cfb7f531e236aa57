//! A series' label text, worked out once at its first sight.

use std::fmt::Write;

use pdata::prom::{Strategy, is_legal_label, label_name, push_escaped};
use pdata::{Attributes, Origin, ValueRef};

use super::glob::Globs;
use super::kind::Exposed;

/// What becomes a label besides the point's attributes.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelRules {
    pub(super) strategy: Strategy,
    /// Names and values that every series gets.
    pub(super) constants: Vec<(String, String)>,
    /// Whether the instrumentation scope becomes `otel_scope_*`.
    pub(super) scope: bool,
    /// Which attributes of the resource become labels of every series.
    pub(super) resource: Globs,
}

/// Labels in the making. One serves all series: it keeps its buffers.
#[derive(Debug, Default)]
pub(super) struct LabelText {
    buffer: String,
    entries: Vec<Entry>,
    text: String,
    /// Where each pair of `text` ends.
    ends: Vec<usize>,
    foreign: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
}

/// What `job` and `instance` of a resource come from.
const IDENTIFYING: [&str; 3] = ["service.name", "service.namespace", "service.instance.id"];

impl LabelText {
    /// Works out the labels of a series.
    ///
    /// The point's own attributes come first and keep their names, but for those that the format or the scraper needs (`le`,
    /// `quantile`, whatever begins with `__`, and `job` and `instance` where the resource gives them): these get `exported_` before them, as
    /// Prometheus does with labels that clash. Scope, resource and constants fill in what is not there yet.
    pub(super) fn of_series(&mut self, rules: &LabelRules, origin: &Origin, attributes: &Attributes, kind: Exposed) {
        self.clear();
        let identity = Identity::of(&origin.resource);
        for (key, value) in attributes.iter() {
            self.add_attribute(rules.strategy, key, &value, |name| match name {
                "le" => kind == Exposed::Histogram,
                "quantile" => kind == Exposed::Summary,
                "job" => identity.job.is_some(),
                "instance" => identity.instance.is_some(),
                _ => false,
            });
        }
        let own = self.entries.len();
        self.add_identity(&identity);
        if rules.scope {
            self.add_scope(rules.strategy, origin, own);
        }
        for (key, value) in origin.resource.iter().filter(|(key, _)| rules.resource.matches(key)) {
            self.fill_in(rules.strategy, key, &value, kind);
        }
        for (name, value) in &rules.constants {
            self.fill_in(rules.strategy, name, &ValueRef::Str(value), kind);
        }
        self.sort_and_join();
    }

    /// Works out the labels of a resource's `target_info`. False when there is nothing to tell: no job and no instance, or nothing
    /// besides them.
    pub(super) fn of_target(&mut self, rules: &LabelRules, resource: &Attributes) -> bool {
        self.clear();
        let identity = Identity::of(resource);
        for (key, value) in resource.iter().filter(|(key, _)| !IDENTIFYING.contains(key)) {
            self.add_attribute(rules.strategy, key, &value, |name| matches!(name, "job" | "instance"));
        }
        if self.entries.is_empty() || !identity.is_some() {
            return false;
        }
        self.add_identity(&identity);
        self.sort_and_join();
        true
    }

    /// Works out `job` and `instance` alone.
    pub(super) fn of_identity(&mut self, resource: &Attributes) {
        self.clear();
        self.add_identity(&Identity::of(resource));
        self.sort_and_join();
    }

    /// Writes the text: `a="1",b="2"`. With `after_name` the first pair gets its comma too, because a quoted metric name stands
    /// before it.
    pub(super) fn write(&mut self, after_name: bool) -> &str {
        self.text.clear();
        self.ends.clear();
        for Entry { name, value } in &self.entries {
            if after_name || !self.text.is_empty() {
                self.text.push(',');
            }
            push_name(&mut self.text, &self.buffer[name.clone()]);
            self.text.push_str("=\"");
            push_escaped(&mut self.text, &self.buffer[value.clone()]);
            self.text.push('"');
            self.ends.push(self.text.len());
        }
        &self.text
    }

    /// The text that was written last.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Its pairs, one after another.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.text.as_bytes()[start..*end])
    }

    /// Whether a label's name is outside the classic grammar, so that it differs between escaping schemes.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// Whether there is a label with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| self.buffer[entry.name.clone()] == *name)
    }

    fn clear(&mut self) {
        self.buffer.clear();
        self.entries.clear();
        self.foreign = false;
    }

    fn add_attribute(&mut self, strategy: Strategy, key: &str, value: &ValueRef<'_>, is_taken: impl Fn(&str) -> bool) {
        let start = self.buffer.len();
        if !self.push_label_name(strategy, key) {
            return;
        }
        if is_taken(&self.buffer[start..]) || is_reserved(&self.buffer[start..]) {
            self.buffer.insert_str(start, EXPORTED);
        }
        if matches!(value, ValueRef::Str("")) {
            // To Prometheus this is the same as no label. It is shown because a reader may look for the key, and because the
            // series of a family should have the same keys.
            let end = self.buffer.len();
            self.entries.push(Entry { name: start..end, value: end..end });
        } else {
            self.add_value(start, value);
        }
    }

    /// Adds a label unless its name is there already, or the format needs it.
    fn fill_in(&mut self, strategy: Strategy, key: &str, value: &ValueRef<'_>, kind: Exposed) {
        let start = self.buffer.len();
        if !self.push_label_name(strategy, key) {
            return;
        }
        if is_reserved(&self.buffer[start..]) {
            self.buffer.insert_str(start, EXPORTED);
        }
        let name = &self.buffer[start..];
        let taken = (name == "le" && kind == Exposed::Histogram) || (name == "quantile" && kind == Exposed::Summary);
        if taken || self.has(name) {
            self.buffer.truncate(start);
        } else {
            self.add_value(start, value);
        }
    }

    fn add_identity(&mut self, identity: &Identity<'_>) {
        if let Some((name, namespace)) = &identity.job {
            let start = self.buffer.len();
            self.buffer.push_str("job");
            let end = self.buffer.len();
            let slash = if namespace.is_some() { "/" } else { "" };
            let namespace = namespace.unwrap_or(ValueRef::Empty);
            write!(self.buffer, "{namespace}{slash}{name}").expect("a string takes all that is written");
            self.entries.push(Entry { name: start..end, value: end..self.buffer.len() });
        }
        if let Some(instance) = &identity.instance {
            let start = self.buffer.len();
            self.buffer.push_str("instance");
            self.add_value(start, instance);
        }
    }

    fn add_scope(&mut self, strategy: Strategy, origin: &Origin, own: usize) {
        let scope = &origin.scope;
        for (name, value) in [
            ("otel_scope_name", &scope.name),
            ("otel_scope_version", &scope.version),
            ("otel_scope_schema_url", &scope.schema_url),
        ] {
            self.fill_in(strategy, name, &ValueRef::Str(value), Exposed::Gauge);
        }
        for (key, value) in
            scope.attributes.iter().filter(|(key, _)| !matches!(*key, "name" | "version" | "schema_url"))
        {
            let start = self.buffer.len();
            write!(self.buffer, "otel_scope_{key}").expect("a string takes all that is written");
            let raw = self.buffer.split_off(start);
            let taken = self.push_label_name(strategy, &raw).then(|| {
                let name = &self.buffer[start..];
                self.entries[..own].iter().any(|entry| self.buffer[entry.name.clone()] == *name)
            });
            match taken {
                Some(false) => self.add_value(start, &value),
                _ => self.buffer.truncate(start),
            }
        }
    }

    /// Adds the label's name at the end of the buffer; false when nothing of it is left.
    fn push_label_name(&mut self, strategy: Strategy, key: &str) -> bool {
        if strategy.escapes() && is_clean(key) {
            self.buffer.push_str(key);
            return true;
        }
        match label_name(strategy, key) {
            Some(name) => {
                self.foreign |= !is_legal_label(&name);
                self.buffer.push_str(&name);
                true
            }
            None => false,
        }
    }

    /// Adds the value of the label whose name stands in the buffer from `start`. Without a value there is no label.
    fn add_value(&mut self, start: usize, value: &ValueRef<'_>) {
        let end = self.buffer.len();
        match value {
            ValueRef::Str(text) => self.buffer.push_str(text),
            other => write!(self.buffer, "{other}").expect("a string takes all that is written"),
        }
        if self.buffer.len() == end {
            self.buffer.truncate(start);
        } else {
            self.entries.push(Entry { name: start..end, value: end..self.buffer.len() });
        }
    }

    /// Brings labels into the order of their names. Values of equal names are joined with `;` in the order of the original keys,
    /// in which they were added.
    fn sort_and_join(&mut self) {
        let buffer = &mut self.buffer;
        self.entries.sort_by(|a, b| buffer[a.name.clone()].cmp(&buffer[b.name.clone()]));
        let mut index = 1;
        while index < self.entries.len() {
            let (one, two) = (self.entries[index - 1].clone(), self.entries[index].clone());
            if buffer[one.name.clone()] != buffer[two.name.clone()] {
                index += 1;
                continue;
            }
            self.entries[index - 1].value = match (one.value.is_empty(), two.value.is_empty()) {
                (true, _) => two.value,
                (_, true) => one.value,
                _ => {
                    let joined = format!("{};{}", &buffer[one.value], &buffer[two.value]);
                    let start = buffer.len();
                    buffer.push_str(&joined);
                    start..buffer.len()
                }
            };
            self.entries.remove(index);
        }
    }
}

/// `job` as name and namespace, and `instance`, where the resource has them.
struct Identity<'a> {
    job: Option<(ValueRef<'a>, Option<ValueRef<'a>>)>,
    instance: Option<ValueRef<'a>>,
}

impl<'a> Identity<'a> {
    fn of(resource: &'a Attributes) -> Self {
        let attribute = |key| resource.get(key).filter(|value| !matches!(value, ValueRef::Empty | ValueRef::Str("")));
        let [name, namespace, instance] = IDENTIFYING.map(attribute);
        Self { job: name.map(|name| (name, namespace)), instance }
    }

    fn is_some(&self) -> bool {
        self.job.is_some() || self.instance.is_some()
    }
}

/// Adds a label's name, quoted when the classic grammar does not allow it.
pub(super) fn push_name(out: &mut String, name: &str) {
    if is_legal_label(name) {
        out.push_str(name);
    } else {
        out.push('"');
        push_escaped(out, name);
        out.push('"');
    }
}

/// Whether a label's name is kept for the machinery: `__name__` and all others that begin so. Strict readers refuse a whole page
/// for one of them.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with("__")
}

/// What stands before the name of a label that clashes, as Prometheus itself writes it.
pub(super) const EXPORTED: &str = "exported_";

/// Whether translation leaves the key as it is: the way of nearly all keys.
fn is_clean(key: &str) -> bool {
    is_legal_label(key) && !key.starts_with('_') && !key.contains("__")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pdata::Scope;

    fn rules(strategy: Strategy) -> LabelRules {
        LabelRules { strategy, scope: true, ..LabelRules::default() }
    }

    fn text(rules: &LabelRules, origin: &Origin, attributes: &[(&str, &str)], kind: Exposed) -> String {
        let mut text = LabelText::default();
        text.of_series(rules, origin, &Attributes::from_pairs(attributes.iter().copied()), kind);
        text.write(false);
        assert_eq!(text.pairs().flatten().copied().collect::<Vec<_>>(), text.text().as_bytes());
        text.text().to_owned()
    }

    fn plain(attributes: &[(&str, &str)]) -> String {
        text(&rules(Strategy::default()), &Origin::default(), attributes, Exposed::Gauge)
    }

    fn origin(resource: &[(&str, &str)]) -> Origin {
        Origin { resource: Attributes::from_pairs(resource.iter().copied()), ..Origin::default() }
    }

    #[test]
    fn labels_stand_in_the_order_of_their_final_names_and_empty_ones_are_shown() {
        assert_eq!(plain(&[("b", "2"), ("a.x", "1"), ("c", "")]), r#"a_x="1",b="2",c="""#);
    }

    #[test]
    fn an_empty_value_adds_nothing_where_keys_become_one_label() {
        assert_eq!(plain(&[("a.b", ""), ("a_b", "1"), ("a/b", "")]), r#"a_b="1""#);
    }

    #[test]
    fn keys_that_become_one_label_join_their_values_in_the_order_of_the_keys() {
        assert_eq!(plain(&[("a_b", "3"), ("a.b", "1"), ("a/b", "2"), ("a", "0")]), r#"a="0",a_b="1;2;3""#);
    }

    #[test]
    fn labels_that_the_format_needs_are_exported_under_another_name() {
        let at = |kind| text(&rules(Strategy::default()), &Origin::default(), &[("le", "1"), ("__name__", "x")], kind);
        assert_eq!(at(Exposed::Histogram), r#"exported___name__="x",exported_le="1""#);
        assert_eq!(at(Exposed::Gauge), r#"exported___name__="x",le="1""#);
        assert_eq!(
            text(&rules(Strategy::default()), &Origin::default(), &[("quantile", "1")], Exposed::Summary),
            r#"exported_quantile="1""#
        );
    }

    #[test]
    fn job_and_instance_come_from_the_service_and_nothing_comes_from_an_empty_origin() {
        assert_eq!(plain(&[]), "");
        let origin =
            origin(&[("service.name", "s"), ("service.namespace", "n"), ("service.instance.id", "i"), ("x", "1")]);
        let text = text(&rules(Strategy::default()), &origin, &[("job", "mine")], Exposed::Gauge);
        assert_eq!(text, r#"exported_job="mine",instance="i",job="n/s""#);
    }

    #[test]
    fn the_scope_is_told_where_there_is_one() {
        let scope = Scope {
            name: "lib".into(),
            attributes: Attributes::from_pairs([("name", "no"), ("a.b", "1")]),
            ..Scope::default()
        };
        let origin = Origin { scope, ..Origin::default() };
        let with = rules(Strategy::default());
        assert_eq!(text(&with, &origin, &[], Exposed::Gauge), r#"otel_scope_a_b="1",otel_scope_name="lib""#);
        assert_eq!(text(&LabelRules { scope: false, ..with }, &origin, &[], Exposed::Gauge), "");
    }

    #[test]
    fn resource_attributes_and_constants_fill_in_and_never_overwrite() {
        let rules = LabelRules {
            constants: vec![("env".into(), "prod".into()), ("a".into(), "const".into())],
            resource: Globs::new(&["*".into()], &["service.*".into()]),
            ..rules(Strategy::default())
        };
        let origin = origin(&[("host.name", "h"), ("a", "res"), ("service.version", "1")]);
        assert_eq!(text(&rules, &origin, &[("a", "own")], Exposed::Gauge), r#"a="own",env="prod",host_name="h""#);
    }

    #[test]
    fn names_beyond_the_classic_grammar_are_quoted_where_names_are_kept() {
        let kept =
            text(&rules(Strategy::NoTranslation), &Origin::default(), &[("a.b\"", "1"), ("c", "2")], Exposed::Gauge);
        assert_eq!(kept, r#""a.b\""="1",c="2""#);
    }

    #[test]
    fn a_target_is_told_when_there_is_more_than_its_identity() {
        let rules = rules(Strategy::default());
        let mut text = LabelText::default();
        assert!(!text.of_target(&rules, &origin(&[("host.name", "h")]).resource));
        assert!(!text.of_target(&rules, &origin(&[("service.name", "s")]).resource));
        assert!(text.of_target(&rules, &origin(&[("service.name", "s"), ("host.name", "h"), ("job", "x")]).resource));
        assert_eq!(text.write(false), r#"exported_job="x",host_name="h",job="s""#);
    }
}
