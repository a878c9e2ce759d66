//! What there is room for: queues of newcomers, descriptors, and connections that applications close.
//!
//! Promises: compares what is wanted with what there is, nothing else.
//! Must not know: settings that are not about room.

use std::time::Duration;

use super::{Backlog, End, Facts, Finding, Kept, Severity, drop_in, seconds};
use crate::lifecycle::deadline;

/// A restart with nothing long in flight takes no longer.
const QUICK: Duration = Duration::from_secs(5);
/// What hitless has open beside connections: sockets, logs, the reactor of each thread.
const RESERVE: u64 = 256;
/// Fewer connections than this is less than most hosts have.
const FEW: u64 = 4096;

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![];
    findings.extend(
        facts.sockets.iter().filter_map(|socket| capped(&socket.name, socket.backlog, facts.somaxconn)),
    );
    findings.extend(facts.backlogs.iter().filter_map(|backlog| queue(backlog, facts)));
    findings.extend(descriptors(facts));
    findings.extend(facts.kept.iter().filter_map(keep_alive));
    findings
}

/// What a unit asks for, and the kernel does not give. systemd asks for all there is by a value of its own.
fn capped(name: &str, wanted: u32, somaxconn: Option<u32>) -> Option<Finding> {
    let most = somaxconn.filter(|most| *most < wanted && wanted < i32::MAX.cast_unsigned())?;
    Some(Finding {
        severity: Severity::Note,
        subject: name.into(),
        setting: "Backlog=".into(),
        found: format!("{wanted}, of which net.core.somaxconn allows {most}"),
        why: "fewer newcomers than the unit says can wait while hitless is restarted".into(),
        remedy: format!(
            "printf 'net.core.somaxconn = {wanted}\\n' > /etc/sysctl.d/60-hitless.conf\nsysctl --system\n\
             # open sockets keep what they have: at a good time\n\
             systemctl stop {name} hitless.service && systemctl start {name} hitless.service"
        ),
    })
}

/// Whether newcomers find room while hitless is restarted.
fn queue(backlog: &Backlog, facts: &Facts) -> Option<Finding> {
    let rate = facts.rate.filter(|rate| *rate > 0.0)?;
    let lasts = Duration::try_from_secs_f64(f64::from(backlog.most) / rate).ok()?;
    let timeout = facts.service.as_ref().and_then(|service| service.timeout_stop);
    let longest = facts
        .drain
        .as_ref()
        .map_or(QUICK, |drain| deadline::longest(drain, timeout.map(deadline::unit_limit)));
    let severity = match () {
        () if lasts < QUICK => Severity::Breaks,
        () if lasts < longest => Severity::Weakens,
        () => return None,
    };
    let wanted = (rate * longest.as_secs_f64()).ceil() as u64;
    Some(Finding {
        severity,
        subject: backlog.address.clone(),
        setting: "Backlog=".into(),
        found: backlog.most.to_string(),
        why: format!(
            "at {rate:.0} connections a second the queue is full after {}, and a restart takes as long as the longest \
             request in flight, {} at most; who finds it full tries again after 1 s, 3 s, 7 s",
            seconds(lasts),
            seconds(longest),
        ),
        remedy: format!(
            "printf 'net.core.somaxconn = {wanted}\\n' > /etc/sysctl.d/60-hitless.conf\nsysctl --system\n{}\n\
             # open sockets keep what they have: at a good time\n\
             systemctl stop hitless.socket hitless.service && systemctl start hitless.socket hitless.service",
            drop_in("hitless.socket", "Socket", "Backlog", &wanted.to_string()),
        ),
    })
}

/// A client and an endpoint are one descriptor each.
fn descriptors(facts: &Facts) -> Option<Finding> {
    // What runs has what it was started with.
    let (subject, open_files) = match (&facts.service, facts.open_files) {
        (Some(service), running) => (service.name.clone(), running.unwrap_or(service.open_files)),
        (None, running) => ("hitless".into(), running?),
    };
    let limits = facts.limits.as_ref()?;
    let needed = limits.connections.unwrap_or(FEW).saturating_mul(2).saturating_add(RESERVE);
    if open_files >= needed {
        return None;
    }
    let room = open_files.saturating_sub(RESERVE) / 2;
    let (severity, why) = match limits.connections {
        Some(connections) => (
            Severity::Weakens,
            format!(
                "limits.connections is {connections}, which needs {needed}: there is room for {room} connections, the others wait"
            ),
        ),
        None => (
            Severity::Weakens,
            format!(
                "there is room for {room} connections and no limits.connections: the others wait, and a restart moves no more"
            ),
        ),
    };
    Some(Finding {
        severity,
        setting: "LimitNOFILE=".into(),
        found: open_files.to_string(),
        why,
        remedy: format!(
            "{}\n# takes effect with the next start\nsystemctl restart {subject}",
            drop_in(&subject, "Service", "LimitNOFILE", &needed.max(524_288).to_string()),
        ),
        subject,
    })
}

/// An endpoint that closes before the pool does, and does not say so, meets requests that are on their way.
fn keep_alive(kept: &Kept) -> Option<Finding> {
    let End::Closed(after) = kept.end else { return None };
    let idle = after.mul_f64(0.8).as_secs().max(1);
    Some(Finding {
        severity: Severity::Weakens,
        subject: format!("{} of service {}", kept.endpoint, kept.service),
        setting: "pool.idle".into(),
        found: seconds(kept.pool),
        why: format!(
            "the application closed an idle connection after {} and had not announced it (Keep-Alive: timeout=): a POST \
             that is sent at that very moment cannot be sent again",
            seconds(after),
        ),
        remedy: format!(
            "# in the file of [service.{name}], or raise the keep-alive of the application above {pool}\n\
             # [service.{name}.pool]\n# idle = \"{idle}s\"\nhitless check && systemctl reload hitless",
            name = kept.service,
            pool = seconds(kept.pool),
        ),
    })
}
