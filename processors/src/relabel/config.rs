//! The section as it is written, and checking it.

use config::{Duration, Problems, Section};
use schemars::JsonSchema;
use serde::Deserialize;

use super::names::NameScheme;
use super::regexp::GoRegex;
use super::rule::{Action, Rule, Step};
use super::template::Template;
use super::{Scope, case};
use crate::aggregate::{Collision, FirstPoint, GaugeFunction, Settings};

/// Relabels series by the rules of Prometheus' `metric_relabel_configs`, and merges those that become the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Rules, applied in order; the first that drops a series ends the list. The key may also be written `rules`.
    #[serde(alias = "rules")]
    metric_relabel_configs: Vec<RuleConfig>,
    /// Which names rules may write: `utf8` takes any (Prometheus 3), `legacy` letters, digits and underscores.
    metric_name_validation_scheme: NameScheme,
    /// Whose attributes the rules see as labels.
    scope: Vec<Scope>,
    /// What becomes of series that become the same: merged into one, all but the first rejected, or passed as they are.
    on_collision: OnCollision,
    /// How values that become one are put together.
    aggregate: Aggregate,
    /// What the first point of a counter counts when it joins others: `auto` goes by its start time.
    first_point: FirstPoint,
    /// How long an input series without points is remembered. Longer than the longest gap loses nothing.
    input_ttl: Duration,
    /// Input series whose state is kept, at most; 64 bytes each, and their buckets.
    max_input_series: usize,
    /// Bounds of the table that remembers what the rules made of a series.
    memo: MemoConfig,
}

/// One rule, as in Prometheus.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct RuleConfig {
    /// Labels whose values are joined; `__name__` is the metric's name before any suffix.
    source_labels: Option<Vec<String>>,
    /// What stands between them. Default `;`.
    separator: Option<String>,
    /// The label that is written.
    target_label: String,
    /// What the joined values, or label names, are matched with; anchored at both ends. Default `(.*)`; null is the empty one.
    regex: Option<String>,
    /// By what a hash is divided.
    modulus: u64,
    /// What is written; `$1` is the first group. Default `$1`.
    replacement: Option<String>,
    /// replace, keep, drop, keepequal, dropequal, hashmod, labelmap, labeldrop, labelkeep, lowercase or uppercase.
    action: Option<String>,
}

/// What becomes of series that become the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnCollision {
    /// They become one series with the right values.
    #[default]
    Reaggregate,
    /// The first keeps the name; points of others are dropped and counted.
    Reject,
    /// They are passed on as they are, as Prometheus does.
    Pass,
}

/// How values that become one are put together.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Aggregate {
    /// For gauges: last, sum, max, min or avg. Default max.
    gauge: GaugeFunction,
}

/// Bounds of the memo; past them rules are worked out for each point again.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct MemoConfig {
    /// Series that are remembered, at most.
    pub(crate) max_series: usize,
    /// Bytes that they may take, at most.
    pub(crate) max_size: config::ByteSize,
}

/// A section that was checked.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) rules: Vec<Rule>,
    pub(crate) names: NameScheme,
    pub(crate) scope: Vec<Scope>,
    /// None where collisions are passed on, or cannot happen because no rule rewrites.
    pub(crate) engine: Option<Settings>,
    pub(crate) memo: MemoConfig,
    /// Odd, not wrong.
    pub(crate) warnings: Problems,
}

/// How often idle state is looked for, in parts of `input_ttl`: state lives at most a tenth longer than it says.
pub(crate) const SWEEPS_PER_TTL: u32 = 10;

impl Default for Config {
    fn default() -> Self {
        Self {
            metric_relabel_configs: Vec::new(),
            metric_name_validation_scheme: NameScheme::default(),
            scope: vec![Scope::Datapoint],
            on_collision: OnCollision::default(),
            aggregate: Aggregate::default(),
            first_point: FirstPoint::default(),
            input_ttl: Duration::from_secs(15 * 60),
            max_input_series: 1_000_000,
            memo: MemoConfig::default(),
        }
    }
}

