//! Our own unit, as systemd sees it (org.freedesktop.systemd1(5)).
//!
//! Promises: bounded in time; without systemd, without a bus, or in a scope instead of a service
//! there is no answer and no noise.
//! Must not know: what the answers are used for.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, OwnedVariant};

/// `self` is resolved by systemd to the unit of the caller.
const OWN_UNIT: &str = "/org/freedesktop/systemd1/unit/self";
const SYSTEMD: &str = "org.freedesktop.systemd1";
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the unit is being started or stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Start,
    Stop,
    Restart,
    Other,
}

/// The unit's `TimeoutStopSec=`; `None` when unknown or infinite.
pub async fn timeout_stop() -> Option<Duration> {
    let answer = ask(async |bus| property::<u64>(bus, OWN_UNIT, "Service", "TimeoutStopUSec").await).await?;
    // systemd's word for infinity.
    (answer != u64::MAX).then(|| Duration::from_micros(answer))
}

/// The job that is queued for the unit, if any: tells a restart from a stop.
pub async fn job() -> Option<Job> {
    ask(async |bus| {
        let (id, path) = property::<(u32, OwnedObjectPath)>(bus, OWN_UNIT, "Unit", "Job").await?;
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
    })
    .await
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
