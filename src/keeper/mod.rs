//! The process that systemd knows: owns the sockets, spawns and watches the gateway, reports for it.
//!
//! Promises: the listening sockets stay open as long as this process lives; a gateway that dies is
//! replaced, with the configuration that was accepted last, whatever the files say meanwhile; no
//! zombie is left; a stop ends, at the latest when the gateway is killed. A configuration that is
//! refused at the start, or a first gateway that does not get ready, ends it with the reason; but a restart goes on
//! with what was served before.
//! Must not know: HTTP. Nothing of a request ever passes through here; that keeps it alive.
//!
//! [`decide`] is the pure part, [`sockets`] finds or binds, [`child`] is one gateway process,
//! [`watch`] the loop that ties them together, [`report`] the words for `systemctl status`. [`upgrade`] is another
//! program that takes over, [`trial`] its self-test before, [`reexec`] the keeper's own change to it afterwards; [`stop`]
//! is what becomes of connections when the keeper ends.

mod child;
mod decide;
mod reexec;
mod report;
mod signals;
mod sockets;
mod stop;
mod trial;
mod upgrade;
mod watch;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use decide::Decisions;
use reexec::State;
use report::Report;
use sockets::{CERTIFICATES_NAME, CONFIGURATION_NAME, Sockets};
pub use trial::{Versions, self_test};
use watch::{Household, Keeper};

use crate::config::settings::Settings;
use crate::config::{self, Sources};
use crate::handover::snapshot;
use crate::systemd::activation::{self, Passed};
use crate::systemd::{machine, notify, watchdog};
use crate::telemetry::{event, log};

/// Why the keeper ended other than by having been told to.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// One line per error.
    #[error("{}", .0.join("\n"))]
    Refused(Vec<String>),
    #[error("{}", .0.join("\n"))]
    Unavailable(Vec<String>),
    #[error("cannot start the gateway: {0}")]
    Start(String),
    #[error("cannot drain: the gateway {0}")]
    Drain(String),
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] std::io::Error),
    /// Found by the self-test before, unless the machine is out of something.
    #[error("cannot go on where the keeper before left off: {0}")]
    Resume(String),
    #[error("{0}")]
    Activation(#[from] activation::Error),
}

/// The configuration that was accepted last.
struct Accepted {
    generation: u64,
    settings: Arc<Settings>,
    snapshot: OwnedFd,
}

/// Takes what systemd passed, or what the keeper before left, and serves until told to stop. To be called before any
/// thread is started.
pub fn run(directory: &Path) -> Result<(), Fatal> {
    // Whatever the program's file is called: for ps(1), and `_COMM=` in the journal.
    let _ = rustix::thread::set_name(c"hitless");
    signals::block().map_err(|cause| Fatal::System("watch for signals", cause))?;
    let ended = match reexec::take() {
        Ok(Some(state)) => go_on(state),
        Ok(None) => activation::take().map_err(Fatal::from).and_then(|passed| serve(directory, passed)),
        Err(error) => Err(Fatal::Resume(error.to_string())),
    };
    if let Err(fatal) = &ended {
        notify::failed(&status(fatal), errno(fatal));
    }
    ended
}

fn serve(directory: &Path, passed: Vec<Passed>) -> Result<(), Fatal> {
    raise_descriptor_limit();
    let program = std::env::current_exe().map_err(|cause| Fatal::System("find the program's file", cause))?;
    let Beginning { accepted, sockets, certificates, warnings, refused } = begin(directory, passed)?;
    let log = log::init("keeper", accepted.settings.log.level);
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(message_id = event::STARTED, version = crate::version::text(), "keeper started");
    notify::status("starting");
    let mut report = Report::default();
    if let Some(first) = refused.first() {
        let reasons = refused.join("\n");
        tracing::error!(
            message_id = event::RELOAD_REFUSED,
            "configuration refused, what was served before the restart serves on:\n{reasons}"
        );
        report.refused(first.clone(), refused.len());
    }
    let decisions = Decisions::new(!sockets.stored.is_empty());
    let household = Household {
        directory: directory.to_owned(),
        program,
        pseudonym: pseudonym(),
        sockets,
        accepted,
        certificates,
        watchdog: watchdog::interval(),
        log: log.clone(),
    };
    watch_until_the_end(log, || Ok(Keeper::new(household, decisions, report)))
}

/// What a start serves, and where.
struct Beginning {
    accepted: Accepted,
    sockets: Sockets,
    /// What the gateway before a restart has shown, for files that do not load.
    certificates: Option<OwnedFd>,
    warnings: Vec<String>,
    /// Why it is not what the files say.
    refused: Vec<String>,
}

