//! What happens to the gateway, one event at a time, each under a load of its own.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::lab::Output;
use crate::rows::{self, Row};
use crate::stage::{BLOG, BROKEN, NEWER, SHOP, Stage};
use hitless::prove::{Address, Load, Options, Tls};

/// Longer, and an event has failed.
const BOUND: Duration = Duration::from_secs(60);

/// A thing that happens; its name is the one in `demo.json`.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub name: &'static str,
    /// In an operator's words.
    pub title: &'static str,
    deed: fn(&Stage, &Load) -> anyhow::Result<Deed>,
    /// Only when it is named.
    only_named: bool,
    over_tls: bool,
    load: fn(Options) -> Options,
    /// Before there is any load.
    prepare: fn(&Stage) -> anyhow::Result<()>,
}

/// What came of it.
pub struct Deed {
    pub output: Output,
    /// How long after the command's end the outgoing process was gone; `None` when that was not watched, or it stays.
    pub outgoing: Option<Duration>,
}

/// How long load is offered around the event.
#[derive(Clone, Copy)]
pub struct Pauses {
    pub before: Duration,
    pub after: Duration,
}

const fn event(
    name: &'static str,
    title: &'static str,
    deed: fn(&Stage, &Load) -> anyhow::Result<Deed>,
) -> Event {
    Event { name, title, deed, only_named: false, over_tls: false, load: usual, prepare: nothing }
}

const fn over_tls(event: Event) -> Event {
    Event { over_tls: true, ..event }
}

const fn over_http2(event: Event) -> Event {
    Event { load: http2, ..over_tls(event) }
}

pub const EVENTS: [Event; 23] = [
    event("calm", "nothing; a package is only unpacked", calm),
    event("reload", "systemctl reload, own service changed", reload),
    event("reload-broken", "systemctl reload, a broken file", reload_broken),
    event("reload-other-service", "systemctl reload, other service changed", reload_other),
    event("upgrade", "dpkg --install of a newer version", upgrade),
    event("upgrade-broken", "reload, upgrade to broken programs", upgrade_broken),
    event("restart", "systemctl restart hitless", restart),
    event("alternating", "20 reloads, upgrades, restarts in turn", alternating),
    event("gateway-kill", "kill -9 of the gateway process", gateway_kill),
    event("stop-start", "systemctl stop, then start", stop_start),
    over_tls(event("tls-reload", "TLS: systemctl reload, own service changed", reload_by_name)),
    over_tls(event("tls-upgrade", "TLS: hitless upgrade", upgrade_to_the_other)),
    over_tls(event("tls-restart", "TLS: systemctl restart hitless", restart)),
    Event {
        load: never_resuming,
        ..over_tls(event("tls-certificate-swap", "TLS: certificate and key replaced", swap_certificate))
    },
    over_http2(event("tls-h2-reload", "TLS, HTTP/2: systemctl reload, own service", reload_by_name)),
    over_http2(event("tls-h2-upgrade", "TLS, HTTP/2: hitless upgrade", upgrade_to_the_other)),
    over_http2(event("tls-h2-restart", "TLS, HTTP/2: systemctl restart hitless", restart)),
    Event {
        load: of_the_shop,
        prepare: attach,
        ..event("app-restart-attached", "systemctl restart of the attached application", restart_application)
    },
    Event {
        load: of_the_shop,
        prepare: kill_on_restart,
        ..event("app-restart-unattached", "the same, not attached and killed at once", restart_application)
    },
    Event {
        load: of_the_shop,
        prepare: leave_slowly,
        ..event("app-drain", "the application takes 6 s to leave, restarts", restart_application)
    },
    Event {
        load: of_the_shop,
        prepare: two_endpoints,
        ..event("endpoint-kill", "kill -9 of one of two endpoints", kill_endpoint)
    },
    Event {
        only_named: true,
        load: thousands,
        ..event("tunnels-4000-restart", "systemctl restart, 4,000 tunnels", restart)
    },
    Event {
        only_named: true,
        load: thousands,
        ..event("tunnels-4000-upgrade", "hitless upgrade, 4,000 tunnels", upgrade_by_hand)
    },
];

