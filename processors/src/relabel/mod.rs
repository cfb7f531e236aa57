//! Processor `relabel`: Prometheus' `metric_relabel_configs`, exact, with re-aggregation of what becomes the same.
//!
//! ```yaml
//! processors:
//!   relabel:
//!     metric_relabel_configs:
//!       - {source_labels: [tenant_id], target_label: tenant, action: lowercase}
//!       - {regex: "tenant_id|pod|session_.*", action: labeldrop}
//!     aggregate: {gauge: max}
//! ```
//!
//! Rules see a series' attributes as labels, and its metric's name (before any exporter's suffix) as `__name__`. What they make
//! of a series is worked out once and remembered by the series' id; a point costs one look. The rules follow Prometheus 3
//! (`model/relabel`), the expressions Go's dialect. Series that become the same are merged by the module `aggregate`.

mod case;
mod config;
mod counts;
mod labels;
mod memo;
mod names;
mod process;
mod regexp;
mod rewrite;
mod rule;
mod template;
#[cfg(test)]
mod tests;

use ::config::{Problems, Section};
use pipeline::{BuildContext, Factory, Fault, Plan, Planned, Processor, Signals};
use schemars::JsonSchema;
use serde::Deserialize;

use config::Checked;
pub(crate) use process::Relabel;

/// The factory of `relabel`.
pub const FACTORY: Factory<dyn Processor> = Factory {
    kind: "relabel",
    aliases: &[],
    about: "Relabels series by Prometheus' metric_relabel_configs and merges those that become the same.",
    plan,
    schema: || schemars::schema_for!(config::Config),
};

/// Whose attributes rules see as labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    /// The resource's, under their own names.
    Resource,
    /// The point's.
    Datapoint,
}

/// A checked section.
#[derive(Debug)]
struct Relabelling {
    checked: Checked,
    input_ttl: std::time::Duration,
}

fn plan(section: &Section) -> Planned<dyn Processor> {
    let (checked, input_ttl) = config::check(section)?;
    Ok(Box::new(Relabelling { checked, input_ttl }))
}

impl Plan<dyn Processor> for Relabelling {
    fn signals(&self) -> Signals {
        Signals::METRICS
    }

    fn warnings(&self) -> Problems {
        self.checked.warnings.clone()
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Processor>, Fault> {
        let BuildContext { id, table, clock, meters, .. } = context;
        Ok(Box::new(Relabel::new(self.checked, self.input_ttl, &id.to_string(), table, clock, &meters)))
    }
}