impl Default for MemoConfig {
    fn default() -> Self {
        Self { max_series: 2_000_000, max_size: config::ByteSize::from_bytes(256 << 20) }
    }
}

/// Checks a section.
///
/// # Errors
/// All its problems.
pub(crate) fn check(section: &Section) -> Result<(Checked, std::time::Duration), Problems> {
    let config: Config = section.decode()?;
    let mut problems = Problems::new();
    let names = config.metric_name_validation_scheme;
    let key = if section.has("rules") { "rules" } else { "metric_relabel_configs" };
    let mut rules = Vec::new();
    for (index, rule) in config.metric_relabel_configs.iter().enumerate() {
        let path = format!("{key}[{index}]");
        match rule.check(names, section.has(&format!("{path}.regex"))) {
            Ok(rule) => rules.push(rule),
            Err((field, message)) => problems.push(section.error(&format!("{path}.{field}"), message)),
        }
    }
    let ttl = config.input_ttl.get();
    if ttl < std::time::Duration::from_secs(1) {
        let message = format!("'input_ttl' must be at least 1s, found {:?}", config.input_ttl);
        problems.push(section.error("input_ttl", message).with_help("an input that pauses longer is counted anew"));
    }
    for (path, value, max) in [
        ("max_input_series", config.max_input_series, MAX_SERIES),
        ("memo.max_series", config.memo.max_series, MAX_SERIES),
    ] {
        if value == 0 || value > max {
            problems.push(section.error(path, format!("'{path}' must be from 1 to {max}, found {value}")));
        }
    }
    if config.scope.is_empty() {
        let problem = section.error("scope", "'scope' must name resource, datapoint or both");
        problems.push(problem.with_help("leave it out for [datapoint]"));
    }
    problems.into_result()?;
    let rewrites = rules.iter().any(Rule::rewrites);
    let collision = match config.on_collision {
        OnCollision::Reaggregate => Some(Collision::Reaggregate),
        OnCollision::Reject => Some(Collision::Reject),
        OnCollision::Pass => None,
    };
    let settings = |collision| Settings {
        collision,
        gauge: config.aggregate.gauge,
        first_point: config.first_point,
        inputs_max: config.max_input_series,
        idle_sweeps: SWEEPS_PER_TTL,
    };
    let mut warnings = Problems::new();
    if rules.is_empty() {
        warnings.push(section.warning("", "no rules: every point passes as it is"));
    }
    let engine = collision.filter(|_| rewrites).map(settings);
    Ok((Checked { rules, names, scope: config.scope, engine, memo: config.memo, warnings }, ttl))
}

/// The most that a bound on series may be: places are numbered by `u32`.
const MAX_SERIES: usize = 100_000_000;

const DEFAULT_SEPARATOR: &str = ";";
const DEFAULT_REGEX: &str = "(.*)";
const DEFAULT_REPLACEMENT: &str = "$1";

