//! The lock on a folder that one process at a time may use.

use std::fs::{File, TryLockError};
use std::time::Duration;

/// So often the lock is tried, so far apart. Who only asks whether a folder is held locks it for a moment, and a process that is just being
/// started holds what its parent held until it has become another program.
const TRIES: u32 = 10;
const APART: Duration = Duration::from_millis(10);

/// Locks a file for as long as it lives. Blocks for 90 ms at most.
///
/// # Errors
/// When another process holds it all that time, or the system refuses.
pub(crate) fn seize(file: &File) -> Result<(), TryLockError> {
    for _ in 1..TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(APART),
            end => return end,
        }
    }
    file.try_lock()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_it_for_a_moment_is_waited_for_and_who_keeps_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || File::create(folder.path().join("lock")).unwrap();
        let asking = open();
        asking.lock_shared().unwrap();
        let asked = std::thread::spawn(move || {
            std::thread::sleep(2 * APART);
            drop(asking);
        });
        let holder = open();
        seize(&holder).unwrap();
        asked.join().unwrap();
        assert!(matches!(seize(&open()), Err(TryLockError::WouldBlock)));
    }
}
