//! `hitless status`: what is served and how it goes, and what to do next.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::admin::{Certificate, Concurrency, Endpoint, Held, Service, Status};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// More endpoints than these are not shown one by one while they are well.
const MANY: usize = 20;
/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);

pub fn status(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let answer = client::ask(&options.place, directory, "GET /status", "say how it goes", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    if options.json {
        return print(&text);
    }
    match serde_json::from_slice::<Status>(&answer.body) {
        Ok(status) if answer.status == 200 => print(&describe(&status)),
        _ => Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot say how it goes: {}", text.trim()))),
    }
}

fn describe(status: &Status) -> String {
    let mut text = String::new();
    // INVARIANT: writing to a String does not fail.
    let _ = head(&mut text, status);
    let _ = listeners(&mut text, status);
    let _ = services(&mut text, status);
    let _ = certificates(&mut text, status);
    let _ = totals(&mut text, status);
    let _ = reload(&mut text, status);
    text
}

fn head(text: &mut String, status: &Status) -> std::fmt::Result {
    let Status { version, phase, generation, pid, keeper_pid, .. } = status;
    let up = age(Duration::from_secs_f64(status.uptime_seconds.max(0.0)));
    writeln!(
        text,
        "hitless {version} is {phase}, generation {generation}, up {up} (gateway {pid}, keeper {keeper_pid})"
    )?;
    if !status.not_ready.is_empty() {
        writeln!(text, "not ready: {}", status.not_ready.join(", "))?;
    }
    if status.replacements > 0 {
        writeln!(text, "gateways that died: {}; see journalctl -u hitless -x", status.replacements)?;
    }
    Ok(())
}

fn listeners(text: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(text, "\nlisteners")?;
    let width = status.listeners.iter().map(|listener| listener.name.len()).max().unwrap_or(0);
    for listener in &status.listeners {
        writeln!(text, "  {:width$}  {}  (from {})", listener.name, listener.address, listener.from)?;
    }
    Ok(())
}

fn services(text: &mut String, status: &Status) -> std::fmt::Result {
    writeln!(text, "\nservices")?;
    if status.services.is_empty() {
        let folder = status.configuration.join("services.d");
        let listener = status.listeners.first().map_or("", |listener| listener.address.as_str());
        return write!(
            text,
            "  none yet: every request is answered with 404. What to do next:\n\
             \x20 1. put a file into {folder}, for example {folder}/blog.toml:\n\n\
             \x20      [service.blog]\n\
             \x20      hosts = [\"blog.example.com\"]\n\
             \x20      endpoints = [\"127.0.0.1:3000\"]\n\n\
             \x20 2. hitless check && systemctl reload hitless\n\
             \x20 3. curl -H 'Host: blog.example.com' {url}\n\
             \x20 hitless.toml(5) has all keys.\n",
            folder = folder.display(),
            url = url(listener),
        );
    }
    let width = status.services.iter().map(|service| service.name.len()).max().unwrap_or(0);
    for service in &status.services {
        let (hosts, endpoints) = (service.hosts.join(", "), service.endpoints.join(", "));
        let routes =
            if service.routes == 1 { "1 route".into() } else { format!("{} routes", service.routes) };
        writeln!(
            text,
            "  {:width$}  {hosts}  →  {endpoints}  ({}, {routes})",
            service.name, service.protocol
        )?;
        states(text, service)?;
        waiting(text, service)?;
        limits(text, service)?;
    }
    Ok(())
}

/// Each endpoint; of many, those of which there is something to say.
fn states(text: &mut String, service: &Service) -> std::fmt::Result {
    let shown = |endpoint: &&Endpoint| {
        service.states.len() <= MANY || endpoint.state != "healthy" || endpoint.breaker != "closed"
    };
    let width =
        service.states.iter().filter(shown).map(|endpoint| endpoint.endpoint.len()).max().unwrap_or(0);
    let mut left = service.states.len();
    for Endpoint { endpoint, state, breaker, by_hand, weight, in_flight, .. } in
        service.states.iter().filter(shown)
    {
        let hand = if *by_hand { " by hand" } else { "" };
        writeln!(
            text,
            "      {endpoint:width$}  {state}, breaker {breaker}{hand}, weight {weight}, {in_flight} in flight"
        )?;
        left -= 1;
    }
    if left > 0 {
        writeln!(text, "      and {left} more, healthy; --json has all")?;
    }
    if !matches!(service.breaker.as_str(), "" | "closed") {
        writeln!(text, "      the breaker of the service is {}; see hitless breaker", service.breaker)?;
    }
    Ok(())
}

/// Who waits for it, and why.
fn waiting(text: &mut String, service: &Service) -> std::fmt::Result {
    if let Some(unit) = &service.unit {
        writeln!(text, "      unit {} is {}", unit.name, unit.state)?;
    }
    let Held { now, oldest_ms, reasons, .. } = &service.held;
    if *now > 0 || !reasons.is_empty() {
        let why = if reasons.is_empty() { "being let go".into() } else { reasons.join(", ") };
        let oldest = Duration::from_millis(*oldest_ms);
        let oldest = if *now > 0 { format!(", the oldest for {oldest:?}") } else { String::new() };
        writeln!(text, "      held: {now} requests wait{oldest}: {why}")?;
    }
    Ok(())
}

/// What bounds it, and what goes wrong on purpose.
fn limits(text: &mut String, service: &Service) -> std::fmt::Result {
    if let Some(Concurrency { limit, inside, waiting }) = &service.concurrency {
        writeln!(text, "      {inside} of {limit} requests at a time, {waiting} wait")?;
    }
    if let Some(fault) = &service.fault {
        writeln!(text, "      FAULT: {fault}; end it with: hitless fault {} --clear", service.name)?;
    }
    Ok(())
}

fn certificates(text: &mut String, status: &Status) -> std::fmt::Result {
    if status.certificates.is_empty() {
        return Ok(());
    }
    writeln!(text, "\ncertificates")?;
    for Certificate { chain, names, not_after, days_left, fault } in &status.certificates {
        let left = match days_left {
            i64::MIN..=-1 => "EXPIRED".into(),
            1 => "1 day left".into(),
            days => format!("{days} days left"),
        };
        writeln!(text, "  {}  until {not_after}, {left}  ({chain})", names.join(", "))?;
        if let Some(fault) = fault {
            writeln!(text, "    its files cannot be used: {fault}")?;
        }
    }
    Ok(())
}

fn totals(text: &mut String, status: &Status) -> std::fmt::Result {
    let totals = &status.totals;
    writeln!(
        text,
        "\nrequests     {} admitted, {} in flight, {} answered, {} refused, {} broken off, {} left by the client, {} cut",
        totals.admitted,
        totals.in_flight,
        totals.answered,
        totals.refused,
        totals.broken_off,
        totals.client_gone,
        totals.cut,
    )?;
    writeln!(
        text,
        "connections  {} open, {} accepted; tunnels {} open, {} opened",
        totals.connections_open, totals.connections_accepted, totals.tunnels_open, totals.tunnels_opened,
    )?;
    if let (Some(usual), Some(most)) = (totals.durations.quantile(0.5), totals.durations.quantile(0.99)) {
        writeln!(text, "durations    half under {usual:?}, 99 % under {most:?}")?;
    }
    if !totals.failures.is_empty() {
        let failures: Vec<String> =
            totals.failures.iter().map(|(code, count)| format!("{code} {count}")).collect();
        writeln!(text, "failures     {}", failures.join(", "))?;
    }
    if !totals.limits.is_empty() {
        let limits: Vec<String> =
            totals.limits.iter().map(|(limit, count)| format!("{limit} {count}")).collect();
        writeln!(text, "limits hit   {}; see LIMITS in hitless(8)", limits.join(", "))?;
    }
    if status.dropped_log_lines > 0 {
        writeln!(text, "log lines dropped: {}; see journalctl -u hitless", status.dropped_log_lines)?;
    }
    Ok(())
}

fn reload(text: &mut String, status: &Status) -> std::fmt::Result {
    let Some(reload) = &status.last_reload else { return Ok(()) };
    let verdict = &reload.verdict;
    if verdict.accepted {
        return writeln!(text, "\nlast reload  {}, accepted as generation {}", reload.at, verdict.generation);
    }
    writeln!(text, "\nlast reload  {}, REFUSED, generation {} serves on:", reload.at, verdict.generation)?;
    for message in &verdict.messages {
        writeln!(text, "  {message}")?;
    }
    Ok(())
}

/// What curl on this host reaches the listener by.
fn url(listener: &str) -> String {
    if let Some(path) = listener.strip_prefix("unix:") {
        return format!("--unix-socket {path} http://localhost/");
    }
    match listener.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() && address.port() == 80 => "http://localhost/".into(),
        Ok(address) if address.ip().is_unspecified() => format!("http://localhost:{}/", address.port()),
        _ => format!("http://{listener}/"),
    }
}