fn nothing(_: &Stage) -> anyhow::Result<()> {
    Ok(())
}

/// The blog is left alone.
fn of_the_shop(options: Options) -> Options {
    let hosts = vec!["shop.example.com".to_owned()];
    let posts_from = options.posts_from.into_iter().filter(|from| matches!(from, Address::Tcp(_))).collect();
    Options { hosts, posts_from, ..options }
}

/// The shop as a single instance whose unit is known, away for two seconds in a restart; `more` stands in its unit.
fn single(stage: &Stage, more: &str) -> anyhow::Result<()> {
    let away = format!("[Service]\nExecStartPre=/bin/sleep 2\n{more}");
    stage.host.write("/etc/systemd/system/sample@3001.service.d/away.conf", &away);
    stage.host.write(SHOP, SINGLE);
    prepared(
        stage,
        "hitless detach sample@3001.service >&2; systemctl daemon-reload && systemctl reload hitless",
    )
}

const SINGLE: &str = "[service.shop]\nhosts = [\"shop.example.com\"]\nendpoints = [\"127.0.0.1:3001\"]\n\
                      unit = \"sample@3001.service\"\n";

fn prepared(stage: &Stage, script: &str) -> anyhow::Result<()> {
    let output = stage.host.shell(script);
    anyhow::ensure!(output.status == 0, "cannot prepare the application: {}", output.stderr.trim());
    Ok(())
}

fn attach(stage: &Stage) -> anyhow::Result<()> {
    single(stage, "")?;
    prepared(stage, "hitless attach sample@3001.service")
}

fn kill_on_restart(stage: &Stage) -> anyhow::Result<()> {
    single(stage, "KillSignal=SIGKILL\n")
}

fn leave_slowly(stage: &Stage) -> anyhow::Result<()> {
    single(stage, "ExecStopPost=/bin/sleep 6\n")?;
    prepared(stage, "hitless attach sample@3001.service")
}

fn two_endpoints(stage: &Stage) -> anyhow::Result<()> {
    let text = SINGLE.replace("3001\"]", "3001\", \"127.0.0.1:3002\"]").replace("unit =", "# unit =");
    stage.host.write(SHOP, &text);
    let script = "hitless detach sample@3001.service >&2; rm -rf /etc/systemd/system/sample@3001.service.d\n\
                  systemctl daemon-reload && systemctl reload hitless";
    prepared(stage, script)
}

fn restart_application(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    Ok(stage.host.run(["systemctl", "restart", "sample@3001"]).into())
}

fn kill_endpoint(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    // Until it is gone: what is sent to it before that may have been seen.
    let script = "main=$(systemctl show --value --property MainPID sample@3001) || exit\n\
         systemctl kill --signal=KILL sample@3001 || exit\n\
         while kill -0 \"$main\" 2>/dev/null; do :; done";
    Ok(stage.host.shell(script).into())
}

fn usual(options: Options) -> Options {
    options
}

/// A session that is resumed shows no certificate.
fn never_resuming(options: Options) -> Options {
    let tls = options.tls.map(|tls| Tls { resume: false, ..tls });
    Options { tls, ..options }
}

/// 64 requests at any time, on 8 connections, and nothing else.
fn http2(options: Options) -> Options {
    let Options { address, tls, hosts, .. } = options;
    Options { tls, hosts, http2_connections: 8, http2_streams: 8, ..Options::silent(address) }
}

/// 4,000 WebSockets that each speak once a second, and few others beside.
fn thousands(options: Options) -> Options {
    Options {
        tunnels: 4_000,
        tunnel_pause: Duration::from_secs(1),
        kept_alive: 16,
        fresh_per_second: 20,
        posting: 0,
        downloads_per_second: 2,
        uploads_per_second: 2,
        slow_per_second: 2,
        streams_per_second: 1,
        ..options
    }
}

