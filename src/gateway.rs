//! The composition root of a gateway process: config → sockets → ready → serve → drain → exit.
//!
//! The only room that knows everyone. It is started by the keeper, with its end of the control
//! socket, and gets everything else through that: the accepted configuration and the sockets. So a
//! start touches no disk, and a replacement for a dead gateway starts with what was accepted, not
//! with files that are being edited.
//!
//! ```text
//!   control socket ─┐
//!   admin sockets ──┤   one queue    ┌──────────────┐  effects   data threads
//!   changed files ──┼──────────────▶ │ control loop │ ─────────▶ control socket
//!   timers, tasks ──┘                └──────────────┘            the log
//!                                     lifecycle: pure
//! ```
//!
//! Promises: one task owns the state and decides, by [`crate::lifecycle`], on one event at a time;
//! what was opened is closed in reverse order, also after a panic, each within its limit.
//! Must not know: what is decided about a request.

mod alone;
mod certificates;
mod changes;
mod control;
mod drain;
mod drill;
mod endpoints;
mod gates;
mod handover;
mod marks;
mod office;
mod reload;
mod resources;
mod start;
mod units;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::{env, io};

use crate::handover::control::FD_VARIABLE;

/// Why a gateway process could not do its work. The keeper has been told, if it was there to be told.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("cannot run by itself: it is started by 'hitless run'")]
    NotAChild,
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// Told to the keeper.
    #[error("cannot start: {0}")]
    Start(String),
    /// Logged where it happened.
    #[error("the control loop panicked")]
    Panicked,
    /// Logged where it happened; what the others had in flight was finished.
    #[error("a data thread died")]
    ThreadDied,
}

/// Serves until told to stop, or until the keeper is gone and what was in flight is answered.
pub fn run() -> Result<(), Fatal> {
    // Executed as /proc/self/exe, it would be called `exe` in ps(1) and in the journal.
    let _ = rustix::thread::set_name(c"hitless-gw");
    let socket = control_socket()?;
    ignore_signals().map_err(|cause| Fatal::System("watch for signals", cause))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .map_err(|cause| Fatal::System("start the control loop", cause))?;
    let ended = runtime.block_on(start::live(socket));
    // A file being read, a name being looked up: nobody waits for it any more.
    runtime.shutdown_background();
    ended
}

/// The keeper passes it as standard input, which becomes /dev/null.
fn control_socket() -> Result<OwnedFd, Fatal> {
    if env::var_os(FD_VARIABLE).is_none_or(|fd| fd != "0") {
        return Err(Fatal::NotAChild);
    }
    let taken = || -> io::Result<OwnedFd> {
        let stdin = io::stdin();
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        Ok(socket)
    };
    taken().map_err(|cause| Fatal::System("take the control socket", cause))
}

/// Signals are for the keeper, which tells the gateway what to do. With `KillMode=control-group`, or by
/// `systemctl kill`, systemd would otherwise end the gateway in the middle of what it serves.
fn ignore_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}
