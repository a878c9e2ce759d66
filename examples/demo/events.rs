//! What happens to the gateway, one event at a time, each under a load of its own.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Context;

use crate::lab::Output;
use crate::rows::Row;
use crate::stage::{BLOG, BROKEN, SHOP, Stage};
use hitless::prove::Load;

/// Longer, and an event has failed.
const BOUND: Duration = Duration::from_secs(60);

/// A thing that happens; its name is the one in `demo.json`.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    pub name: &'static str,
    /// In an operator's words.
    pub title: &'static str,
    deed: fn(&Stage) -> Output,
}

/// How long load is offered around the event.
#[derive(Clone, Copy)]
pub struct Pauses {
    pub before: Duration,
    pub after: Duration,
}

pub const EVENTS: [Event; 6] = [
    Event { name: "reload", title: "systemctl reload, own service changed", deed: reload },
    Event { name: "reload-broken", title: "systemctl reload, a broken file", deed: reload_broken },
    Event {
        name: "reload-other-service",
        title: "systemctl reload, other service changed",
        deed: reload_other,
    },
    Event { name: "restart", title: "systemctl restart hitless", deed: restart },
    Event { name: "gateway-kill", title: "kill -9 of the gateway process", deed: gateway_kill },
    Event { name: "stop-start", title: "systemctl stop, then start", deed: stop_start },
];

/// The events of these names, in their order; all when none is named.
pub fn named(names: &[String]) -> anyhow::Result<Vec<Event>> {
    for name in names {
        let known = EVENTS.map(|event| event.name);
        anyhow::ensure!(known.contains(&name.as_str()), "no event '{name}'; there are {}", known.join(", "));
    }
    let wanted = |event: &Event| names.is_empty() || names.iter().any(|name| name == event.name);
    Ok(EVENTS.into_iter().filter(wanted).collect())
}

/// Load, the event, more load; then every request ends, and the row says what was lost.
pub fn perform(event: &Event, stage: &Stage, pauses: Pauses) -> anyhow::Result<Row> {
    tell(&format!("  {:<42}load ", event.title));
    let load = stage.load()?;
    offer(&load, pauses.before)?;
    tell("EVENT ");
    let began = load.elapsed();
    let output = (event.deed)(stage);
    let ended = load.elapsed();
    tell(&format!("{:.1} s ", (ended - began).as_secs_f64()));
    offer(&load, pauses.after)?;
    let report = load.finish().context("the load client could not go on")?;
    println!("{} requests, {} failed", report.requests, report.failed);
    let row = Row { event: event.name, debian: stage.debian, report, exit_code: output.status, began, ended };
    if row.event == "reload-broken" {
        println!("    systemctl reload: exit {}; systemctl status: {}", row.exit_code, output.stdout.trim());
    }
    if !crate::promises::broken(&row).is_empty() {
        let said = [&output.stdout, &output.stderr, &stage.explanation()].map(|text| text.trim().to_owned());
        println!("    the promise is broken; the command and the host say:\n{}\n", said.join("\n"));
    }
    Ok(row)
}

/// Lets the load run for so long, and on until answers come again.
fn offer(load: &Load, period: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    let answered = load.so_far().answered;
    let mut dots = 0;
    while began.elapsed() < period || load.so_far().answered == answered {
        anyhow::ensure!(began.elapsed() < BOUND, "no request was answered within {} s", BOUND.as_secs());
        // Why it ended is told when it is finished.
        if load.ended() {
            return Ok(());
        }
        // The passing of time is what is waited for.
        std::thread::park_timeout(Duration::from_millis(50));
        if began.elapsed().as_secs() > dots {
            dots += 1;
            tell(".");
        }
    }
    tell(" ");
    Ok(())
}

fn tell(text: &str) {
    print!("{text}");
    // A terminal that is gone is no reason to stop.
    let _ = std::io::stdout().flush();
}

/// Adds a route to the service under load, and asks for it: a reload that did nothing would lose nothing.
fn reload(stage: &Stage) -> Output {
    let routes = "[[service.shop.route]]\npath = \"/old\"\nredirect = \"/\"\n\
                  [[service.shop.route]]\npath = \"/*\"\n";
    stage.host.shell(&format!(
        "printf '%s' '{routes}' >>{SHOP} && systemctl reload hitless || exit\n\
         curl --silent --include --header 'Host: shop.example.com' http://127.0.0.1/old | grep -i '^location:'"
    ))
}

/// The file is gone afterwards, the verdict stays.
fn reload_broken(stage: &Stage) -> Output {
    stage.host.write(BROKEN, "[service.broken]\nhots = [\"broken.example.com\"]\nendpoints = \"nowhere\"\n");
    let mut output = stage.host.run(["systemctl", "reload", "hitless"]);
    output.stdout.push_str(&stage.host.show("hitless", "StatusText"));
    stage.host.run(["rm", BROKEN]).ok();
    output
}

/// Gives the other service one more host, and asks for it.
fn reload_other(stage: &Stage) -> Output {
    stage.host.shell(&format!(
        "sed -i 's/\"blog.example.com\"/\"blog.example.com\", \"www.blog.example.com\"/' {BLOG}\n\
         systemctl reload hitless || exit\n\
         curl --silent --fail --header 'Host: www.blog.example.com' http://127.0.0.1/"
    ))
}

fn restart(stage: &Stage) -> Output {
    stage.host.run(["systemctl", "restart", "hitless"])
}

/// Returns when the process is gone, so that whatever begins later met another one.
fn gateway_kill(stage: &Stage) -> Output {
    stage.host.shell(
        "main=$(systemctl show --value --property MainPID hitless) || exit\n\
         read -r gateway rest </proc/$main/task/$main/children\n\
         [ -n \"$gateway\" ] || { echo 'the keeper has no child' >&2; exit 1; }\n\
         kill -KILL \"$gateway\" || exit\n\
         while kill -0 \"$gateway\" 2>/dev/null; do :; done",
    )
}

fn stop_start(stage: &Stage) -> Output {
    stage.host.shell(
        "systemctl stop hitless.socket hitless.service && systemctl start hitless.socket hitless.service",
    )
}
