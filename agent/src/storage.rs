//! Who keeps state where: components name an extension under `storage`, and get a folder of their own in its folder.

use std::collections::HashMap;
use std::path::PathBuf;

use config::{ComponentId, Problem, Problems, Reference, Section};

/// The folders of the storage extensions that the service starts.
#[derive(Debug, Default)]
pub(crate) struct Storages(HashMap<ComponentId, PathBuf>);

impl Storages {
    /// Adds an extension that has a folder.
    pub(crate) fn add(&mut self, id: &ComponentId, folder: PathBuf) {
        self.0.insert(id.clone(), folder);
    }

    /// The folder of one component of a class (`receivers`, `exporters`) in the storage that it names.
    pub(crate) fn folder_of(&self, storage: &ComponentId, class: &str, component: &ComponentId) -> Option<PathBuf> {
        Some(self.0.get(storage)?.join(class).join(file_name(&component.to_string())))
    }

    /// Says what is wrong with the storage that a section names.
    pub(crate) fn check(&self, section: &Section, storage: &ComponentId, enabled: &[Reference]) -> Option<Problem> {
        if self.0.contains_key(storage) {
            return None;
        }
        let listed = enabled.iter().any(|reference| reference.id == *storage);
        let message = if listed {
            format!("storage: {:?} keeps no state", storage.to_string())
        } else {
            format!("no storage client extension found: {:?} is not in service::extensions", storage.to_string())
        };
        let help = "configure an extension file_storage, and list it under service::extensions";
        let key = ["storage", "sending_queue.storage"].into_iter().find(|key| section.has(key));
        Some(section.error(key.unwrap_or("storage"), message).with_help(help))
    }
}

/// A name for a folder: letters, digits, `-`, `_` and `.` stay, `/` becomes `~`, and the rest becomes `%` and two hexadecimal digits a
/// byte. So ids cannot leave their place, and two ids never share one. It never changes: state is found by it.
fn file_name(id: &str) -> String {
    let escaped = id.bytes().enumerate().map(|(at, byte)| match byte {
        b'/' => "~".to_owned(),
        b'.' if at == 0 => "%2e".to_owned(),
        b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    });
    escaped.collect()
}

/// Adds to `problems` what is wrong with the storages that the sections name.
pub(crate) fn check_all<'s>(
    storages: &Storages,
    wishes: impl IntoIterator<Item = (&'s Section, ComponentId)>,
    enabled: &[Reference],
    problems: &mut Problems,
) {
    problems.extend(wishes.into_iter().filter_map(|(section, storage)| storages.check(section, &storage, enabled)));
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use super::*;

    fn is_inside(path: &Path, folder: &Path) -> bool {
        path.starts_with(folder) && !path.components().any(|part| part == Component::ParentDir)
    }

    #[test]
    fn no_id_leaves_the_folder_and_no_two_share_one() {
        let mut storages = Storages::default();
        let id = |text: &str| text.parse::<ComponentId>().unwrap();
        storages.add(&id("file_storage"), "/state".into());
        let folder = |text: &str| storages.folder_of(&id("file_storage"), "receivers", &id(text)).unwrap();
        assert_eq!(folder("webhook/a"), Path::new("/state/receivers/webhook~a"));
        for odd in ["webhook/../..", "webhook/a/b", "webhook/%2f", "webhook/ä"] {
            assert!(is_inside(&folder(odd), Path::new("/state/receivers")), "{odd}");
        }
        assert_ne!(folder("webhook/a/b"), folder("webhook/a%2fb"));
    }
}
