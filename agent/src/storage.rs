//! Who keeps state where: components name an extension under `storage`, and get a folder of their own in its folder.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use config::{ComponentId, Problem, Problems, Reference, Section};

/// The folders of the storage extensions that the service starts. `None` stands for an extension that was told to be wrong already:
/// what follows from it is not told again.
#[derive(Debug, Default)]
pub(crate) struct Storages(HashMap<ComponentId, Option<PathBuf>>);

impl Storages {
    /// Adds an extension that has a folder, or would have one if it were sound.
    pub(crate) fn add(&mut self, id: &ComponentId, folder: Option<PathBuf>) {
        self.0.insert(id.clone(), folder);
    }

    /// The folder of one component of a class (`receivers`, `exporters`) in the storage that it names.
    pub(crate) fn folder_of(&self, storage: &ComponentId, class: &str, component: &ComponentId) -> Option<PathBuf> {
        Some(self.0.get(storage)?.as_ref()?.join(class).join(file_name(&component.to_string())))
    }

    /// Says what is wrong with the storage that a section of a class names.
    fn check(&self, class: &str, section: &Section, storage: &ComponentId, enabled: &[Reference]) -> Option<Problem> {
        let key = ["storage", "sending_queue.storage"].into_iter().find(|key| section.has(key)).unwrap_or("storage");
        if self.0.contains_key(storage) {
            let folder = self.folder_of(storage, class, section.id())?;
            let help = format!("let the user that weir runs as write there, or change {storage}::directory");
            return can_be_made(&folder).err().map(|message| section.error(key, message).with_help(help));
        }
        let listed = enabled.iter().any(|reference| reference.id == *storage);
        let message = if listed {
            format!("storage: {:?} keeps no state", storage.to_string())
        } else {
            format!("no storage client extension found: {:?} is not in service::extensions", storage.to_string())
        };
        let help = "configure an extension file_storage, and list it under service::extensions";
        Some(section.error(key, message).with_help(help))
    }
}

/// Whether a folder is there and may be written, or may be made. Looks and touches nothing: `weir validate` must not leave folders
/// behind.
///
/// # Errors
///
/// Why not.
pub(crate) fn can_be_made(folder: &Path) -> Result<(), String> {
    let there = |path: &Path| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path.to_owned() };
    for path in folder.ancestors().map(there) {
        match std::fs::metadata(&path) {
            Ok(found) if !found.is_dir() => return Err(format!("{} is no folder", path.display())),
            Ok(_) => {
                let access = rustix::fs::access(&path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
                return access.map_err(|error| format!("{} cannot be written: {error}", path.display()));
            }
            // Above it there is a folder, or what is in the way of one.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(format!("{} cannot be used: {error}", path.display())),
        }
    }
    Ok(())
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
    wishes: impl IntoIterator<Item = (&'static str, &'s Section, ComponentId)>,
    enabled: &[Reference],
    problems: &mut Problems,
) {
    let check = |(class, section, storage)| storages.check(class, section, &storage, enabled);
    problems.extend(wishes.into_iter().filter_map(check));
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use super::*;

    fn is_inside(path: &Path, folder: &Path) -> bool {
        path.starts_with(folder) && !path.components().any(|part| part == Component::ParentDir)
    }

    #[test]
    fn no_id_leaves_the_folder_and_no_two_share_one() {
        let mut storages = Storages::default();
        let id = |text: &str| text.parse::<ComponentId>().unwrap();
        storages.add(&id("file_storage"), Some("/state".into()));
        let folder = |text: &str| storages.folder_of(&id("file_storage"), "receivers", &id(text)).unwrap();
        assert_eq!(folder("webhook/a"), Path::new("/state/receivers/webhook~a"));
        for odd in ["webhook/../..", "webhook/a/b", "webhook/%2f", "webhook/ä"] {
            assert!(is_inside(&folder(odd), Path::new("/state/receivers")), "{odd}");
        }
        assert_ne!(folder("webhook/a/b"), folder("webhook/a%2fb"));
    }
}