/// The field at fault, and Prometheus' words for it.
type RuleProblem = (&'static str, String);

impl RuleConfig {
    /// The rule, or its first problem. `regex_written` tells a null regex, which is the empty one, from none.
    fn check(&self, names: NameScheme, regex_written: bool) -> Result<Rule, RuleProblem> {
        let action = match self.action.as_deref() {
            None => Action::Replace,
            Some("") => return Err(("action", "relabel action cannot be empty".into())),
            Some(name) => Action::named(name).ok_or_else(|| ("action", format!("unknown relabel action {name:?}")))?,
        };
        let sources = self.source_labels.clone().unwrap_or_default();
        if let Some(name) = sources.iter().find(|name| !names.is_label(name)) {
            return Err(("source_labels", format!("{name:?} is not a valid label name")));
        }
        let pattern = match &self.regex {
            Some(pattern) => pattern,
            None if regex_written => "",
            None => DEFAULT_REGEX,
        };
        self.check_fields(action, pattern, names)?;
        let regex = || GoRegex::anchored(pattern).map_err(|message| ("regex", message));
        let target = self.target_label.clone();
        let replacement = self.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
        let step = match action {
            Action::Replace => {
                let regex = regex()?;
                let (target, replacement) = (Template::new(&target, &regex), Template::new(replacement, &regex));
                Step::Replace { regex, target, replacement }
            }
            Action::Keep => Step::Keep(regex()?),
            Action::Drop => Step::Drop(regex()?),
            Action::KeepEqual => Step::KeepEqual { target },
            Action::DropEqual => Step::DropEqual { target },
            Action::HashMod => Step::HashMod { modulus: self.modulus, target },
            Action::LabelMap => {
                let regex = regex()?;
                let replacement = Template::new(replacement, &regex);
                Step::LabelMap { regex, replacement }
            }
            Action::LabelDrop => Step::LabelDrop(regex()?),
            Action::LabelKeep => Step::LabelKeep(regex()?),
            Action::Lowercase => Step::Case { target, change: case::lower },
            Action::Uppercase => Step::Case { target, change: case::upper },
        };
        let separator = self.separator.as_deref().unwrap_or(DEFAULT_SEPARATOR).to_owned();
        Ok(Rule { source_labels: sources, separator, step })
    }

    /// Which fields an action wants and which it does not, in the order in which Prometheus asks.
    fn check_fields(&self, action: Action, pattern: &str, names: NameScheme) -> Result<(), RuleProblem> {
        use Action::{DropEqual, HashMod, KeepEqual, LabelDrop, LabelKeep, LabelMap, Lowercase, Replace, Uppercase};
        let (name, target) = (action.name(), &self.target_label);
        let replacement = self.replacement.as_deref().unwrap_or(DEFAULT_REPLACEMENT);
        if action == HashMod && self.modulus == 0 {
            return Err(("modulus", "relabel configuration for hashmod requires non-zero modulus".into()));
        }
        if matches!(action, Replace | HashMod | Lowercase | Uppercase | KeepEqual | DropEqual) {
            if target.is_empty() {
                let message = format!("relabel configuration for {name} action requires 'target_label' value");
                return Err(("target_label", message));
            }
            let template = action == Replace && target.contains('$');
            if !(if template { names.is_label_template(target) } else { names.is_label(target) }) {
                return Err(("target_label", format!("{target:?} is invalid 'target_label' for {name} action")));
            }
        }
        let has_default_replacement = replacement == DEFAULT_REPLACEMENT;
        if matches!(action, Lowercase | Uppercase | KeepEqual | DropEqual) && !has_default_replacement {
            return Err(("replacement", format!("'replacement' can not be set for {name} action")));
        }
        if action == LabelMap && !names.is_label_template(replacement) {
            return Err(("replacement", format!("{replacement:?} is invalid 'replacement' for {name} action")));
        }
        let separator = self.separator.as_deref().is_some_and(|separator| separator != DEFAULT_SEPARATOR);
        if matches!(action, DropEqual | KeepEqual) {
            let odd = [("regex", pattern != DEFAULT_REGEX), ("modulus", self.modulus != 0), ("separator", separator)];
            if let Some((field, _)) = odd.into_iter().find(|(_, odd)| *odd) {
                let message =
                    format!("{name} action requires only 'source_labels' and `target_label`, and no other fields");
                return Err((field, message));
            }
        }
        if matches!(action, LabelDrop | LabelKeep) {
            let odd = [
                ("source_labels", self.source_labels.is_some()),
                ("target_label", !target.is_empty()),
                ("modulus", self.modulus != 0),
                ("separator", separator),
                ("replacement", !has_default_replacement),
            ];
            if let Some((field, _)) = odd.into_iter().find(|(_, odd)| *odd) {
                return Err((field, format!("{name} action requires only 'regex', and no other fields")));
            }
        }
        Ok(())
    }
}
