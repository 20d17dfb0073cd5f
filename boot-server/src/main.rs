//! boot-server's thin main: all is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    boot_server::cli::main()
}
