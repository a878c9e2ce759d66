//! The language of these tests: a daemon with its folder, and what can be asked of it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_hitless");
/// Far more than anything here takes; a broken promise fails instead of hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A configuration folder, and the notify socket of a service manager beside it.
pub struct Folder {
    dir: TempDir,
    notify: UnixDatagram,
}

/// `hitless run`, killed with its gateway when dropped: not before its ledger has said that nothing is unaccounted
/// for.
pub struct Daemon {
    pub folder: Folder,
    pub keeper: Child,
    heard: Vec<String>,
}

impl Folder {
    pub fn new(settings: &str) -> Folder {
        let dir = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        fs::create_dir(dir.path().join("services.d")).unwrap();
        let folder = Folder { dir, notify };
        let socket = folder.admin();
        folder.write("hitless.toml", &format!("[admin]\nsocket = {socket:?}\n{settings}"));
        folder
    }

    /// With a listener on a port that the kernel chooses.
    pub fn listening() -> Folder {
        Folder::new("[listener.http]\nlisten = [\"127.0.0.1:0\"]\n")
    }

    /// The same, with these settings behind it.
    pub fn listening_with(settings: &str) -> Folder {
        Folder::new(&format!("[listener.http]\nlisten = [\"127.0.0.1:0\"]\n{settings}\n"))
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn admin(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// As editors and packages do it: whole, or not at all.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.path().join(name)).unwrap();
    }

    pub fn append(&self, name: &str, text: &str) {
        let before = fs::read_to_string(self.path().join(name)).unwrap();
        self.write(name, &(before + text));
    }

    pub fn service(&self, name: &str, lines: &str) {
        self.write(&format!("services.d/{name}.toml"), &format!("[service.{name}]\n{lines}\n"));
    }

    /// A service whose one route answers with this text.
    pub fn answering(&self, name: &str, text: &str) {
        let route = "[[service.{name}.route]]\npath = \"/*\"\nanswer = { body = \"{text}\" }";
        let route = route.replace("{name}", name).replace("{text}", text);
        self.service(name, &format!("hosts = [\"{name}.test\"]\n{route}"));
    }

    /// A service that passes everything on to this endpoint.
    pub fn passing(&self, name: &str, endpoint: &str) {
        self.passing_with(name, endpoint, "");
    }

    pub fn passing_with(&self, name: &str, endpoint: &str, lines: &str) {
        self.service(
            name,
            &format!("hosts = [\"{name}.test\"]\nendpoints = [\"{endpoint}\"]\nhold.age = \"off\"\n{lines}"),
        );
    }

    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(BINARY);
        command.args([verb, "--config"]).arg(self.path()).env_remove("MAINPID").env_remove("JOURNAL_STREAM");
        command
    }

    /// Runs a verb to its end.
    pub fn verb(&self, verb: &str) -> Output {
        self.command(verb).output().unwrap()
    }

    pub fn start(self) -> Daemon {
        let command = self.command("run");
        self.start_as(command)
    }

    pub fn start_as(self, command: Command) -> Daemon {
        let keeper = self.spawn(command);
        Daemon { folder: self, keeper, heard: vec![] }
    }

    fn spawn(&self, mut command: Command) -> Child {
        command.env("NOTIFY_SOCKET", self.path().join("notify")).stdin(Stdio::null());
        let log = fs::File::options().create(true).append(true).open(self.path().join("log")).unwrap();
        command.stdout(Stdio::null()).stderr(log).spawn().unwrap()
    }

    /// As systemd would, with these descriptors, all of one name, or of names joined by colons.
    pub fn start_with(self, name: &str, sockets: Vec<OwnedFd>) -> Daemon {
        let mut command = Command::new("sh");
        // LISTEN_PID is only known in the new process.
        command.args(["-c", "export LISTEN_PID=$$; exec \"$@\"", "sh", BINARY, "run", "--config"]);
        command.arg(self.path()).env_remove("JOURNAL_STREAM");
        command.env("LISTEN_FDS", sockets.len().to_string());
        let names = if name.contains(':') { name.into() } else { vec![name; sockets.len()].join(":") };
        command.env("LISTEN_FDNAMES", names);
        // SAFETY: only dup2, which is async-signal-safe; moved far up first, so that no copy overwrites another.
        unsafe {
            command.pre_exec(move || {
                for (index, socket) in sockets.iter().enumerate() {
                    libc::dup2(socket.as_raw_fd(), 500 + index as i32);
                }
                for index in 0..sockets.len() as i32 {
                    libc::dup2(500 + index, 3 + index);
                    libc::close(500 + index);
                }
                Ok(())
            });
        }
        self.start_as(command)
    }
}

