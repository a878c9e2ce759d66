//! `hitless prove`: changes what it is asked to change, under load, and says what clients noticed.
//!
//! Promises: says before what it will do, asks nothing, and restarts or upgrades only with `--yes`; only GETs of one
//! page of this host; bounded in connections, requests and time. Exit code 0: kept, 1: not kept, 2: could not measure.
//! Must not know: how load is offered or how a loss is seen.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::admin::Status;
use crate::prove::{
    Address, Load, Options as Offer, Page, Row, Subject, Tls, Trust, Verdict, table, try_out,
};

/// Exit code of a measurement that could not be made; 1 is a promise that was not kept.
const UNMEASURED: u8 = 2;
/// No answer for so long is a failure.
const PATIENCE: Duration = Duration::from_secs(30);
/// The drain's longest deadline of the unit, and a start.
const LONGEST_TRANSITION: Duration = Duration::from_secs(180);

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("transition").required(true).multiple(true))]
pub struct Options {
    /// The page to ask for, of this host, such as https://shop.example.com/
    #[arg(value_name = "URL")]
    page: Page,
    /// Load the configuration again
    #[arg(long, group = "transition")]
    reload: bool,
    /// Let the program on disk take over
    #[arg(long, group = "transition")]
    upgrade: bool,
    /// Restart hitless.service
    #[arg(long, group = "transition")]
    restart: bool,
    /// Do it: without this, --upgrade and --restart only say what they would do
    #[arg(long)]
    yes: bool,
    /// How long load is offered around each transition, 1 to 600
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    period: u64,
    /// Connections that are held, half of them silent, 3 to 10000
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u16).range(3..=10_000))]
    connections: u16,
    /// Where this host is reached, ADDRESS:PORT or unix:/PATH [default: where the URL's host is]
    #[arg(long, value_name = "ADDRESS")]
    connect: Option<Address>,
    /// PEM file with the authorities to believe, over TLS [default: those that this host trusts]
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The name that the certificate must have, over TLS [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Believe every certificate, over TLS
    #[arg(long, conflicts_with_all = ["ca", "name"])]
    insecure: bool,
    #[command(flatten)]
    place: Where,
}

/// A command under load.
struct Transition {
    /// What it means for who is not told beforehand.
    meaning: &'static str,
    words: Vec<OsString>,
}

pub fn prove(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let unmeasured = |why: String| Fatal::new(UNMEASURED, format_args!("cannot measure: {why}"));
    let address = address(options).map_err(unmeasured)?;
    let page = &options.page;
    let tls = tls(options).map_err(unmeasured)?;
    let trial = try_out(&address, tls.as_ref(), &page.authority, &page.path, PATIENCE);
    let trial = trial.map_err(|why| unmeasured(format!("GET {page}: {why}")))?;
    if trial.status >= 400 {
        return Err(unmeasured(format!("{page} answers {}", trial.status)));
    }
    let offer = Offer { tls, ..offer(options, address, trial.status) };
    let transitions = transitions(options, directory).map_err(|error| unmeasured(error.to_string()))?;
    print(&plan(options, &offer, &transitions))?;
    if (options.upgrade || options.restart) && !options.yes {
        return Err(Fatal::new(UNMEASURED, "nothing was done; to do it, say --yes"));
    }
    let mut rows = vec![];
    for transition in std::iter::once(None).chain(transitions.iter().map(Some)) {
        let row = perform(transition, &offer, options, directory).map_err(unmeasured)?;
        let sound = row.verdict() == Verdict::Kept;
        rows.push(row);
        // Whatever fails without a change would be taken for what a change does.
        if rows.len() == 1 && !sound {
            break;
        }
    }
    print(&format!("\n{}", table(&rows)))?;
    judge(&rows)
}

