//! Our own unit, or one by its name, as systemd sees it (org.freedesktop.systemd1(5)).
//!
//! Promises: bounded in time; without systemd, without a bus, or in a scope instead of a service
//! there is no answer and no noise. Units are only read, which needs no privilege.
//! Must not know: what the answers are used for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::watch::State;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

/// `self` is resolved by systemd to the unit of the caller.
const OWN_UNIT: &str = "/org/freedesktop/systemd1/unit/self";
pub(super) const MANAGER: &str = "/org/freedesktop/systemd1";
pub(super) const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the unit is being started or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Start,
    Stop,
    Restart,
    Other,
}

/// What a service unit says, its drop-ins included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub name: String,
    pub active: bool,
    /// Files on disk are newer than what systemd has read.
    pub outdated: bool,
    /// 0: none.
    pub main_pid: u32,
    pub kind: String,
    pub notify_access: String,
    pub restart: String,
    pub kill_mode: String,
    pub send_sigkill: bool,
    /// `None`: for ever.
    pub timeout_stop: Option<Duration>,
    pub watchdog: Option<Duration>,
    pub store: u32,
    pub open_files: u64,
    /// Zero: no limit.
    pub start_limit: Duration,
    /// Lines of the log in this time; `None`: journald's own limit.
    pub log_rate: Option<(u32, Duration)>,
}

/// What a socket unit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    pub name: String,
    pub active: bool,
    pub backlog: u32,
    /// Zero: no limit.
    pub trigger_limit: Duration,
    pub flush_pending: bool,
}

/// Why a unit could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Unseen {
    #[error("no systemd runs here")]
    NoSystemd,
    #[error("cannot ask systemd over D-Bus: {0}")]
    Bus(String),
    #[error("systemd does not know the unit")]
    Unknown,
}