impl Daemon {
    /// Waits until the service manager was told this; what it was told with it.
    pub fn told(&mut self, wanted: &str) -> String {
        let mut buffer = [0; 8192];
        loop {
            let length = self.folder.notify.recv(&mut buffer).unwrap_or_else(|error| {
                panic!("never told {wanted:?} ({error}), only {:#?}\n{}", self.heard, self.log())
            });
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            self.heard.push(text.clone());
            if text.contains(wanted) {
                return text;
            }
        }
    }

    pub fn ready(mut self) -> Daemon {
        self.told("READY=1");
        self
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn status(&self) -> serde_json::Value {
        let output = self.folder.command("status").arg("--json").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}\n{}", self.log()))
    }

    pub fn gateway(&self) -> Process {
        Process::open(self.status()["pid"].as_i64().unwrap() as i32)
    }

    pub fn address(&self) -> String {
        self.status()["listeners"][0]["address"].as_str().unwrap().to_owned()
    }

    /// The first address of this listener.
    pub fn address_of(&self, listener: &str) -> String {
        let status = self.status();
        let mut listeners = status["listeners"].as_array().unwrap().iter();
        let found = listeners.find(|one| one["name"] == listener).unwrap();
        found["address"].as_str().unwrap().to_owned()
    }

    /// What became of everything, as the admin socket tells it.
    pub fn ledger(&self) -> serde_json::Value {
        let answer = admin(&self.folder, "GET /ledger");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer:?}\n{}", self.log()))
    }

    /// Whether there is a gateway that can be asked: the keeper was ready, nobody has stopped anything.
    fn can_be_asked(&mut self) -> bool {
        let heard = |word: &str| self.heard.iter().any(|told| told.contains(word));
        let serves = heard("READY=1") && !heard("STOPPING=1");
        serves
            && matches!(self.keeper.try_wait(), Ok(None))
            && self.pids().into_iter().any(|pid| !is_stopped(pid))
    }

    /// Nothing is unaccounted for, and every newcomer has come to a thread that serves it.
    fn balances(&self) {
        let settled = || {
            let ledger = self.ledger();
            let balances = ledger["residue"].as_object().unwrap().values().all(|count| count == 0);
            assert!(balances, "a residue: {ledger:#}");
            let arriving = |page: &serde_json::Value| page["connections"]["arriving"] != 0;
            (!ledger["gateways"].as_array().unwrap().iter().any(arriving)).then_some(())
        };
        eventually(settled);
    }

    fn pids(&self) -> Vec<i32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.keeper.id()));
        children.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
    }

    /// Loads the configuration again, and waits until the service manager knows.
    pub fn reloads(&mut self) {
        let output = self.folder.verb("reload");
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        self.told("STATUS=");
    }

    /// The line of the access log about the request of this id, once it is there.
    pub fn access(&self, request_id: &str) -> serde_json::Value {
        eventually(|| self.accesses().into_iter().find(|line| line["request_id"] == request_id))
    }

    /// All lines of the access log so far.
    pub fn accesses(&self) -> Vec<serde_json::Value> {
        let lines = self.json_log().into_iter();
        lines.filter(|line| line.get("duration_us").is_some()).collect()
    }

    /// The whole log; every line must be JSON.
    pub fn json_log(&self) -> Vec<serde_json::Value> {
        // The last line may be half written.
        let log = self.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let parsed = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        whole.lines().map(parsed).collect()
    }

    /// Another keeper in the same folder, after the end of the first.
    pub fn starts_again(&mut self) {
        self.keeper = self.folder.spawn(self.folder.command("run"));
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.keeper), signal).unwrap();
    }

    /// Waits for the end of the keeper.
    pub fn ends(&mut self) -> ExitStatus {
        Process::open(self.keeper.id() as i32).ends();
        self.keeper.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let last = log.lines().rev().take(40).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
            eprintln!("told: {:#?}\nlog:\n{}", self.heard, last.join("\n"));
        }
        let ledger = match !std::thread::panicking() && self.can_be_asked() {
            true => std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.balances())),
            false => Ok(()),
        };
        let told = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        // A gateway whose keeper is gone drains; one that a test has stopped must go as well.
        let children = self.pids();
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        for pid in children {
            let pid = Pid::from_raw(pid);
            let Some(Ok(gateway)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) else { continue };
            let _ = rustix::process::pidfd_send_signal(&gateway, Signal::KILL);
            let _ = poll(&mut [PollFd::new(&gateway, PollFlags::IN)], None);
        }
        if let Err(residue) = ledger {
            std::panic::resume_unwind(residue);
        }
        // The last word of one that drained.
        assert!(std::thread::panicking() || !told.contains("unaccounted for"), "a residue:\n{told}");
    }
}

