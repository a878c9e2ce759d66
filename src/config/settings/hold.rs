//! What becomes of requests while their application is away, and which unit that is.
//!
//! Promises: plain data, checked.
//! Must not know: how requests wait.

use std::time::Duration;

/// How requests wait for an application that is away; `None` is no limit unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hold {
    /// Requests at a time.
    pub count: Option<u64>,
    /// Bytes of content that are kept for them.
    pub bytes: Option<u64>,
    /// How long each may wait; `None`: nothing is held.
    pub age: Option<Duration>,
    /// Released in a second.
    pub rate: Option<u64>,
    /// Also while every endpoint's breaker is open.
    pub on_breaker: bool,
    /// Also when every endpoint refuses connections.
    pub on_connect: bool,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Hold {
    fn default() -> Hold {
        Hold {
            count: Some(10_000),
            bytes: Some(64 << 20),
            age: Some(Duration::from_secs(30)),
            rate: None,
            on_breaker: false,
            on_connect: true,
        }
    }
}

/// The systemd unit of a service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unit {
    /// With its suffix: `shop.service`.
    pub name: Option<String>,
    /// It is stopped when nobody has asked for so long, and started by the next request.
    pub idle_stop: Option<Duration>,
}
