//! The `rowcast` program: parse the arguments, run the subcommand, turn its result into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    rowcast::cli::main()
}
