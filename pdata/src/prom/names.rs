//! From OpenTelemetry names and units to Prometheus names.

/// How names are translated; the Collector's `translation_strategy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Foreign characters become underscores; unit and type are appended. The default.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// Foreign characters become underscores; nothing is appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names keep their characters; unit and type are appended.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

/// What a metric's type means for its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRole {
    /// A monotonic sum: `_total` is appended.
    Counter,
    /// A gauge: `_ratio` is appended when its unit is `1`.
    Gauge,
    /// Anything else: the unit alone counts.
    Other,
}

/// Names metrics under one strategy and namespace.
#[derive(Clone, Debug, Default)]
pub struct MetricNamer {
    strategy: Strategy,
    namespace: String,
}

impl Strategy {
    /// Whether names are brought to the classic grammar.
    #[must_use]
    pub const fn escapes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes)
    }

    /// Whether unit and type are appended.
    #[must_use]
    pub const fn suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

impl MetricNamer {
    /// A namer that puts `namespace` and an underscore before every name, unless it is empty. A namespace of foreign characters
    /// is cleaned first where the strategy escapes.
    #[must_use]
    pub fn new(strategy: Strategy, namespace: &str) -> Self {
        let clean = !strategy.escapes() || super::is_legal_metric(namespace);
        let namespace = if clean { namespace.to_owned() } else { join_fields(namespace, is_metric_char_or_underscore) };
        Self { strategy, namespace }
    }

    /// The strategy.
    #[must_use]
    pub const fn strategy(&self) -> Strategy {
        self.strategy
    }

    /// The exposed name of a metric, or `None` when nothing of it is left (an empty name, or underscores only).
    #[must_use]
    pub fn name(&self, name: &str, unit: &str, role: NameRole) -> Option<String> {
        let built = match self.strategy {
            Strategy::UnderscoreEscapingWithSuffixes => self.tokenized(name, unit, role),
            Strategy::UnderscoreEscapingWithoutSuffixes => self.cleaned(name),
            Strategy::NoUtf8EscapingWithSuffixes => self.with_suffixes(name, unit, role),
            Strategy::NoTranslation => self.prefixed(name),
        };
        let meaningless = built.is_empty() || (built != name && built.bytes().all(|byte| byte == b'_'));
        (!meaningless).then_some(built)
    }

    fn tokenized(&self, name: &str, unit: &str, role: NameRole) -> String {
        let mut tokens: Vec<&str> = name.split(|c| !is_metric_char(c)).filter(|token| !token.is_empty()).collect();
        let Unit { main, per } = Unit::of(unit);
        let (main, per) = (clean_unit(&main), clean_unit(&per));
        let per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
        let has_main = main.is_empty() || tokens.contains(&main.as_str());
        let has_per = per.is_empty() || tokens.contains(&per);
        let main = if has_per { main.as_str() } else { main.strip_suffix('_').unwrap_or(&main) };
        tokens.extend([(has_main, main), (has_per, per)].into_iter().filter(|(has, _)| !has).map(|(_, token)| token));
        if let Some(suffix) = role.suffix(unit) {
            tokens.retain(|token| *token != suffix);
            tokens.push(suffix);
        }
        if !self.namespace.is_empty() {
            tokens.insert(0, &self.namespace);
        }
        let joined = tokens.join("_");
        if joined.starts_with(|c: char| c.is_ascii_digit()) { format!("_{joined}") } else { joined }
    }

    fn cleaned(&self, name: &str) -> String {
        let cleaned = self.prefixed(&join_fields(name, is_metric_char_or_underscore));
        if cleaned.starts_with(|c: char| c.is_ascii_digit()) { format!("_{cleaned}") } else { cleaned }
    }

    fn with_suffixes(&self, name: &str, unit: &str, role: NameRole) -> String {
        let mut name = self.prefixed(name);
        if name.is_empty() {
            return name;
        }
        let suffix = role.suffix(unit);
        let Unit { main, per } = Unit::of(unit);
        for trimmed in suffix.into_iter().chain((!per.is_empty()).then_some(&*per)) {
            trim_with_delimiter(&mut name, trimmed);
        }
        if !main.is_empty() && !name.ends_with(&main) {
            push_token(&mut name, &main);
        }
        if !per.is_empty() {
            push_token(&mut name, &per);
        }
        if let Some(suffix) = suffix {
            push_token(&mut name, suffix);
        }
        name
    }

    fn prefixed(&self, name: &str) -> String {
        if self.namespace.is_empty() || name.is_empty() {
            name.to_owned()
        } else {
            format!("{}_{name}", self.namespace)
        }
    }
}

impl NameRole {
    fn suffix(self, unit: &str) -> Option<&'static str> {
        match self {
            Self::Counter => Some("total"),
            Self::Gauge if unit == "1" => Some("ratio"),
            Self::Gauge | Self::Other => None,
        }
    }
}

