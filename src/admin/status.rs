//! What the admin socket tells, in the shape in which it is told.
//!
//! Promises: fields are only ever added; a reader of this version understands an older and a newer
//! gateway, with defaults for what is missing.
//! Must not know: where the values come from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::telemetry::counters::Totals;

/// `GET /status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: String,
    /// `starting`, `serving`, `reloading`, `lame-duck`, `draining`.
    pub phase: String,
    pub ready: bool,
    /// Why it is not ready.
    pub not_ready: Vec<String>,
    /// Number of the configuration that is served; 1 is the one from the start.
    pub generation: u64,
    /// Of the gateway process.
    pub pid: u32,
    pub keeper_pid: u32,
    /// Of this gateway process.
    pub uptime_seconds: f64,
    /// Gateways that died before this one.
    pub replacements: u64,
    /// The program's file is another one by now: a reload upgrades first.
    pub program_replaced: bool,
    pub threads: usize,
    /// The folder of the configuration.
    pub configuration: PathBuf,
    pub listeners: Vec<Listener>,
    pub services: Vec<Service>,
    pub certificates: Vec<Certificate>,
    pub last_reload: Option<Reload>,
    pub totals: Totals,
    /// Requests of which nobody knows what became; 0 or there is a bug.
    pub residue: i64,
    pub dropped_log_lines: u64,
}

/// A public socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    pub name: String,
    pub address: String,
    /// `systemd` or `configuration`.
    pub from: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    pub name: String,
    pub hosts: Vec<String>,
    pub endpoints: Vec<String>,
    pub protocol: String,
    pub routes: usize,
    /// How each endpoint is; more than `endpoints` where a name has several addresses.
    pub states: Vec<Endpoint>,
    /// Of the service as a whole: `closed`, `open`, `half-open`.
    pub breaker: String,
    /// What is left of the budget of retries.
    pub retries_left: u64,
    pub held: Held,
    pub unit: Option<Unit>,
    /// `None`: its requests are not limited.
    pub concurrency: Option<Concurrency>,
    /// What goes wrong on purpose, in words.
    pub fault: Option<String>,
}

/// How many requests of a service are under way.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Concurrency {
    /// With `adaptive` the one of this moment.
    pub limit: u32,
    pub inside: u32,
    pub waiting: u32,
}

/// An endpoint of a service, as all data threads know it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Endpoint {
    pub endpoint: String,
    /// `unknown`, `healthy`, `unhealthy`, `draining`, `held`.
    pub state: String,
    /// `closed`, `open`, `half-open`.
    pub breaker: String,
    /// An operator holds the breaker as it is.
    pub by_hand: bool,
    pub weight: u32,
    pub in_flight: usize,
    /// How often its health has changed.
    pub changes: u64,
    /// How often its breaker has opened.
    pub opened: u64,
}

/// Requests that wait for their application.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Held {
    pub now: u64,
    /// Of content that is kept for them.
    pub bytes: u64,
    pub oldest_ms: u64,
    /// Why.
    pub reasons: Vec<String>,
    /// Since the gateway began.
    pub total: u64,
    pub released: u64,
    /// Waited too long, or were too many.
    pub shed: u64,
}

/// The systemd unit of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Unit {
    pub name: String,
    /// `running`, `starting`, `stopping`, `stopped`, `unknown`.
    pub state: String,
}

/// A certificate that is shown to clients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// The file of its chain.
    pub chain: String,
    pub names: Vec<String>,
    /// RFC 3339.
    pub not_after: String,
    /// Below 0 when it has expired.
    pub days_left: i64,
    /// Why what is in its files now is not what is shown.
    pub fault: Option<String>,
}

/// The reload that was last asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reload {
    /// RFC 3339.
    pub at: String,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// `POST /reload`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    pub accepted: bool,
    /// The generation that serves now.
    pub generation: u64,
    /// Why it was refused, or warnings.
    pub messages: Vec<String>,
    /// The files were not looked at, and nothing was logged: the gateway is on its way out.
    pub stopping: bool,
}
