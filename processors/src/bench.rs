//! For benchmarks: a relabel processor on a bench, with chains of rules as they are written.

use std::sync::Arc;

use config::Section;
use pdata::{
    Attributes, AttributesBuilder, Identity, Kind, Metric, Metrics, Origin, Point, PointFlags, PointValue, Series,
    SeriesTable, UnixNanos,
};
use pipeline::{Batch, Clock, Meters, Processor};

use crate::relabel::Relabel;

/// A processor, and series to send through it.
#[derive(Debug)]
pub struct Bench {
    processor: Relabel,
    table: Arc<SeriesTable>,
    series: Vec<Series>,
    kind: Kind,
    points: Option<Metrics>,
    now: u64,
}

/// Chains that are measured, by how many rules they have. The longest is as long as the example chain for Kubernetes pods in
/// Prometheus' own benchmark.
pub const CHAINS: [usize; 3] = [1, 5, 17];

/// How many series become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collide {
    /// None: every series stays on its own.
    Nowhere,
    /// Ten each.
    Tenfold,
}

impl Bench {
    /// A processor with a chain of `rules` rules and `count` counters of eight labels; all of them are labels that sources have.
    ///
    /// # Panics
    /// When `rules` is none of [`CHAINS`].
    #[must_use]
    pub fn new(rules: usize, count: usize, kind: Kind, collide: Collide) -> Self {
        let table = SeriesTable::with_defaults();
        let processor = processor(&chain(rules, collide), &table);
        let (origin, metric) = (Arc::new(Origin::default()), Arc::new(Metric::new("http_requests", kind)));
        let mut builder = AttributesBuilder::default();
        let series = (0..count).map(|n| {
            let attributes = labels(&mut builder, n);
            table.intern(Identity { origin: origin.clone(), metric: metric.clone(), attributes })
        });
        let series = series.collect();
        Self { processor, table, series, kind, points: None, now: 1 }
    }

    /// Makes the batch that the next [`pass`](Self::pass) takes: a point for each series, values and times rising.
    pub fn fill(&mut self) {
        self.now += 1_000_000_000;
        let mut metrics = Metrics::with_capacity(self.table.pin(), self.series.len() + self.series.len() / 10 + 1);
        for series in &self.series {
            let id = metrics.adopt(series);
            let value = match self.kind {
                Kind::Gauge => PointValue::Double(self.now as f64),
                _ => PointValue::Int(i64::try_from(self.now / 1_000_000_000).expect("a small number of rounds")),
            };
            let (start, time) = (UnixNanos(1), UnixNanos(self.now));
            metrics.points.push(Point { series: id, start, time, value, flags: PointFlags::empty() });
        }
        self.points = Some(metrics);
    }

    /// Sends the batch through. Gives how many points came out.
    ///
    /// # Panics
    /// When nothing was filled.
    pub fn pass(&mut self) -> usize {
        let metrics = self.points.take().expect("a batch was filled");
        let mut points = 0;
        let batch = Batch::new(metrics, UnixNanos(self.now));
        self.processor.process(batch, &mut |batch| points += batch.items());
        points
    }

    /// Bytes that memo and state take per series.
    #[must_use]
    pub fn bytes_per_series(&self) -> usize {
        self.processor.heap_bytes() / self.series.len()
    }
}

fn processor(yaml: &str, table: &Arc<SeriesTable>) -> Relabel {
    let section = Section::from_yaml("relabel/bench", yaml).expect("the chains are valid YAML");
    Relabel::from_section(&section, table.clone(), Clock::system(), &Meters::unread()).expect("the chains are valid")
}

fn labels(builder: &mut AttributesBuilder, n: usize) -> Attributes {
    let (pod, tenant) = (format!("checkout-{:06}", n), format!("Tenant-{:05}", n / 10));
    for (key, value) in [
        ("pod", pod.as_str()),
        ("tenant_id", tenant.as_str()),
        ("region", "eu-central-1"),
        ("namespace", "payments"),
        ("service", "checkout-api"),
        ("method", "POST"),
        ("route", "/v1/orders/{id}"),
        ("status_code", "200"),
    ] {
        builder.push(key, value);
    }
    builder.finish()
}

/// Rules that tenants are relabelled and noisy labels dropped with.
fn chain(rules: usize, collide: Collide) -> String {
    let first = match collide {
        Collide::Nowhere => "{regex: status_code, action: labeldrop}",
        Collide::Tenfold => "{regex: pod, action: labeldrop}",
    };
    let rest = [
        "{source_labels: [tenant_id], target_label: tenant, action: lowercase}",
        "{regex: tenant_id, action: labeldrop}",
        "{source_labels: [namespace, service], separator: /, regex: '([^/]+)/(.+)-api', target_label: app, replacement: $1.$2}",
        "{source_labels: [__name__], regex: 'http_(requests|duration)', target_label: __name__, replacement: 'web_$1'}",
        "{source_labels: [route], regex: '/(v\\d+)/.*', target_label: api_version}",
        "{source_labels: [tenant], regex: '(test|demo)-.*', action: drop}",
        "{source_labels: [region], regex: 'eu-.*|us-.*', action: keep}",
        "{source_labels: [method], target_label: method, action: lowercase}",
        "{regex: 'k8s_(.*)', action: labelmap}",
        "{source_labels: [tenant], modulus: 16, target_label: __tmp_shard, action: hashmod}",
        "{source_labels: [__tmp_shard], regex: '\\d+', action: keep}",
        "{source_labels: [region], regex: '([a-z]+)-([a-z]+)-\\d', target_label: area, replacement: '${1}_${2}'}",
        "{source_labels: [cluster], regex: '', target_label: cluster, replacement: main}",
        "{source_labels: [service], target_label: app, action: dropequal}",
        "{source_labels: [service], regex: '(.+)-api', target_label: component}",
        "{regex: 'session_.*|request_id|trace_id', action: labeldrop}",
    ];
    assert!(CHAINS.contains(&rules), "chains have 1, 5 or 17 rules");
    let mut yaml = format!("metric_relabel_configs:\n  - {first}\n");
    rest[..rules - 1].iter().for_each(|rule| yaml.push_str(&format!("  - {rule}\n")));
    yaml
}
