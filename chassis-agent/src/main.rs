//! The program: everything is in the library, so that tests can drive it.

fn main() -> std::process::ExitCode {
    chassis_agent::cli::main()
}
