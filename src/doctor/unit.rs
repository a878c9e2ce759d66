//! The settings of the units.
//!
//! Promises: each rule looks at one setting.
//! Must not know: limits of the host, traffic.

use super::{Finding, Severity, drop_in, seconds};
use crate::config::settings::Drain;
use crate::lifecycle::deadline;
use crate::systemd::unit::{Service, Socket};

/// Lines a second that journald is to take without a loss.
const LOG_RATE: f64 = 10_000.0;
/// systemd's word for "for ever" in a drop-in.
const NEVER: &str = "0";

pub(super) fn service(unit: &Service, drain: Option<&Drain>) -> Vec<Finding> {
    let mut findings = Vec::from_iter([talk(unit), end(unit), start(unit)].into_iter().flatten());
    findings.extend(drain.and_then(|drain| deadline_of(unit, drain)));
    findings.extend(log(unit));
    findings.extend(unit.outdated.then(|| Finding {
        severity: Severity::Note,
        subject: unit.name.clone(),
        setting: "NeedDaemonReload=".into(),
        found: "yes".into(),
        why: "its files have changed since systemd read them: what is said here is about what systemd has read".into(),
        remedy: "systemctl daemon-reload".into(),
    }));
    findings
}

/// One setting of `[Service]`.
fn about(
    unit: &Service,
    severity: Severity,
    setting: &str,
    found: impl Into<String>,
    wanted: &str,
    why: &str,
) -> Finding {
    Finding {
        severity,
        subject: unit.name.clone(),
        setting: format!("{setting}="),
        found: found.into(),
        why: why.into(),
        remedy: drop_in(&unit.name, "Service", setting, wanted),
    }
}

/// What hitless and systemd say to each other.
fn talk(unit: &Service) -> Vec<Finding> {
    use Severity::{Breaks, Note, Weakens};
    let mut findings = vec![];
    if unit.kind != "notify" {
        let why = "systemd must hear from hitless when it is ready: otherwise it goes on with what waits for it too early, \
                   and takes a start that fails for one that went well";
        findings.push(about(unit, Breaks, "Type", &unit.kind, "notify", why));
    }
    let access = |severity, why| about(unit, severity, "NotifyAccess", &unit.notify_access, "main", why);
    match unit.notify_access.as_str() {
        "none" => findings.push(access(
            Breaks,
            "systemd hears nothing that hitless says: no readiness, no watchdog, no connections for the fd store",
        )),
        "all" => findings.push(access(
            Note,
            "only the keeper speaks for the service; any other process of the unit could end it",
        )),
        _ => {}
    }
    if unit.watchdog.is_none() {
        let why = "a data thread that is stuck is noticed by nobody, and its connections hang until somebody restarts hitless";
        findings.push(about(unit, Weakens, "WatchdogSec", "off", "30", why));
    }
    findings
}

/// How it is ended, and what stays of it.
fn end(unit: &Service) -> Vec<Finding> {
    use Severity::{Breaks, Weakens};
    let mut findings = vec![];
    if unit.kill_mode != "process" {
        let why = "systemd ends every process of the unit with the keeper: a restart keeps newcomers waiting until the longest \
                   request is answered, and when the keeper dies what is in flight is lost";
        findings.push(about(unit, Breaks, "KillMode", &unit.kill_mode, "process", why));
    }
    if !unit.send_sigkill {
        let why = "a keeper that is stuck is never ended, and neither a stop nor a restart comes to its end";
        findings.push(about(unit, Weakens, "SendSIGKILL", "no", "yes", why));
    }
    if unit.store == 0 {
        let why =
            "systemd keeps no connection while hitless is restarted: idle connections and tunnels are closed";
        findings.push(about(unit, Breaks, "FileDescriptorStoreMax", "0", "64", why));
    }
    findings
}

/// Whether it comes back.
fn start(unit: &Service) -> Vec<Finding> {
    let mut findings = vec![];
    if unit.restart != "always" {
        let why = "a hitless that has ended stays down, and connections wait in the socket for nobody";
        findings.push(about(unit, Severity::Breaks, "Restart", &unit.restart, "always", why));
    }
    if !unit.start_limit.is_zero() {
        let why = "a hitless that fails to start a few times is given up, which closes the listening sockets: clients are \
                   refused instead of waiting for the configuration to be corrected";
        let setting = "StartLimitIntervalSec";
        let mut limit = about(unit, Severity::Breaks, setting, seconds(unit.start_limit), NEVER, why);
        limit.remedy = drop_in(&unit.name, "Unit", setting, NEVER);
        findings.push(limit);
    }
    findings
}

fn deadline_of(unit: &Service, drain: &Drain) -> Option<Finding> {
    let timeout = unit.timeout_stop?;
    let conflict = deadline::conflict(drain, timeout)?;
    let needed = deadline::longest(drain, None) + deadline::MARGIN;
    let wanted = needed.as_secs_f64().ceil().to_string();
    Some(about(unit, Severity::Breaks, "TimeoutStopSec", seconds(timeout), &wanted, &conflict))
}

fn log(unit: &Service) -> Option<Finding> {
    let found = match unit.log_rate {
        Some((burst, interval)) => {
            if f64::from(burst) / interval.as_secs_f64() >= LOG_RATE {
                return None;
            }
            format!("{burst} in {}", seconds(interval))
        }
        None => "journald's own".into(),
    };
    let setting = "LogRateLimitBurst";
    let why = "journald drops lines of the log above this rate (10,000 in 30 s by default, and an interval of 0 does not \
               switch that off)";
    let mut log = about(unit, Severity::Note, setting, found, "1000000", why);
    log.remedy = drop_in(&unit.name, "Service", setting, "1000000\\nLogRateLimitIntervalSec=1s");
    Some(log)
}

pub(super) fn socket(unit: &Socket) -> Vec<Finding> {
    let about = |setting: &str, found: String, wanted: &str, why: &str| Finding {
        severity: Severity::Breaks,
        subject: unit.name.clone(),
        setting: format!("{setting}="),
        found,
        why: why.into(),
        remedy: drop_in(&unit.name, "Socket", setting, wanted),
    };
    let mut findings = vec![];
    if !unit.trigger_limit.is_zero() {
        findings.push(about(
            "TriggerLimitIntervalSec",
            seconds(unit.trigger_limit),
            NEVER,
            "a service that fails to start a few times closes its sockets: clients are refused instead of waiting",
        ));
    }
    if unit.flush_pending {
        findings.push(about(
            "FlushPending",
            "yes".into(),
            "no",
            "connections that wait while hitless is restarted are thrown away",
        ));
    }
    findings
}
