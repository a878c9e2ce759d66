//! What the kernel says of processors and processes: who may run where, and what it took.
//!
//! Promises: times in nanoseconds as the scheduler counts them, of a process and everything below it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors of this thread.
pub fn processors() -> anyhow::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|number| set.is_set(*number)).collect())
}

/// This thread, and whatever it starts, runs there.
pub fn pin(processors: &[usize]) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    processors.iter().for_each(|number| set.set(*number));
    Ok(sched_setaffinity(None, &set)?)
}

/// What a family of processes has used since its start.
#[derive(Clone)]
pub struct Used {
    processes: Vec<i32>,
    pub all: Duration,
    /// In ticks of 10 ms: a share, not a measure.
    user: u64,
    system: u64,
}

impl Used {
    /// Of this process and everything below it.
    pub fn by(root: i32) -> anyhow::Result<Used> {
        let mut used = Used { processes: family(root)?, all: Duration::ZERO, user: 0, system: 0 };
        for process in &used.processes {
            used.all += clock(*process)?;
            let (_, fields) = stat(*process)?;
            let field = |number: usize| fields[number - 3].parse::<u64>();
            used.user += field(14)?;
            used.system += field(15)?;
        }
        Ok(used)
    }

    /// What was used after `earlier`, and the share of it outside of the kernel.
    pub fn since(&self, earlier: &Used) -> anyhow::Result<(Duration, f64)> {
        ensure!(self.processes == earlier.processes, "a process ended or began meanwhile");
        let (user, system) = (self.user - earlier.user, self.system - earlier.system);
        Ok((self.all.saturating_sub(earlier.all), user as f64 / (user + system).max(1) as f64))
    }
}

/// A process and everything below it, in the order of their numbers.
pub fn family(root: i32) -> anyhow::Result<Vec<i32>> {
    let mut parents = vec![];
    for entry in fs::read_dir("/proc")? {
        let Some(process) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // One that has just ended is none of ours.
        if let Ok((_, fields)) = stat(process) {
            parents.push((process, fields[1].parse::<i32>()?));
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(process, _)| *process));
        at += 1;
    }
    family.sort_unstable();
    Ok(family)
}

/// The name and the fields of proc(5), from the third on.
fn stat(process: i32) -> anyhow::Result<(String, Vec<String>)> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (name, fields) = text.rsplit_once(") ").context("no such line")?;
    Ok((name.to_owned(), fields.split_whitespace().map(str::to_owned).collect()))
}

/// The processor time of a process, of threads that have ended too.
fn clock(process: i32) -> anyhow::Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both only write to the places given, which live here.
    let failed = unsafe {
        libc::clock_getcpuclockid(process, &mut clock) != 0 || libc::clock_gettime(clock, &mut time) != 0
    };
    ensure!(!failed, "process {process} has gone");
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Ticks of all processors: all, idle ones, and those that the host has given to others.
#[derive(Clone, Copy)]
pub struct Ticks {
    all: u64,
    idle: u64,
    stolen: u64,
}

impl Ticks {
    pub fn now() -> anyhow::Result<Ticks> {
        let text = fs::read_to_string("/proc/stat")?;
        let line = text.lines().next().context("/proc/stat is empty")?;
        let fields = line.split_whitespace().skip(1).take(8).map(str::parse);
        let fields: Vec<u64> = fields.collect::<Result<_, _>>()?;
        ensure!(fields.len() == 8, "/proc/stat has no steal");
        Ok(Ticks { all: fields.iter().sum(), idle: fields[3] + fields[4], stolen: fields[7] })
    }

    /// The shares that were stolen and idle, in percent.
    pub fn since(self, earlier: Ticks) -> (f64, f64) {
        let share = |now: u64, before: u64| {
            100.0 * (now.saturating_sub(before)) as f64 / (self.all - earlier.all).max(1) as f64
        };
        (share(self.stolen, earlier.stolen), share(self.idle, earlier.idle))
    }
}

/// For the head of the table.
pub fn described() -> String {
    let of = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once([':', '=']).map_or("?", |(_, value)| value.trim()).trim_matches('"').to_owned()
    };
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{}, kernel {}, {}",
        of("/proc/cpuinfo", "model name"),
        kernel.trim(),
        of("/etc/os-release", "PRETTY_NAME")
    )
}
