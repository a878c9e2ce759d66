//! What a host has outside itself (a folder, cgroups), and its removal after a killed run.
//!
//! Promises: touches only what the name says to be ours, and only when the process that made it
//! is gone: a folder's name is `PID-STARTTIME-NUMBER` of its maker, so that neither a recycled
//! pid nor a parallel run is mistaken for it.

use super::boot;
use rustix::process::{Pid, Signal};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

const HOME: &str = "/run/hitless-lab";

/// A new folder for a host of this process; short, for a socket's path must fit into 108 bytes.
pub fn new_folder() -> PathBuf {
    let folder = Path::new(HOME).join(format!("{}-{}", identity(std::process::id()), boot::next_number()));
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// `PID-STARTTIME`, unique until the machine starts again.
pub fn identity(pid: u32) -> String {
    format!("{pid}-{}", start_time(pid).unwrap_or(0))
}

/// Removes what killed runs left; once per process.
pub fn remove_once() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        remove();
    });
}

/// Removes what killed runs left; how many hosts that were.
pub fn remove() -> usize {
    let mut removed = 0;
    for entry in fs::read_dir(HOME).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.rsplit_once('-').is_some_and(|(maker, _)| !lives(maker)) {
            remove_host(&name, &entry.path());
            removed += 1;
        }
    }
    removed
}

fn remove_host(name: &str, folder: &Path) {
    let unshare = fs::read_to_string(folder.join("unshare")).unwrap_or_default();
    if lives(&unshare) {
        let pid = unshare.split_once('-').and_then(|(pid, _)| Pid::from_raw(pid.parse().ok()?));
        pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
    }
    for root in boot::cgroups() {
        remove_cgroup(&root.join(format!("hitless-lab-{name}")));
    }
    fs::remove_dir_all(folder).ok();
}

/// Whether `PID-STARTTIME` is still running.
fn lives(identity: &str) -> bool {
    let Some((pid, started)) = identity.split_once('-') else { return false };
    let Ok(pid) = pid.parse() else { return false };
    start_time(pid).is_some_and(|time| time.to_string() == started)
}

/// Field 22 of proc_pid_stat(5). The name in field 2 may contain spaces and parentheses.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A cgroup is removed from its leaves up; rmdir refuses one that still has processes.
pub fn remove_cgroup(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(cgroup).ok();
}
