//! Many transitions in a random order under load, in one host: nothing lost, and nothing left behind.
//!
//! Promises: the seed is printed first, and gives the same order again; bounded in time.
//!
//! **The rule for what is left behind.** Both measurements are taken when a load has ended and an upgrade by hand was
//! the last transition, so that the keeper has become another program at least once, with no client connected: the
//! first after ten transitions, the second after all. The keeper's descriptors may have grown by 2 (the connection of the
//! last question may still be closing), the gateway's by as many connections as it keeps to endpoints (how many
//! depends on the load's last moments; what every handover leaked would be hundreds), resident memory by a quarter and 4 MiB (the allocator
//! of a process keeps what a burst needed). The unit has two processes, and nothing is left in systemd's fd store.
//!
//! **The rule for what is lost.** Nothing, except by a kill: what was with the process that was killed is gone, that
//! is requests in flight, connections and tunnels that ended between the kill and the end of that transition.

use std::time::{Duration, Instant};

use anyhow::Context;
use hitless::prove::{Ended, Failure, Kind, Load, Report};

use crate::events::{offer, short_probation, tell, upgrade_to};
use crate::stage::Stage;
use crate::watch::Holding;

/// Idle connections to the three endpoints of the demonstration: a few dozen.
const KEPT: usize = 64;

/// Before the first measurement.
const WARM_UP: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transition {
    Reload,
    Upgrade,
    Restart,
    /// The outgoing process is killed at some moment of an upgrade: before, while or after it hands over.
    Kill,
}

/// When a kill was under way, since the load began.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    ended: Duration,
}

/// So many transitions within `bound`; whether the promise was kept, told as it goes.
pub fn soak(stage: &Stage, count: u32, seed: u64, bound: Duration) -> anyhow::Result<bool> {
    println!("  {count} random transitions, seed {seed}");
    let deadline = Instant::now() + bound;
    let mut random = fastrand::Rng::with_seed(seed);
    short_probation(stage)?;
    let mut broken = stretch(stage, WARM_UP.min(count), &mut random, deadline)?;
    let before = measure(stage)?;
    broken.extend(stretch(stage, count.saturating_sub(WARM_UP), &mut random, deadline)?);
    let after = measure(stage)?;
    println!("  keeper and gateway held {before:?}, and at the end {after:?}");
    for (name, before, after) in [("keeper", before[0], after[0]), ("gateway", before[1], after[1])] {
        broken.extend(grown(name, before, after));
    }
    match stage.residue() {
        Some(0) => {}
        residue => broken.push(format!("the ledger's residue is {residue:?}")),
    }
    let left = stage.host.show("hitless", "NFileDescriptorStore");
    if left != "0" {
        broken.push(format!("{left} descriptors are left in systemd's store"));
    }
    let processes = stage.host.shell("wc -l </sys/fs/cgroup/system.slice/hitless.service/cgroup.procs").ok();
    if processes != "2" {
        broken.push(format!("the unit has {processes} processes"));
    }
    match broken.as_slice() {
        [] => println!("kept    {count} transitions lose nothing and leave nothing behind (seed {seed})"),
        _ => println!("BROKEN  seed {seed}:\n        {}\n{}", broken.join("\n        "), stage.explanation()),
    }
    Ok(broken.is_empty())
}

/// Transitions under one load; in which ways it was lossy.
fn stretch(
    stage: &Stage,
    count: u32,
    random: &mut fastrand::Rng,
    deadline: Instant,
) -> anyhow::Result<Vec<String>> {
    tell("  ");
    let load = stage.load(stage.usual())?;
    offer(&load, Duration::from_secs(1))?;
    let mut kills = Vec::new();
    let mut broken = Vec::new();
    for place in 0..count {
        anyhow::ensure!(Instant::now() < deadline, "only {place} of {count} transitions within the time");
        let transition = match random.u32(..10) {
            0..3 => Transition::Reload,
            3..6 => Transition::Upgrade,
            6..8 => Transition::Restart,
            _ => Transition::Kill,
        };
        let began = load.elapsed();
        let program = ["first", "newer"][random.usize(..2)];
        let moment = Duration::from_millis(random.u64(..400));
        if let Some(why) = perform(stage, &load, transition, program, moment)? {
            broken.push(format!("{transition:?}, number {place}: {why}"));
        }
        // What a kill costs is known when others are answered again.
        offer(&load, Duration::from_millis(random.u64(50..300)))?;
        if transition == Transition::Kill {
            kills.push(Window { began, ended: load.elapsed() });
        }
    }
    let last = upgrade_to(stage, "newer")?;
    if last.output.status != 0 {
        broken.push(format!("the last upgrade failed: {}", last.output.stderr.trim()));
    }
    let report = load.finish().context("the load client could not go on")?;
    println!("{} requests, {} failed", report.requests, report.failed);
    broken.extend(lost(&report, &kills));
    Ok(broken)
}

