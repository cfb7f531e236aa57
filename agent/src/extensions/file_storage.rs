//! Extension `file_storage`: a folder for the state of other components. They name it under their key `storage`.
//!
//! ```yaml
//! extensions:
//!   file_storage:
//!     directory: /var/lib/weir         # one folder inside for each component
//!     create_directory: true           # the Collector's default is false: then a missing folder is a problem
//! ```
//!
//! What stands in it belongs to the components: see `docs/state.md`. Folders are made for the agent's user alone (mode 0700).

use std::path::PathBuf;

use config::{Problems, Section};
use pipeline::{BoxFuture, BuildContext, Claim, Factory, Fault, Plan, Planned, Signals, Stop};
use schemars::JsonSchema;
use serde::Deserialize;

use super::Extension;
use crate::storage::can_be_made;
use crate::vitals::Vitals;

pub(crate) const FACTORY: Factory<dyn Extension> = Factory {
    kind: "file_storage",
    aliases: &[],
    about: "Keeps the state of other components in a folder.",
    plan,
    schema: || schemars::schema_for!(Config),
};

/// Keeps the state of other components in a folder.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The folder. Default `/var/lib/weir`.
    directory: PathBuf,
    /// Whether to make it when it is missing. Default false, as in the Collector.
    create_directory: bool,
}

/// A checked section, and the running extension: there is nothing to run.
struct FileStorage {
    directory: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { directory: "/var/lib/weir".into(), create_directory: false }
    }
}

fn plan(section: &Section) -> Planned<dyn Extension> {
    let Config { directory, create_directory } = section.decode()?;
    let mut problems = Problems::default();
    if directory.as_os_str().is_empty() {
        problems.push(section.error("directory", "directory must not be empty"));
    } else if let Err(message) = usable(&directory, create_directory) {
        let help = if create_directory {
            "name a folder that the agent's user may make"
        } else {
            "make it for the agent's user, or write create_directory: true"
        };
        problems.push(section.error("directory", format!("{}: {message}", directory.display())).with_help(help));
    }
    problems.into_result()?;
    Ok(Box::new(FileStorage { directory }))
}

/// Whether it may be written is asked for the folder of each component that keeps state in it.
fn usable(directory: &std::path::Path, create: bool) -> Result<(), String> {
    match std::fs::metadata(directory) {
        Ok(found) if !found.is_dir() => Err("this is no folder".to_owned()),
        Ok(_) => Ok(()),
        Err(_) if create => can_be_made(directory),
        Err(error) => Err(format!("the state folder cannot be used: {error}")),
    }
}

impl Plan<dyn Extension> for FileStorage {
    fn signals(&self) -> Signals {
        Signals::ALL
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.directory.clone())]
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.directory.clone())
    }

    fn build(self: Box<Self>, _context: BuildContext) -> Result<Box<dyn Extension>, Fault> {
        make(&self.directory)
            .map_err(|error| Fault::new(format!("cannot make {}", self.directory.display())).caused_by(error))?;
        Ok(self)
    }
}

impl Extension for FileStorage {
    fn run(self: Box<Self>, _vitals: Vitals, mut stop: Stop) -> BoxFuture<'static, Result<(), Fault>> {
        Box::pin(async move {
            stop.requested().await;
            Ok(())
        })
    }
}

fn make(directory: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(yaml: &str) -> String {
        let section = Section::from_yaml("file_storage", yaml).unwrap();
        plan(&section)
            .err()
            .map(|problems| problems.iter().map(|problem| problem.message.clone()).collect())
            .unwrap_or_default()
    }

    #[test]
    fn a_missing_folder_is_a_problem_unless_it_may_be_made() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing");
        let yaml = format!("directory: {}", missing.display());
        assert!(problem(&yaml).contains("cannot be used: No such file"), "{}", problem(&yaml));
        assert_eq!(problem(&format!("{yaml}\ncreate_directory: true")), "");
        assert!(!missing.exists(), "checking makes nothing");
        assert_eq!(problem(&format!("directory: {}", folder.path().display())), "");
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let yaml = format!("directory: {}\ncreate_directory: true", file.path().display());
        assert!(problem(&yaml).ends_with("this is no folder"));
    }
}
