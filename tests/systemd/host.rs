//! The test host itself: alone, and gone when it is done with, however that comes about.

use crate::lab::{Host, Release, leftovers, run};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

fn pidfd(pid: u32) -> OwnedFd {
    pidfd_open(Pid::from_raw(pid as i32).unwrap(), PidfdFlags::empty()).unwrap()
}

fn ends(process: &OwnedFd) -> bool {
    let bound = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&bound)).unwrap() == 1
}

fn no_mounts() -> bool {
    !std::fs::read_to_string("/proc/mounts").unwrap().contains("hitless-lab")
}

#[test]
fn a_host_is_clean_alone_and_gone_when_dropped() {
    run(Release::Trixie, |host| {
        let other = Host::boot(Release::Bookworm);
        assert_eq!(host.run(["systemctl", "is-system-running"]).ok(), "running");
        assert_eq!(other.run(["systemctl", "is-system-running"]).ok(), "running");
        other.write("/etc/mark", "");
        assert!(!host.path("/etc/mark").exists());
        assert_eq!(host.shell("exit 7").status, 7);

        let (leader, folder) = (pidfd(other.leader()), other.folder().to_owned());
        drop(other);
        assert!(ends(&leader) && !folder.exists() && no_mounts());
    });
}

/// This test starts itself again as the victim.
#[test]
fn a_killed_run_leaves_no_host_behind() {
    const VICTIM: &str = "HITLESS_LAB_VICTIM";
    run(Release::Bookworm, |host| {
        if std::env::var_os(VICTIM).is_some() {
            println!("\nleader {}\nfolder {}", host.leader(), host.folder().display());
            loop {
                std::thread::park();
            }
        }
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "host::a_killed_run_leaves_no_host_behind", "--nocapture"])
            .env(VICTIM, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut word_after =
            |name: &str| lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
        let leader = pidfd(word_after("leader ").unwrap().parse().unwrap());
        let folder = word_after("folder ").unwrap();

        victim.kill().unwrap();
        victim.wait().unwrap();

        assert!(ends(&leader), "the container died with the process that booted it");
        assert!(no_mounts());
        leftovers::remove();
        assert!(!std::path::Path::new(&folder).exists());
        assert!(host.folder().exists(), "a living run's host is left alone");
    });
}
