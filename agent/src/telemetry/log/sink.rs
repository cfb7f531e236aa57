//! Where lines go.

use std::fs::File;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use pipeline::Fault;

/// All outputs of a log.
pub(super) struct Sinks(Vec<Sink>);

/// One output. A line is written with one call, so lines of threads do not mix.
pub(super) enum Sink {
    Stderr,
    Stdout,
    File(Mutex<File>),
    #[cfg_attr(not(test), allow(dead_code, reason = "tests read what was written"))]
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl Sinks {
    #[cfg(test)]
    pub(super) fn memory(memory: &Arc<Mutex<Vec<u8>>>) -> Self {
        Self(vec![Sink::Memory(memory.clone())])
    }

    /// Opens `stderr`, `stdout` and files; files are appended to.
    pub(super) fn open(outputs: &[String]) -> Result<Self, Fault> {
        outputs.iter().map(|output| Sink::open(output)).collect::<Result<_, _>>().map(Self)
    }

    /// Writes a line everywhere. There is nobody to tell when that fails.
    pub(super) fn write(&self, line: &str) {
        for sink in &self.0 {
            sink.write(line).ok();
        }
    }
}

impl Sink {
    fn open(output: &str) -> Result<Self, Fault> {
        match output {
            "stderr" => Ok(Self::Stderr),
            "stdout" => Ok(Self::Stdout),
            path => {
                let path = path.strip_prefix("file://").unwrap_or(path);
                let file = File::options().create(true).append(true).open(path);
                let fault = |error| Fault::new(format!("cannot open the log file {path}")).caused_by(error);
                file.map(|file| Self::File(Mutex::new(file))).map_err(fault)
            }
        }
    }

    fn write(&self, line: &str) -> std::io::Result<()> {
        match self {
            Self::Stderr => std::io::stderr().lock().write_all(line.as_bytes()),
            Self::Stdout => std::io::stdout().lock().write_all(line.as_bytes()),
            Self::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes()),
            Self::Memory(memory) => {
                memory.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(line.as_bytes());
                Ok(())
            }
        }
    }
}