/// By the files. After a restart that has kept connections there is something better to do about files that are
/// refused than to let the clients wait: what was served before goes on.
fn begin(directory: &Path, mut passed: Vec<Passed>) -> Result<Beginning, Fatal> {
    let kept = stop::take_kept(&mut passed, CONFIGURATION_NAME);
    let certificates = stop::take_kept(&mut passed, CERTIFICATES_NAME);
    let again = kept.is_some().then(|| passed.iter().map(Passed::try_clone).collect::<Result<Vec<_>, _>>());
    let by_files = load(directory).and_then(|(sources, loaded)| {
        let sockets = sockets::gather(&loaded.settings, passed)?;
        let accepted = Accepted { generation: 1, snapshot: seal(&sources)?, settings: loaded.settings };
        Ok((accepted, sockets, loaded.warnings.iter().map(ToString::to_string).collect()))
    });
    let refused = match by_files {
        Ok((accepted, sockets, warnings)) => {
            return Ok(Beginning { accepted, sockets, certificates, warnings, refused: vec![] });
        }
        Err(Fatal::Refused(refused)) => refused,
        Err(fatal) => return Err(fatal),
    };
    let by_kept = kept.zip(again).and_then(|(kept, passed)| {
        let accepted = Accepted::open(1, kept).ok()?;
        let sockets = sockets::gather(&accepted.settings, passed.ok()?).ok()?;
        Some((accepted, sockets))
    });
    let Some((accepted, sockets)) = by_kept else { return Err(Fatal::Refused(refused)) };
    Ok(Beginning { accepted, sockets, certificates, warnings: vec![], refused })
}

/// This is the process of the keeper before, and its children are ours.
fn go_on(state: State) -> Result<(), Fatal> {
    let snapshot = reexec::own(state.snapshot).map_err(|error| Fatal::Resume(error.to_string()))?;
    let accepted = Accepted::open(state.generation, snapshot).map_err(Fatal::Resume)?;
    let log = log::init("keeper", accepted.settings.log.level);
    let version = crate::version::text();
    tracing::info!(version, "the keeper goes on as hitless {version}, with the same gateways");
    let handle = log.clone();
    watch_until_the_end(log, || {
        Keeper::resume(state, accepted, handle).map_err(|error| Fatal::Resume(error.to_string()))
    })
}

fn watch_until_the_end(log: log::Handle, begin: impl FnOnce() -> Result<Keeper, Fatal>) -> Result<(), Fatal> {
    let ended = watch::run(begin);
    // An error is printed by main, once.
    if ended.is_ok() {
        tracing::info!(message_id = event::STOPPED, "stopped");
    }
    log.flush(LAST_LINES);
    ended
}

/// 48 bits of the application's id of this host: enough to tell hosts apart, and the same after a restart. A
/// host without an id gets a name that lasts as long as this keeper.
fn pseudonym() -> String {
    let id = machine::application_id().unwrap_or_else(|| fastrand::u128(..));
    format!("{:012x}", id >> 80)
}

/// A reader of logs that is stuck does not hold up the end for longer.
const LAST_LINES: std::time::Duration = std::time::Duration::from_secs(1);

fn load(directory: &Path) -> Result<(Sources, config::Loaded), Fatal> {
    let refused = |errors: config::Errors| Fatal::Refused(errors.0.iter().map(ToString::to_string).collect());
    let sources = config::read(directory).map_err(refused)?;
    let loaded = config::parse(&sources).map_err(refused)?;
    Ok((sources, loaded))
}

fn seal(sources: &Sources) -> Result<OwnedFd, Fatal> {
    let content = serde_json::to_vec(sources).map_err(std::io::Error::from);
    content
        .and_then(|content| snapshot::seal(&content))
        .map_err(|cause| Fatal::System("seal the configuration", cause))
}

/// Each connection is a descriptor, and most systems give a soft limit of 1024. The gateway
/// inherits the new one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // A refusal leaves the limit as it was, which is no reason not to serve.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Its first line; the others are in the journal.
fn status(fatal: &Fatal) -> String {
    let text = fatal.to_string();
    let first = text.lines().next().unwrap_or_default();
    match fatal {
        Fatal::Refused(_) => format!("cannot start: {first}"),
        _ => first.to_owned(),
    }
}

fn errno(fatal: &Fatal) -> Option<i32> {
    match fatal {
        Fatal::System(_, cause) => cause.raw_os_error(),
        _ => None,
    }
}
