//! Orders to systemd: a unit is to start, stop or restart, and what became of that.
//!
//! Promises: an order that is waited for is over when its job is. Who may give it is decided by systemd and polkit; a
//! refusal is told apart from a failure.
//! Must not know: why.

use futures_util::StreamExt;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath, message};

use super::unit;

const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Start,
    Stop,
    Restart,
    /// The unit files of all are read again.
    Reload,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    #[error("not allowed: {0}")]
    Denied(String),
    #[error("{0}")]
    Bus(String),
    /// The job's own word, such as `failed` or `timeout`.
    #[error("its job ended as '{0}'; see systemctl status")]
    Failed(String),
}

impl From<zbus::Error> for Undone {
    fn from(error: zbus::Error) -> Undone {
        // Errors that every bus knows come as another kind than those of systemd and polkit; both begin with their name.
        let text = error.to_string();
        let denied = ["AccessDenied", "InteractiveAuthorizationRequired"];
        match denied.iter().any(|denied| text.contains(denied)) {
            true => Undone::Denied(text),
            false => Undone::Bus(text),
        }
    }
}

/// Gives the order and waits for the end of its job.
pub async fn done(order: Order, name: &str) -> Result<(), Undone> {
    let bus = Connection::system().await?;
    if order == Order::Reload {
        bus.call_method(Some(unit::SYSTEMD), unit::MANAGER, Some(MANAGER_INTERFACE), "Reload", &()).await?;
        return Ok(());
    }
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(unit::SYSTEMD)
        .path(unit::MANAGER)
        .interface(MANAGER_INTERFACE)
        .member("JobRemoved")
        .build()?;
    let mut removed = MessageStream::for_match_rule(rule, &bus, None).await?;
    bus.call_method(Some(unit::SYSTEMD), unit::MANAGER, Some(MANAGER_INTERFACE), "Subscribe", &()).await?;
    let job = queue(&bus, order, name).await?;
    while let Some(signal) = removed.next().await {
        let body = signal?.body();
        let (_, path, _, result) = body.deserialize::<(u32, OwnedObjectPath, String, String)>()?;
        if path == job {
            return if result == "done" { Ok(()) } else { Err(Undone::Failed(result)) };
        }
    }
    Err(Undone::Bus("the bus has gone".to_owned()))
}

/// Gives the order and waits for nothing.
pub async fn give(order: Order, name: &str) -> Result<(), Undone> {
    let bus = Connection::system().await?;
    queue(&bus, order, name).await.map(drop)
}

async fn queue(bus: &Connection, order: Order, name: &str) -> Result<OwnedObjectPath, Undone> {
    let method = match order {
        Order::Start => "StartUnit",
        Order::Stop => "StopUnit",
        Order::Restart => "RestartUnit",
        Order::Reload => "Reload",
    };
    let reply = bus
        .call_method(Some(unit::SYSTEMD), unit::MANAGER, Some(MANAGER_INTERFACE), method, &(name, "replace"))
        .await?;
    Ok(reply.body().deserialize()?)
}
