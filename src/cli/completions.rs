//! `hitless completions`: what a shell needs to complete a command line.

use clap::Command;
use clap_complete::Shell;

use super::{Fatal, print};

#[derive(Debug, clap::Args)]
pub struct Options {
    shell: Shell,
}

pub fn completions(options: &Options, command: Command) -> Result<(), Fatal> {
    print(&of(options.shell, command))
}

/// The completions of one shell, as its file has them.
pub fn of(shell: Shell, mut command: Command) -> String {
    let mut text = vec![];
    clap_complete::generate(shell, &mut command, "hitless", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
