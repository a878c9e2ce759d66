//! `hitless restart`: the unit of a service is restarted while its requests wait.
//!
//! ```text
//!   hold ─▶ drain ─▶ systemd restarts the unit ─▶ release ─▶ until the first ones go on
//!    └────────┴───────────────┴── failed, Ctrl-C ─▶ release
//! ```
//! Promises: whatever happens, the requests are released at the end. Whoever calls this gives systemd the order, and
//! needs the right to; hitless itself needs none.
//! Must not know: how requests wait.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::oneshot;

use super::client::{self, Where};
use super::{Fatal, code, gate, print};
use crate::admin::{Gate, Gated, Status, Wish};
use crate::systemd::order::{self, Order, Undone};

const LIMIT: Duration = Duration::from_secs(15);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The service; its 'unit' is restarted
    #[arg(value_name = "SERVICE")]
    service: String,
    /// How long to wait for what is in flight, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = gate::duration)]
    limit: Duration,
    /// Each step as a line of JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// What was done, as a line of its own.
#[derive(Serialize)]
struct Step<'a> {
    step: &'a str,
    service: &'a str,
    unit: &'a str,
    /// Since the beginning.
    ms: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
}

struct Progress<'a> {
    options: &'a Options,
    unit: String,
    began: Instant,
}

impl Progress<'_> {
    fn tell(&self, step: &str, detail: &str) -> Result<(), Fatal> {
        let ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line = Step { step, service: &self.options.service, unit: &self.unit, ms, detail };
        if self.options.json {
            return print(&serde_json::to_string(&line).map_err(|error| Fatal::new(code::SOFTWARE, error))?);
        }
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        print(&format!("{:>7.1} s  {step}{detail}", self.began.elapsed().as_secs_f64()))
    }
}

pub fn restart(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let unit = unit_of(options, directory)?;
    let progress = Progress { options, unit, began: Instant::now() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Fatal::new(code::SOFTWARE, error))?;
    let ended = runtime.block_on(async {
        let stopped = interrupted().map_err(|error| Fatal::new(code::SOFTWARE, error))?;
        tokio::select! {
            ended = steps(&progress, directory) => ended,
            _ = stopped => Err(Fatal::new(code::REFUSED, "interrupted: requests go on; the unit may be half restarted")),
        }
    });
    // A question that is still being asked is nobody's business any more.
    runtime.shutdown_background();
    let released =
        gate::ask(&options.place, directory, &gate::wish(&options.service, Gate::Release), "release");
    match (ended, released) {
        (Ok(()), Ok(Gated { held, .. })) => progress.tell("released", &format!("{held} waited")),
        (Ok(()), Err(fatal)) => Err(fatal),
        (Err(fatal), Ok(_)) => Err(fatal),
        (Err(fatal), Err(release)) => {
            Err(Fatal::new(fatal.code, format_args!("{}\nand {}", fatal.message, release.message)))
        }
    }
}

fn unit_of(options: &Options, directory: &Path) -> Result<String, Fatal> {
    let answer = client::ask(&options.place, directory, "GET /status", "restart", LIMIT)?;
    let status: Status = serde_json::from_slice(&answer.body).unwrap_or_default();
    let service = status.services.into_iter().find(|service| service.name == options.service);
    let refused = |told: String| Fatal::new(code::REFUSED, format_args!("cannot restart: {told}"));
    let service = service.ok_or_else(|| refused(format!("there is no service '{}'", options.service)))?;
    let add = format!("service '{0}' has no unit; add unit = \"{0}.service\" to it", options.service);
    service.unit.map(|unit| unit.name).ok_or_else(|| refused(add))
}

async fn steps(progress: &Progress<'_>, directory: &Path) -> Result<(), Fatal> {
    let Options { service, limit, .. } = progress.options;
    ask(progress, directory, gate::wish(service, Gate::Hold), "hold").await?;
    progress.tell("holding", "")?;
    let drain = Wish { limit: Some(*limit), ..gate::wish(service, Gate::Drain) };
    let drained = ask(progress, directory, drain, "drain").await?;
    match drained.done {
        true => progress.tell("drained", &format!("{} wait", drained.held))?,
        false => progress.tell("not drained", &format!("{} in flight after {limit:?}", drained.in_flight))?,
    }
    order::done(Order::Restart, &progress.unit).await.map_err(|error| match error {
        Undone::Bus(_) => Fatal::new(code::UNSEEN, format_args!("cannot restart {}: {error}", progress.unit)),
        Undone::Denied(_) => {
            Fatal::new(code::REFUSED, format_args!("cannot restart {}: {error}; use sudo", progress.unit))
        }
        Undone::Failed(_) => {
            Fatal::new(code::REFUSED, format_args!("cannot restart {}: {error}", progress.unit))
        }
    })?;
    progress.tell("restarted", "")?;
    Ok(())
}

/// Beside whatever else is waited for.
async fn ask(
    progress: &Progress<'_>,
    directory: &Path,
    wish: Wish,
    verb: &'static str,
) -> Result<Gated, Fatal> {
    let (place, directory) = (progress.options.place.clone(), directory.to_owned());
    let asked = tokio::task::spawn_blocking(move || gate::ask(&place, &directory, &wish, verb));
    asked.await.map_err(|error| Fatal::new(code::SOFTWARE, error))?
}

/// Resolves at Ctrl-C, or at SIGTERM.
fn interrupted() -> std::io::Result<oneshot::Receiver<()>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let _ = tell.send(());
        }
    });
    Ok(told)
}
