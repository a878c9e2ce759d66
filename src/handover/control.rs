//! What keeper and gateway say to each other, as JSON letters with a version.
//!
//! ```text
//!  keeper                                   gateway
//!     │ Start + snapshot, sockets ───────────▶ │
//!     │ ◀──────────── Ready, or StartFailed    │
//!     │ ◀──────────── Alive, again and again   │
//!     │ Reload ──────────────────────────────▶ │
//!     │ ◀──────────── Reloaded + snapshot, or Refused
//!     │ ◀──────────── Certificates + memory      for the gateway after this one
//!     │ ◀──────────── UpgradeAsked + connection   the keeper answers who asks, see [`Upgrade`]
//!     │ Adopt + mailbox ─────────────────────▶ │   what another gateway hands over
//!     │ ◀──────────── Adopted                  │
//!     │ HandOver + mailbox ──────────────────▶ │   to another gateway, or into the fd store
//!     │ TakeBack ────────────────────────────▶ │   the other gateway is gone: serve on
//!     │ ◀──────────── HandedOver, or TookBack  │
//!     │ Drain, SocketsClosing, End ──────────▶ │
//!     │ ◀──────────── Draining, Progress, Drained
//!     │ Leave ───────────────────────────────▶ │   after HandOver into the store, or Drain
//!     │ ◀──────────── Left                     │   and the keeper ends before the gateway
//! ```
//!
//! Promises: a letter of another version is refused as a whole. The end of the socket means that
//! the other process is gone. A gateway ignores a message that it does not know; what it is to say of one that is newer
//! than this version it says only when it was asked to, because a keeper kills who says what it does not know.
//! Must not know: what either does with it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::mailbox::Mailbox;

/// Keeper and gateway are the same binary, except during an upgrade.
pub const VERSION: u32 = 1;

/// The environment variable that names the gateway's end of the socket.
pub const FD_VARIABLE: &str = "HITLESS_CONTROL_FD";

#[derive(Debug, Serialize, Deserialize)]
pub enum ToGateway {
    /// With the descriptors: the snapshot, then the sockets in their order, then what `certificates` announces.
    Start(Start),
    /// Load the files again.
    Reload,
    /// With one end of a mailbox: adopt what comes out of it, until its other end is closed.
    Adopt,
    /// With one end of a mailbox: stop accepting, and put every connection into it that can move, each when its
    /// request in flight is answered. When nothing is left, exit.
    HandOver {
        to: Destination,
        /// The longest that what cannot move is waited for.
        limit: Option<Duration>,
    },
    /// Whoever was to adopt is gone: serve on, with all that was not taken.
    TakeBack,
    /// Finish what is in flight and exit.
    Drain {
        /// The longest that the unit leaves for it, if that is known.
        limit: Option<Duration>,
    },
    /// Go on with it alone: the keeper is about to end, so that the next start can begin. A gateway that knows this
    /// says `Left`, and must not take the end of the control socket for an accident; for any other one the keeper waits.
    Leave {
        /// Which of the `Adopt`s, counted from 0, were of mailboxes that the next start gets as well, and empties.
        #[serde(default)]
        stored: Vec<u32>,
    },
    /// systemd is about to close the sockets that it passed: whoever comes now is to be refused.
    SocketsClosing,
    /// Exit now.
    End,
}

/// Who is at the other end of the mailbox of a handover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Destination {
    /// A gateway, which says what it took.
    Gateway,
    /// Nobody yet: systemd keeps it for the next start.
    Store,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Start {
    /// Where to read the configuration when it is loaded again.
    pub directory: PathBuf,
    /// The number of the generation in the snapshot.
    pub generation: u64,
    pub sockets: Vec<SocketRecord>,
    /// How often to say `Alive`, if anybody wants to hear it.
    pub watchdog: Option<Duration>,
    /// How many gateways have died before this one.
    pub replacements: u64,
    /// How many gateways the keeper has spawned, this one included.
    #[serde(default)]
    pub gateway: u64,
    /// How many of them have died directly before this one, so that nobody has their ledger.
    #[serde(default)]
    pub lost: u64,
    /// What this host is called in `Via`: the same for every gateway of a keeper.
    pub pseudonym: String,
    /// The file that an upgrade would run.
    #[serde(default)]
    pub program: PathBuf,
    /// The last descriptor is the memory file of [`ToKeeper::Certificates`].
    #[serde(default)]
    pub certificates: bool,
}

