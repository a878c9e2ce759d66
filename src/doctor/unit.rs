//! The settings of the units.
//!
//! Promises: each rule looks at one setting.
//! Must not know: limits of the host, traffic.

use std::time::Duration;

use super::{Finding, Severity, drop_in, seconds};
use crate::config::settings::Drain;
use crate::lifecycle::deadline;
use crate::systemd::unit::{Service, Socket};

/// Lines a second that journald is to take without a loss.
const LOG_RATE: f64 = 10_000.0;
/// systemd's word for "for ever" in a drop-in.
const NEVER: &str = "0";

pub(super) fn service(unit: &Service, drain: Option<&Drain>) -> Vec<Finding> {
    use Severity::{Breaks, Note, Weakens};
    let about = |severity, section, setting: &str, found: String, wanted: &str, why: &str| Finding {
        severity,
        subject: unit.name.clone(),
        setting: format!("{setting}="),
        found,
        why: why.into(),
        remedy: drop_in(&unit.name, section, setting, wanted),
    };
    let mut findings = vec![];
    let mut say = |applies: bool, finding: Finding| {
        if applies {
            findings.push(finding);
        }
    };

    say(
        unit.kind != "notify",
        about(
            Breaks,
            "Service",
            "Type",
            unit.kind.clone(),
            "notify",
            "systemd must hear from hitless when it is ready: otherwise it goes on with what waits for it too early, \
             and takes a start that fails for one that went well",
        ),
    );
    say(
        unit.notify_access == "none",
        about(
            Breaks,
            "Service",
            "NotifyAccess",
            unit.notify_access.clone(),
            "main",
            "systemd hears nothing that hitless says: no readiness, no watchdog, no connections for the fd store",
        ),
    );
    say(
        unit.notify_access == "all",
        about(
            Note,
            "Service",
            "NotifyAccess",
            unit.notify_access.clone(),
            "main",
            "only the keeper speaks for the service; any other process of the unit could end it",
        ),
    );
    say(
        unit.kill_mode != "mixed",
        about(
            Breaks,
            "Service",
            "KillMode",
            unit.kill_mode.clone(),
            "mixed",
            "SIGTERM is for the keeper alone, which lets the gateway finish what is in flight, and SIGKILL for whatever \
             is left",
        ),
    );
    say(
        !unit.send_sigkill,
        about(
            Weakens,
            "Service",
            "SendSIGKILL",
            "no".into(),
            "yes",
            "a gateway that is stuck is never ended, and the next start finds its files and memory still in use",
        ),
    );
    say(
        unit.restart != "always",
        about(
            Breaks,
            "Service",
            "Restart",
            unit.restart.clone(),
            "always",
            "a hitless that has ended stays down, and connections wait in the socket for nobody",
        ),
    );
    say(
        unit.watchdog.is_none(),
        about(
            Weakens,
            "Service",
            "WatchdogSec",
            "off".into(),
            "30",
            "a data thread that is stuck is noticed by nobody, and its connections hang until somebody restarts hitless",
        ),
    );
    say(
        unit.store == 0,
        about(
            Breaks,
            "Service",
            "FileDescriptorStoreMax",
            "0".into(),
            "16",
            "systemd keeps no connection while hitless is restarted: idle connections and tunnels are closed",
        ),
    );
    say(
        !unit.start_limit.is_zero(),
        about(
            Breaks,
            "Unit",
            "StartLimitIntervalSec",
            seconds(unit.start_limit),
            NEVER,
            "a hitless that fails to start a few times is given up, which closes the listening sockets: clients are \
             refused instead of waiting for the configuration to be corrected",
        ),
    );
    let stop = unit
        .timeout_stop
        .zip(drain)
        .and_then(|(timeout, drain)| Some((timeout, deadline::conflict(drain, timeout)?, drain)));
    if let Some((timeout, conflict, drain)) = stop {
        let needed = deadline::longest(drain, None) + deadline::MARGIN;
        let wanted = needed.as_secs_f64().ceil().to_string();
        findings.push(about(Breaks, "Service", "TimeoutStopSec", seconds(timeout), &wanted, &conflict));
    }
    let (burst, interval) = unit.log_rate.unwrap_or((0, Duration::from_secs(1)));
    let mut log = about(
        Note,
        "Service",
        "LogRateLimitBurst",
        unit.log_rate
            .map_or("journald's own".into(), |(burst, interval)| format!("{burst} in {}", seconds(interval))),
        "1000000",
        "journald drops lines of the log above this rate (10,000 in 30 s by default, and an interval of 0 does not \
         switch that off)",
    );
    log.remedy = drop_in(&unit.name, "Service", "LogRateLimitBurst", "1000000\\nLogRateLimitIntervalSec=1s");
    if f64::from(burst) / interval.as_secs_f64() < LOG_RATE {
        findings.push(log);
    }
    if unit.outdated {
        findings.push(Finding {
            severity: Note,
            subject: unit.name.clone(),
            setting: "NeedDaemonReload=".into(),
            found: "yes".into(),
            why: "its files have changed since systemd read them: what is said here is about what systemd has read".into(),
            remedy: "systemctl daemon-reload".into(),
        });
    }
    findings
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
