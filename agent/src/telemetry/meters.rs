//! The agent's own metrics: opentelemetry instruments, read through opentelemetry-prometheus when an endpoint is scraped.

use std::collections::HashSet;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_prometheus::ResourceSelector;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use pipeline::{Fault, Meters};
use prometheus::Registry;

use super::config::{ConstantLabels, Prometheus};
use super::log::LogHandle;
use super::process;
use super::settings::{Endpoint, Settings};
use crate::graph::{Queues, Surroundings};

/// Instruments and the registries that endpoints show.
pub struct OwnMetrics {
    /// Kept because instruments end with it.
    _provider: SdkMeterProvider,
    meter: Meter,
    /// What each endpoint shows.
    pub(crate) registries: Vec<(Endpoint, Registry)>,
}

impl OwnMetrics {
    /// Instruments that the endpoints of the settings read.
    ///
    /// # Errors
    /// Only when the library refuses its own registry.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        let attributes = settings.resource.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
        let mut provider =
            SdkMeterProvider::builder().with_resource(Resource::builder_empty().with_attributes(attributes).build());
        let mut registries = Vec::new();
        for endpoint in &settings.endpoints {
            let registry = Registry::new();
            let reader = reader(&endpoint.style, &settings.resource, &registry)?;
            provider = provider.with_reader(reader);
            registries.push((endpoint.clone(), registry));
        }
        let provider = provider.build();
        let meter = provider.meter("weir");
        Ok(Self { _provider: provider, meter, registries })
    }

    /// Counts and levels for components; unread when there is no endpoint.
    #[must_use]
    pub fn meters(&self) -> Meters {
        if self.registries.is_empty() { Meters::unread() } else { Meters::new(self.meter.clone()) }
    }

    /// Shows what the agent as a whole holds: process, series table, byte budget, queues. Read only when somebody asks.
    pub fn observe(&self, around: &Surroundings, queues: &Queues) {
        self.observe_process(around);
        self.observe_table(around);
        self.observe_budget(around);
        self.observe_queues(queues);
    }

    /// Shows what the log left out.
    pub fn observe_log(&self, log: &LogHandle) {
        let log = log.clone();
        self.meter
            .u64_observable_counter("weir_log_lines_left_out")
            .with_description("Lines of the log left out because the same line was shown often enough.")
            .with_unit("{lines}")
            .with_callback(move |observer| observer.observe(log.left_out(), &[]))
            .build();
    }

    fn observe_process(&self, around: &Surroundings) {
        let (clock, began) = (around.clock.clone(), around.clock.now());
        let meter = &self.meter;
        meter
            .f64_observable_counter("otelcol_process_uptime")
            .with_description("Uptime of the process.")
            .with_unit("s")
            .with_callback(move |observer| observer.observe((clock.now() - began).as_secs_f64(), &[]))
            .build();
        meter
            .f64_observable_counter("otelcol_process_cpu_seconds")
            .with_description("CPU time of all threads, user and system.")
            .with_unit("s")
            .with_callback(|observer| process::cpu_seconds().into_iter().for_each(|value| observer.observe(value, &[])))
            .build();
        meter
            .u64_observable_gauge("otelcol_process_memory_rss")
            .with_description("Resident memory.")
            .with_unit("By")
            .with_callback(|observer| {
                process::resident_bytes().into_iter().for_each(|value| observer.observe(value, &[]))
            })
            .build();
    }

    fn observe_table(&self, around: &Surroundings) {
        let gauge =
            |name: &'static str, about: &'static str, unit: &'static str, read: fn(&pdata::TableStats) -> u64| {
                let table = around.table.clone();
                let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                    observer.observe(read(&table.stats()), &[]);
                };
                let builder = self.meter.u64_observable_gauge(name).with_description(about).with_unit(unit);
                builder.with_callback(observe).build();
            };
        gauge("weir_series_interned", "Series in the agent's table.", "{series}", |stats| stats.series as u64);
        gauge("weir_series_bytes", "Bytes of the series in the agent's table.", "By", |stats| stats.bytes as u64);
        let count = |name: &'static str, about: &'static str, read: fn(&pdata::TableStats) -> u64| {
            let table = around.table.clone();
            let observe = move |observer: &dyn opentelemetry::metrics::AsyncInstrument<u64>| {
                observer.observe(read(&table.stats()), &[]);
            };
            let builder = self.meter.u64_observable_counter(name).with_description(about).with_unit("{series}");
            builder.with_callback(observe).build();
        };
        count("weir_series_refused", "Series that found the table full and travelled inline.", |stats| stats.refused);
        count("weir_series_recycled", "Series whose place in the table was freed.", |stats| stats.recycled);
    }

    fn observe_budget(&self, around: &Surroundings) {
        let gauge = |name: &'static str, about: &'static str, read: fn(&pipeline::Budget) -> usize| {
            let budget = around.budget.clone();
            let builder = self.meter.u64_observable_gauge(name).with_description(about).with_unit("By");
            builder.with_callback(move |observer| observer.observe(read(&budget) as u64, &[])).build();
        };
        gauge("weir_budget_used_bytes", "Bytes of batches in flight.", pipeline::Budget::used);
        gauge("weir_budget_limit_bytes", "Bytes that batches in flight may have.", pipeline::Budget::limit);
        let budget = around.budget.clone();
        self.meter
            .u64_observable_counter("weir_budget_refused")
            .with_description("Batches that found the byte budget used up.")
            .with_unit("{batches}")
            .with_callback(move |observer| observer.observe(budget.refused() as u64, &[]))
            .build();
    }

    fn observe_queues(&self, queues: &Queues) {
        let gauge = |name: &'static str, about: &'static str, read: fn(usize, usize) -> usize| {
            let queues = queues.clone();
            let builder = self.meter.u64_observable_gauge(name).with_description(about).with_unit("{batches}");
            let builder = builder.with_callback(move |observer| {
                for (exporter, size, capacity) in queues.fill() {
                    observer.observe(read(size, capacity) as u64, &[KeyValue::new("exporter", exporter)]);
                }
            });
            builder.build();
        };
        gauge(
            "otelcol_exporter_queue_size",
            "What waits for the exporter, in the unit of its queue: batches, items or bytes.",
            |size, _| size,
        );
        gauge(
            "otelcol_exporter_queue_capacity",
            "What may wait for the exporter, in the unit of its queue.",
            |_, capacity| capacity,
        );
    }
}