/// The events of these names, or whose names begin so, in their order; when none is named, the usual ones. What is
/// judged by a calm run has one before it.
pub fn named(names: &[String]) -> anyhow::Result<Vec<Event>> {
    let is = |event: &Event, name: &String| event.name == name || event.name.starts_with(&format!("{name}-"));
    for name in names {
        let known = EVENTS.map(|event| event.name);
        let any = EVENTS.iter().any(|event| is(event, name));
        anyhow::ensure!(any, "no event '{name}'; there are {}", known.join(", "));
    }
    let exact = |name: &String| EVENTS.iter().any(|event| event.name == name);
    let asked = |event: &Event| {
        let by = |name: &String| if exact(name) { event.name == name } else { is(event, name) };
        if names.is_empty() { !event.only_named } else { names.iter().any(by) }
    };
    let compares = EVENTS.iter().any(|event| asked(event) && event.name == "upgrade");
    let wanted = |event: &Event| asked(event) || (compares && event.name == "calm");
    Ok(EVENTS.into_iter().filter(wanted).collect())
}

/// Load, the event, more load; then every request ends, and the row says what was lost. `before` are the rows so far.
pub fn perform(event: &Event, stage: &Stage, pauses: Pauses, before: &[Row]) -> anyhow::Result<Row> {
    let options = (event.load)(if event.over_tls { stage.usual_over_tls()? } else { stage.usual() });
    (event.prepare)(stage)?;
    tell(&format!("  {:<42}load ", event.title));
    let (tunnels, longest) = (options.tunnels as u64, options.longest_request());
    let load = stage.load(options)?;
    offer(&load, pauses.before)?;
    // Thousands come one after the other.
    while load.so_far().tunnels < tunnels {
        load.offer(Duration::from_millis(200), BOUND, || ()).map_err(anyhow::Error::msg)?;
        anyhow::ensure!(load.elapsed() < BOUND, "only {} of {tunnels} tunnels open", load.so_far().tunnels);
    }
    tell("EVENT ");
    let began = load.elapsed();
    let Deed { output, outgoing } = (event.deed)(stage, &load)?;
    let ended = load.elapsed();
    tell(&format!("{:.1} s ", (ended - began).as_secs_f64()));
    offer(&load, pauses.after)?;
    let report = load.finish().context("the load client could not go on")?;
    println!("{} requests, {} failed", report.requests, report.failed);
    let row = Row {
        event: event.name,
        debian: stage.debian,
        report,
        exit_code: output.status,
        took_ms: rows::milliseconds(ended - began),
        outgoing_ms: outgoing.map(rows::milliseconds),
        longest_request_ms: rows::milliseconds(longest),
        ledger_residue: stage.residue(),
        began,
        ended,
    };
    if row.event.ends_with("-broken") {
        println!("    exit {}; {}", row.exit_code, output.stdout.trim());
    }
    if !crate::promises::broken(&row, before).is_empty() {
        let said = [&output.stdout, &output.stderr, &stage.explanation()].map(|text| text.trim().to_owned());
        println!("    the promise is broken; the command and the host say:\n{}\n", said.join("\n"));
    }
    Ok(row)
}

/// Lets the load run for so long, and on until answers come again.
pub fn offer(load: &Load, period: Duration) -> anyhow::Result<()> {
    load.offer(period, BOUND, || tell(".")).map_err(anyhow::Error::msg)?;
    tell(" ");
    Ok(())
}

pub fn tell(text: &str) {
    print!("{text}");
    // A terminal that is gone is no reason to stop.
    let _ = std::io::stdout().flush();
}

/// As much work for the processors as `upgrade` has before hitless takes part in it.
fn calm(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script =
        format!("[ ! -e {NEWER} ] || {{ dpkg-deb --extract {NEWER} /root/nobody && rm -r /root/nobody; }}");
    Ok(stage.host.shell(&script).into())
}

/// Adds a route to the service under load, and asks for it: a reload that did nothing would lose nothing.
fn reload(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let routes = "[[service.shop.route]]\npath = \"/old\"\nredirect = \"/\"\n\
                  [[service.shop.route]]\npath = \"/*\"\n";
    let script = format!(
        "printf '%s' '{routes}' >>{SHOP} && systemctl reload hitless || exit\n\
         curl --silent --include --header 'Host: shop.example.com' http://127.0.0.1/old | grep -i '^location:'"
    );
    Ok(stage.host.shell(&script).into())
}

