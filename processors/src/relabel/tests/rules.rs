//! What rules do to one series: Prometheus' documented behaviour, action by action.

use super::*;

/// Labels as `a=1 b=2`; `__name__` is the metric's name, `m` when not given.
fn relabel(rules: &str, labels: &str) -> Option<String> {
    let pairs: Vec<_> = labels.split_whitespace().map(|pair| pair.split_once('=').unwrap()).collect();
    let name = pairs.iter().find(|(name, _)| *name == "__name__").map_or("m", |(_, value)| value);
    let attributes: Vec<_> = pairs.iter().copied().filter(|(name, _)| *name != "__name__").collect();
    let mut rig = Rig::new(&format!("metric_relabel_configs:\n{rules}"));
    let batch = rig.batch(vec![sent(identity(name, Kind::Gauge, &attributes), 1, Number::Int(1))]);
    let made = process(&mut rig.processor, batch);
    let metrics = made.first()?.metrics()?;
    let series = metrics.series(metrics.points.first()?.series);
    let labels = series.attributes().iter().map(|(name, value)| format!("{name}={value}"));
    let name = (&*series.metric().name != "m").then(|| format!("__name__={}", series.metric().name));
    Some(name.into_iter().chain(labels).collect::<Vec<_>>().join(" "))
}

