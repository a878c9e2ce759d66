//! The keeper executes another program in its place, without its children or systemd noticing.
//!
//! ```text
//!   state as JSON in a memory file, its number in HITLESS_STATE_FD
//!   descriptors that the state names: open across execve(2)      everything else: close-on-exec
//!   signals: blocked, so that they stay pending                  NOTIFY_SOCKET, WATCHDOG_USEC: stay as they are
//! ```
//! Promises: the pid stays, so systemd's main process, its watchdog and the parent of every gateway stay; what is
//! unread in the control sockets stays there; an execve(2) that fails leaves everything as it was.
//! Must not know: when it is done, or what the state means.

use std::env;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};
use serde::{Deserialize, Serialize};

use super::decide::{Id, Settled, Ticket};
use super::report::Report;
use crate::handover::control::{SocketRecord, Summary};
use crate::handover::snapshot;

/// Raised when the version before would misunderstand it; a new field with a default raises nothing.
pub const VERSION: u32 = 1;

const VARIABLE: &str = "HITLESS_STATE_FD";

/// Everything that a keeper is, with descriptors as their numbers.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub version: u32,
    pub directory: PathBuf,
    /// The file that an upgrade runs.
    pub program: PathBuf,
    pub pseudonym: String,
    pub generation: u64,
    pub snapshot: RawFd,
    /// The certificates that a gateway has accepted last.
    #[serde(default)]
    pub certificates: Option<RawFd>,
    pub sockets: Vec<SocketState>,
    pub gateways: Vec<GatewayState>,
    /// What an earlier start has left in the fd store, and is not adopted yet.
    #[serde(default)]
    pub stored: Vec<RawFd>,
    /// Who waits for the verdict on an upgrade.
    #[serde(default)]
    pub askers: Vec<(Ticket, RawFd)>,
    #[serde(default)]
    pub tickets: u64,
    pub settled: Settled,
    #[serde(default)]
    pub report: Report,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SocketState {
    pub record: SocketRecord,
    pub fd: RawFd,
    /// The file of a Unix socket, removed at the end.
    #[serde(default)]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct GatewayState {
    pub id: Id,
    pub pid: u32,
    pub control: RawFd,
    pub age_ms: u64,
    /// Until it must be gone.
    #[serde(default)]
    pub patience_ms: Option<u64>,
    #[serde(default)]
    pub adopting: u32,
    #[serde(default)]
    pub adopts: u32,
    #[serde(default)]
    pub adopts_stored: Vec<u32>,
    #[serde(default)]
    pub summary: Summary,
}

impl State {
    fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let sockets = self.sockets.iter().map(|socket| socket.fd);
        let controls = self.gateways.iter().map(|gateway| gateway.control);
        let askers = self.askers.iter().map(|(_, fd)| *fd);
        [self.snapshot]
            .into_iter()
            .chain(self.certificates)
            .chain(sockets)
            .chain(controls)
            .chain(askers)
            .chain(self.stored.clone())
    }
}

/// Why there is no state to go on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read the state of the keeper before: {0}")]
    Read(#[from] io::Error),
    #[error("cannot read the state of the keeper before: {0}")]
    Content(#[from] serde_json::Error),
}

/// What the keeper before has left for this one, if there was one. Once, and before any thread is started.
pub fn take() -> Result<Option<State>, Error> {
    let Some(fd) = env::var(VARIABLE).ok().and_then(|fd| fd.parse::<RawFd>().ok()) else { return Ok(None) };
    // SAFETY: no thread runs yet that could read the environment.
    unsafe { env::remove_var(VARIABLE) };
    let state: State = serde_json::from_slice(&snapshot::open(own(fd)?)?)?;
    Ok(Some(state))
}

/// A descriptor that came across execve(2), from now on ours alone.
pub fn own(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: only looked at; a number that is not open is an error of the call.
    fcntl_setfd(unsafe { BorrowedFd::borrow_raw(fd) }, FdFlags::CLOEXEC)?;
    // SAFETY: it is open, and the state names each number once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Executes `program` with the arguments of this process. Returns only when that could not be done.
pub fn execute(program: &Path, state: &State) -> io::Error {
    match try_to_execute(program, state) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_to_execute(program: &Path, state: &State) -> io::Result<std::convert::Infallible> {
    let memory = snapshot::seal(&serde_json::to_vec(state)?)?;
    let variable = OsString::from(format!("{VARIABLE}={}", memory.as_raw_fd()));
    let others = env::vars_os().map(|(name, value)| [name, "=".into(), value].into_iter().collect());
    let environment = strings(others.chain([variable]))?;
    let arguments = strings(env::args_os())?;
    let program = CString::new(program.as_os_str().to_owned().into_vec())?;
    let kept: Vec<RawFd> = state.descriptors().chain([memory.as_raw_fd()]).collect();
    let marked = kept.iter().try_for_each(|fd| mark(*fd, false));
    let error = marked.err().unwrap_or_else(|| {
        let (arguments, environment) = (pointers(&arguments), pointers(&environment));
        // SAFETY: both are ended by a null pointer and outlive the call. Not `Command::exec`, which may change
        // what signals do also when it fails.
        unsafe { libc::execve(program.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        io::Error::last_os_error()
    });
    // As before: a child must not get them.
    for fd in kept {
        let _ = mark(fd, true);
    }
    drop(File::from(memory));
    Err(error)
}

fn mark(fd: RawFd, close: bool) -> io::Result<()> {
    // SAFETY: the state is made of descriptors that their owners keep open during the call.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let mut flags = fcntl_getfd(fd)?;
    flags.set(FdFlags::CLOEXEC, close);
    Ok(fcntl_setfd(fd, flags)?)
}

fn strings(texts: impl Iterator<Item = OsString>) -> io::Result<Vec<CString>> {
    texts.map(|text| Ok(CString::new(text.into_vec())?)).collect()
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}
