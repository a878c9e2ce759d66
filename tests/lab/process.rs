//! Commands inside a host: run to their end, or running beside the test.
//!
//! Promises: a command that does not end within the bound fails the test; none outlives the
//! host, and a [`Running`] one ends when it is dropped.

use super::BOUND;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

/// How a command ended and what it said.
#[derive(Debug)]
#[must_use = "a command that may fail unnoticed proves nothing: .ok() or .fails()"]
pub struct Output {
    pub command: String,
    /// The exit status; 128 + n after signal n.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Fails the test unless the command succeeded; what it said, trimmed.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, 0, "{}\n{}{}", self.command, self.stdout, self.stderr);
        self.stdout.trim().to_owned()
    }

    /// Fails the test unless the command failed.
    #[track_caller]
    pub fn fails(self) -> Output {
        assert_ne!(self.status, 0, "should have failed: {}\n{}{}", self.command, self.stdout, self.stderr);
        self
    }
}

/// `command…` inside the namespaces of the container whose PID 1 is `leader`.
pub fn enter(leader: u32, bounded: bool, words: &[&str]) -> Command {
    let mut command = Command::new(if bounded { "timeout" } else { "nsenter" });
    if bounded {
        command.args(["--kill-after=5", &BOUND.as_secs().to_string(), "nsenter"]);
    }
    command
        .args(["--target", &leader.to_string()])
        .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"])
        // The end of nsenter, our child, is the end of the command, its child.
        .args(["--", "setpriv", "--pdeathsig", "KILL", "--"])
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("SYSTEMD_PAGER", "")
        .stdin(Stdio::null());
    command
}

/// Runs to the end.
#[track_caller]
pub fn run(leader: u32, words: &[&str]) -> Output {
    let output = enter(leader, true, words).output().unwrap();
    let command = words.join(" ");
    assert_ne!(output.status.code(), Some(124), "did not end within {BOUND:?}: {command}");
    Output {
        command,
        status: exit_status(output.status),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn exit_status(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(-1)
}

/// A command that runs beside the test; its lines can be waited for.
pub struct Running {
    command: String,
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub fn start(leader: u32, words: &[&str]) -> Running {
        let mut child = enter(leader, false, words).stdout(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let stdout: ChildStdout = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let read = BufReader::new(stdout).lines().map_while(Result::ok);
            read.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        Running { command: words.join(" "), child, lines }
    }

    /// The next line for which `wanted` returns something.
    #[track_caller]
    pub fn wait_for<T>(&self, mut wanted: impl FnMut(&str) -> Option<T>) -> T {
        let end = Instant::now() + BOUND;
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!(
                    "{}: what was waited for did not come within {BOUND:?}; seen:\n{}",
                    self.command,
                    seen.join("\n")
                );
            };
            if let Some(found) = wanted(&line) {
                return found;
            }
            seen.push(line);
        }
    }

    /// Waits for its end; the exit status and the lines that nobody has taken.
    pub fn wait(mut self) -> (i32, Vec<String>) {
        let lines = self.lines.iter().collect();
        (exit_status(self.child.wait().unwrap()), lines)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