#[test]
fn every_action_does_what_prometheus_says() {
    let table: &[(&str, &str, Option<&str>)] = &[
        // replace: defaults, joining, templates.
        ("{source_labels: [a], target_label: b}", "a=x", Some("a=x b=x")),
        ("{source_labels: [a, b], target_label: c}", "a=x b=y", Some("a=x b=y c=x;y")),
        ("{source_labels: [a, b], separator: '', target_label: c}", "a=x b=y", Some("a=x b=y c=xy")),
        (
            "{source_labels: [a], regex: 'f(.*)', target_label: b, replacement: '${1}bar$1'}",
            "a=foo",
            Some("a=foo b=oobaroo"),
        ),
        ("{source_labels: [a], regex: '(?P<x>.)(.*)', target_label: a, replacement: '$2-$x'}", "a=foo", Some("a=oo-f")),
        ("{source_labels: [a], regex: 'b', target_label: c, replacement: d}", "a=abc", Some("a=abc")),
        ("{source_labels: [a], regex: '.*', target_label: c, replacement: '$$1'}", "a=x", Some("a=x c=$1")),
        (
            "{source_labels: [a], regex: '(f).*', target_label: '${1}_new', replacement: $1}",
            "a=foo",
            Some("a=foo f_new=f"),
        ),
        ("{target_label: c, replacement: fixed}", "a=x", Some("a=x c=fixed")),
        ("{source_labels: [none], target_label: a}", "a=x b=y", Some("b=y")),
        ("{source_labels: [a], regex: 'x', target_label: a, replacement: ''}", "a=x b=y", Some("b=y")),
        ("{source_labels: [none], regex: '', target_label: a, replacement: unknown}", "b=y", Some("a=unknown b=y")),
        ("{source_labels: [none], regex: null, target_label: a, replacement: unknown}", "b=y", Some("a=unknown b=y")),
        ("{source_labels: [b], regex: null, target_label: a, replacement: unknown}", "b=y", Some("b=y")),
        ("{source_labels: [none], regex: '(.*)', target_label: '${1}', replacement: x}", "a=x", Some("a=x")),
        ("{source_labels: [a], target_label: a}", "a=x", Some("a=x")),
        // The metric's name is a label.
        (
            "{source_labels: [__name__], regex: 'old_(.*)', target_label: __name__, replacement: 'new_$1'}",
            "__name__=old_x a=1",
            Some("__name__=new_x a=1"),
        ),
        ("{source_labels: [a], target_label: __name__}", "__name__=n a=x", Some("__name__=x a=x")),
        ("{regex: __name__, action: labeldrop}", "__name__=n a=1", None),
        ("{source_labels: [__name__], regex: 'go_.*', action: drop}", "__name__=go_x", None),
        // keep and drop: anchored at both ends.
        ("{source_labels: [a], regex: foo, action: keep}", "a=foo", Some("a=foo")),
        ("{source_labels: [a], regex: fo, action: keep}", "a=foo", None),
        ("{source_labels: [a], regex: 'f|o', action: keep}", "a=foo", None),
        ("{source_labels: [a], regex: '.*o', action: drop}", "a=foo", None),
        ("{source_labels: [a], regex: o, action: drop}", "a=foo", Some("a=foo")),
        ("{source_labels: [none], regex: '', action: drop}", "a=foo", None),
        // keepequal and dropequal.
        ("{source_labels: [a], target_label: b, action: keepequal}", "a=x b=x", Some("a=x b=x")),
        ("{source_labels: [a], target_label: b, action: keepequal}", "a=x b=y", None),
        ("{source_labels: [a], target_label: none, action: keepequal}", "a=x", None),
        ("{source_labels: [a, b], target_label: c, action: dropequal}", "a=x b=y c=x;y", None),
        ("{source_labels: [a], target_label: b, action: dropequal}", "a=x b=y", Some("a=x b=y")),
        // hashmod: the last eight bytes of MD5, big endian.
        ("{source_labels: [c], target_label: d, modulus: 1000, action: hashmod}", "c=baz", Some("c=baz d=976")),
        ("{source_labels: [c], target_label: d, modulus: 1000, action: hashmod}", "c=foo", Some("c=foo d=696")),
        ("{source_labels: [a, b], target_label: d, modulus: 1, action: hashmod}", "a=x", Some("a=x d=0")),
        // labelmap: names only, all labels that match.
        ("{regex: 'meta_(.*)', action: labelmap}", "meta_a=1 meta_b=2 c=3", Some("a=1 b=2 c=3 meta_a=1 meta_b=2")),
        ("{regex: 'meta_(ng.*)', replacement: '${1}_x', action: labelmap}", "meta_ng=1", Some("meta_ng=1 ng_x=1")),
        ("{regex: '(a|b)_x', replacement: y, action: labelmap}", "a_x=1 b_x=2", Some("a_x=1 b_x=2 y=2")),
        ("{regex: 'a', replacement: __name__, action: labelmap}", "a=renamed", Some("__name__=renamed a=renamed")),
        // labeldrop and labelkeep.
        ("{regex: 'p.*|q', action: labeldrop}", "pod=1 q=2 r=3 xp=4", Some("r=3 xp=4")),
        ("{regex: '__name__|a', action: labelkeep}", "a=1 b=2", Some("a=1")),
        ("{regex: 'a', action: labelkeep}", "a=1 b=2", None),
        // lowercase and uppercase.
        ("{source_labels: [a], target_label: b, action: lowercase}", "a=FooBÄR", Some("a=FooBÄR b=foobär")),
        ("{source_labels: [a], target_label: a, action: uppercase}", "a=straße", Some("a=STRAßE")),
        // Actions in any case.
        ("{source_labels: [a], regex: x, action: DROP}", "a=x", None),
        ("{regex: a, action: LabelDrop}", "a=x b=y", Some("b=y")),
        // Names that OpenTelemetry writes.
        (
            "{source_labels: [http.method], target_label: http.request.method}",
            "http.method=GET",
            Some("http.method=GET http.request.method=GET"),
        ),
    ];
    for (rule, labels, expected) in table {
        assert_eq!(relabel(&format!("  - {rule}\n"), labels).as_deref(), *expected, "{rule} on {labels}");
    }
}

#[test]
fn rules_see_what_the_ones_before_made_and_temporary_labels_never_leave() {
    let chain = "  - {source_labels: [a], target_label: __tmp_a, action: uppercase}
  - {source_labels: [__tmp_a], regex: '(X).*', target_label: b}
  - {source_labels: [b], regex: X, target_label: c, replacement: seen}
  - {source_labels: [never], regex: nothing, action: drop}
";
    assert_eq!(relabel(chain, "a=xyz").as_deref(), Some("a=xyz b=X c=seen"));
    assert_eq!(relabel(chain, "a=xyz __tmp_old=1").as_deref(), Some("a=xyz b=X c=seen"));
}

#[test]
fn a_drop_ends_the_list() {
    let chain = "  - {source_labels: [a], regex: x, action: drop}\n  - {target_label: b, replacement: y}\n";
    assert_eq!(relabel(chain, "a=x"), None);
    assert_eq!(relabel(chain, "a=z").as_deref(), Some("a=z b=y"));
}

