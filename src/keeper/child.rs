//! One gateway process: spawned, talked to, watched, reaped.
//!
//! Promises: the gateway has nothing of ours but the control socket, is in a process group of its
//! own (a Ctrl-C reaches only the keeper), is waited for by pidfd and never left as a zombie.
//! PR_SET_PDEATHSIG is not used: a gateway whose keeper is gone must drain, and learns it from the
//! end of the control socket.
//! Must not know: why it is spawned or killed.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};
use tokio::io::unix::AsyncFd;

use super::signals;
use crate::handover::control::{self, FD_VARIABLE, Start, ToGateway, ToKeeper};
use crate::handover::mailbox::{self, Mailbox};

/// What systemd says to the keeper only.
const OURS: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "MAINPID",
];

/// The program that this process is, also when its file was replaced since.
pub const OWN: &str = "/proc/self/exe";

/// A gateway that does not read its few messages for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

/// A child, also one that a keeper before this one has spawned: not std's `Child`, which cannot be handed on.
pub struct Process {
    pid: Pid,
    pidfd: AsyncFd<OwnedFd>,
}

pub struct Gateway {
    process: Process,
    mailbox: Mailbox,
    /// Whether the gateway has closed its end.
    silent: bool,
    born: Instant,
}

/// What a gateway did.
pub enum Sign {
    Said(Box<ToKeeper>, Vec<OwnedFd>),
    Unreadable(control::Error),
    Exited(ExitStatus),
}

/// A command as every child of the keeper begins: `hitless VERB` with this as its standard input, which is the one
/// descriptor that a child gets without a moment in which others could leak.
pub fn command(program: &Path, verb: &str, stdin: OwnedFd) -> Command {
    let mut command = Command::new(program);
    command.arg0("hitless").arg(verb).process_group(0).stdin(Stdio::from(stdin));
    for name in OURS {
        command.env_remove(name);
    }
    // SAFETY: async-signal-safe.
    unsafe { command.pre_exec(signals::unblock) };
    command
}

impl Process {
    pub fn spawn(command: &mut Command) -> io::Result<Process> {
        let mut child = command.spawn()?;
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = process.ok_or_else(|| io::ErrorKind::InvalidInput.into()).and_then(Process::of);
        if process.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        process
    }

    /// A child that is not reaped yet, so that its number is its own.
    pub fn of(pid: Pid) -> io::Result<Process> {
        let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
        // SAFETY: an OwnedFd names the same open file until the AsyncFd that owns it is gone.
        let pidfd = unsafe { AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE) }?;
        Ok(Process { pid, pidfd })
    }

    /// Until it ends. May be cancelled.
    pub async fn exited(&self) -> ExitStatus {
        loop {
            // Without a way to wait asynchronously, a dead process is at least not missed.
            let ready = self.pidfd.readable().await;
            let options = if ready.is_ok() { WaitOptions::NOHANG } else { WaitOptions::empty() };
            match (waitpid(Some(self.pid), options), ready) {
                (Ok(Some((_, status))), _) => return ExitStatus::from_raw(status.as_raw()),
                (Ok(None) | Err(rustix::io::Errno::INTR), Ok(mut ready)) => ready.clear_ready(),
                (Ok(None) | Err(rustix::io::Errno::INTR), Err(_)) => {}
                // Reaped by somebody else: there is nothing more to be known.
                (Err(_), _) => return ExitStatus::default(),
            }
        }
    }

    /// With all that it has started.
    pub fn kill_group(&self) {
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
    }

    pub fn reap(&self) {
        while let Err(rustix::io::Errno::INTR) = waitpid(Some(self.pid), WaitOptions::empty()) {}
    }
}

impl Gateway {
    pub fn spawn(program: &Path) -> io::Result<Gateway> {
        let (ours, theirs) = mailbox::pair()?;
        let mailbox = Mailbox::new(ours)?;
        let process = Process::spawn(command(program, "gateway", theirs).env(FD_VARIABLE, "0"))?;
        Ok(Gateway { process, mailbox, silent: false, born: Instant::now() })
    }

    /// One that a keeper before this one has spawned.
    pub fn resume(pid: u32, control: OwnedFd, age: Duration) -> io::Result<Gateway> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let (process, mailbox) = (Process::of(pid)?, Mailbox::new(control)?);
        let born = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        Ok(Gateway { process, mailbox, silent: false, born })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub fn lived(&self) -> Duration {
        self.born.elapsed()
    }

    pub fn control(&self) -> BorrowedFd<'_> {
        self.mailbox.as_fd()
    }

    pub async fn start(&self, start: Start, fds: &[BorrowedFd<'_>]) -> Result<(), String> {
        self.deliver(ToGateway::Start(start), fds).await
    }

    pub async fn tell(&self, message: ToGateway) -> Result<(), String> {
        self.deliver(message, &[]).await
    }

    /// With one end of a mailbox.
    pub async fn give(&self, message: ToGateway, end: &OwnedFd) -> Result<(), String> {
        self.deliver(message, &[end.as_fd()]).await
    }

    async fn deliver(&self, message: ToGateway, fds: &[BorrowedFd<'_>]) -> Result<(), String> {
        match tokio::time::timeout(PATIENCE, control::send(&self.mailbox, message, fds)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err("it does not read its control socket".into()),
        }
    }

    /// The next thing it does. What it said before its end comes before its end. May be cancelled.
    pub async fn sign(&mut self) -> Sign {
        loop {
            if self.silent {
                return Sign::Exited(self.process.exited().await);
            }
            let received = tokio::select! {
                biased;
                received = control::receive(&self.mailbox) => received,
                // Whatever it had said lies in the socket already, and is received first.
                _ = self.process.pidfd.readable() => control::receive(&self.mailbox).await,
            };
            match received {
                Ok(Some((message, fds))) => return Sign::Said(Box::new(message), fds),
                Ok(None) | Err(control::Error::Socket(_)) => self.silent = true,
                Err(error) => return Sign::Unreadable(error),
            }
        }
    }

    pub fn kill(&self) {
        // By pidfd: a process number may have been given to another process.
        let _ = pidfd_send_signal(self.process.pidfd.get_ref(), Signal::KILL);
    }
}

/// How a process ended, after "the gateway".
pub fn how(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("was killed by signal {signal}{core}")
        }
        (None, Some(code)) => format!("exited with code {code}"),
        (None, None) => "ended in an unknown way".into(),
    }
}
