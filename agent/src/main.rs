//! The binary `weir`; all of it is in the library.

fn main() -> std::process::ExitCode {
    agent::cli::main(std::env::args_os())
}