fn judge(rows: &[Row]) -> Result<(), Fatal> {
    let verdicts: Vec<Verdict> = rows.iter().map(Row::verdict).collect();
    if let Some(Verdict::Broken(_)) = verdicts.first() {
        let why = "requests fail here although nothing is being changed; see journalctl -u hitless";
        return Err(Fatal::new(code::REFUSED, why));
    }
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Broken(_))) {
        return Err(Fatal::new(code::REFUSED, "the promise was not kept"));
    }
    if verdicts.iter().any(|verdict| matches!(verdict, Verdict::Unmeasured(_))) {
        return Err(Fatal::new(UNMEASURED, "too little was measured to say; try a longer --for"));
    }
    Ok(())
}

fn address(options: &Options) -> Result<Address, String> {
    match &options.connect {
        None => options.page.address(),
        Some(address) if address.is_of_this_host() => Ok(address.clone()),
        Some(address) => Err(format!("'{address}' is not an address of this host")),
    }
}

/// How it is asked when the page is one over TLS.
fn tls(options: &Options) -> Result<Option<Tls>, String> {
    let Options { ca, name, insecure, page, .. } = options;
    if !page.secure {
        let asked = ca.is_some() || name.is_some() || *insecure;
        let why = || format!("{page} is not asked for over TLS; name it with https://");
        return if asked { Err(why()) } else { Ok(None) };
    }
    let trust = match ca {
        Some(file) => Trust::File(file.clone()),
        None if *insecure => Trust::Anyone,
        None => Trust::System,
    };
    Ok(Some(Tls { name: name.clone(), trust, ..Tls::default() }))
}

/// At most some 500 requests a second, however many connections there are: it is somebody's own host.
fn offer(options: &Options, address: Address, status: u16) -> Offer {
    let connections = usize::from(options.connections);
    let kept_alive = connections.div_ceil(2) - 1;
    let think = Duration::from_millis(100).max(Duration::from_millis(2) * kept_alive as u32);
    Offer {
        subject: Subject::Page { path: options.page.path.clone(), status },
        hosts: vec![options.page.authority.clone()],
        kept_alive,
        think,
        fresh_per_second: 20,
        idle: connections - kept_alive - 1,
        lasting: 1,
        patience: PATIENCE,
        ..Offer::silent(address)
    }
}

fn transitions(options: &Options, directory: &Path) -> io::Result<Vec<Transition>> {
    let own = |verb: &str, meaning| -> io::Result<Transition> {
        let mut words: Vec<OsString> =
            vec![program()?.into(), "--config".into(), directory.into(), verb.into()];
        words.extend(options.place.words());
        Ok(Transition { meaning, words })
    };
    let mut transitions = vec![];
    if options.reload {
        transitions.push(own("reload", "the configuration is loaded again, with what was edited in it")?);
    }
    if options.upgrade {
        transitions.push(own("upgrade", "the program on disk takes over, if it is another one")?);
    }
    if options.restart {
        let words = ["systemctl", "restart", "hitless.service"].map(OsString::from).to_vec();
        transitions.push(Transition { meaning: "keeper and gateway are started anew", words });
    }
    Ok(transitions)
}

/// The program on disk, also when it has been replaced since this process began (proc_pid_exe(5)).
fn program() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

fn plan(options: &Options, offer: &Offer, transitions: &[Transition]) -> String {
    let rate = offer.kept_alive as f64 / offer.think.as_secs_f64() + f64::from(offer.fresh_per_second);
    let mut text = format!(
        "about {rate:.0} times a second: GET {}, at {}\n\
         {} connections are held, {} of them silent; for {} s each, around:\n  nothing, to know what is usual\n",
        options.page, offer.address, options.connections, offer.idle, options.period
    );
    for transition in transitions {
        text.push_str(&format!("  {}: {}\n", transition.title(), transition.meaning));
    }
    text
}