/// The file is gone afterwards, the verdict stays.
fn reload_broken(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    stage.host.write(BROKEN, "[service.broken]\nhots = [\"broken.example.com\"]\nendpoints = \"nowhere\"\n");
    let mut output = stage.host.run(["systemctl", "reload", "hitless"]);
    output.stdout.push_str(&stage.host.show("hitless", "StatusText"));
    stage.host.run(["rm", BROKEN]).ok();
    Ok(output.into())
}

/// Gives the other service one more host, and asks for it.
fn reload_other(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script = format!(
        "sed -i 's/\"blog.example.com\"/\"blog.example.com\", \"www.blog.example.com\"/' {BLOG}\n\
         systemctl reload hitless || exit\n\
         curl --silent --fail --header 'Host: www.blog.example.com' http://127.0.0.1/"
    );
    Ok(stage.host.shell(&script).into())
}

/// Gives the service under load one more host, and asks for it over TLS.
fn reload_by_name(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script = format!(
        "name=n$(date +%s%N).example.com\n\
         sed -i \"s/\\\"shop.example.com\\\"/&, \\\"$name\\\"/\" {SHOP}\n\
         systemctl reload hitless || exit\n\
         curl --silent --show-error --fail --cacert /root/ca.pem --resolve $name:443:127.0.0.1 https://$name/"
    );
    Ok(stage.host.shell(&script).into())
}

/// Both files of the pair; over when a client was shown the new certificate.
fn swap_certificate(stage: &Stage, load: &Load) -> anyhow::Result<Deed> {
    let before = load.so_far().certificate;
    let output = stage.secrets()?.replace(&stage.host);
    let replaced = load.elapsed();
    while output.status == 0 && load.so_far().certificate == before {
        load.offer(Duration::from_millis(20), BOUND, || ()).map_err(anyhow::Error::msg)?;
        anyhow::ensure!(load.elapsed() - replaced < BOUND, "nobody was shown the new certificate");
    }
    Ok(output.into())
}

fn restart(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    watched(stage, || stage.host.run(["systemctl", "restart", "hitless"]))
}

/// The package of a newer version. It must be what serves afterwards, and the keeper must be the process that it was:
/// a restart would lose nothing either.
fn upgrade(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script = format!(
        "main=$(systemctl show --value --property MainPID hitless)\n\
         dpkg --install {NEWER} || exit\n\
         {SERVES_WHAT_IS_INSTALLED}\n\
         [ \"$(systemctl show --value --property MainPID hitless)\" = \"$main\" ] || \
         {{ echo 'the keeper is another process: that was a restart' >&2; exit 1; }}"
    );
    watched(stage, || stage.host.shell(&script))
}

fn upgrade_by_hand(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    upgrade_to(stage, "newer")
}

/// The newer program, or the first one when the newer one serves already.
fn upgrade_to_the_other(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let newer = stage.host.run(["cmp", "/usr/sbin/hitless", "/root/programs/newer"]).status == 0;
    upgrade_to(stage, if newer { "first" } else { "newer" })
}

