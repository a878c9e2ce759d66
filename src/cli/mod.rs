//! The verbs of the command line, one file each.
//!
//! Promises: one table of verbs and options ([`Arguments`]) gives the parser, `--help`, the man page
//! and the completions; what a verb found goes to stdout, what stopped it is returned, to be
//! printed by `main` and nowhere else. Exit codes are those of sysexits(3), see [`code`];
//! `prove` has codes of its own.
//! Must not know: how anything is done.

mod attach;
mod breaker;
mod check;
mod client;
mod completions;
mod doctor;
mod fault;
mod gate;
mod generate;
mod ledger;
mod polkit;
mod prove;
mod reload;
mod restart;
mod rights;
mod run;
mod status;
mod upgrade;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

/// Where the configuration is, when nothing else is said.
const DIRECTORY: &str = "/etc/hitless";
/// The environment variable that says something else.
const DIRECTORY_VARIABLE: &str = "HITLESS_CONFIG";

/// The end of a verb that could not be done.
#[derive(Debug)]
pub struct Fatal {
    pub code: u8,
    /// For the user; empty when it was said already.
    pub message: String,
}

impl Fatal {
    fn new(code: u8, message: impl std::fmt::Display) -> Fatal {
        Fatal { code, message: message.to_string() }
    }
}

/// Exit codes: sysexits(3), 1 for "done, and the answer is no", and 2 for "not known".
pub mod code {
    pub const REFUSED: u8 = 1;
    /// There is no answer, because something could not be looked at.
    pub const UNSEEN: u8 = 2;
    pub const USAGE: u8 = 64;
    pub const UNAVAILABLE: u8 = 69;
    pub const SOFTWARE: u8 = 70;
    pub const IO: u8 = 74;
    /// The versions cannot speak with each other; a restart can.
    pub const PROTOCOL: u8 = 76;
    pub const CONFIG: u8 = 78;
}

/// Passes HTTP on to applications, and loses no request while things change.
#[derive(Debug, Parser)]
#[command(name = "hitless", version = crate::version::text(), disable_help_subcommand = true, max_term_width = 100)]
pub struct Arguments {
    /// The folder with hitless.toml and services.d [default: $HITLESS_CONFIG, or /etc/hitless]
    #[arg(long, value_name = "DIR", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Serve, until told to stop; started by systemd, or by hand in a terminal
    Run,
    /// Serve for the keeper that started this process
    #[command(hide = true)]
    Gateway,
    /// Say whether this program could take over from one that runs
    #[command(hide = true)]
    SelfTest,
    /// Load the configuration again, and say whether it was accepted; first upgrade, if the program was replaced
    Reload(client::Where),
    /// Let the program on disk take over, with every connection that can move
    Upgrade(client::Where),
    /// Say what is served and how it goes
    Status(status::Options),
    /// Say what became of every request, and whether any is unaccounted for
    Ledger(ledger::Options),
    /// Set the breaker of a service, or of one of its endpoints, by hand
    Breaker(breaker::Options),
    /// Let the requests of a service wait, until they are released
    Hold(gate::Options),
    /// Let the requests of a service go on, also after a drain
    Release(gate::Options),
    /// Send no more requests to a service, or to one endpoint, and wait until none is in flight
    Drain(gate::Drain),
    /// Say that what was drained has started again
    #[command(hide = true)]
    Started(gate::Drain),
    /// Restart the unit of a service: requests wait meanwhile
    Restart(restart::Options),
    /// Have systemd drain an application through hitless before it stops it
    Attach(attach::Attach),
    /// Undo attach
    Detach(attach::Detach),
    /// Print the polkit rule that idle-stop needs
    Polkit,
    /// Delay or fail some requests of a service on purpose, for a while
    Fault(fault::Options),
    /// Check a configuration without touching what is running
    Check(check::Options),
    /// Change what is running, under load, and say what clients noticed
    Prove(prove::Options),
    /// Say what of this host would break the promise, and what to do about it
    Doctor(doctor::Options),
    /// Print the completions of a shell
    Completions(completions::Options),
    /// Write man pages, completions and the example configuration into a folder
    #[command(hide = true)]
    Generate(generate::Options),
}

