//! `--feature-gates`: weir has none. Those of the Collector whose meaning here is settled are let through with a warning, so that
//! command lines can be taken over; all others are refused, as the Collector refuses gates that it does not know.

use std::io::Write;

use super::Exit;

/// Gates of the Collector, and what is the case here.
const SETTLED: &[(&str, &str)] = &[
    ("confmap.enableMergeAppendOption", "lists always replace"),
    ("otelcol.printInitialConfig", "print-config is always there"),
    ("receiverhelper.newReceiverMetrics", "refused and failed are always told apart"),
    ("service.partialReload", "a reload never ends the agent"),
    ("service.partialReloadReceivers", "a reload never ends the agent"),
];

/// Tells what is wrong with the gates.
pub(super) fn check(gates: &[String], err: &mut dyn Write) -> Result<(), Exit> {
    let mut wrong = false;
    for gate in gates.iter().filter(|gate| !gate.is_empty()) {
        let name = gate.trim_start_matches(['+', '-']);
        let said = match SETTLED.iter().find(|(known, _)| *known == name) {
            Some((_, settled)) => writeln!(err, "warning: feature gate {name:?} has no effect: {settled}"),
            None => {
                wrong = true;
                writeln!(err, "error: no such feature gate {name:?}: weir has none")
            }
        };
        // Standard error may be closed; the exit code still says it.
        said.ok();
    }
    if wrong { Err(Exit::Usage) } else { Ok(()) }
}
