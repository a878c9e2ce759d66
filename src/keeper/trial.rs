//! The self-test: whether another program can do what is needed of it, before anything depends on it.
//!
//! ```text
//!  keeper                                   hitless self-test
//!     │ state, configuration (stdin) ────────▶ │  reads both, as a gateway and a keeper would
//!     │ ◀──────────── its versions (stdout), or why not (stderr) and code 1
//! ```
//! Promises: bounded in time and in what it may say; the other program gets nothing but a sealed memory file, so that it
//! can change nothing; a trial that is dropped is killed and reaped, with whatever it started.
//! Must not know: what is done with the verdict.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use serde::{Deserialize, Serialize};

use super::child::{self, Process};
use super::reexec::{self, State};
use crate::config::{self, Sources};
use crate::handover::{control, record, snapshot};

/// It reads a few files in memory.
const LIMIT: Duration = Duration::from_secs(20);
const MOST_WORDS: u64 = 64 * 1024;

/// What a program says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    pub version: String,
    /// Of `handover::control`, `handover::record`, and of the keeper's state.
    pub control: u32,
    pub record: u32,
    pub state: u32,
}

/// Why a program cannot take over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    pub version: String,
    pub reason: String,
    /// It could, if it were started anew.
    pub needs_restart: bool,
}

#[derive(Serialize, Deserialize)]
struct Task<State, Sources> {
    state: State,
    sources: Sources,
}

/// A self-test under way.
pub struct Trial {
    process: Process,
    stdout: OwnedFd,
    stderr: OwnedFd,
    done: bool,
}

impl Trial {
    /// Of this program, with this state.
    pub fn begin(program: &Path, state: &State, sources: &Sources) -> io::Result<Trial> {
        let task = snapshot::seal(&serde_json::to_vec(&Task { state, sources })?)?;
        let flags = PipeFlags::CLOEXEC;
        let (stdout, its_stdout) = pipe_with(flags)?;
        let (stderr, its_stderr) = pipe_with(flags)?;
        let mut command = child::command(program, "self-test", task);
        command.stdout(Stdio::from(its_stdout)).stderr(Stdio::from(its_stderr));
        Ok(Trial { process: Process::spawn(&mut command)?, stdout, stderr, done: false })
    }

    /// Its verdict. May be cancelled.
    pub async fn verdict(&mut self) -> Result<Versions, Unfit> {
        let unfit = |reason: String| Unfit { version: String::new(), reason, needs_restart: false };
        // A pipe that is full stops it, and then its time is over.
        let Ok(status) = tokio::time::timeout(LIMIT, self.process.exited()).await else {
            return Err(unfit(format!("its self-test did not end within {LIMIT:?}")));
        };
        self.done = true;
        if !status.success() {
            let said = words(&self.stderr);
            let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
            let how = child::how(status);
            let reason = if said.is_empty() { how } else { format!("{how}: {said}") };
            return Err(unfit(format!("its self-test {reason}")));
        }
        let said = words(&self.stdout);
        let versions = serde_json::from_str::<Versions>(said.trim());
        versions.map_err(|_| unfit("its self-test did not say what version it is".into())).and_then(judge)
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if !self.done {
            self.process.kill_group();
            self.process.reap();
        }
    }
}

fn judge(other: Versions) -> Result<Versions, Unfit> {
    let differs = |what: &str, its: u32, ours: u32| {
        let reason = format!(
            "the two versions cannot speak with each other: its {what} is of version {its}, that of the running one is {ours}"
        );
        Unfit { version: other.version.clone(), reason, needs_restart: true }
    };
    // Records of another version are refused one by one, and then end in the ordinary way.
    if other.control != control::VERSION {
        return Err(differs("control socket", other.control, control::VERSION));
    }
    if other.state != reexec::VERSION {
        return Err(differs("keeper's state", other.state, reexec::VERSION));
    }
    Ok(other)
}

/// What there is to be read now: whoever has inherited the other end may keep it open for ever.
fn words(pipe: &OwnedFd) -> String {
    let mut text = vec![];
    let flags = rustix::fs::fcntl_getfl(pipe).map(|flags| flags | rustix::fs::OFlags::NONBLOCK);
    let own =
        flags.and_then(|flags| rustix::fs::fcntl_setfl(pipe, flags)).and_then(|()| rustix::io::dup(pipe));
    if let Ok(own) = own {
        let _ = File::from(own).take(MOST_WORDS).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// The other side: `hitless self-test`.
pub fn self_test() -> Result<Versions, Vec<String>> {
    let failed = |what: &str, error: &dyn std::fmt::Display| vec![format!("cannot {what}: {error}")];
    let stdin = io::stdin().as_fd().try_clone_to_owned().map_err(|error| failed("read the task", &error))?;
    let content = snapshot::open(stdin).map_err(|error| failed("read the task", &error))?;
    let task: Task<serde_json::Value, Sources> =
        serde_json::from_slice(&content).map_err(|error| failed("read the task", &error))?;
    let loaded = config::parse(&task.sources);
    loaded.map_err(|errors| errors.0.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    let versions = Versions {
        version: crate::version::text().into(),
        control: control::VERSION,
        record: record::VERSION,
        state: reexec::VERSION,
    };
    // A state of another version may have another shape, and is judged by its number.
    if task.state.get("version") == Some(&reexec::VERSION.into()) {
        serde_json::from_value::<State>(task.state)
            .map_err(|error| failed("read the state of the keeper", &error))?;
    }
    Ok(versions)
}
