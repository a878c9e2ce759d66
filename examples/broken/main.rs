//! A build of hitless that is broken, as the file says that lies beside it: what `upgrade-broken` installs.
//!
//! `hitless.fault` in /run names the verb that fails: `self-test`, or `gateway`, which every serving process begins with.
//! Everything else is the program itself, so that what refuses it is the one that runs.
//! Promises: fails with a sentence on standard error and a code of its own; never by what it does elsewhere.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

use std::process::ExitCode;

const FAULT: &str = "/run/hitless.fault";

fn main() -> ExitCode {
    let fault = std::fs::read_to_string(FAULT).unwrap_or_default();
    if std::env::args().any(|word| word == fault.trim()) {
        eprintln!("this build is broken: its '{}' does not work", fault.trim());
        return ExitCode::from(70);
    }
    match hitless::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            eprintln!("{}", fatal.message);
            ExitCode::from(fatal.code)
        }
    }
}
