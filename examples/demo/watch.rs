//! A process of the host, watched from outside of it.
//!
//! Promises: its end is an event of its pidfd (pidfd_open(2)), and the moment is noted when it comes; no pid that
//! another process could have meanwhile is looked at twice.

use std::fs;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Longer, and it is taken for one that stays.
const BOUND: Duration = Duration::from_secs(60);

/// A process that is to end.
pub struct Outgoing {
    pidfd: OwnedFd,
    end: JoinHandle<Option<Instant>>,
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holding {
    pub resident_kib: u64,
    pub descriptors: usize,
}

impl Outgoing {
    /// The process that is `pid` inside of the host whose PID 1 is `leader` here.
    pub fn watch(leader: u32, pid: u32) -> anyhow::Result<Outgoing> {
        let pid = outside(leader, pid)?;
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a pid")?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let watched = pidfd.try_clone()?;
        let end = std::thread::spawn(move || {
            let bound = Timespec::try_from(BOUND).ok();
            let ended = poll(&mut [PollFd::new(&watched, PollFlags::IN)], bound.as_ref());
            ended.is_ok_and(|ended| ended > 0).then(Instant::now)
        });
        Ok(Outgoing { pidfd, end })
    }

    /// Unless it has ended already.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// How long after `moment` it was gone; `None` when it stays.
    pub fn gone_after(self, moment: Instant) -> Option<Duration> {
        let gone = self.end.join().ok()??;
        Some(gone.saturating_duration_since(moment))
    }
}

impl Holding {
    pub fn of(leader: u32, pid: u32) -> anyhow::Result<Holding> {
        let pid = outside(leader, pid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let resident_kib = line.trim().trim_end_matches(" kB").parse().context("no VmRSS")?;
        Ok(Holding { resident_kib, descriptors: fs::read_dir(format!("/proc/{pid}/fd"))?.count() })
    }
}

/// The pid that this machine knows it by: the same pid namespace as `leader`, and this number in it (`NSpid`).
fn outside(leader: u32, inside: u32) -> anyhow::Result<u32> {
    let namespace = fs::read_link(format!("/proc/{leader}/ns/pid"))?;
    let candidates = fs::read_dir("/proc")?.flatten();
    let pids = candidates.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_it = |pid: &u32| {
        // A process that ended meanwhile is none of those that are looked for.
        fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|of| of == namespace)
            && fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| {
                let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
                numbers.and_then(|numbers| numbers.split_whitespace().last()?.parse().ok()) == Some(inside)
            })
    };
    let found = pids.into_iter().find(is_it);
    found.with_context(|| format!("the host has no process {inside}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_number_and_its_end_is_noticed() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let outgoing = Outgoing::watch(own, child.id()).unwrap();
        let holding = Holding::of(own, child.id()).unwrap();
        assert!(holding.resident_kib > 0 && holding.descriptors >= 3, "{holding:?}");
        let before = Instant::now();
        outgoing.kill();
        assert!(outgoing.gone_after(before).is_some());
        child.wait().unwrap();
        assert!(Outgoing::watch(own, child.id()).is_err());
    }
}
