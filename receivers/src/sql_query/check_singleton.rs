//! From what the user wrote to the locks that decide who reads.

use std::path::PathBuf;
use std::time::Duration;

use super::check::{Check, Target};
use super::settings::Singleton;

/// How agents agree on who reads.
#[derive(Clone, Debug)]
pub(crate) struct Contest {
    /// How long a holder that says nothing is believed.
    pub(crate) lease: Duration,
    /// One for each target.
    pub(crate) locks: Vec<LockPlace>,
}

/// Where a lock is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LockPlace {
    /// On this file.
    File(PathBuf),
    /// In the database itself, under this name.
    Database(Box<str>),
}

/// Leases shorter than this would be lost to a slow answer, and longer ones make a take-over a matter of people.
const LEASE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

impl Check<'_> {
    /// The locks; none when this agent reads whoever else does.
    pub(super) fn contest(&mut self, targets: &[Target]) -> Option<Contest> {
        let settings = self.settings;
        let lease = settings.lock_lease.get();
        if settings.singleton != Singleton::FileLock && settings.lock_file.is_some() {
            self.error("lock_file", "'lock_file' needs 'singleton: file_lock'");
        }
        if settings.singleton != Singleton::DbLock && self.section.has("lock_lease") {
            self.help(
                "lock_lease",
                "'lock_lease' needs 'singleton: db_lock'",
                "a lock on a file ends with its process",
            );
        }
        if !(LEASE.0..=LEASE.1).contains(&lease) {
            self.error("lock_lease", "'lock_lease' must be from 2s to 10m");
        }
        let locks = match settings.singleton {
            Singleton::None => return None,
            Singleton::FileLock => {
                targets.iter().enumerate().map(|(index, target)| self.file_lock(index, target)).collect()
            }
            Singleton::DbLock => {
                targets.iter().enumerate().map(|(index, target)| self.server_lock(index, target)).collect()
            }
        };
        let locks: Option<Vec<_>> = locks;
        Some(Contest { lease, locks: locks? })
    }

    fn file_lock(&mut self, index: usize, target: &Target) -> Option<LockPlace> {
        let id = self.section.id().to_string().replace('/', "-");
        let name = target.name.as_deref().map(|name| format!(".{name}")).unwrap_or_default();
        let path = match (&self.settings.lock_file, target.database.file()) {
            (Some(path), _) if path.is_empty() => {
                self.error("lock_file", "'lock_file' cannot be empty");
                return None;
            }
            (Some(path), _) => PathBuf::from(format!("{path}{name}")),
            // Beside the database, because who reads the same file sees the same folder.
            (None, Some(database)) => {
                let mut path = database.into_os_string();
                path.push(format!(".{id}.lock"));
                path.into()
            }
            (None, None) => {
                if index == 0 {
                    self.help(
                        "singleton",
                        format!("'singleton: file_lock' needs 'lock_file' with the driver {}", self.settings.driver),
                        "name a file on a volume that all agents share, or write singleton: db_lock",
                    );
                }
                return None;
            }
        };
        Some(LockPlace::File(std::path::absolute(&path).unwrap_or(path)))
    }

    fn server_lock(&mut self, index: usize, target: &Target) -> Option<LockPlace> {
        match target.database.servers() {
            0 => {
                if index == 0 {
                    let message =
                        "'singleton: db_lock' needs a database server: a file has no locks that outlive a read";
                    self.help("singleton", message, "write singleton: file_lock");
                }
                return None;
            }
            1 => {}
            several => {
                let at = if target.name.is_some() { format!("targets[{index}].") } else { String::new() };
                let message = format!("'singleton: db_lock' needs one server, and here are {several} hosts");
                let help =
                    "two agents that are connected to two servers would both hold the lock: name the primary alone";
                self.help(&format!("{at}datasource"), message, help);
                return None;
            }
        }
        let id = self.section.id();
        let name = target.name.as_deref().map(|name| format!("@{name}")).unwrap_or_default();
        Some(LockPlace::Database(format!("weir:{id}{name}").into()))
    }
}
