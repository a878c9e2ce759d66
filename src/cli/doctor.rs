//! `hitless doctor`: what of this host would break the promise, each with the remedy.
//!
//! Promises: changes nothing; says what it could not look at, and why.
//! Must not know: what is right.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::admin::Status;
use crate::config;
use crate::doctor::{self, Facts, Finding, Severity, kernel, probe};
use crate::systemd::unit;

#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    /// Also leave one connection to each endpoint idle, and see who closes it first
    #[arg(long)]
    probe: bool,
    /// The unit to look at
    #[arg(long, value_name = "NAME", default_value = "hitless.service")]
    unit: String,
    #[command(flatten)]
    place: Where,
}

/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Report {
    findings: Vec<Finding>,
    unseen: Vec<Unseen>,
}

/// Something that could not be looked at.
#[derive(Serialize)]
struct Unseen {
    what: String,
    why: String,
    /// Without it there is no answer.
    needed: bool,
}

pub fn doctor(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let (facts, unseen) = look(options, directory);
    let report = Report { findings: doctor::findings(&facts), unseen };
    if options.json {
        let text =
            serde_json::to_string_pretty(&report).map_err(|error| Fatal::new(code::SOFTWARE, error))?;
        print(&text)?;
    } else {
        print(&describe(&report))?;
    }
    let breaks = report.findings.iter().any(|finding| finding.severity == Severity::Breaks);
    match breaks {
        true => Err(Fatal::new(code::REFUSED, "")),
        false if report.unseen.iter().any(|unseen| unseen.needed) => Err(Fatal::new(code::UNSEEN, "")),
        false => Ok(()),
    }
}

fn look(options: &Options, directory: &Path) -> (Facts, Vec<Unseen>) {
    let mut facts = Facts { somaxconn: kernel::somaxconn(), ..Facts::default() };
    let mut unseen = vec![];
    let mut cannot = |what: &str, why: String, needed| unseen.push(Unseen { what: what.into(), why, needed });

    match config::read(directory).and_then(|sources| config::parse(&sources)) {
        Ok(loaded) => {
            facts.drain = Some(loaded.settings.drain.clone());
            facts.limits = Some(loaded.settings.limits.clone());
            if options.probe {
                for kept in probe::endpoints(&loaded.settings.services) {
                    match kept {
                        Ok(kept) => facts.kept.push(kept),
                        Err((name, why)) => cannot(&format!("keep-alive of {name}"), why, false),
                    }
                }
            } else if !loaded.settings.services.is_empty() {
                let why = "it takes a connection to each; --probe makes it".into();
                cannot("keep-alive of the endpoints", why, false);
            }
        }
        Err(errors) => cannot("the configuration", errors.to_string(), true),
    }
    match units(&options.unit) {
        Ok((service, sockets)) => {
            facts.open_files = Some(service.main_pid).filter(|pid| *pid != 0).and_then(kernel::open_files);
            (facts.service, facts.sockets) = (Some(service), sockets);
        }
        Err(why) => cannot(&options.unit, why, true),
    }
    match status(options, directory) {
        Ok(status) => {
            let accepted = status.totals.connections_accepted as f64;
            facts.rate = (status.uptime_seconds > 0.0).then(|| accepted / status.uptime_seconds);
            let ours: BTreeSet<SocketAddr> =
                status.listeners.iter().filter_map(|listener| listener.address.parse().ok()).collect();
            match kernel::listening() {
                Ok(found) => {
                    let found = found.into_iter().filter(|(address, _)| ours.contains(address));
                    facts.backlogs = found.map(|(_, backlog)| backlog).collect();
                }
                Err(error) => cannot("the queues of the listening sockets", error.to_string(), false),
            }
        }
        Err(why) => cannot("the rate of connections, and the queues for them", why, false),
    }
    (facts, unseen)
}

fn units(name: &str) -> Result<(unit::Service, Vec<unit::Socket>), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    runtime.block_on(unit::look(name)).map_err(|error| error.to_string())
}

fn status(options: &Options, directory: &Path) -> Result<Status, String> {
    let answer = client::ask(&options.place, directory, "GET /status", "look at what runs", LIMIT);
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer.body).map_err(|error| error.to_string())
}

fn describe(report: &Report) -> String {
    let mut text = String::new();
    // INVARIANT: writing to a String does not fail.
    for finding in &report.findings {
        let word = match finding.severity {
            Severity::Breaks => "breaks the promise",
            Severity::Weakens => "weakens it",
            Severity::Note => "note",
        };
        let Finding { subject, setting, found, why, remedy, .. } = finding;
        let value =
            if setting.ends_with('=') { format!("{setting}{found}") } else { format!("{setting} = {found}") };
        let _ = writeln!(text, "{word}: {subject}: {value}\n  {why}\n  remedy:");
        for line in remedy.lines() {
            let _ = writeln!(text, "    {line}");
        }
        text.push('\n');
    }
    for Unseen { what, why, .. } in &report.unseen {
        let _ = writeln!(text, "not looked at: {what}: {}", why.trim().replace('\n', "\n  "));
    }
    let breaks = report.findings.iter().filter(|finding| finding.severity == Severity::Breaks).count();
    let needed = report.unseen.iter().any(|unseen| unseen.needed);
    let _ = match (breaks, needed) {
        (0, false) => writeln!(text, "nothing here breaks the promise"),
        (0, true) => writeln!(text, "nothing that was looked at breaks the promise, but not everything was"),
        (1, _) => writeln!(text, "1 setting breaks the promise"),
        (breaks, _) => writeln!(text, "{breaks} settings break the promise"),
    };
    text
}
