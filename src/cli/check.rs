//! `hitless check`: the same checks and messages as at the start and on a reload.
//!
//! Promises: touches nothing; beside a running daemon, what the daemon could not read is an error
//! for root as well.
//! Must not know: what makes a configuration wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{DIRECTORY, Fatal, client, code, print, rights};
use crate::config::settings::Settings;
use crate::tls::{Around, Directory, Kept};
use crate::{config, tls};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// Print the effective configuration, with where each value comes from
    #[arg(long)]
    show: bool,
    /// Explain a key, such as drain.deadline
    #[arg(long, value_name = "KEY", conflicts_with = "show")]
    explain: Option<String>,
    /// Print the JSON schema of the configuration files
    #[arg(long, conflicts_with_all = ["show", "explain"])]
    schema: bool,
    /// The folder to check, instead of the one of --config
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

pub fn check(options: &Options, directory: &Path) -> Result<(), Fatal> {
    if let Some(key) = &options.explain {
        return explain(key);
    }
    if options.schema {
        return print(&format!("{:#}", config::schema()));
    }
    let directory = options.directory.as_deref().unwrap_or(directory);
    // Any other folder is somebody's draft.
    if directory == Path::new(DIRECTORY)
        && let Ok(admin) = client::connect(directory)
    {
        rights::take_those_behind(&admin)
            .map_err(|error| Fatal::new(code::IO, format_args!("cannot check as the daemon: {error}")))?;
    }
    let refused = |errors: config::Errors| Fatal::new(code::CONFIG, errors);
    let loaded = config::read(directory).and_then(|sources| config::parse(&sources)).map_err(refused)?;
    let (_, wrong) = tls::outward(&loaded.settings);
    if !wrong.is_empty() {
        return Err(Fatal::new(code::CONFIG, wrong.join("\n")));
    }
    if options.show {
        return print(&config::show(&loaded));
    }
    let mut warnings: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    warnings.extend(of_certificates(&loaded.settings).map_err(|faults| Fatal::new(code::CONFIG, faults))?);
    print(&accepted(&loaded, &warnings))
}

/// What there is to say about certificates, or why they cannot be used. What this user may not look at is no fault.
fn of_certificates(settings: &Settings) -> Result<Vec<String>, String> {
    let around =
        Around { before: None, kept: &Kept::default(), tickets: &Arc::default(), now: SystemTime::now() };
    let faults = match Directory::load(settings, &around) {
        Ok((_, warnings)) => return Ok(warnings),
        Err(faults) => faults,
    };
    let (hidden, found): (Vec<_>, Vec<_>) = faults.into_iter().partition(|fault| fault.no_right);
    if found.is_empty() {
        return Ok(hidden.iter().map(|fault| format!("not checked: {fault}")).collect());
    }
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    Err(lines.join("\n"))
}

fn explain(key: &str) -> Result<(), Fatal> {
    match config::explain(key) {
        Ok(text) => print(&text),
        Err(unknown) => Err(Fatal::new(code::USAGE, format_args!("cannot explain: {unknown}"))),
    }
}

fn accepted(loaded: &config::Loaded, warnings: &[String]) -> String {
    let mut text: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
    let services = &loaded.settings.services;
    let routes: usize = services.iter().map(|service| service.routes.len()).sum();
    let plural = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    text.push_str(&format!(
        "configuration accepted: {}, {}",
        plural(services.len(), "service"),
        plural(routes, "route")
    ));
    text
}
