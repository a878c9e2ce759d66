//! Each rule by a table: what makes it speak, and that it is silent otherwise.

use super::*;
use crate::config::settings::DrainDeadline;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A host at which there is nothing to find.
fn sound() -> Facts {
    let service = Service {
        name: "hitless.service".into(),
        active: true,
        outdated: false,
        main_pid: 7,
        kind: "notify".into(),
        notify_access: "main".into(),
        restart: "always".into(),
        kill_mode: "process".into(),
        send_sigkill: true,
        timeout_stop: Some(s(90)),
        watchdog: Some(s(30)),
        store: 16,
        open_files: 524_288,
        start_limit: s(0),
        log_rate: Some((1_000_000, s(1))),
    };
    let socket = Socket {
        name: "hitless.socket".into(),
        active: true,
        backlog: 4096,
        trigger_limit: s(0),
        flush_pending: false,
    };
    let deadline = DrainDeadline::Fixed(s(75));
    Facts {
        drain: Some(Drain {
            deadline,
            idle_grace: s(2),
            lame_duck: s(0),
            extend: false,
            tunnel_jitter: s(2),
        }),
        limits: Some(Limits::default()),
        service: Some(service),
        sockets: vec![socket],
        somaxconn: Some(4096),
        open_files: Some(524_288),
        rate: Some(50.0),
        backlogs: vec![Backlog { address: "[::]:80".into(), most: 4096 }],
        kept: vec![],
    }
}

fn of(change: impl FnOnce(&mut Facts)) -> Vec<Finding> {
    let mut facts = sound();
    change(&mut facts);
    findings(&facts)
}

fn of_service(change: impl FnOnce(&mut Service)) -> Vec<Finding> {
    of(|facts| change(facts.service.as_mut().unwrap()))
}

#[test]
fn a_sound_host_has_no_findings_and_neither_has_one_of_which_nothing_is_known() {
    assert_eq!(findings(&sound()), []);
    assert_eq!(findings(&Facts::default()), []);
}

#[test]
fn each_rule_about_a_unit_speaks_of_its_setting_alone_with_the_value_and_a_drop_in() {
    use Severity::{Breaks, Note, Weakens};
    type Change = fn(&mut Facts);
    fn service(facts: &mut Facts) -> &mut Service {
        facts.service.as_mut().unwrap()
    }
    let table: Vec<(Change, Severity, &str, &str, &str)> = vec![
        (|f| service(f).kind = "simple".into(), Breaks, "Type=", "simple", "[Service]\\nType=notify\\n"),
        (
            |f| service(f).notify_access = "none".into(),
            Breaks,
            "NotifyAccess=",
            "none",
            "NotifyAccess=main\\n",
        ),
        (|f| service(f).notify_access = "all".into(), Note, "NotifyAccess=", "all", "NotifyAccess=main\\n"),
        (
            |f| service(f).kill_mode = "control-group".into(),
            Breaks,
            "KillMode=",
            "control-group",
            "KillMode=process\\n",
        ),
        (|f| service(f).send_sigkill = false, Weakens, "SendSIGKILL=", "no", "SendSIGKILL=yes\\n"),
        (|f| service(f).restart = "no".into(), Breaks, "Restart=", "no", "Restart=always\\n"),
        (|f| service(f).watchdog = None, Weakens, "WatchdogSec=", "off", "WatchdogSec=30\\n"),
        (|f| service(f).store = 0, Breaks, "FileDescriptorStoreMax=", "0", "FileDescriptorStoreMax=64\\n"),
        (
            |f| service(f).start_limit = s(10),
            Breaks,
            "StartLimitIntervalSec=",
            "10s",
            "[Unit]\\nStartLimitIntervalSec=0\\n",
        ),
        (|f| service(f).timeout_stop = Some(s(30)), Breaks, "TimeoutStopSec=", "30s", "TimeoutStopSec=80\\n"),
        (
            |f| service(f).log_rate = None,
            Note,
            "LogRateLimitBurst=",
            "journald's own",
            "LogRateLimitBurst=1000000\\nLogRateLimitIntervalSec=1s\\n",
        ),
        (
            |f| service(f).log_rate = Some((10_000, s(30))),
            Note,
            "LogRateLimitBurst=",
            "10000 in 30s",
            "LogRateLimitIntervalSec=1s\\n",
        ),
        (|f| service(f).outdated = true, Note, "NeedDaemonReload=", "yes", ""),
        (
            |f| f.sockets[0].trigger_limit = s(2),
            Breaks,
            "TriggerLimitIntervalSec=",
            "2s",
            "[Socket]\\nTriggerLimitIntervalSec=0\\n",
        ),
        (|f| f.sockets[0].flush_pending = true, Breaks, "FlushPending=", "yes", "FlushPending=no\\n"),
    ];
    for (change, severity, setting, found, remedy) in table {
        let [finding] = of(change).try_into().unwrap();
        let said = (finding.severity, finding.setting.as_str(), finding.found.as_str());
        assert_eq!(said, (severity, setting, found));
        assert!(finding.remedy.contains(remedy), "{setting}: {}", finding.remedy);
        assert!(finding.remedy.ends_with("systemctl daemon-reload"), "{}", finding.remedy);
        assert!(finding.remedy.contains(&format!("{}.d/zz-", finding.subject)) || remedy.is_empty());
    }
}