/// Whether a test has stopped this process.
fn is_stopped(pid: i32) -> bool {
    is_stop(&fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default())
}

/// proc_pid_stat(5): the state stands after the name.
fn is_stop(stat: &str) -> bool {
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

/// A process that is not our child.
pub struct Process {
    pub pid: i32,
    pidfd: OwnedFd,
}

impl Process {
    pub fn open(pid: i32) -> Process {
        let pidfd = pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap();
        Process { pid, pidfd }
    }

    pub fn signal(&self, signal: Signal) {
        rustix::process::pidfd_send_signal(&self.pidfd, signal).unwrap();
    }

    /// Stops it, and waits until each of its threads has stopped; the kernel tells only parents.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let stopped = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            is_stop(&stat)
        };
        let tasks = || fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().map_while(Result::ok);
        while !tasks().all(stopped) {
            std::thread::yield_now();
        }
    }

    pub fn ends(&self) {
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&patience)), Ok(1), "process {} does not end", self.pid);
    }

    pub fn resident_kib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was resident since its start.
    pub fn peak_kib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, row: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with(row)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub fn open_descriptors(&self) -> usize {
        self.descriptors().len()
    }

    pub fn descriptors(&self) -> Vec<u64> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }
}

/// A request that is on its way.
pub struct Asking(TcpStream);

pub fn ask(address: &str, host: &str, path: &str) -> Asking {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    Asking(stream)
}

impl Asking {
    /// The whole answer; empty when the connection was closed instead.
    pub fn answer(mut self) -> String {
        let mut answer = vec![];
        // A reset is an end without an answer.
        let _ = self.0.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub fn get(address: &str, host: &str, path: &str) -> String {
    ask(address, host, path).answer()
}

/// One question to an admin socket.
pub fn admin(folder: &Folder, request: &str) -> String {
    let mut stream = UnixStream::connect(folder.admin()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: admin\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// A listening socket on a port that the kernel chooses.
pub fn listener() -> (String, OwnedFd) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    (socket.local_addr().unwrap().to_string(), socket.into())
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asks until there is an answer: for what nobody tells of.
pub fn eventually<T>(question: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(began.elapsed() < PATIENCE, "it never came to pass");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

impl Daemon {
    /// Whether the service manager hears nothing for five watchdog intervals, once what was on its
    /// way has arrived: the queue of its socket, which is far shorter than this (unix(7), max_dgram_qlen).
    pub fn falls_silent(&mut self) -> bool {
        let interval = Duration::from_millis(50);
        self.folder.notify.set_read_timeout(Some(interval * 5)).unwrap();
        let mut buffer = [0; 8192];
        let silent = (0..1000).any(|_| self.folder.notify.recv(&mut buffer).is_err());
        self.folder.notify.set_read_timeout(Some(PATIENCE)).unwrap();
        silent
    }
}
