//! A bounded flood against a gateway of its own, a calm client beside it, and what both saw.
//!
//! ```text
//!   stage: gateway + endpoint ── calm client ── before ─▶ under the flood ─▶ after ─▶ report
//!                                     offenders: a row of `kinds`, driven by `pack`
//! ```
//! Promises: loopback only, against a gateway that it starts itself; ends by itself at its bounds, and
//! leaves no process behind. Must not know: how the gateway defends itself.

mod calm;
mod endpoint;
#[path = "../../wire/frames.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod frames;
mod kinds;
mod pack;
#[path = "../../../tests/tls/pki.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod pki;
mod stage;
pub mod storm;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use calm::Door;
pub use calm::{Calm, Share};
pub use kinds::{KINDS, Kind};
use serde::Serialize;
pub use stage::Stage;
use stage::Ticks;

/// Requests of the calm client in a second: many, so that a p99 does not hang on a handful.
const RATE: u32 = 400;

/// When a flood ends at the latest.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub time: Duration,
    /// What each connection of an offender sends, in units of its kind.
    pub units: u64,
    /// Whether an offender that was ended comes back.
    pub returns: bool,
    /// How many requests the calm client makes before the flood, and after it.
    pub calm: usize,
}

/// What a flood did.
#[derive(Debug, Serialize)]
pub struct Report {
    pub kind: &'static str,
    /// Whether its offenders have to be ended, or only to be borne.
    pub must_end: bool,
    pub connections: usize,
    pub ended: usize,
    /// How often each way of being ended was seen.
    pub ways: BTreeMap<String, usize>,
    pub first_end_ms: Option<u64>,
    pub units: u64,
    pub bytes: u64,
    /// Before and after the flood.
    pub calm: Share,
    pub flooded: Share,
    /// What the host of this machine kept of the processors' time meanwhile, in percent.
    pub stolen: u64,
    /// What the gateway had of one processor meanwhile, in percent.
    pub busy: u64,
    pub calm_kib: u64,
    pub peak_kib: u64,
}

impl Report {
    pub fn growth_kib(&self) -> u64 {
        self.peak_kib.saturating_sub(self.calm_kib)
    }

    /// Everything that happened in spite of a promise but the latency, which only a quiet machine can judge.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = vec![];
        if self.must_end && self.ended == 0 {
            faults.push("no offender was ended".to_owned());
        }
        if self.growth_kib() >= 64 * 1024 {
            faults.push(format!("memory grew by {} KiB", self.growth_kib()));
        }
        if self.flooded.failed + self.calm.failed > 0 {
            faults.push(format!("{} calm requests failed", self.flooded.failed + self.calm.failed));
        }
        faults
    }

    /// Whether the calm client fared worse than it may in a usual second, compared with the seconds before and after.
    pub fn is_slow(&self) -> bool {
        self.flooded.median_us() > 3 * self.calm.median_us().max(1000)
    }
}

/// One flood, against a gateway of its own with these lines of `[limits]`.
pub fn run(kind: &Kind, binary: &Path, limits: &str, bounds: Bounds) -> anyhow::Result<Report> {
    let stage = Stage::start(binary, limits)?;
    let plan = kind.plan();
    let calm = Calm::start(
        if plan.secure { Door::Secure(&stage.secure) } else { Door::Plain(&stage.address) },
        RATE,
    );
    calm.wait(bounds.calm);
    let calm_kib = stage.resident_kib()?;
    let (began, ticks, had) = (Instant::now(), Ticks::now()?, stage.processor_time()?);
    let address = if plan.secure { &stage.secure } else { &stage.address };
    let pack = beside(|| pack::run(&plan, address, bounds))?;
    let ended = Instant::now();
    let had = stage.processor_time()?.saturating_sub(had);
    let stolen = Ticks::now()?.stolen_since(ticks);
    calm.wait_since(ended, bounds.calm);
    let peak_kib = stage.peak_kib()?;
    let (calm, flooded) = calm.finish(began, ended);
    Ok(Report {
        kind: kind.name,
        must_end: kind.must_end,
        connections: pack.connections,
        ended: pack.ended,
        ways: pack.ways,
        first_end_ms: pack.first_end.map(|time| time.as_millis() as u64),
        units: pack.units,
        bytes: pack.bytes,
        calm,
        flooded,
        stolen,
        busy: (100.0 * had.as_secs_f64() / (ended - began).as_secs_f64()) as u64,
        calm_kib,
        peak_kib,
    })
}

/// Runs in a thread that leaves the processor to others: a real offender has one of its own.
fn beside<T: Send>(work: impl FnOnce() -> anyhow::Result<T> + Send) -> anyhow::Result<T> {
    let nicely = || {
        // Of this thread only (setpriority(2), "C library/kernel differences").
        rustix::process::setpriority_process(None, 19)?;
        work()
    };
    std::thread::scope(|scope| scope.spawn(nicely).join())
        .unwrap_or_else(|_| anyhow::bail!("the flood panicked"))
}
