//! One gateway process: spawned, talked to, watched, reaped.
//!
//! Promises: the gateway has nothing of ours but the control socket, is in a process group of its
//! own (a Ctrl-C reaches only the keeper), is waited for by pidfd and never left as a zombie.
//! PR_SET_PDEATHSIG is not used: a gateway whose keeper is gone must drain, and learns it from the
//! end of the control socket.
//! Must not know: why it is spawned or killed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

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

/// A gateway that does not read its few messages for this long is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

pub struct Gateway {
    process: Child,
    pidfd: AsyncFd<OwnedFd>,
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

impl Gateway {
    pub fn spawn() -> io::Result<Gateway> {
        let (ours, theirs) = mailbox::pair()?;
        let mailbox = Mailbox::new(ours)?;
        // The same program, also when the file was replaced since.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("hitless").arg("gateway").process_group(0);
        // Standard input is the one descriptor that a child gets without a moment in which others could leak.
        command.stdin(Stdio::from(theirs)).env(FD_VARIABLE, "0");
        for name in OURS {
            command.env_remove(name);
        }
        let mut process = command.spawn()?;
        let pidfd = match watch(&process) {
            Ok(pidfd) => pidfd,
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                return Err(error);
            }
        };
        Ok(Gateway { process, pidfd, mailbox, silent: false, born: Instant::now() })
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn lived(&self) -> Duration {
        self.born.elapsed()
    }

    pub async fn start(&self, start: Start, fds: &[BorrowedFd<'_>]) -> Result<(), String> {
        self.deliver(ToGateway::Start(start), fds).await
    }

    pub async fn tell(&self, message: ToGateway) -> Result<(), String> {
        self.deliver(message, &[]).await
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
                return Sign::Exited(self.exited().await);
            }
            let received = tokio::select! {
                biased;
                received = control::receive(&self.mailbox) => received,
                // Whatever it had said lies in the socket already, and is received first.
                _ = self.pidfd.readable() => control::receive(&self.mailbox).await,
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
        let _ = pidfd_send_signal(self.pidfd.get_ref(), Signal::KILL);
    }

    async fn exited(&mut self) -> ExitStatus {
        loop {
            match self.pidfd.readable().await {
                Ok(mut ready) => match self.process.try_wait() {
                    Ok(Some(status)) => return status,
                    _ => ready.clear_ready(),
                },
                // Without a way to wait asynchronously, a dead process is at least not missed.
                Err(_) => return self.process.wait().unwrap_or_default(),
            }
        }
    }
}

fn watch(process: &Child) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let pidfd = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd names the same open file until the AsyncFd that owns it is gone.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, tokio::io::Interest::READABLE) }?)
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
