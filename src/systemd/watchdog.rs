//! How often systemd wants to hear that all is well.
//!
//! Promises: an interval meant for another process is not ours.
//! Must not know: what a beat proves; that is for whoever beats.

use std::time::Duration;

/// The unit's `WatchdogSec=`, when it is meant for this process.
pub fn timeout() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero())
}

/// How often to beat: two beats may be lost before systemd acts.
pub fn interval() -> Option<Duration> {
    timeout().map(|timeout| timeout / 4)
}