/// A service and the sockets that trigger it.
pub async fn look(name: &str) -> Result<(Service, Vec<Socket>), Unseen> {
    // sd_booted(3)
    if !std::path::Path::new("/run/systemd/system").is_dir() {
        return Err(Unseen::NoSystemd);
    }
    let answer = async {
        let bus = Connection::system().await.map_err(|error| Unseen::Bus(error.to_string()))?;
        let unit = properties(&bus, name, "Unit").await?;
        if unit.text("LoadState") != "loaded" {
            return Err(Unseen::Unknown);
        }
        let service = service(name, &unit, &properties(&bus, name, "Service").await?);
        let mut sockets = vec![];
        for name in unit.list("TriggeredBy").into_iter().filter(|name| name.ends_with(".socket")) {
            let unit = properties(&bus, &name, "Unit").await?;
            sockets.push(socket(&name, &unit, &properties(&bus, &name, "Socket").await?));
        }
        Ok((service, sockets))
    };
    let late = |_| Unseen::Bus(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

fn service(name: &str, unit: &Properties, service: &Properties) -> Service {
    let burst = service.number("LogRateLimitBurst");
    let interval = service.time("LogRateLimitIntervalUSec").unwrap_or_default();
    Service {
        name: name.into(),
        active: !matches!(unit.text("ActiveState").as_str(), "inactive" | "failed"),
        outdated: unit.is("NeedDaemonReload"),
        main_pid: service.number("MainPID"),
        kind: service.text("Type"),
        notify_access: service.text("NotifyAccess"),
        restart: service.text("Restart"),
        kill_mode: service.text("KillMode"),
        send_sigkill: service.is("SendSIGKILL"),
        timeout_stop: service.time("TimeoutStopUSec"),
        watchdog: service.time("WatchdogUSec").filter(|time| !time.is_zero()),
        store: service.number("FileDescriptorStoreMax"),
        open_files: service.value("LimitNOFILESoft").unwrap_or_default(),
        start_limit: unit.time("StartLimitIntervalUSec").unwrap_or_default(),
        log_rate: (burst > 0 && !interval.is_zero()).then_some((burst, interval)),
    }
}

fn socket(name: &str, unit: &Properties, socket: &Properties) -> Socket {
    Socket {
        name: name.into(),
        active: !matches!(unit.text("ActiveState").as_str(), "inactive" | "failed"),
        backlog: socket.number("Backlog"),
        trigger_limit: socket.time("TriggerLimitIntervalUSec").unwrap_or_default(),
        flush_pending: socket.is("FlushPending"),
    }
}

/// Of one interface of a unit. One that this systemd does not know counts as off, zero or empty.
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    fn value<T: TryFrom<OwnedVariant>>(&self, name: &str) -> Option<T> {
        T::try_from(self.0.get(name)?.clone()).ok()
    }

    fn text(&self, name: &str) -> String {
        self.value(name).unwrap_or_default()
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.value(name).unwrap_or_default()
    }

    fn is(&self, name: &str) -> bool {
        self.value(name).unwrap_or_default()
    }

    fn number(&self, name: &str) -> u32 {
        self.value(name).unwrap_or_default()
    }

    /// `None` for infinity.
    fn time(&self, name: &str) -> Option<Duration> {
        let micros = self.value::<u64>(name).unwrap_or_default();
        (micros != u64::MAX).then(|| Duration::from_micros(micros))
    }
}

async fn properties(bus: &Connection, unit: &str, interface: &str) -> Result<Properties, Unseen> {
    let interface = format!("{SYSTEMD}.{interface}");
    let all = "org.freedesktop.DBus.Properties";
    let path = unit_path(unit);
    let reply = bus
        .call_method(Some(SYSTEMD), path.as_str(), Some(all), "GetAll", &interface.as_str())
        .await
        .map_err(|error| Unseen::Bus(error.to_string()))?;
    reply.body().deserialize().map(Properties).map_err(|error| Unseen::Bus(error.to_string()))
}

/// What it does, and is about to do.
pub(super) async fn state(bus: &Connection, name: &str) -> zbus::Result<State> {
    let unit = match properties(bus, name, "Unit").await {
        Ok(unit) => unit,
        Err(Unseen::Bus(told)) => return Err(zbus::Error::Failure(told)),
        Err(_) => return Ok(State::Missing),
    };
    let queued = unit.value::<(u32, OwnedObjectPath)>("Job").is_some_and(|(id, _)| id != 0);
    let job = if queued { job_of(bus, &unit_path(name)).await } else { None };
    Ok(State::of(&unit.text("LoadState"), &unit.text("ActiveState"), job))
}

/// What its unit says about a stop: its type, and the commands of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stops {
    pub loaded: bool,
    pub kind: String,
    pub timeout: Option<Duration>,
    /// Its file and its drop-ins, in their order.
    pub files: Vec<PathBuf>,
}

