//! Parse, dispatch, exit code: the only place that prints a fatal error.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(fatal) = hitless::cli::run(std::env::args_os()) else { return ExitCode::SUCCESS };
    // The journal takes a line without a priority for one of little importance.
    let priority = if hitless::telemetry::stderr_is_journal() { "<3>" } else { "" };
    for line in fatal.message.lines() {
        eprintln!("{priority}{line}");
    }
    ExitCode::from(fatal.code)
}