/// A label's name under `strategy`, or `None` when nothing of it is left. Foreign characters and runs of them and of underscores
/// become one underscore, `__reserved__` keeps its form, a leading digit gets `key_` before it.
#[must_use]
pub fn label_name(strategy: Strategy, key: &str) -> Option<String> {
    let only_underscores = |name: &str| name.bytes().all(|byte| byte == b'_');
    if only_underscores(key) {
        return None;
    }
    if !strategy.escapes() {
        return Some(key.to_owned());
    }
    let reserved = key.len() > 4 && key.starts_with("__") && key.ends_with("__");
    let mut name = String::with_capacity(key.len() + 4);
    for c in if reserved { key[2..key.len() - 2].chars() } else { key.chars() } {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    if reserved {
        name = format!("__{name}__");
    } else if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert_str(0, "key_");
    }
    (!only_underscores(&name)).then_some(name)
}

/// A UCUM unit as it ends a metric's name: `seconds`, `meters_per_second`; empty when it says nothing.
#[must_use]
pub fn unit_name(unit: &str) -> String {
    let Unit { main, per } = Unit::of(unit);
    let words = [clean_unit(&main), clean_unit(&per)];
    let words: Vec<&str> =
        words.iter().map(|word| word.trim_end_matches('_')).filter(|word| !word.is_empty()).collect();
    words.join("_")
}

/// A UCUM unit as words: `m/s` is `meters` and `per_second`. Annotations in braces say nothing.
struct Unit {
    main: String,
    per: String,
}

