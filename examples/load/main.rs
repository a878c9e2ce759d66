//! The load-and-loss client on the command line: offers the load for a while, prints what was lost.
//!
//! `cargo run --example load -- --target 127.0.0.1:80 --host shop.example.com --for 10s`.
//! Promises: bounded in time; exit 0 when nothing was lost, 1 when something was, 2 when it could not measure.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Parser;
use hitless::prove::{Address, Load, Options, Report, Tls, Trust};

/// Offers a steady mixed load over HTTP/1.1, in plaintext or over TLS, never retries, and reports everything that was lost.
#[derive(Parser)]
#[command(name = "load")]
struct Arguments {
    /// Where to connect: ADDRESS:PORT or unix:/PATH
    #[arg(long)]
    target: Address,
    /// Speak TLS
    #[arg(long)]
    tls: bool,
    /// PEM file with the authorities to believe; without it those that this host trusts
    #[arg(long, requires = "tls")]
    ca: Option<PathBuf>,
    /// The name that certificates must have; without it the host that is asked for
    #[arg(long, requires = "tls")]
    name: Option<String>,
    /// Believe every certificate
    #[arg(long, requires = "tls", conflicts_with = "ca")]
    insecure: bool,
    /// Every so many-th connection speaks TLS 1.2
    #[arg(long, requires = "tls", default_value_t = 0)]
    old_every: u32,
    /// A host to ask for; several are asked in turn
    #[arg(long = "host", default_value = "sample.example")]
    hosts: Vec<String>,
    /// How long load is offered: 10s, 500ms, 2m
    #[arg(long = "for", value_parser = duration, default_value = "10s")]
    period: Duration,
    /// Connections that send one request after the other
    #[arg(long, default_value_t = 64)]
    kept_alive: usize,
    /// The mean pause on such a connection
    #[arg(long, value_parser = duration, default_value = "62ms")]
    think: Duration,
    /// New connections a second
    #[arg(long, default_value_t = 100)]
    fresh: u32,
    /// POSTs a second, over 16 kept-alive connections
    #[arg(long, default_value_t = 80)]
    posts: u32,
    /// Slow requests a second
    #[arg(long, default_value_t = 10)]
    slow: u32,
    /// How long a slow request takes
    #[arg(long, value_parser = duration, default_value = "500ms")]
    slow_for: Duration,
    /// Verified downloads of 256 KiB a second
    #[arg(long, default_value_t = 10)]
    downloads: u32,
    /// Chunked uploads of 64 KiB a second, checked by digest
    #[arg(long, default_value_t = 10)]
    uploads: u32,
    /// Streams of server-sent events begun a second
    #[arg(long, default_value_t = 4)]
    streams: u32,
    /// WebSockets
    #[arg(long, default_value_t = 16)]
    tunnels: usize,
    /// Silent connections, asked again at the end
    #[arg(long, default_value_t = 86)]
    idle: usize,
    /// Kept-alive connections that must last from the beginning to the end
    #[arg(long, default_value_t = 1)]
    lasting: usize,
    /// HTTP/2 connections
    #[arg(long, default_value_t = 0)]
    http2: usize,
    /// Requests at any time on each of them
    #[arg(long, default_value_t = 8)]
    http2_streams: usize,
    /// An answer that takes longer is a failure
    #[arg(long, value_parser = duration, default_value = "30s")]
    patience: Duration,
    /// An endpoint of the application, to be asked directly which POSTs it received; several are added up
    #[arg(long)]
    posts_from: Vec<Address>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match measure(&arguments) {
        Ok(report) => {
            print(&report);
            if report.lost() == 0 && report.duplicate_posts == Some(0) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("cannot measure: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> anyhow::Result<Report> {
    let trust = match &arguments.ca {
        Some(file) => Trust::File(file.clone()),
        None if arguments.insecure => Trust::Anyone,
        None => Trust::System,
    };
    let (name, old_every) = (arguments.name.clone(), arguments.old_every);
    let tls = Tls { name, trust, old_every, ..Tls::default() };
    let options = Options {
        tls: arguments.tls.then_some(tls),
        kept_alive: arguments.kept_alive,
        think: arguments.think,
        fresh_per_second: arguments.fresh,
        posting: if arguments.posts > 0 { 16 } else { 0 },
        posts_per_second: arguments.posts,
        slow_per_second: arguments.slow,
        slow: arguments.slow_for,
        downloads_per_second: arguments.downloads,
        uploads_per_second: arguments.uploads,
        streams_per_second: arguments.streams,
        tunnels: arguments.tunnels,
        idle: arguments.idle,
        lasting: arguments.lasting,
        http2_connections: arguments.http2,
        http2_streams: arguments.http2_streams,
        patience: arguments.patience,
        posts_from: arguments.posts_from.clone(),
        ..Options::new(arguments.target.clone(), arguments.hosts.clone())
    };
    let mut signals = signal_hook::iterator::Signals::new([libc::SIGINT, libc::SIGTERM])?;
    let (interrupt, interrupted) = channel();
    std::thread::spawn(move || signals.forever().next().map(|_| interrupt.send(())));
    let load = Load::start(options, || Ok(()))?;
    let end = Instant::now() + arguments.period;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if interrupted.recv_timeout(left.min(Duration::from_secs(1))) != Err(RecvTimeoutError::Timeout) {
            break;
        }
        let so_far = load.so_far();
        eprintln!(
            "{:>4} s: {} requests, {} failed",
            load.elapsed().as_secs(),
            so_far.requests,
            so_far.failed
        );
    }
    Ok(load.finish()?)
}

fn print(report: &Report) {
    println!("{:<14}{:>10}{:>10}", "what", "requests", "failed");
    for (what, share) in &report.details.shares {
        println!("{:<14}{:>10}{:>10}", format!("{what:?}").to_lowercase(), share.requests, share.failed);
    }
    println!("{:<14}{:>10}{:>10}  {:?}", "all", report.requests, report.failed, report.failed_kinds);
    println!("idle connections closed unannounced: {} {:?}", report.idle_closed, report.details.idle_kinds);
    let tunnels = &report.details.tunnel_kinds;
    println!(
        "tunnels dropped: {} of {} {tunnels:?}; messages missing: {}, doubled: {}, reordered: {}, changed: {}",
        report.tunnels_dropped,
        report.tunnels,
        report.tunnels_gap,
        report.tunnels_doubled,
        report.tunnels_reordered,
        report.tunnels_changed
    );
    for lasting in &report.lasting {
        match (&lasting.lost, lasting.opened_at) {
            (Some(how), _) => println!("lasting connection: lost after {} answers: {how}", lasting.answered),
            (None, Some(at)) => {
                println!("lasting connection: {} answers, from {at} all the time", lasting.answered)
            }
            (None, None) => println!("lasting connection: {} answers", lasting.answered),
        }
    }
    match (&report.duplicate_posts, &report.details.posts_unknown) {
        (Some(count), _) => println!("duplicate POSTs: {count}"),
        (None, why) => println!("duplicate POSTs: unknown: {}", why.as_deref().unwrap_or("not asked")),
    }
    if report.handshakes > 0 {
        println!("resumed: {} of {} handshakes", report.resumed, report.handshakes);
    }
    println!(
        "worst stall: {} ms; longest time without an answer: {} ms",
        report.worst_stall_ms, report.outage_ms
    );
    for failure in report.details.failures.iter().take(5) {
        let (began, ended) = (failure.began.as_secs_f64(), failure.ended.as_secs_f64());
        println!(
            "failed: {:?} from {began:.3} s to {ended:.3} s: {:?}: {}",
            failure.what, failure.kind, failure.detail
        );
    }
    match serde_json::to_string(report) {
        Ok(json) => println!("{json}"),
        Err(error) => eprintln!("cannot write the report as JSON: {error}"),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("must be a number with a unit: 500ms, 10s, 2m".to_owned()),
    };
    let number: f64 = digits.parse().map_err(|_| format!("'{digits}' is not a number"))?;
    Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}