#[test]
fn a_stop_that_takes_as_long_as_it_may_is_no_conflict() {
    assert_eq!(of_service(|service| service.timeout_stop = Some(s(80))), []);
    assert_eq!(of_service(|service| service.timeout_stop = None), []);
    assert_eq!(of_service(|service| service.timeout_stop = Some(s(79))).len(), 1);
    let extends = of(|facts| {
        facts.service.as_mut().unwrap().timeout_stop = Some(s(30));
        facts.drain.as_mut().unwrap().extend = true;
    });
    assert_eq!(extends, []);
}

#[test]
fn a_queue_that_fills_before_a_restart_is_over_is_told_by_how_soon() {
    let severity = |rate: f64, most: u32| {
        of(|facts| (facts.rate, facts.backlogs[0].most) = (Some(rate), most))
            .first()
            .map(|finding| finding.severity)
    };
    // A quick restart is over after 5 s, the longest after 75 s.
    assert_eq!(severity(1000.0, 4096), Some(Severity::Breaks));
    assert_eq!(severity(819.0, 4096), Some(Severity::Weakens));
    assert_eq!(severity(50.0, 128), Some(Severity::Breaks));
    assert_eq!(severity(50.0, 3749), Some(Severity::Weakens));
    assert_eq!(severity(50.0, 3750), None);
    assert_eq!(severity(0.0, 1), None);
    let finding = of(|facts| facts.rate = Some(1000.0)).remove(0);
    assert!(
        finding.why.starts_with("at 1000 connections a second the queue is full after 4.1s"),
        "{}",
        finding.why
    );
    assert!(
        finding.remedy.contains("net.core.somaxconn = 75000\\n")
            && finding.remedy.contains("Backlog=75000\\n")
    );
    assert_eq!(of(|facts| facts.rate = None), []);
}

#[test]
fn a_backlog_above_what_the_kernel_allows_is_noted_unless_it_asks_for_all_there_is() {
    let of = |backlog: u32, most: u32| {
        of(|facts| (facts.sockets[0].backlog, facts.somaxconn) = (backlog, Some(most)))
    };
    assert_eq!(of(4096, 128).iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Note]);
    assert_eq!(of(4096, 128)[0].found, "4096, of which net.core.somaxconn allows 128");
    // systemd's default, since 256 and before.
    assert_eq!(of(u32::MAX, 4096), []);
    assert_eq!(of(i32::MAX.cast_unsigned(), 4096), []);
}

#[test]
fn descriptors_are_counted_two_a_connection() {
    let of = |connections: Option<u64>, open_files: u64| {
        of(|facts| {
            (facts.limits.as_mut().unwrap().connections, facts.open_files) = (connections, Some(open_files))
        })
    };
    assert_eq!(of(Some(10_000), 20_256), []);
    let [short] = of(Some(10_000), 20_255).try_into().unwrap();
    assert_eq!((short.severity, short.found.as_str()), (Severity::Weakens, "20255"));
    assert_eq!(
        short.why,
        "limits.connections is 10000, which needs 20256: there is room for 9999 connections, the others wait"
    );
    assert!(short.remedy.contains("LimitNOFILE=524288\\n"));
    assert_eq!(of(None, 20_000), []);
    let [small] = of(None, 1024).try_into().unwrap();
    assert!(small.why.starts_with("there is room for 384 connections and no limits.connections"));
    // Not started yet: what the unit will give.
    let unit = super::tests::of(|facts| {
        (facts.open_files, facts.service.as_mut().unwrap().open_files) = (None, 1024)
    });
    assert_eq!(unit.len(), 1);
}

#[test]
fn only_an_endpoint_that_closes_first_and_in_silence_is_a_finding() {
    let of = |end| {
        let kept = Kept { service: "shop".into(), endpoint: "127.0.0.1:3000".into(), pool: s(60), end };
        of(|facts| facts.kept.push(kept))
    };
    assert_eq!(of(End::Outlived), []);
    assert_eq!(of(End::Announced(s(5))), []);
    let [finding] = of(End::Closed(s(5))).try_into().unwrap();
    assert_eq!(
        (finding.severity, finding.setting.as_str(), finding.found.as_str()),
        (Severity::Weakens, "pool.idle", "60s")
    );
    assert_eq!(finding.subject, "127.0.0.1:3000 of service shop");
    assert!(finding.remedy.contains("# [service.shop.pool]\n# idle = \"4s\"\n"), "{}", finding.remedy);
}

#[test]
fn the_worst_comes_first() {
    let found = of(|facts| {
        let service = facts.service.as_mut().unwrap();
        (service.outdated, service.watchdog) = (true, None);
        facts.sockets[0].flush_pending = true;
    });
    let severities: Vec<Severity> = found.iter().map(|finding| finding.severity).collect();
    assert_eq!(severities, [Severity::Breaks, Severity::Weakens, Severity::Note]);
}
