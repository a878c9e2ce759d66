//! Boots one container and ends it.
//!
//! Promises: no mount is made in the machine's own mount namespace, so none can be left behind;
//! the container dies with the process that booted it, however that ends.
//!
//! ```text
//! this process ── unshare ── sh: cgroup, tmpfs, overlay → systemd-nspawn ── PID 1 (leader)
//!                            └──────── mount and pid namespace of its own ────────┘
//! ```
//!
//! Two parent-death signals, one to unshare and one from it to nspawn; nspawn is the first
//! process of a pid namespace, so its end is the end of all. (nspawn alone, killed, would leave
//! its container running.)

use super::{BOUND, Release, leftovers};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags};
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};

/// Runs in a mount namespace of its own and becomes nspawn. `$1` our folder, `$2` the base, the
/// rest is nspawn's command line.
const BECOME_NSPAWN: &str = r#"
set -e
folder=$1 base=$2; shift 2
for cgroup in $CGROUPS; do echo 0 >"$cgroup/cgroup.procs"; done
mount -t tmpfs -o size=4G,mode=755 hitless-lab "$folder/fs"
mkdir "$folder/fs/upper" "$folder/fs/work" "$folder/fs/root"
mount -t overlay -o "lowerdir=$base,upperdir=$folder/fs/upper,workdir=$folder/fs/work" hitless-lab "$folder/fs/root"
exec systemd-nspawn --directory="$folder/fs/root" "$@"
"#;

pub struct Container {
    /// The container's PID 1, as this machine sees it.
    pub leader: u32,
    leader_fd: Option<OwnedFd>,
    unshare: Child,
    pub folder: PathBuf,
    cgroups: Vec<PathBuf>,
}

impl Container {
    pub fn boot(release: Release) -> Container {
        leftovers::remove_once();
        let folder = leftovers::new_folder();
        fs::create_dir_all(folder.join("fs")).unwrap();
        let notify = UnixDatagram::bind(folder.join("notify")).unwrap();
        let cgroups = own_cgroups(&folder);
        let unshare = spawn(command(&folder, &base(release), &cgroups));
        fs::write(folder.join("unshare"), leftovers::identity(unshare.id())).unwrap();
        let mut container = Container { leader: 0, leader_fd: None, unshare, folder, cgroups };
        container.await_ready(&notify);
        // unshare → nspawn → the container's PID 1; each has one child.
        container.leader = only_child(only_child(container.unshare.id()));
        container.leader_fd = Some(pidfd(container.leader));
        container
    }

    /// What the container said while it booted and since.
    pub fn console(&self) -> String {
        fs::read_to_string(self.folder.join("console")).unwrap_or_default()
    }

    /// nspawn passes on the READY=1 of the systemd inside.
    fn await_ready(&self, notify: &UnixDatagram) {
        let exit = pidfd(self.unshare.id());
        let bound = Timespec { tv_sec: BOUND.as_secs() as i64, tv_nsec: 0 };
        loop {
            let mut events = [PollFd::new(notify, PollFlags::IN), PollFd::new(&exit, PollFlags::IN)];
            let happened = poll(&mut events, Some(&bound)).unwrap();
            assert!(happened > 0, "the host did not boot within {BOUND:?}:\n{}", self.console());
            assert!(events[1].revents().is_empty(), "systemd-nspawn ended:\n{}", self.console());
            let mut record = [0; 4096];
            let length = notify.recv(&mut record).unwrap();
            if record[..length].split(|byte| *byte == b'\n').any(|line| line == b"READY=1") {
                return;
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.unshare.kill().ok();
        self.unshare.wait().ok();
        if let Some(leader) = &self.leader_fd {
            let bound = Timespec { tv_sec: 10, tv_nsec: 0 };
            poll(&mut [PollFd::new(leader, PollFlags::IN)], Some(&bound)).ok();
        }
        self.cgroups.iter().for_each(|cgroup| leftovers::remove_cgroup(cgroup));
        fs::remove_dir_all(&self.folder).ok();
    }
}

fn command(folder: &Path, base: &Path, cgroups: &[PathBuf]) -> Command {
    let console = File::create(folder.join("console")).unwrap();
    let cgroups = cgroups.iter().map(|cgroup| cgroup.display().to_string()).collect::<Vec<_>>().join(" ");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation=private", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"])
        .args(["--", "sh", "-c", BECOME_NSPAWN, "sh"])
        .args([folder, base])
        .args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--notify-ready=yes",
            "--private-network",
        ])
        .args(["--console=read-only", "--link-journal=no", "--resolv-conf=off", "--timezone=off"])
        .arg(format!("--machine=lab-{}", folder.file_name().unwrap().display()))
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .env("CGROUPS", cgroups)
        // Without it the container gets a hybrid tree where the machine has one.
        .env("UNIFIED_CGROUP_HIERARCHY", "1")
        .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
        .stdin(Stdio::null())
        .stdout(console.try_clone().unwrap())
        .stderr(console)
        .process_group(0);
    // SAFETY: prctl is async-signal-safe and touches no memory.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        });
    }
    command
}

/// Spawns on a thread that lives as long as the process: the parent-death signal is sent when
/// the *thread* ends that spawned, and a test's thread ends before a shared host does.
fn spawn(command: Command) -> Child {
    type Order = (Command, mpsc::Sender<Child>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                reply.send(command.spawn().expect("unshare(1) starts")).unwrap();
            }
        });
        orders
    });
    let (reply, child) = mpsc::channel();
    spawner.send((command, reply)).unwrap();
    child.recv().unwrap()
}

/// The base root file system; built by the script when there is none.
fn base(release: Release) -> PathBuf {
    let script = super::tree().join("packaging/lab-base");
    let output = Command::new(script).arg(release.name()).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "no base for {}", release.name());
    String::from_utf8(output.stdout).unwrap().trim().into()
}

/// The roots of the hierarchies in which a container needs a folder of its own: cgroup2, and
/// systemd's own one beside it on a hybrid machine.
pub fn cgroups() -> Vec<PathBuf> {
    let unified = Path::new("/sys/fs/cgroup");
    if unified.join("cgroup.procs").exists() {
        return vec![unified.into()];
    }
    let hybrid = ["unified", "systemd"].map(|name| unified.join(name));
    hybrid.into_iter().filter(|root| root.join("cgroup.procs").exists()).collect()
}

fn only_child(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap_or_else(|_| panic!("children of {pid}: {children}"))
}

fn pidfd(pid: u32) -> OwnedFd {
    let pid = Pid::from_raw(pid as i32).unwrap();
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap()
}

fn own_cgroups(folder: &Path) -> Vec<PathBuf> {
    let name = format!("hitless-lab-{}", folder.file_name().unwrap().display());
    let own: Vec<PathBuf> = cgroups().iter().map(|root| root.join(&name)).collect();
    own.iter().for_each(|cgroup| fs::create_dir(cgroup).unwrap());
    own
}

/// Distinguishes the hosts of one process.
pub fn next_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
