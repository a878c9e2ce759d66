//! What the keeper tells systemd (sd_notify(3)).
//!
//! Promises: without `NOTIFY_SOCKET` nothing happens; a message that cannot be sent is returned to
//! nobody, since there is nothing a caller could do about it and systemd has its watchdog.
//! Must not know: why something is said. `RELOADING=1` is never said: a main process that dies
//! after it leaves the unit hanging on systemd 252 and 257.

use std::time::Duration;

use sd_notify::NotifyState;

/// Every listener accepts and the configuration is in use.
pub fn ready(status: &str) {
    say(&[NotifyState::Ready, NotifyState::Status(&one_line(status))]);
}

/// The line that `systemctl status` shows.
pub fn status(text: &str) {
    say(&[NotifyState::Status(&one_line(text))]);
}

pub fn stopping(status: &str) {
    say(&[NotifyState::Stopping, NotifyState::Status(&one_line(status))]);
}

/// Everything has made progress since the last beat.
pub fn beat() {
    say(&[NotifyState::Watchdog]);
}

/// Asks for this long from now on, during a start or stop.
pub fn extend(time: Duration) {
    let micros = u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    say(&[NotifyState::ExtendTimeoutUsec(micros)]);
}

/// Why the service failed, for `systemctl status`.
pub fn failed(status: &str, errno: Option<i32>) {
    let status = one_line(status);
    let mut states = vec![NotifyState::Status(&status)];
    states.extend(errno.and_then(|errno| u32::try_from(errno).ok()).map(NotifyState::Errno));
    say(&states);
}

/// Whether a service manager listens.
pub fn wanted() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

fn say(states: &[NotifyState<'_>]) {
    let _ = sd_notify::notify(states);
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_cannot_smuggle_in_another_assignment() {
        assert_eq!(one_line("refused:\nMAINPID=1\r"), "refused: MAINPID=1 ");
    }
}
