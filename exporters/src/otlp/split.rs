//! A batch in parts by an attribute of the resource, so that each tenant's part waits in a queue of its own.

use std::sync::Arc;

use pdata::{Attributes, Logs, Metrics, Origin, Traces};
use pipeline::Payload;

/// One part and what its resources have in common; empty for those that do not have the attribute.
pub(super) type Part = (String, Payload);

/// The parts of a batch, in the order in which they begin in it. Of traces the resources are looked at, and go whole.
pub(super) fn split(payload: &Payload, by: &str) -> Vec<Part> {
    match payload {
        Payload::Metrics(metrics) => split_metrics(metrics, by),
        Payload::Logs(logs) => split_logs(logs, by),
        Payload::Traces(traces) => split_traces(traces, by),
    }
}

fn key(resource: &Attributes, by: &str) -> String {
    resource.get(by).map(|value| value.to_string()).unwrap_or_default()
}

/// Finds the part of each origin; most neighbours have the same one.
struct Sorter<'b> {
    by: &'b str,
    keys: Vec<String>,
    last: Option<(Arc<Origin>, usize)>,
}

impl Sorter<'_> {
    fn part_of(&mut self, origin: &Arc<Origin>) -> usize {
        if let Some((last, part)) = self.last.as_ref().filter(|(last, _)| Arc::ptr_eq(last, origin)) {
            debug_assert!(Arc::ptr_eq(last, origin));
            return *part;
        }
        let key = key(&origin.resource, self.by);
        let part = self.keys.iter().position(|known| *known == key).unwrap_or_else(|| {
            self.keys.push(key);
            self.keys.len() - 1
        });
        self.last = Some((origin.clone(), part));
        part
    }
}

fn split_logs(logs: &Arc<Logs>, by: &str) -> Vec<Part> {
    let mut sorter = Sorter { by, keys: Vec::new(), last: None };
    let parts: Vec<_> = logs.records.iter().map(|record| sorter.part_of(&record.origin)).collect();
    if sorter.keys.len() < 2 {
        return vec![(sorter.keys.pop().unwrap_or_default(), Payload::Logs(logs.clone()))];
    }
    let part = |(index, key): (usize, String)| {
        let records = logs.records.iter().zip(&parts).filter(|(_, part)| **part == index);
        let records = records.map(|(record, _)| record.clone()).collect();
        (key, Payload::from(Logs { records }))
    };
    sorter.keys.into_iter().enumerate().map(part).collect()
}

fn split_metrics(metrics: &Arc<Metrics>, by: &str) -> Vec<Part> {
    let mut sorter = Sorter { by, keys: Vec::new(), last: None };
    let part_of = |id| Some(sorter.part_of(&metrics.series(id).identity().origin));
    let part_of: Vec<_> = metrics.points.iter().map(|point| point.series).map(part_of).collect();
    if sorter.keys.len() < 2 {
        return vec![(sorter.keys.pop().unwrap_or_default(), Payload::Metrics(metrics.clone()))];
    }
    let parts = metrics.parts(&part_of, sorter.keys.len());
    sorter.keys.into_iter().zip(parts.into_iter().map(Payload::from)).collect()
}

