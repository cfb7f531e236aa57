//! Verbs that look and tell: `validate`, `print-config`, `components`.

use std::fmt::Write as _;
use std::io::Write;

use config::{Loaded, Problems, Section};

use super::arguments::{ConfigFormat, PrintArgs, ProblemFormat, ValidateArgs};
use super::{Exit, connect, print, source};
use crate::registry::{Class, Registry};

/// Finds everything that start-up would refuse.
pub(super) fn validate(args: &ValidateArgs, registry: Registry, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let source = match source(&args.config, registry, err) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let mut examined = source.examine();
    if let (true, Some(plan)) = (args.connect, &examined.plan) {
        match connect::ask(plan, args.connect_timeout.get()) {
            Ok(problems) => examined.problems.extend(problems),
            Err(fault) => {
                writeln!(err, "error: {fault}").ok();
                return Exit::Failure;
            }
        }
        examined.problems.sort();
    }
    let (problems, files) = (&examined.problems, &examined.loaded.files);
    match args.format {
        ProblemFormat::Json => {
            writeln!(out, "{:#}", problems.to_json(files)).ok();
        }
        ProblemFormat::Text if problems.is_empty() => {}
        ProblemFormat::Text => {
            writeln!(err, "{}", problems.render(files).trim_end()).ok();
        }
    }
    if examined.plan.is_some() && !problems.has_errors() { Exit::Success } else { Exit::Failure }
}

/// Prints the effective configuration. Mistakes in components do not matter, as long as it can be read.
pub(super) fn print_config(args: &PrintArgs, registry: Registry, out: &mut dyn Write, err: &mut dyn Write) -> Exit {
    let source = match source(&args.config, registry, err) {
        Ok(source) => source,
        Err(exit) => return exit,
    };
    let loaded = config::load(&source.sources, &*source.env);
    if !loaded.problems.is_empty() {
        writeln!(err, "{}", loaded.problems.render(&loaded.files).trim_end()).ok();
    }
    if loaded.document.is_none() {
        return Exit::Failure;
    }
    let text = match args.format {
        ConfigFormat::Yaml => Ok(config::print(&loaded, !args.shows_secrets())),
        ConfigFormat::Json => json(&loaded, !args.shows_secrets()),
    };
    match text {
        Ok(text) => print(out, &text),
        Err(problems) => {
            writeln!(err, "{problems}").ok();
            Exit::Failure
        }
    }
}

/// The printed YAML, read again as data: what is hidden in one language is hidden in the other.
fn json(loaded: &Loaded, redacted: bool) -> Result<String, Problems> {
    let yaml = config::print(loaded, redacted);
    let value: serde_json::Value = Section::from_yaml("config", &yaml)?.decode()?;
    Ok(format!("{value:#}\n"))
}

/// The components of this build as YAML, laid out like the Collector's list.
pub(super) fn components(registry: Registry) -> String {
    let mut yaml = String::new();
    write!(yaml, "buildinfo:\n    command: weir\n    version: {}\n", env!("CARGO_PKG_VERSION")).ok();
    class(&mut yaml, "receivers", registry.receivers);
    class(&mut yaml, "processors", registry.processors);
    class(&mut yaml, "exporters", registry.exporters);
    class(&mut yaml, "extensions", registry.extensions);
    yaml
}

fn class<C: ?Sized>(yaml: &mut String, name: &str, class: Class<C>) {
    writeln!(yaml, "{name}:{}", if class.built.is_empty() { " []" } else { "" }).ok();
    for factory in class.built {
        // A JSON string is a YAML string, whatever is in it.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        writeln!(yaml, "    - name: {}", factory.kind).ok();
        if !factory.aliases.is_empty() {
            writeln!(yaml, "      aliases: [{}]", factory.aliases.join(", ")).ok();
        }
        writeln!(yaml, "      about: {}", quoted(factory.about)).ok();
        match class.feature(factory.kind) {
            "" => {}
            feature => {
                writeln!(yaml, "      feature: {feature}").ok();
            }
        }
    }
}