/// Load, the transition, more load; then every request ends.
fn perform(
    transition: Option<&Transition>,
    offer: &Offer,
    options: &Options,
    directory: &Path,
) -> Result<Row, String> {
    let half = Duration::from_secs(options.period) / 2;
    let load = Load::start(offer.clone(), || Ok(())).map_err(|error| error.to_string())?;
    if let Err(why) = load.offer(half, PATIENCE, || ())
        && load.so_far().failed == 0
    {
        return Err(format!("{why}, before anything was changed"));
    }
    let began = Instant::now();
    let (exit, said) = match transition.map(Transition::run) {
        None => (None, String::new()),
        Some(ran) => ran.map(|(exit, said)| (Some(exit), said)).map_err(|error| error.to_string())?,
    };
    let took = began.elapsed();
    // No answer for so long is told by the requests that failed.
    let _ = load.offer(half, PATIENCE, || ());
    let report = load.finish().map_err(|error| error.to_string())?;
    Ok(Row {
        title: transition.map_or("nothing".to_owned(), Transition::title),
        report,
        exit,
        said,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        residue: residue(&options.place, directory),
    })
}

/// `None` without the right to ask.
fn residue(place: &Where, directory: &Path) -> Option<i64> {
    let answer = client::ask(place, directory, "GET /status", "say how it goes", PATIENCE).ok()?;
    (answer.status == 200).then_some(())?;
    serde_json::from_slice::<Status>(&answer.body).ok().map(|status| status.residue)
}

impl Transition {
    /// As a user would type it.
    fn title(&self) -> String {
        let words = self.words.iter().map(|word| word.to_string_lossy());
        let words: Vec<_> = words.collect();
        match words.as_slice() {
            [_, flag, _, verb, ..] if flag == "--config" => format!("hitless {verb}"),
            words => words.join(" "),
        }
    }

    /// Runs it to its end, which comes within the bound; its exit code, and what it said.
    fn run(&self) -> io::Result<(i32, String)> {
        let (program, words) = self.words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(words).env_remove("MAINPID").stdin(Stdio::null());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let pid = Pid::from_child(&child);
        let end = pidfd_open(pid, PidfdFlags::empty())?;
        let bound = Timespec::try_from(LONGEST_TRANSITION).ok();
        let ended = poll(&mut [PollFd::new(&end, PollFlags::IN)], bound.as_ref())?;
        if ended == 0 {
            child.kill()?;
        }
        let output = child.wait_with_output()?;
        let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
        if ended == 0 {
            said.push_str(&format!("did not end within {} s", LONGEST_TRANSITION.as_secs()));
        }
        Ok((output.status.code().unwrap_or(-1), said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_connections_there_are_the_rate_is_bounded() {
        use clap::Parser;
        #[derive(Parser)]
        struct Line {
            #[command(flatten)]
            options: Options,
        }
        for count in ["3", "32", "10000"] {
            let line = Line::parse_from(["prove", "http://x/", "--reload", "--connections", count]);
            let offer = offer(&line.options, Address::Tcp(([127, 0, 0, 1], 80).into()), 200);
            assert_eq!(offer.kept_alive + offer.idle + offer.lasting, count.parse::<usize>().unwrap());
            let rate = offer.kept_alive as f64 / offer.think.as_secs_f64();
            assert!(rate < 501.0, "{rate}");
        }
        assert!(Line::try_parse_from(["prove", "http://x/"]).is_err(), "nothing to prove");
        let tls = |words: &[&str]| {
            let line = Line::try_parse_from([&["prove", "--reload"], words].concat());
            line.map_err(|error| error.to_string()).and_then(|line| tls(&line.options))
        };
        assert!(tls(&["http://x/"]).unwrap().is_none());
        assert_eq!(tls(&["https://x/"]).unwrap().unwrap().trust, Trust::System);
        assert_eq!(tls(&["https://x/", "--insecure"]).unwrap().unwrap().trust, Trust::Anyone);
        assert!(tls(&["http://x/", "--insecure"]).is_err(), "a certificate that nobody shows");
        assert!(tls(&["https://x/", "--insecure", "--ca", "x"]).is_err());
    }
}
