//! The demonstration: the built package on a booted Debian, under load, through every kind of change.
//!
//! `make demo`, or `cargo run --example demo -- --deb hitless.deb --debian 13` as root. Builds nothing.
//! Promises: prints what it does while it does it, then a table and a verdict per promise; writes the rows
//! to `target/demo.json` as they come; exits 0 only when every promise was kept, 1 when one was not, 2 when
//! it could not try.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

mod events;
mod promises;
mod rows;
mod secure;
mod soak;
mod stage;
mod watch;

#[allow(clippy::duplicate_mod, reason = "one library for the systemd tests and the demo")]
#[path = "../../tests/lab/mod.rs"]
mod lab;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use lab::Release;
use rows::Row;
use stage::Props;

/// Shows on a throw-away Debian what clients notice of reloads, restarts and crashes of hitless.
#[derive(Parser)]
#[command(name = "demo")]
struct Arguments {
    /// The package to install; the newest in target/deb when not named
    #[arg(long)]
    deb: Option<PathBuf>,
    /// The binary of the sample application; the one built beside this program when not named
    #[arg(long)]
    sample: Option<PathBuf>,
    /// The package of a newer version; the newest in target/deb/newer when not named
    #[arg(long)]
    newer: Option<PathBuf>,
    /// The broken program; the one built beside this program when not named
    #[arg(long)]
    broken: Option<PathBuf>,
    /// Instead of the events: so many random transitions in one host
    #[arg(long, value_name = "COUNT")]
    soak: Option<u32>,
    /// The order of the random transitions
    #[arg(long)]
    seed: Option<u64>,
    /// The longest that they may take, in minutes
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Debian releases to boot: 12, 13
    #[arg(long = "debian", value_delimiter = ',', default_values_t = [12, 13])]
    debian: Vec<u32>,
    /// Only these events, such as reload, tls or tunnels-4000
    #[arg(long = "event", value_delimiter = ',')]
    events: Vec<String>,
    /// Seconds of load before each event
    #[arg(long, default_value_t = 2.5)]
    before: f64,
    /// Seconds of load after each event
    #[arg(long, default_value_t = 4.0)]
    after: f64,
    /// Where the rows go
    #[arg(long, default_value = "target/demo.json")]
    json: PathBuf,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot run the demo: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<bool> {
    let props = Props {
        package: arguments.deb.clone().unwrap_or_else(lab::package),
        sample: arguments.sample.clone().unwrap_or_else(|| lab::example("sample")),
        newer: arguments.newer.clone().or_else(newer),
        broken: arguments.broken.clone().or_else(|| beside("broken")),
    };
    if let Some(count) = arguments.soak {
        let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
        return run_soak(&arguments, &props, count, seed);
    }
    let events = events::named(&arguments.events)?;
    let pauses = events::Pauses {
        before: Duration::try_from_secs_f64(arguments.before)?,
        after: Duration::try_from_secs_f64(arguments.after)?,
    };
    println!("{}", rows::OPENING);
    let mut rows: Vec<Row> = Vec::new();
    rows::write(&arguments.json, &rows)?;
    let mut skipped = Vec::new();
    for debian in arguments.debian {
        let release = release(debian)?;
        if let Some(reason) = lab::unavailable(release) {
            println!("Debian {debian}: skipped: {reason}\n");
            skipped.push(reason);
            continue;
        }
        let stage = stage::Stage::set(release, debian, &props)?;
        for event in &events {
            let row = events::perform(event, &stage, pauses, &rows)?;
            rows.push(row);
            rows::write(&arguments.json, &rows)?;
        }
        println!();
    }
    if rows.is_empty() {
        anyhow::bail!(
            "no host can be booted here: {}; run `make demo` as root or with sudo",
            skipped.join("; ")
        );
    }
    println!("{}", rows::table(&rows));
    let (text, kept) = promises::verdicts(&rows);
    println!("{text}\nThe rows are in {}.", arguments.json.display());
    Ok(kept)
}

fn run_soak(arguments: &Arguments, props: &Props, count: u32, seed: u64) -> anyhow::Result<bool> {
    let debian = arguments.debian.last().copied().unwrap_or(13);
    let release = release(debian)?;
    if let Some(reason) = lab::unavailable(release) {
        anyhow::bail!("no host can be booted here: {reason}; run `make soak` as root or with sudo");
    }
    let stage = stage::Stage::set(release, debian, props)?;
    soak::soak(&stage, count, seed, Duration::from_secs(60) * u32::try_from(arguments.minutes)?)
}

/// What `packaging/deb +SUFFIX` left.
fn newer() -> Option<PathBuf> {
    let folder = std::fs::read_dir(lab::tree().join("target/deb/newer")).ok()?;
    let files = folder.flatten().map(|entry| entry.path());
    let packages = files.filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("hitless_") && name.ends_with(".deb")
    });
    packages.max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
}

/// An example that is built, or nothing: only one event needs it.
fn beside(example: &str) -> Option<PathBuf> {
    let path = std::env::current_exe().ok()?.with_file_name(example);
    path.exists().then_some(path)
}

fn release(debian: u32) -> anyhow::Result<Release> {
    match debian {
        12 => Ok(Release::Bookworm),
        13 => Ok(Release::Trixie),
        other => anyhow::bail!("no test host for Debian {other}; there are 12 and 13"),
    }
}
