//! What of this host would break the promise, and what to do about it.
//!
//! ```text
//!   Facts (units, limits, configuration, what runs) ─▶ findings: severity, setting, value, why, remedy
//! ```
//! Promises: the rules are pure; [`kernel`] and [`probe`] look for facts that nobody else has. What is not known is
//! no finding; a remedy can be pasted into a shell, and its drop-in is read after any other. The worst come first.
//! Must not know: how findings are shown.

mod capacity;
pub mod kernel;
pub mod probe;
mod unit;

use std::time::Duration;

use serde::Serialize;

use crate::config::settings::{Drain, Limits};
use crate::systemd::unit::{Service, Socket};

/// What was seen; `None` or nothing: it could not be.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub drain: Option<Drain>,
    pub limits: Option<Limits>,
    pub service: Option<Service>,
    pub sockets: Vec<Socket>,
    /// net.core.somaxconn
    pub somaxconn: Option<u32>,
    /// The soft limit of open files of the process that runs.
    pub open_files: Option<u64>,
    /// Connections a second, while it ran so far.
    pub rate: Option<f64>,
    pub backlogs: Vec<Backlog>,
    pub kept: Vec<Kept>,
}

/// A listening socket that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backlog {
    pub address: String,
    pub most: u32,
}

/// A connection to an endpoint that was left idle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub service: String,
    pub endpoint: String,
    /// How long the pool would have kept it.
    pub pool: Duration,
    pub end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The endpoint had said that it would close it after this time.
    Announced(Duration),
    /// The endpoint closed it.
    Closed(Duration),
    /// It was still open when the pool would have closed it.
    Outlived,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Requests or connections are lost.
    Breaks,
    /// They are lost under load, or when something else fails too.
    Weakens,
    Note,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// The unit, the endpoint or the file that it is about.
    pub subject: String,
    pub setting: String,
    pub found: String,
    pub why: String,
    /// Lines for a shell.
    pub remedy: String,
}

/// Everything that there is to say.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![];
    if let Some(service) = &facts.service {
        findings.extend(unit::service(service, facts.drain.as_ref()));
    }
    findings.extend(facts.sockets.iter().flat_map(unit::socket));
    findings.extend(capacity::findings(facts));
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// A drop-in for one setting, named so that it is read after every other.
fn drop_in(unit: &str, section: &str, setting: &str, value: &str) -> String {
    let folder = format!("/etc/systemd/system/{unit}.d");
    format!(
        "mkdir -p {folder}\nprintf '[{section}]\\n{setting}={value}\\n' > {folder}/zz-{setting}.conf\n\
         systemctl daemon-reload"
    )
}

fn seconds(time: Duration) -> String {
    let tenths = (time.as_secs_f64() * 10.0).round() / 10.0;
    format!("{tenths}s")
}

#[cfg(test)]
mod tests;
