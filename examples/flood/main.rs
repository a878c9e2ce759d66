//! The floods on the command line: each kind for a while, against a gateway started for it.
//!
//! `make floods`, or `cargo run --example flood -- --only rapid-reset --for 5`. Promises: bounded in time;
//! loopback only; exit 0 when every promise was kept, 1 when one was not, 2 when it could not measure.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

#[allow(dead_code, reason = "the footprint uses more of it")]
mod engine;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use engine::{Bounds, KINDS, Report};

/// As the defaults are, but for times: an offender shall be ended within its flood.
const LIMITS: &str = "keep-alive = \"5s\"; head-time = \"5s\"; content-rate = \"1KiB\"; answer-rate = \"1KiB\"; \
                      [defaults.timeout]; idle = \"5s\"; [tls]; handshake-time = \"5s\"";

/// Floods a gateway in every way that is known, and judges how its other client fared.
#[derive(Parser)]
#[command(name = "flood")]
struct Arguments {
    /// The gateway
    #[arg(long, default_value = "target/release/hitless")]
    binary: PathBuf,
    /// How long each flood lasts, in seconds
    #[arg(long = "for", default_value_t = 20)]
    seconds: u64,
    /// One kind instead of all; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Lines of the gateway's configuration from [limits] on, joined by semicolons
    #[arg(long, default_value = LIMITS)]
    limits: String,
    /// Where the report goes, as JSON
    #[arg(long, default_value = "target/floods.json")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot measure: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<bool> {
    let limits = arguments.limits.replace("; ", "\n");
    let calm = (arguments.seconds * 100).max(100) as usize;
    let time = Duration::from_secs(arguments.seconds);
    let bounds = Bounds { time, units: u64::MAX, returns: true, calm };
    let mut reports = vec![];
    let mut sound = true;
    println!(
        "{:<20}{:>6}{:>7} {:<26}{:>8}{:>9}{:>9}{:>9}{:>9}{:>6}{:>6}{:>6}{:>9}  verdict",
        "flood",
        "conns",
        "ended",
        "how",
        "first",
        "p99",
        "calm",
        "worst",
        "all",
        "steal",
        "busy",
        "fail",
        "growth"
    );
    for kind in
        KINDS.iter().filter(|kind| arguments.only.is_empty() || arguments.only.iter().any(|n| n == kind.name))
    {
        let report = engine::run(kind, &arguments.binary, &limits, bounds)?;
        sound &= print(&report);
        reports.push(report);
    }
    std::fs::write(&arguments.output, serde_json::to_string_pretty(&reports)?)?;
    sound &= judge_latency(&reports);
    println!("{LEGEND}");
    println!(
        "{}",
        KINDS.iter().map(|kind| format!("{}: {}", kind.name, kind.about)).collect::<Vec<_>>().join("\n")
    );
    Ok(sound)
}

const LEGEND: &str = "\
p99, calm   of the calm client's requests: the median, over the seconds of the flood and those before and after it, of each
            second's p99; slow is what is above 3 x calm
worst, all  the p99 of the worst second of the flood, and of all its requests: bursts that the median does not see
steal       what the host of this machine kept of its processors meanwhile
busy        what the gateway had of one processor meanwhile";

/// What the calm client got in a usual second of each flood, against the seconds before and after: a virtual machine has
/// moods, which say nothing of the gateway.
fn judge_latency(reports: &[Report]) -> bool {
    let slow: Vec<&str> =
        reports.iter().filter(|report| report.is_slow()).map(|report| report.kind).collect();
    println!("above 3 x calm: {}", if slow.is_empty() { "none".to_owned() } else { slow.join(", ") });
    slow.is_empty()
}

/// A row of the table, and whether it is sound but for its latency.
fn print(report: &Report) -> bool {
    let faults = report.faults();
    let mut words = faults.clone();
    if report.is_slow() {
        words.push("slow".to_owned());
    }
    let ways: Vec<String> = report.ways.iter().map(|(way, count)| format!("{way} x{count}")).collect();
    let millis = |time: u64| format!("{:.1}ms", time as f64 / 1000.0);
    println!(
        "{:<20}{:>6}{:>7} {:<26}{:>8}{:>9}{:>9}{:>9}{:>9}{:>5}%{:>5}%{:>6}{:>8}K  {}",
        report.kind,
        report.connections,
        report.ended,
        ways.join(", "),
        report.first_end_ms.map_or("-".to_owned(), |time| format!("{time}ms")),
        millis(report.flooded.median_us()),
        millis(report.calm.median_us()),
        millis(report.flooded.worst_us()),
        millis(report.flooded.p99_us),
        report.stolen,
        report.busy,
        report.flooded.failed + report.calm.failed,
        report.growth_kib(),
        if words.is_empty() { "sound".to_owned() } else { words.join("; ") }
    );
    faults.is_empty()
}
