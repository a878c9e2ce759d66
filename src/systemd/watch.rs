//! Units as they change: what systemd knows of an application before anybody who asks it does.
//!
//! ```text
//!   no bus ──(retry)──▶ subscribed ─▶ each unit is read ─▶ a signal of it, a job of it ─▶ it is read again ─┐
//!     ▲                                                          ▲────────────────────────────────────────┘
//!     └──────────────── the bus is gone: nothing is known ◀──────┘
//! ```
//! Promises: what is told is what was read after the signal that said that something has changed, so the last word is
//! right; a job that is queued counts before anything has happened to the unit. Units are only read, which needs no privilege.
//! Must not know: what follows from a state.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::{SelectAll, select_all};
use zbus::{Connection, MatchRule, MessageStream, message};

use super::unit::{self, Job};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const MANAGER_INTERFACE: &str = "org.freedesktop.systemd1.Manager";
/// Nobody says when there is a bus again.
const RETRY: Duration = Duration::from_secs(2);

/// What an application's unit is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Starting,
    /// Also while a job that stops it waits for its turn.
    Stopping,
    /// And nobody starts it, as far as is known.
    Stopped,
    /// systemd does not know the unit.
    Missing,
}

impl State {
    /// `active` is ActiveState of org.freedesktop.systemd1(5).
    pub(super) fn of(loaded: &str, active: &str, job: Option<Job>) -> State {
        match (active, job) {
            ("active" | "reloading" | "refreshing" | "deactivating", Some(Job::Stop | Job::Restart)) => {
                State::Stopping
            }
            ("deactivating", _) => State::Stopping,
            ("active" | "reloading" | "refreshing", _) => State::Running,
            ("inactive" | "failed", Some(Job::Start | Job::Restart)) | ("activating" | "maintenance", _) => {
                State::Starting
            }
            _ if loaded == "not-found" => State::Missing,
            _ => State::Stopped,
        }
    }

    /// The word for it in `hitless status`.
    pub fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Starting => "starting",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
            State::Missing => "unknown",
        }
    }
}

/// What is told of the units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Seen {
        unit: String,
        state: State,
    },
    /// Nothing is known of any until the next one is seen; why.
    Blind(String),
}

/// Tells of these units for as long as it lives. Needs a tokio runtime.
pub async fn watch(units: Vec<String>, tell: impl Fn(News)) {
    loop {
        let why = match follow(&units, &tell).await {
            Ok(()) => "the bus has gone".to_owned(),
            Err(error) => error.to_string(),
        };
        tell(News::Blind(why));
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow(units: &[String], tell: &impl Fn(News)) -> zbus::Result<()> {
    let bus = Connection::system().await?;
    let mut signals = subscribe(&bus, units).await?;
    for unit in units {
        tell_of(&bus, unit, tell).await?;
    }
    while let Some(signal) = signals.next().await {
        let signal = signal?;
        let header = signal.header();
        let path = header.path().map(|path| path.as_str().to_owned());
        let member = header.member().map(|member| member.as_str().to_owned());
        let concerned: Vec<&String> = match member.as_deref() {
            // (id, job, unit) and (id, job, unit, result): what is asked is whose it is.
            Some("JobNew" | "JobRemoved") => {
                let body = signal.body();
                let about = match member.as_deref() {
                    Some("JobNew") => {
                        body.deserialize::<(u32, zbus::OwnedObjectPath, String)>().map(|job| job.2)
                    }
                    _ => body.deserialize::<(u32, zbus::OwnedObjectPath, String, String)>().map(|job| job.2),
                };
                units.iter().filter(|unit| about.as_ref().is_ok_and(|about| about == *unit)).collect()
            }
            _ => units.iter().filter(|unit| path.as_deref() == Some(&unit::unit_path(unit))).collect(),
        };
        for unit in concerned {
            tell_of(&bus, unit, tell).await?;
        }
    }
    Ok(())
}

async fn subscribe(bus: &Connection, units: &[String]) -> zbus::Result<SelectAll<MessageStream>> {
    let mut streams = vec![];
    for member in ["JobNew", "JobRemoved"] {
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender(unit::SYSTEMD)
            .path(unit::MANAGER)
            .interface(MANAGER_INTERFACE)
            .member(member)
            .build()?;
        streams.push(MessageStream::for_match_rule(rule, bus, None).await?);
    }
    for name in units {
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .sender(unit::SYSTEMD)
            .path(unit::unit_path(name))
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .build()?;
        streams.push(MessageStream::for_match_rule(rule, bus, None).await?);
    }
    // Without it systemd tells only those who called something lately.
    bus.call_method(Some(unit::SYSTEMD), unit::MANAGER, Some(MANAGER_INTERFACE), "Subscribe", &()).await?;
    Ok(select_all(streams))
}

async fn tell_of(bus: &Connection, unit: &str, tell: &impl Fn(News)) -> zbus::Result<()> {
    let state = unit::state(bus, unit).await?;
    tell(News::Seen { unit: unit.to_owned(), state });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_counts_before_anything_has_happened() {
        for (active, job, expected) in [
            ("active", None, State::Running),
            ("active", Some(Job::Restart), State::Stopping),
            ("active", Some(Job::Stop), State::Stopping),
            ("active", Some(Job::Other), State::Running),
            ("reloading", None, State::Running),
            ("deactivating", Some(Job::Restart), State::Stopping),
            ("deactivating", None, State::Stopping),
            ("inactive", Some(Job::Start), State::Starting),
            ("inactive", Some(Job::Restart), State::Starting),
            ("activating", None, State::Starting),
            ("inactive", None, State::Stopped),
            ("failed", None, State::Stopped),
            ("failed", Some(Job::Stop), State::Stopped),
        ] {
            assert_eq!(State::of("loaded", active, job), expected, "{active} {job:?}");
        }
        assert_eq!(State::of("not-found", "inactive", None), State::Missing);
    }
}