/// The two largest units.
fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Listener, Reload, Verdict};

    fn status(services: Vec<Service>) -> Status {
        Status {
            version: "0.1.0".into(),
            phase: "serving".into(),
            generation: 4,
            pid: 12,
            keeper_pid: 11,
            uptime_seconds: 7390.0,
            configuration: "/etc/hitless".into(),
            listeners: vec![Listener {
                name: "http".into(),
                address: "0.0.0.0:80".into(),
                from: "systemd".into(),
            }],
            services,
            ..Status::default()
        }
    }

    fn endpoint(endpoint: &str, state: &str) -> Endpoint {
        Endpoint {
            endpoint: endpoint.into(),
            state: state.into(),
            breaker: "closed".into(),
            weight: 1,
            ..Endpoint::default()
        }
    }

    #[test]
    fn of_many_endpoints_those_are_shown_that_are_not_well() {
        let mut states: Vec<Endpoint> =
            (0..1000).map(|port| endpoint(&format!("10.0.0.1:{port}"), "healthy")).collect();
        states[3].state = "unhealthy".into();
        states[7] = Endpoint {
            breaker: "open".into(),
            by_hand: true,
            in_flight: 2,
            ..endpoint("10.0.0.1:7", "healthy")
        };
        let service = Service {
            name: "shop".into(),
            states,
            breaker: "half-open".into(),
            held: Held { now: 4, oldest_ms: 1500, reasons: vec!["unit".into()], ..Held::default() },
            ..Service::default()
        };
        let text = describe(&status(vec![service]));
        let told = "      10.0.0.1:3  unhealthy, breaker closed, weight 1, 0 in flight\n      \
                    10.0.0.1:7  healthy, breaker open by hand, weight 1, 2 in flight\n      \
                    and 998 more, healthy; --json has all\n      \
                    the breaker of the service is half-open; see hitless breaker\n      \
                    held: 4 requests wait, the oldest for 1.5s: unit\n";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn without_a_service_it_says_what_to_do_next() {
        let text = describe(&status(vec![]));
        assert!(
            text.starts_with(
                "hitless 0.1.0 is serving, generation 4, up 2 h 3 min (gateway 12, keeper 11)\n"
            )
        );
        assert!(text.contains("put a file into /etc/hitless/services.d, for example"), "{text}");
        assert!(text.contains("      [service.blog]\n"), "{text}");
    }

    #[test]
    fn what_it_says_to_try_is_an_address_that_a_client_can_use() {
        assert_eq!(url("[::]:80"), "http://localhost/");
        assert_eq!(url("0.0.0.0:8080"), "http://localhost:8080/");
        assert_eq!(url("127.0.0.1:80"), "http://127.0.0.1:80/");
        assert_eq!(url("unix:/run/x.sock"), "--unix-socket /run/x.sock http://localhost/");
    }

    #[test]
    fn a_certificate_is_told_with_its_end_and_what_is_wrong_with_it() {
        let certificate = Certificate {
            chain: "/etc/x.pem".into(),
            names: vec!["a.example".into(), "b.example".into()],
            not_after: "2027-01-01T00:00:00Z".into(),
            days_left: 40,
            fault: Some("/etc/x.pem: the file is empty; write it again".into()),
        };
        let text = describe(&Status { certificates: vec![certificate], ..status(vec![]) });
        let told = "certificates\n  a.example, b.example  until 2027-01-01T00:00:00Z, 40 days left  (/etc/x.pem)\n    \
                    its files cannot be used: /etc/x.pem: the file is empty; write it again\n";
        assert!(text.contains(told), "{text}");
    }

    #[test]
    fn a_refused_reload_is_told_with_its_messages() {
        let service = Service {
            name: "shop".into(),
            hosts: vec!["shop.example.com".into()],
            endpoints: vec!["127.0.0.1:3000".into()],
            protocol: "http1".into(),
            routes: 2,
            states: vec![endpoint("127.0.0.1:3000", "unhealthy")],
            concurrency: Some(Concurrency { limit: 64, inside: 64, waiting: 3 }),
            fault: Some("5 % of requests are failed with 503, 9m 12s left, 7 so far".into()),
            ..Service::default()
        };
        let mut status = status(vec![service]);
        let verdict =
            Verdict { generation: 4, messages: vec!["shop.toml:3:1: port: x".into()], ..Verdict::default() };
        status.last_reload = Some(Reload { at: "2026-11-21T12:03:00Z".into(), verdict });
        let text = describe(&status);
        assert!(text.contains("  shop  shop.example.com  →  127.0.0.1:3000  (http1, 2 routes)\n"), "{text}");
        assert!(text.contains("\n      64 of 64 requests at a time, 3 wait\n"), "{text}");
        assert!(
            text.contains("\n      FAULT: 5 % of requests are failed with 503, 9m 12s left, 7 so far; end"),
            "{text}"
        );
        let refused = "REFUSED, generation 4 serves on:\n  shop.toml:3:1: port: x\n";
        assert!(text.ends_with(refused), "{text}");
    }
}