impl Unit {
    fn of(unit: &str) -> Self {
        let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
        let word = |part: &str, words: &[(&str, &'static str)]| {
            let part = part.trim();
            if part.contains(['{', '}']) {
                return String::new();
            }
            let known = words.iter().find(|(code, _)| *code == part).map(|(_, word)| *word);
            known.unwrap_or(part).to_owned()
        };
        let per = word(per, PER_WORDS);
        Self { main: word(main, UNIT_WORDS), per: if per.is_empty() { per } else { format!("per_{per}") } }
    }
}

const UNIT_WORDS: &[(&str, &str)] = &[
    ("d", "days"),
    ("h", "hours"),
    ("min", "minutes"),
    ("s", "seconds"),
    ("ms", "milliseconds"),
    ("us", "microseconds"),
    ("ns", "nanoseconds"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("TiBy", "tibibytes"),
    ("KBy", "kilobytes"),
    ("MBy", "megabytes"),
    ("GBy", "gigabytes"),
    ("TBy", "terabytes"),
    ("m", "meters"),
    ("V", "volts"),
    ("A", "amperes"),
    ("J", "joules"),
    ("W", "watts"),
    ("g", "grams"),
    ("Cel", "celsius"),
    ("Hz", "hertz"),
    ("1", ""),
    ("%", "percent"),
];

const PER_WORDS: &[(&str, &str)] =
    &[("s", "second"), ("m", "minute"), ("h", "hour"), ("d", "day"), ("w", "week"), ("mo", "month"), ("y", "year")];

const fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

const fn is_metric_char_or_underscore(c: char) -> bool {
    is_metric_char(c) || c == '_'
}

/// The runs of good characters, joined with underscores.
fn join_fields(text: &str, good: fn(char) -> bool) -> String {
    let fields: Vec<&str> = text.split(|c| !good(c)).filter(|field| !field.is_empty()).collect();
    fields.join("_")
}

/// Foreign characters and runs of underscores become one underscore; none is left at the front.
fn clean_unit(unit: &str) -> String {
    let mut clean = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_metric_char(c) {
            clean.push(c);
        } else if !clean.is_empty() && !clean.ends_with('_') {
            clean.push('_');
        }
    }
    clean
}

fn push_token(name: &mut String, token: &str) {
    name.push('_');
    name.push_str(token);
}

/// Takes `suffix` and the one character before it off `name`, when something is left then.
fn trim_with_delimiter(name: &mut String, suffix: &str) {
    let Some(rest) = name.strip_suffix(suffix) else { return };
    let Some((end, _)) = rest.char_indices().next_back().filter(|(end, _)| *end > 0) else { return };
    name.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    use NameRole::{Counter, Gauge, Other};
    use Strategy::UnderscoreEscapingWithoutSuffixes as Plain;
    use Strategy::{NoTranslation, NoUtf8EscapingWithSuffixes, UnderscoreEscapingWithSuffixes as Full};

    #[test]
    fn names_come_out_as_prometheus_translates_them() {
        for (strategy, name, unit, role, expected) in [
            (Full, "system.cpu.time", "s", Counter, "system_cpu_time_seconds_total"),
            (Full, "foo.bar", "By", Counter, "foo_bar_bytes_total"),
            (Full, "foo_bytes.used", "By", Other, "foo_bytes_used"),
            (Full, "total.of.things", "", Counter, "of_things_total"),
            (Full, "cpu.utilization", "1", Gauge, "cpu_utilization_ratio"),
            (Full, "ratio.of.hits", "1", Gauge, "of_hits_ratio"),
            (Full, "items", "1", Counter, "items_total"),
            (Full, "speed", "m/s", Gauge, "speed_meters_per_second"),
            (Full, "speed.per_second", "m/s", Gauge, "speed_per_second_meters_per_second"),
            (Full, "requests", "{request}/s", Gauge, "requests_per_second"),
            (Full, "queue", "{message}", Gauge, "queue"),
            (Full, "price", "$/{seat}", Gauge, "price"),
            (Full, "fill", "%", Gauge, "fill_percent"),
            (Full, "odd", "Foo Bar", Gauge, "odd_Foo_Bar"),
            (Full, "__a..b__", "", Gauge, "a_b"),
            (Full, "a:b", "", Gauge, "a:b"),
            (Full, "3d.prints", "", Counter, "_3d_prints_total"),
            (Full, "requests_total", "", Gauge, "requests_total"),
            (Plain, "requests.total", "By", Counter, "requests_total"),
            (Plain, "a__b..c", "s", Gauge, "a__b_c"),
            (Plain, "1x", "", Gauge, "_1x"),
            (NoUtf8EscapingWithSuffixes, "foo.bar", "By", Counter, "foo.bar_bytes_total"),
            (NoUtf8EscapingWithSuffixes, "foo.bytes", "By", Gauge, "foo.bytes"),
            (NoUtf8EscapingWithSuffixes, "foo.total", "", Counter, "foo_total"),
            (NoUtf8EscapingWithSuffixes, "foo.per_second", "By/s", Counter, "foo_bytes_per_second_total"),
            (NoUtf8EscapingWithSuffixes, "hit.ratio", "1", Gauge, "hit_ratio"),
            (NoTranslation, "foo.bar-é", "By", Counter, "foo.bar-é"),
        ] {
            let namer = MetricNamer::new(strategy, "");
            assert_eq!(namer.name(name, unit, role).as_deref(), Some(expected), "{strategy:?} {name} {unit}");
        }
    }

    #[test]
    fn units_are_told_in_the_words_that_end_names() {
        for (unit, expected) in
            [("s", "seconds"), ("m/s", "meters_per_second"), ("{a}/h", "per_hour"), ("1", ""), ("", "")]
        {
            assert_eq!(unit_name(unit), expected);
        }
    }

    #[test]
    fn a_namespace_stands_first() {
        for (strategy, expected) in
            [(Full, "my_ns_1x_seconds"), (Plain, "my_ns_1x"), (NoUtf8EscapingWithSuffixes, "my.ns_1x_seconds")]
        {
            assert_eq!(MetricNamer::new(strategy, "my.ns").name("1x", "s", Gauge).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_name_of_which_nothing_is_left_is_none() {
        for strategy in [Full, Plain] {
            assert_eq!(MetricNamer::new(strategy, "").name("…", "", Gauge), None);
            assert_eq!(MetricNamer::new(strategy, "").name("", "", Gauge), None);
        }
        assert_eq!(MetricNamer::new(NoTranslation, "").name("", "", Gauge), None);
    }

    #[test]
    fn labels_come_out_as_prometheus_translates_them() {
        for (key, expected) in [
            ("http.method", Some("http_method")),
            ("a..b__c", Some("a_b_c")),
            ("1st", Some("key_1st")),
            ("__name__", Some("__name__")),
            ("__a.b__", Some("__a_b__")),
            ("_x", Some("_x")),
            ("a:b", Some("a_b")),
            ("…", None),
            ("___", None),
            ("", None),
        ] {
            assert_eq!(label_name(Full, key).as_deref(), expected, "{key}");
        }
        assert_eq!(label_name(NoTranslation, "http.method").as_deref(), Some("http.method"));
    }

    proptest::proptest! {
        #[test]
        fn escaped_names_are_legal_whatever_came_in(name in "\\PC{0,16}", unit in "\\PC{0,8}", space in "\\PC{0,5}") {
            for (strategy, role) in [(Full, Counter), (Full, Gauge), (Plain, Other)] {
                if let Some(name) = MetricNamer::new(strategy, &space).name(&name, &unit, role) {
                    proptest::prop_assert!(crate::prom::is_legal_metric(&name), "{}", name);
                }
                if let Some(label) = label_name(strategy, &name) {
                    proptest::prop_assert!(crate::prom::is_legal_label(&label), "{}", label);
                }
            }
        }
    }
}
