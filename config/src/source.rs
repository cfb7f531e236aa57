//! Reads what `--config` and `--set` name.

use std::fs::File;
use std::io::Read;

use crate::MAX_FILE_BYTES;
use crate::environment::Environment;
use crate::files::Files;
use crate::node::{Entry, Map, Node, Value};
use crate::place::Place;
use crate::problem::{Problem, Problems};
use crate::yaml;

/// Reads one `--config` value: a path, `file:path`, `yaml:text` or `env:NAME`. Gives `None` when it cannot be read,
/// and null when it is empty.
pub(crate) fn read(uri: &str, env: &dyn Environment, files: &mut Files, problems: &mut Problems) -> Option<Node> {
    let (name, text) = match text(uri, env) {
        Ok(found) => found,
        Err(problem) => {
            problems.push(problem);
            return None;
        }
    };
    if text.len() > MAX_FILE_BYTES {
        problems.push(Problem::error(format!("{name}: a configuration may have up to 1 MiB, this one has more")));
        return None;
    }
    let file = files.add(name, text.as_str());
    let parsed = yaml::parse(&text, file);
    files.withhold(file, parsed.secret_lines);
    problems.extend(parsed.problems);
    let root = parsed.root?;
    if root.as_map().is_none() && !root.is_null() && !root.is_broken() {
        let message = format!("retrieved value (type={}) cannot be used as a Conf", root.type_name());
        problems.push(
            Problem::error(message)
                .at(root.place)
                .with_help("a configuration is a map with receivers, exporters and service"),
        );
        return None;
    }
    Some(root)
}

/// Reads one `--set` value: `key.of.something=value`, the value being YAML.
pub(crate) fn read_set(argument: &str, files: &mut Files, problems: &mut Problems) -> Option<Node> {
    let file = files.add("--set", argument);
    let place = Place { file, line: 1, column: 1 };
    let Some((key, value)) = argument.split_once('=') else {
        problems.push(
            Problem::error("missing equal sign")
                .at(place)
                .with_help("write --set key=value, such as --set processors.batch.timeout=2s"),
        );
        return None;
    };
    let key = key.trim().replace('.', "::");
    let parts: Vec<&str> = key.split("::").collect();
    if parts.iter().any(|part| part.trim().is_empty()) {
        problems.push(
            Problem::error(format!("invalid key {key:?}")).at(place).with_help("a part between two dots is empty"),
        );
        return None;
    }
    if parts.len() >= crate::MAX_DEPTH {
        problems.push(Problem::error(format!("lists and maps nest deeper than {}", crate::MAX_DEPTH)).at(place));
        return None;
    }
    let offset = argument.len() - value.len();
    // Blanks keep the columns of the value as they are in the argument.
    let padded = format!("{}{value}", " ".repeat(argument[..offset].chars().count()));
    let parsed = yaml::parse(if value.contains('\n') { value } else { &padded }, file);
    problems.extend(parsed.problems);
    Some(parts.iter().rev().fold(parsed.root?, |inner, part| {
        let mut map = Map::default();
        map.put(Entry { key: part.trim().into(), place, node: inner });
        Node::new(Value::Map(map), place)
    }))
}

/// Reads a file of up to 1 MiB.
pub(crate) fn read_file(path: &str) -> Result<String, Problem> {
    let unreadable = |error: std::io::Error| {
        Problem::error(format!("unable to read the file file:{path}: {}", describe(&error))).with_help(
            match error.kind() {
                std::io::ErrorKind::NotFound => "paths are relative to the folder the agent was started in",
                std::io::ErrorKind::PermissionDenied => "the user who runs the agent must be able to read it",
                _ => "it must be a readable file",
            },
        )
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    // One more than allowed, to see whether there is more; a device would never end.
    file.take(MAX_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MAX_FILE_BYTES {
        return Err(Problem::error(format!("the file {path} has more than 1 MiB"))
            .with_help("a configuration file and a file named in ${file:…} may have up to 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = String::from_utf8_lossy(good).chars().rev().take_while(|c| *c != '\n').count() + 1;
        Problem::error(format!("{path}:{line}:{column}: the file is not UTF-8 from here on"))
            .with_help("save the file as UTF-8")
    })
}

/// The name and text of one `--config` value.
fn text(uri: &str, env: &dyn Environment) -> Result<(String, String), Problem> {
    let (scheme, opaque) = match uri.split_once(':') {
        // A single letter is a drive.
        Some((scheme, opaque))
            if scheme.len() > 1 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+.-".contains(&b)) =>
        {
            (scheme, opaque)
        }
        _ => ("file", uri),
    };
    match scheme {
        "file" => Ok((opaque.to_owned(), read_file(opaque)?)),
        "yaml" => Ok(("--config yaml".to_owned(), opaque.to_owned())),
        "env" => {
            let missing =
                || Problem::error(format!("environment variable {opaque:?} holds no configuration: it is not set"));
            Ok((uri.to_owned(), env.var(opaque).ok_or_else(missing)?))
        }
        "http" | "https" => Err(Problem::error(format!("unsupported scheme on URI {uri:?}"))
            .with_help("this build reads no configuration from the network: fetch the file and give its path")),
        _ => Err(Problem::error(format!("unsupported scheme on URI {uri:?}"))
            .with_help("give a path, file:path, yaml:text or env:NAME")),
    }
}

/// What went wrong, without the number that the standard library puts behind it.
fn describe(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(at) => text[..at].to_lowercase(),
        None => text.to_lowercase(),
    }
}