fn reader(
    style: &Prometheus,
    resource: &[(String, String)],
    registry: &Registry,
) -> Result<opentelemetry_prometheus::PrometheusExporter, Fault> {
    let mut builder = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .scope_info_enabled(!style.without_scope_info)
        .with_resource_selector(selector(style.with_resource_constant_labels.as_ref(), resource));
    if style.without_type_suffix {
        builder = builder.without_counter_suffixes();
    }
    if style.without_units {
        builder = builder.without_units();
    }
    builder.build().map_err(|error| Fault::new("cannot read the agent's own metrics").caused_by(error))
}

/// Which attributes of the resource become labels.
fn selector(labels: Option<&ConstantLabels>, resource: &[(String, String)]) -> ResourceSelector {
    let Some(labels) = labels else { return ResourceSelector::None };
    let listed = |patterns: &[String], name: &str| patterns.iter().any(|pattern| matches(pattern, name));
    let names = resource.iter().map(|(name, _)| name);
    let names = names.filter(|name| listed(&labels.included, name) && !listed(&labels.excluded, name));
    ResourceSelector::KeyAllowList(names.map(|name| name.clone().into()).collect::<HashSet<_>>())
}

/// Whether a name fits a pattern in which `*` stands for any text and `?` for one character.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.chars().next(), name.chars().next()) {
        (None, first) => first.is_none(),
        (Some('*'), None) => matches(&pattern[1..], name),
        (Some('*'), Some(first)) => matches(&pattern[1..], name) || matches(pattern, &name[first.len_utf8()..]),
        (Some('?'), Some(first)) => matches(&pattern[1..], &name[first.len_utf8()..]),
        (Some(wanted), Some(first)) if wanted == first => {
            matches(&pattern[wanted.len_utf8()..], &name[first.len_utf8()..])
        }
        _ => false,
    }
}

impl std::fmt::Debug for OwnMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.registries.iter().map(|(endpoint, _)| &endpoint.address)).finish()
    }
}

#[cfg(test)]
mod tests;