/// A listening socket that comes with [`Start`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketRecord {
    pub purpose: Purpose,
    /// As people know it: `127.0.0.1:8080`, `unix:/run/x.sock`.
    pub address: String,
    /// Passed by systemd, not bound by the keeper.
    pub passed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Purpose {
    /// A public listener, by its name.
    Listener(String),
    /// The operator's own socket.
    Admin,
    /// Health and status, read-only.
    AdminReadOnly,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum ToKeeper {
    Ready(Summary),
    /// There will be no Ready.
    StartFailed {
        reason: String,
    },
    /// All data threads and the control loop have made progress since the last one.
    Alive,
    /// With the descriptor of the new snapshot.
    Reloaded(Summary),
    /// With a sealed memory file: the contents of the certificates that are accepted now, with their keys.
    Certificates,
    Refused {
        generation: u64,
        /// The first message.
        reason: String,
        messages: usize,
    },
    /// Run the program on disk from now on. With the connection of whoever asks, on which the head of an answer is
    /// sent already: an [`Upgrade`] as JSON is to follow, and its end.
    UpgradeAsked,
    /// The gateway began to drain, and will need at most this long.
    Draining {
        deadline: Duration,
    },
    Progress(Progress),
    Drained(Drained),
    /// The mailbox was emptied, and its other end is closed.
    Adopted(Moved),
    /// All that could move has been taken, and nothing is left: the gateway exits.
    HandedOver(Moved),
    /// It serves and accepts as before the handover.
    TookBack,
    /// It finishes alone what it has, and has nothing that the next start needs: nobody has to wait for it.
    Left,
}

/// What became of an upgrade. The keeper says it, because neither gateway lives through all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Upgrade {
    pub accepted: bool,
    /// The version that was to run.
    pub version: String,
    /// Why it does not.
    pub reason: String,
    /// The two versions cannot speak with each other: only a restart gets from one to the other.
    pub needs_restart: bool,
    /// How long the new one is watched before the old one is given up.
    pub probation: Duration,
}

/// What a handover has moved, as one side has counted it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub connections: u64,
    pub tunnels: u64,
    /// Not understood by the other side, or not movable, and ended in the ordinary way.
    pub refused: u64,
    pub took: Duration,
}

/// What a generation serves, for the status line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    pub generation: u64,
    pub services: usize,
    /// Names of the listeners, and how many sockets there are in all.
    pub listeners: Vec<String>,
    pub sockets: usize,
}

/// What a drain, or a handover, still waits for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// It is a handover's.
    #[serde(default)]
    pub handing_over: bool,
    pub requests: u64,
    pub tunnels: u64,
    pub connections: u64,
    pub oldest: Duration,
    pub left: Duration,
    /// Whether something has moved since the last time.
    pub moved: bool,
}

/// What became of what was in flight.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    pub answered: u64,
    pub cut: u64,
    pub took: Duration,
}

/// Why a letter could not be sent or understood.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot use the control socket: {0}")]
    Socket(#[from] io::Error),
    #[error("cannot read a control message: {0}")]
    Content(#[from] serde_json::Error),
    #[error("cannot read a control message of version {0}: this is version {VERSION}")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    version: u32,
    message: T,
}

/// Sends one message.
pub async fn send<T: Serialize>(mailbox: &Mailbox, message: T, fds: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let content = serde_json::to_vec(&Record { version: VERSION, message })?;
    Ok(mailbox.send(&content, fds).await?)
}

/// The next message; `None` when the other process is gone. May be cancelled without losing one.
pub async fn receive<T: DeserializeOwned>(mailbox: &Mailbox) -> Result<Option<(T, Vec<OwnedFd>)>, Error> {
    let Some(letter) = mailbox.receive().await? else { return Ok(None) };
    // The version first: the rest of another version may not even have the same shape.
    let record: Record<serde_json::Value> = serde_json::from_slice(&letter.content)?;
    if record.version != VERSION {
        return Err(Error::Version(record.version));
    }
    Ok(Some((serde_json::from_value(record.message)?, letter.fds)))
}

#[cfg(test)]
mod tests {
    use super::super::mailbox;
    use super::*;

    #[test]
    fn a_message_of_another_version_is_refused_whatever_its_shape() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (one, two) = mailbox::pair().unwrap();
            let (one, two) = (Mailbox::new(one).unwrap(), Mailbox::new(two).unwrap());
            one.send(br#"{"version":2,"message":{"Teleport":[]}}"#, &[]).await.unwrap();
            assert!(matches!(receive::<ToGateway>(&two).await, Err(Error::Version(2))));
            send(&one, ToGateway::Drain { limit: Some(Duration::from_millis(85_500)) }, &[]).await.unwrap();
            let (message, fds) = receive::<ToGateway>(&two).await.unwrap().unwrap();
            assert!(
                matches!(message, ToGateway::Drain { limit: Some(limit) } if limit.as_millis() == 85_500)
            );
            assert!(fds.is_empty());
        });
    }
}