impl Arguments {
    fn directory(&self) -> PathBuf {
        let told = self.config.clone().or_else(|| env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from));
        told.unwrap_or_else(|| PathBuf::from(DIRECTORY))
    }
}

/// Does what the arguments say.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Fatal> {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => {
            return Err(Fatal::new(code::USAGE, error.render().ansi_or_plain(&std::io::stderr())));
        }
        // --help and --version.
        Err(help) => return print(&help.render().ansi_or_plain(&std::io::stdout())),
    };
    let directory = arguments.directory();
    match arguments.verb {
        Verb::Run => run::run(&directory),
        Verb::Gateway => run::gateway(),
        Verb::SelfTest => run::self_test(),
        Verb::Upgrade(place) => upgrade::upgrade(&place, &directory),
        Verb::Reload(place) => reload::reload(&place, &directory),
        Verb::Status(options) => status::status(&options, &directory),
        Verb::Ledger(options) => ledger::ledger(&options, &directory),
        Verb::Breaker(options) => breaker::breaker(&options, &directory),
        Verb::Hold(options) => gate::hold(&options, &directory),
        Verb::Release(options) => gate::release(&options, &directory),
        Verb::Drain(options) => gate::drain(&options, &directory),
        Verb::Started(options) => gate::started(&options, &directory),
        Verb::Restart(options) => restart::restart(&options, &directory),
        Verb::Attach(options) => attach::attach(&options, arguments.config.as_deref()),
        Verb::Detach(options) => attach::detach(&options),
        Verb::Polkit => polkit::polkit(&directory),
        Verb::Fault(options) => fault::fault(&options, &directory),
        Verb::Check(options) => check::check(&options, &directory),
        Verb::Prove(options) => prove::prove(&options, &directory),
        Verb::Doctor(options) => doctor::doctor(&options, &directory),
        Verb::Completions(options) => completions::completions(&options, Arguments::command()),
        Verb::Generate(options) => generate::generate(&options, Arguments::command()),
    }
}

/// Rendered for the terminal, or file, that it goes to.
trait Rendered {
    fn ansi_or_plain(&self, to: &impl std::io::IsTerminal) -> String;
}

impl Rendered for clap::builder::StyledStr {
    fn ansi_or_plain(&self, to: &impl std::io::IsTerminal) -> String {
        let plain = !to.is_terminal() || env::var_os("NO_COLOR").is_some();
        if plain { self.to_string() } else { self.ansi().to_string() }
    }
}

/// As `ExecReload=` this writes to the journal of the unit, where the daemon has just written the same.
fn is_told_already() -> bool {
    env::var_os("MAINPID").is_some() && crate::telemetry::stderr_is_journal()
}

/// To stdout. A reader that has seen enough (`| head`) is no error.
fn print(text: &str) -> Result<(), Fatal> {
    use std::io::{ErrorKind, Write};
    let mut out = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Fatal::new(code::IO, format_args!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(arguments: &[&str]) -> Fatal {
        run(arguments.iter().map(OsString::from)).unwrap_err()
    }

    #[test]
    fn the_table_of_verbs_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_wrong_command_line_is_a_usage_error() {
        assert_eq!(refused(&["hitless", "relaod"]).code, code::USAGE);
        assert!(refused(&["hitless", "relaod"]).message.contains("'reload'"));
        assert_eq!(refused(&["hitless"]).code, code::USAGE);
    }

    #[test]
    fn a_gateway_cannot_be_started_by_hand() {
        let fatal = refused(&["hitless", "gateway"]);
        assert_eq!(fatal.code, code::USAGE);
        assert_eq!(fatal.message, "cannot run by itself: it is started by 'hitless run'");
    }
}