/// Why it failed, if it did; an upgrade whose outgoing process is killed may.
fn perform(
    stage: &Stage,
    load: &Load,
    transition: Transition,
    program: &str,
    moment: Duration,
) -> anyhow::Result<Option<String>> {
    tell(&format!("{transition:?} ").to_lowercase());
    let output = match transition {
        Transition::Reload => stage.host.run(["systemctl", "reload", "hitless"]),
        Transition::Upgrade => upgrade_to(stage, program)?.output,
        Transition::Restart => stage.host.run(["systemctl", "restart", "hitless"]),
        Transition::Kill => {
            let outgoing = stage.outgoing()?;
            std::thread::scope(|scope| {
                let upgrade = scope.spawn(|| upgrade_to(stage, program));
                // A moment of its own, not a wait: anything may be under way then.
                std::thread::park_timeout(moment);
                outgoing.kill();
                // It may fail, also for want of somebody who says which process serves.
                drop(upgrade.join());
            });
            offer(load, Duration::ZERO)?;
            return Ok(None);
        }
    };
    let why = || format!("exit {}: {}", output.status, output.stderr.trim());
    Ok((output.status != 0).then(why))
}

fn measure(stage: &Stage) -> anyhow::Result<[Holding; 2]> {
    let leader = stage.host.leader();
    Ok([Holding::of(leader, stage.keeper()?)?, Holding::of(leader, stage.gateway()?)?])
}

/// The rule for what is left behind.
fn grown(name: &str, before: Holding, after: Holding) -> Option<String> {
    let more = if name == "gateway" { KEPT } else { 2 };
    let memory = before.resident_kib + before.resident_kib / 4 + 4 * 1024;
    let grown = after.resident_kib > memory || after.descriptors > before.descriptors + more;
    grown.then(|| format!("the {name} has grown from {before:?} to {after:?}"))
}

/// The rule for what is lost.
fn lost(report: &Report, kills: &[Window]) -> Vec<String> {
    let within = |at: Duration| kills.iter().any(|kill| kill.began <= at && at <= kill.ended);
    let with_connection = |failure: &Failure| {
        matches!(failure.kind, Kind::Reset | Kind::Eof | Kind::Truncated | Kind::Unclosed)
    };
    let mut broken = Vec::new();
    let failures = report.details.failures.iter();
    let failures: Vec<_> = failures.filter(|one| !(with_connection(one) && within(one.ended))).collect();
    if let Some(first) = failures.first() {
        broken.push(format!("{} requests were lost, the first: {first:?}", failures.len()));
    }
    for what in [Ended::Idle, Ended::Tunnel, Ended::Lasting] {
        let endings = report.details.endings.iter();
        let endings: Vec<_> = endings.filter(|one| one.what == what && !within(one.at)).collect();
        if let Some(first) = endings.first() {
            broken.push(format!("{} of {what:?} ended, the first: {first:?}", endings.len()));
        }
    }
    let messages =
        [report.tunnels_gap, report.tunnels_doubled, report.tunnels_reordered, report.tunnels_changed];
    if messages != [0; 4] {
        broken.push(format!("messages missing, doubled, reordered, changed: {messages:?}"));
    }
    match report.duplicate_posts {
        Some(0) => {}
        other => broken.push(format!("duplicate POSTs: {other:?}")),
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;
    use hitless::prove::{Ending, What};

    const KILL: Window = Window { began: Duration::from_secs(2), ended: Duration::from_secs(3) };

    fn failed(kind: Kind, ended: f64) -> Report {
        let ended = Duration::from_secs_f64(ended);
        let failure = Failure {
            what: What::Fresh,
            kind,
            detail: String::new(),
            reused: false,
            began: ended.saturating_sub(Duration::from_secs(1)),
            ended,
        };
        let mut report = Report { failed: 1, duplicate_posts: Some(0), ..Report::default() };
        report.details.failures.push(failure);
        report
    }

    #[test]
    fn only_a_kill_excuses_a_loss_and_only_what_was_with_the_process() {
        for (kind, ended, excused) in [
            (Kind::Reset, 2.5, true),
            (Kind::Reset, 3.5, false),
            (Kind::Refused, 2.5, false),
            (Kind::Timeout, 2.5, false),
        ] {
            assert_eq!(lost(&failed(kind, ended), &[KILL]).is_empty(), excused, "{kind:?} at {ended}");
        }
        assert_eq!(lost(&failed(Kind::Reset, 2.5), &[]).len(), 1);
        let mut report = Report { duplicate_posts: Some(0), ..Report::default() };
        let at = Duration::from_millis(2_500);
        report.details.endings.push(Ending { what: Ended::Tunnel, how: "eof".to_owned(), at });
        assert_eq!((lost(&report, &[KILL]).len(), lost(&report, &[]).len()), (0, 1));
        report.tunnels_doubled = 1;
        assert_eq!(lost(&report, &[KILL]).len(), 1);
    }

    #[test]
    fn growth_is_seen_in_memory_and_in_descriptors() {
        let before = Holding { resident_kib: 20_000, descriptors: 30 };
        assert_eq!(grown("keeper", before, Holding { resident_kib: 29_096, descriptors: 32 }), None);
        assert!(grown("keeper", before, Holding { resident_kib: 29_097, ..before }).is_some());
        assert!(grown("keeper", before, Holding { descriptors: 33, ..before }).is_some());
        assert_eq!(grown("gateway", before, Holding { descriptors: 94, ..before }), None);
        assert!(grown("gateway", before, Holding { descriptors: 95, ..before }).is_some());
    }
}
