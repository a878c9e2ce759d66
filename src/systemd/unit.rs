//! Our own unit, as systemd sees it (org.freedesktop.systemd1(5)).
//!
//! Promises: bounded in time; without systemd, without a bus, or in a scope instead of a service
//! there is no answer and no noise. Units are only read, which needs no privilege.
//! Must not know: what the answers are used for.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, OwnedVariant};

/// `self` is resolved by systemd to the unit of the caller.
const OWN_UNIT: &str = "/org/freedesktop/systemd1/unit/self";
const MANAGER: &str = "/org/freedesktop/systemd1";
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
    ask(async |bus| job_of(bus, OWN_UNIT).await).await
}

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

/// How many descriptors systemd keeps for the unit (`FileDescriptorStoreMax=`).
pub async fn store_size() -> Option<u32> {
    ask(async |bus| property::<u32>(bus, OWN_UNIT, "Service", "FileDescriptorStoreMax").await).await
}

/// Whether the sockets that systemd passed to this unit are about to be closed: each active socket
/// unit that triggers it has a job that will close it, or the whole system goes down. A restart or a
/// stop of the service alone closes none.
pub async fn sockets_are_closing() -> bool {
    ask(async |bus| {
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
    })
    .await
    .unwrap_or(false)
}

async fn is_active(bus: &Connection, name: &str) -> Option<bool> {
    let state = property::<String>(bus, unit_path(name).as_str(), "Unit", "ActiveState").await?;
    Some(!matches!(state.as_str(), "inactive" | "failed"))
}

/// Where a loaded unit is on the bus: every byte that is not a letter or a digit as `_xx`, also a
/// digit at the start.
fn unit_path(name: &str) -> String {
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