fn split_traces(traces: &Arc<Traces>, by: &str) -> Vec<Part> {
    let part = |(key, traces)| (key, Payload::from(traces));
    traces.parts(by).into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use pdata::{Identity, Kind, Metric, Number, SeriesTable, UnixNanos};
    use pipeline::testing::push;

    use super::*;

    fn identity(tenant: &str, metric: &str) -> Identity {
        let pairs = (!tenant.is_empty()).then_some(("tenant", tenant));
        let origin = Origin { resource: Attributes::from_pairs(pairs), ..Origin::default() };
        Identity {
            origin: Arc::new(origin),
            metric: Arc::new(Metric::new(metric, Kind::Gauge)),
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn each_tenant_gets_its_points_and_exemplars_and_nothing_is_left() {
        let table = SeriesTable::with_defaults();
        let mut metrics = Metrics::new(table.pin());
        for (value, tenant) in ["a", "b", "", "a", "b", "a"].into_iter().enumerate() {
            let series = table.intern(identity(tenant, "m"));
            push(&mut metrics, &series, Number::Int(value as i64), 1);
            metrics.exemplars.push(pdata::Exemplar {
                point: value as u32,
                time: UnixNanos(value as u64),
                value: Number::Int(0),
                trace_id: [0; 16],
                span_id: [0; 8],
                filtered_attributes: Attributes::default(),
            });
        }
        let parts = split(&metrics.into(), "tenant");
        let keys: Vec<_> = parts.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b", ""]);
        let values = |payload: &Payload| {
            let Payload::Metrics(metrics) = payload else { panic!() };
            assert_eq!(metrics.points.len(), metrics.exemplars.len());
            let exemplars = metrics.exemplars.iter().map(|exemplar| (exemplar.point, exemplar.time.0));
            exemplars
                .map(|(point, time)| {
                    assert_eq!(metrics.points[point as usize].value, Number::Int(time as i64).into());
                    time
                })
                .collect::<Vec<_>>()
        };
        let values: Vec<_> = parts.iter().map(|(_, payload)| values(payload)).collect();
        assert_eq!(values, [vec![0, 3, 5], vec![1, 4], vec![2]]);
    }

    #[test]
    fn records_of_one_tenant_are_not_copied() {
        let origin = identity("a", "").origin;
        let record = pdata::LogRecord { origin, ..pdata::LogRecord::default() };
        let one = Payload::from(Logs { records: vec![record.clone(), record.clone()] });
        let parts = split(&one, "tenant");
        let (Payload::Logs(before), Payload::Logs(after)) = (&one, &parts[0].1) else { panic!() };
        assert!(Arc::ptr_eq(before, after) && parts[0].0 == "a");
        let other = pdata::LogRecord::default();
        let parts = split(&Payload::from(Logs { records: vec![record, other] }), "tenant");
        assert_eq!(parts.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", ""]);
    }

    #[test]
    fn resources_of_traces_go_whole_to_their_tenants() {
        use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
        use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
        use opentelemetry_proto::tonic::resource::v1::Resource;
        use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
        use prost::Message as _;
        let resource = |tenant: Option<Value>, spans: usize| {
            let pair = |value| KeyValue {
                key: "tenant".into(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            };
            let attributes = tenant.into_iter().map(pair).collect();
            let span = Span { name: "s".into(), trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
            ResourceSpans {
                resource: Some(Resource { attributes, ..Resource::default() }),
                scope_spans: vec![ScopeSpans { spans: vec![span; spans], ..ScopeSpans::default() }],
                ..ResourceSpans::default()
            }
        };
        let text = |text: &str| Some(Value::StringValue(text.into()));
        let all =
            [resource(text("a"), 1), resource(None, 2), resource(Some(Value::IntValue(7)), 3), resource(text("a"), 4)];
        let request = |places: &[usize]| ExportTraceServiceRequest {
            resource_spans: places.iter().map(|place| all[*place].clone()).collect(),
        };
        let traces = |places: &[usize]| {
            Payload::from(pdata::otlp::decode_traces(request(places).encode_to_vec().into()).unwrap())
        };
        let parts = split(&traces(&[0, 1, 2, 3]), "tenant");
        let keys: Vec<_> = parts.iter().map(|(key, payload)| (key.as_str(), payload.items())).collect();
        assert_eq!(keys, [("a", 5), ("", 2), ("7", 3)]);
        for ((_, payload), places) in parts.iter().zip([&[0, 3][..], &[1], &[2]]) {
            let Payload::Traces(part) = payload else { panic!() };
            assert_eq!(ExportTraceServiceRequest::decode(&**part.body()), Ok(request(places)));
        }
        // Of one tenant they are not copied.
        let Payload::Traces(before) = traces(&[0, 3]) else { panic!() };
        let parts = split(&Payload::Traces(before.clone()), "tenant");
        let (key, Payload::Traces(after)) = &parts[0] else { panic!() };
        assert_eq!((key.as_str(), after.body().as_ptr()), ("a", before.body().as_ptr()));
    }
}
