//! A gateway with a folder of its own, and an endpoint behind it.
//!
//! Promises: ready when it is there; both processes are gone when it is dropped.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

use super::endpoint;
use super::pki::Authority;

pub struct Stage {
    /// Where the gateway listens.
    pub address: String,
    /// With TLS.
    pub secure: String,
    pub gateway: i32,
    keeper: Child,
    _folder: TempDir,
}

impl Stage {
    /// `hitless run` of this binary, with these lines of `[limits]`.
    pub fn start(binary: &Path, limits: &str) -> anyhow::Result<Stage> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let notify = UnixDatagram::bind(at("notify"))?;
        notify.set_read_timeout(Some(Duration::from_millis(100)))?;
        fs::create_dir(at("services.d"))?;
        let settings = format!(
            "[admin]\nsocket = {:?}\n[listener.http]\nlisten = [\"127.0.0.1:0\"]\n\
             [listener.https]\nlisten = [\"127.0.0.1:0\"]\ntls = true\n[log]\naccess = \"off\"\n{}",
            at("admin.sock"),
            if limits.is_empty() { String::new() } else { format!("[limits]\n{limits}\n") }
        );
        fs::write(at("hitless.toml"), settings)?;
        let endpoint = endpoint::start()?;
        Authority::new("calm").leaf(&["calm.test"]).pair().write(folder.path(), "calm");
        let service = format!(
            "[service.calm]\nhosts = [\"calm.test\"]\nendpoints = [\"{endpoint}\"]\n\
             certificates = [{{ chain = \"calm.pem\", key = \"calm.key\" }}]\n"
        );
        fs::write(at("services.d/calm.toml"), service)?;
        let command = |verb| {
            let mut command = Command::new(binary);
            command
                .args([verb, "--config"])
                .arg(folder.path())
                .env_remove("JOURNAL_STREAM")
                .env_remove("MAINPID");
            command
        };
        let log = fs::File::create(at("log"))?;
        let mut keeper = command("run")
            .env("NOTIFY_SOCKET", at("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot run '{}'", binary.display()))?;
        let mut told = [0; 8192];
        let patience = Instant::now() + Duration::from_secs(30);
        loop {
            let heard = notify.recv(&mut told);
            if heard.is_ok_and(|count| String::from_utf8_lossy(&told[..count]).contains("READY=1")) {
                break;
            }
            if keeper.try_wait()?.is_some() || Instant::now() > patience {
                let _ = keeper.kill();
                let _ = keeper.wait();
                bail!("the gateway does not start: {}", fs::read_to_string(at("log"))?);
            }
        }
        let output = command("status").arg("--json").output()?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let address_of = |name: &str| {
            let all = status["listeners"].as_array().context("no listeners")?;
            let found = all.iter().find(|listener| listener["name"] == name).context("no such listener")?;
            Ok::<_, anyhow::Error>(found["address"].as_str().context("no address")?.to_owned())
        };
        let (address, secure) = (address_of("http")?, address_of("https")?);
        let gateway = status["pid"].as_i64().context("no process")? as i32;
        Ok(Stage { address, secure, gateway, keeper, _folder: folder })
    }

    /// Of the keeper and the gateway together.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        self.sum("status", "VmRSS:")
    }

    /// The most that was resident since their start.
    pub fn peak_kib(&self) -> anyhow::Result<u64> {
        self.sum("status", "VmHWM:")
    }

    /// The share of this gateway in what is resident (proc(5), smaps_rollup).
    pub fn proportional_kib(&self) -> anyhow::Result<u64> {
        self.sum("smaps_rollup", "Pss:")
    }

    /// What the gateway's threads have had of the processors (schedstat of proc(5), from the kernel's sched-stats.rst).
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let mut nanoseconds = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.gateway))?.flatten() {
            // One that has ended meanwhile had little.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|run| run.parse().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    fn sum(&self, file: &str, row: &str) -> anyhow::Result<u64> {
        let of = |pid: i32| -> anyhow::Result<u64> {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
            let line = text.lines().find(|line| line.starts_with(row)).context("no such row")?;
            Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
        };
        Ok(of(self.gateway)? + of(self.keeper.id() as i32)?)
    }
}

/// How much of the processors' time there was, and how much of it the host of this virtual machine kept (proc(5)).
#[derive(Clone, Copy)]
pub struct Ticks {
    all: u64,
    stolen: u64,
}

impl Ticks {
    pub fn now() -> anyhow::Result<Ticks> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        // user nice system idle iowait irq softirq steal; what guests had is in the first two.
        let fields: Vec<u64> = line.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
        Ok(Ticks { all: fields.iter().sum(), stolen: fields.get(7).copied().unwrap_or(0) })
    }

    /// In percent.
    pub fn stolen_since(self, before: Ticks) -> u64 {
        100 * (self.stolen - before.stolen) / (self.all - before.all).max(1)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let gateway = Pid::from_raw(self.gateway).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
        if let Some(gateway) = gateway {
            let _ = pidfd_send_signal(&gateway, Signal::KILL);
        }
    }
}