/// Of a unit by its name.
pub async fn stops(name: &str) -> Result<Stops, Unseen> {
    let answer = async {
        let bus = Connection::system().await.map_err(|error| Unseen::Bus(error.to_string()))?;
        let unit = properties(&bus, name, "Unit").await?;
        let service = properties(&bus, name, "Service").await?;
        let loaded = unit.text("LoadState") == "loaded";
        let file = std::iter::once(unit.text("FragmentPath")).filter(|path| !path.is_empty());
        let files = file.chain(unit.list("DropInPaths")).map(PathBuf::from).collect();
        Ok(Stops { loaded, kind: service.text("Type"), timeout: service.time("TimeoutStopUSec"), files })
    };
    let late = |_| Unseen::Bus(format!("no answer within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, answer).await.map_err(late)?
}

/// The unit's `TimeoutStopSec=`; `None` when unknown or infinite.
pub async fn timeout_stop() -> Option<Duration> {
    let answer = ask(async |bus| property::<u64>(bus, OWN_UNIT, "Service", "TimeoutStopUSec").await).await?;
    // systemd's word for infinity.
    (answer != u64::MAX).then(|| Duration::from_micros(answer))
}

/// The job that is queued for the unit, if any: tells a restart from a stop.
async fn job_of(bus: &Connection, unit: &str) -> Option<Job> {
    let (id, path) = property::<(u32, OwnedObjectPath)>(bus, unit, "Unit", "Job").await?;
    if id == 0 {
        return None;
    }
    let kind = property::<String>(bus, path.as_str(), "Job", "JobType").await?;
    Some(match kind.as_str() {
        "start" => Job::Start,
        "stop" => Job::Stop,
        "restart" | "try-restart" => Job::Restart,
        _ => Job::Other,
    })
}

/// How a unit that was told to end does so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub job: Job,
    /// How many descriptors systemd keeps for it (`FileDescriptorStoreMax=`).
    pub store: u32,
    /// `KillMode=`: who is signalled, and who may stay when the main process has ended.
    pub kill_mode: String,
    /// See [`sockets_are_closing`].
    pub closes_sockets: bool,
}

/// All of it over one connection: newcomers wait for the answer.
pub async fn ending() -> Option<Ending> {
    ask(async |bus| {
        let job = job_of(bus, OWN_UNIT).await?;
        let store = property::<u32>(bus, OWN_UNIT, "Service", "FileDescriptorStoreMax").await?;
        let kill_mode = property::<String>(bus, OWN_UNIT, "Service", "KillMode").await?;
        let closes_sockets = closes_sockets(bus).await.unwrap_or(false);
        Some(Ending { job, store, kill_mode, closes_sockets })
    })
    .await
}

/// Whether the sockets that systemd passed to this unit are about to be closed: each active socket
/// unit that triggers it has a job that will close it, or the whole system goes down. A restart or a
/// stop of the service alone closes none.
pub async fn sockets_are_closing() -> bool {
    ask(async |bus| closes_sockets(bus).await).await.unwrap_or(false)
}

async fn closes_sockets(bus: &Connection) -> Option<bool> {
    if property::<String>(bus, MANAGER, "Manager", "SystemState").await? == "stopping" {
        return Some(true);
    }
    let mut closing = None;
    for name in property::<Vec<String>>(bus, OWN_UNIT, "Unit", "TriggeredBy").await? {
        if name.ends_with(".socket") && is_active(bus, &name).await? {
            let kind = job_of(bus, unit_path(&name).as_str()).await;
            // A restart closes them too, and whatever waits in their queues is lost.
            let closes = matches!(kind, Some(Job::Stop | Job::Restart));
            closing = Some(closing.unwrap_or(true) && closes);
        }
    }
    closing
}

async fn is_active(bus: &Connection, name: &str) -> Option<bool> {
    let state = property::<String>(bus, unit_path(name).as_str(), "Unit", "ActiveState").await?;
    Some(!matches!(state.as_str(), "inactive" | "failed"))
}

/// Where a loaded unit is on the bus: every byte that is not a letter or a digit as `_xx`, also a
/// digit at the start.
pub(super) fn unit_path(name: &str) -> String {
    let mut path = format!("{MANAGER}/unit/");
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

/// Only a service manager that gave us a notify socket knows us as a service.
async fn ask<T>(question: impl AsyncFnOnce(&Connection) -> Option<T>) -> Option<T> {
    if !super::notify::wanted() {
        return None;
    }
    let answer = async {
        let bus = Connection::system().await.ok()?;
        question(&bus).await
    };
    tokio::time::timeout(PATIENCE, answer).await.ok()?
}

async fn property<T>(bus: &Connection, path: &str, interface: &str, name: &str) -> Option<T>
where
    T: TryFrom<OwnedVariant>,
{
    let interface = format!("{SYSTEMD}.{interface}");
    let reply = bus
        .call_method(
            Some(SYSTEMD),
            path,
            Some("org.freedesktop.DBus.Properties"),
            "Get",
            &(interface.as_str(), name),
        )
        .await
        .ok()?;
    let value: OwnedVariant = reply.body().deserialize().ok()?;
    T::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_units_path_is_escaped_as_systemd_does_it() {
        assert_eq!(unit_path("hitless.socket"), "/org/freedesktop/systemd1/unit/hitless_2esocket");
        assert_eq!(unit_path("1-a@b.socket"), "/org/freedesktop/systemd1/unit/_31_2da_40b_2esocket");
    }
}
