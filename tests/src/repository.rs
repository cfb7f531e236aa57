//! The repository as a reader finds it: its root, its files, its built binary.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with README.md.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate stands in a folder of the repository")
}

/// Where cargo builds: found from the running test, so that `CARGO_TARGET_DIR` is respected.
pub fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own file");
        // target/<profile>/deps/<test>
        test.ancestors().nth(3).expect("cargo puts tests three folders deep").to_path_buf()
    })
}

/// The binary that is judged: `WEIR_BINARY` when it is set (the test command sets it to the release build), else built here
/// in the profile of the test.
///
/// # Panics
/// When it cannot be built.
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("WEIR_BINARY") {
            let path = root().join(path);
            assert!(path.is_file(), "WEIR_BINARY is {}, which is no file", path.display());
            return path;
        }
        let (profile, folder) = if cfg!(debug_assertions) { ("dev", "debug") } else { ("release", "release") };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "agent", "--bin", "weir", "--profile", profile, "--target-dir"])
            .arg(target())
            .current_dir(root())
            .output()
            .expect("the cargo that built this test is there");
        assert!(built.status.success(), "cannot build weir:\n{}", String::from_utf8_lossy(&built.stderr));
        target().join(folder).join("weir")
    })
}

/// Whether that binary is a release build: limits in milliseconds are for what is shipped.
pub fn is_optimised() -> bool {
    binary().parent().is_some_and(|folder| folder.ends_with("release"))
}

/// One file of the repository, as text.
///
/// # Panics
/// When it is not there.
pub fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All files under a folder of the repository whose name ends with `suffix`, as paths from the root, in order. Folders of
/// build output and hidden ones are left out.
pub fn files(under: &str, suffix: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(under)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" {
                    folders.push(path);
                }
            } else if name.ends_with(suffix) {
                let path = path.strip_prefix(root()).expect("the walk began at the root");
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