#[test]
fn of_labels_that_map_to_one_name_untouched_ones_come_first() {
    // z_x was set by a rule, so it comes after the untouched ones whatever its name is; a_x too.
    let chain = "  - {target_label: a_x, replacement: set}\n  - {regex: '._x', replacement: y, action: labelmap}\n";
    assert_eq!(relabel(chain, "b_x=1 c_x=2").as_deref(), Some("a_x=set b_x=1 c_x=2 y=set"));
}

#[test]
fn a_target_that_comes_out_invalid_leaves_everything_alone() {
    let legacy = "  - {source_labels: [a], regex: '(.*)', target_label: 'x${1}', replacement: v}
metric_name_validation_scheme: legacy
";
    assert_eq!(relabel(legacy, "a=1-2").as_deref(), Some("a=1-2"));
    assert_eq!(relabel(legacy, "a=1_2").as_deref(), Some("a=1_2 x1_2=v"));
}

#[test]
fn values_that_rules_leave_alone_keep_their_type() {
    use pdata::{Attributes, Value};
    let mut rig = Rig::new(
        "metric_relabel_configs: [{source_labels: [n], target_label: n}, {source_labels: [n], target_label: copy}, {regex: gone, action: labeldrop}]",
    );
    let attributes = Attributes::from_pairs([
        ("n", &Value::Int(7)),
        ("empty", &Value::Str("".into())),
        ("gone", &Value::Bool(true)),
        ("flag", &Value::Bool(true)),
    ]);
    let identity = Identity { attributes, ..identity("m", Kind::Gauge, &[]) };
    let batch = rig.batch(vec![sent(identity, 1, Number::Int(1))]);
    let made = process(&mut rig.processor, batch);
    let metrics = made[0].metrics().unwrap();
    let expected = Attributes::from_pairs([
        ("copy", &Value::Str("7".into())),
        ("n", &Value::Int(7)),
        ("empty", &Value::Str("".into())),
        ("flag", &Value::Bool(true)),
    ]);
    assert_eq!(*metrics.series(metrics.points[0].series).attributes(), expected);
}

mod scope {
    use pdata::{Attributes, Origin};

    use super::*;

    /// Resource labels, a bar, and the point's.
    fn relabel(yaml: &str, resource: &[(&str, &str)], point: &[(&str, &str)]) -> String {
        let mut rig = Rig::new(yaml);
        let origin = Origin { resource: Attributes::from_pairs(resource.iter().copied()), ..Origin::default() };
        let identity = Identity { origin: Arc::new(origin), ..identity("m", Kind::Gauge, point) };
        let batch = rig.batch(vec![sent(identity, 1, Number::Int(1))]);
        let made = process(&mut rig.processor, batch);
        let metrics = made[0].metrics().unwrap();
        let series = metrics.series(metrics.points[0].series);
        let text = |attributes: &Attributes| {
            attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
        };
        format!("{} | {}", text(&series.identity().origin.resource), text(series.attributes()))
    }

    #[test]
    fn resource_attributes_are_out_of_reach_unless_named() {
        let rules =
            "metric_relabel_configs: [{source_labels: [r], target_label: p}, {regex: 'r|q', action: labeldrop}]";
        assert_eq!(relabel(rules, &[("r", "1")], &[("q", "2")]), "r=1 | ");
    }

    #[test]
    fn with_both_in_scope_each_label_goes_back_to_its_bearer() {
        let rules = "\
scope: [resource, datapoint]
metric_relabel_configs:
  - {source_labels: [r], target_label: p}
  - {source_labels: [s], target_label: s, action: uppercase}
  - {regex: 'gone', action: labeldrop}
";
        let resource = [("gone", "1"), ("r", "1"), ("s", "x")];
        assert_eq!(relabel(rules, &resource, &[("gone", "2")]), "r=1 s=X | p=1");
    }

    #[test]
    fn a_points_attribute_hides_its_resources() {
        let rules = "\
scope: [resource, datapoint]
metric_relabel_configs:
  - {source_labels: [a], target_label: b}
  - {source_labels: [a], target_label: a, action: uppercase}
";
        assert_eq!(relabel(rules, &[("a", "r")], &[("a", "p")]), "a=r | a=P b=p");
    }

    #[test]
    fn with_the_resource_alone_new_labels_are_its() {
        let rules = "{scope: [resource], rules: [{source_labels: [r, q], target_label: n}]}";
        assert_eq!(relabel(rules, &[("r", "1")], &[("q", "2")]), "n=1; r=1 | q=2");
    }
}