const SERVES_WHAT_IS_INSTALLED: &str = "\
    installed=$(hitless --version) installed=${installed#* }
    serves=$(hitless status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"version\"])')
    [ \"$serves\" = \"$installed\" ] || { echo \"installed is $installed, but $serves serves\" >&2; exit 1; }";

/// Puts one of the programs in the place of the installed one, as a package does it, and lets it take over.
pub fn upgrade_to(stage: &Stage, program: &str) -> anyhow::Result<Deed> {
    let script = format!("{}\nhitless upgrade || exit\n{SERVES_WHAT_IS_INSTALLED}", installing(program));
    watched(stage, || stage.host.shell(&script))
}

fn installing(program: &str) -> String {
    format!(
        "cp /root/programs/{program} /usr/sbin/hitless.new && mv /usr/sbin/hitless.new /usr/sbin/hitless || exit"
    )
}

/// Three programs that cannot take over: half a file, one that fails its self-test, one that cannot serve. Each is
/// refused by `systemctl reload` and by `hitless upgrade`, with a reason. Exit code 0 when one was accepted.
fn upgrade_broken(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let whole = stage.host.run(["test", "-e", "/root/programs/broken"]).status == 0;
    anyhow::ensure!(whole, "no broken program; run: cargo build --example broken");
    let refused = "refused() { \"$@\" 2>/run/said && { echo \"$*: accepted\"; back; exit 0; }; tail -n 1 /run/said\n\
                   [ -s /run/said ] || [ ! -e /run/hitless.fault ] || { echo \"$*: no reason\"; back; exit 0; }; }\n\
                   back() { mv /usr/sbin/hitless.kept /usr/sbin/hitless; rm -f /run/hitless.fault; }\n\
                   cp --preserve=all --link /usr/sbin/hitless /usr/sbin/hitless.kept || exit 0\n";
    let attempts = "refused systemctl reload hitless; refused hitless upgrade";
    let faults = ["self-test", "gateway"].map(|fault| {
        format!(
            "echo {fault} >/run/hitless.fault; {}; {attempts}",
            installing("broken").replace("|| exit", "|| exit 0")
        )
    });
    let script = format!(
        "{refused}head -c 65536 /root/programs/first >/root/programs/half; chmod 755 /root/programs/half\n\
         {}; {attempts}\n{}\nback; exit 1",
        installing("half").replace("|| exit", "|| exit 0"),
        faults.join("\n")
    );
    Ok(stage.host.shell(&script).into())
}

/// Three kinds of transition in turn, one after the other, with the load's lasting connection from before the first
/// to after the last.
fn alternating(stage: &Stage, load: &Load) -> anyhow::Result<Deed> {
    short_probation(stage)?;
    let mut slowest = Some(Duration::ZERO);
    let mut output = stage.host.run(["true"]);
    for turn in 0..20 {
        let done = match turn % 3 {
            0 => stage.host.run(["systemctl", "reload", "hitless"]).into(),
            1 => upgrade_to(stage, if turn % 2 == 0 { "first" } else { "newer" })?,
            _ => restart(stage, load)?,
        };
        tell(&format!("{} ", ["l", "u", "r"][turn % 3]));
        if turn % 3 != 0 {
            slowest = slowest.zip(done.outgoing).map(|(slowest, outgoing)| slowest.max(outgoing));
        }
        output = done.output;
        if output.status != 0 {
            break;
        }
        offer(load, Duration::from_millis(100))?;
    }
    Ok(Deed { output, outgoing: slowest })
}

/// An upgrade waits until the one before it is off probation.
pub fn short_probation(stage: &Stage) -> anyhow::Result<()> {
    let script = "grep -q probation /etc/hitless/hitless.toml ||\n\
                  printf '[upgrade]\\nprobation = \"1s\"\\n' >>/etc/hitless/hitless.toml && systemctl reload hitless";
    let output = stage.host.shell(script);
    anyhow::ensure!(output.status == 0, "cannot set upgrade.probation: {}", output.stderr.trim());
    Ok(())
}

/// Does it, and waits for the end of the gateway that served before.
fn watched(stage: &Stage, deed: impl FnOnce() -> Output) -> anyhow::Result<Deed> {
    let outgoing = stage.outgoing()?;
    let output = deed();
    let ended = Instant::now();
    // One that failed leaves whoever served where it was.
    let outgoing = if output.status == 0 { outgoing.gone_after(ended) } else { None };
    Ok(Deed { output, outgoing })
}

impl From<Output> for Deed {
    fn from(output: Output) -> Deed {
        Deed { output, outgoing: None }
    }
}

/// Returns when the process is gone, so that whatever begins later met another one.
fn gateway_kill(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script = "main=$(systemctl show --value --property MainPID hitless) || exit\n\
         read -r gateway rest </proc/$main/task/$main/children\n\
         [ -n \"$gateway\" ] || { echo 'the keeper has no child' >&2; exit 1; }\n\
         kill -KILL \"$gateway\" || exit\n\
         while kill -0 \"$gateway\" 2>/dev/null; do :; done";
    Ok(stage.host.shell(script).into())
}

fn stop_start(stage: &Stage, _: &Load) -> anyhow::Result<Deed> {
    let script =
        "systemctl stop hitless.socket hitless.service && systemctl start hitless.socket hitless.service";
    Ok(stage.host.shell(script).into())
}
