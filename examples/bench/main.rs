//! hitless beside nginx and haproxy, in one run: what a request costs each of them.
//!
//! `make bench`, or `cargo run --release --example bench -- --only tls --for 3 --rounds 5`. In each round of a row all
//! subjects are measured one after the other, in an order that changes; the figure is the median of the rounds'
//! ratios. Promises: loopback only; bounded in time; what it starts ends with it; exit 0 when every row could be
//! measured, 1 when one could not, which is said, 2 when nothing could.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

mod cases;
mod generator;
mod machine;
mod measure;
mod origin;
mod report;
mod subjects;
mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, ensure};
use cases::{CASES, Case, Over};
use clap::Parser;
use measure::Measured;
use origin::Origin;
use report::Row;
use subjects::{ALL, Name, Scene, Subject};

/// Measures what a request costs nginx, haproxy and hitless, side by side.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// The gateway
    #[arg(long, default_value = "target/release/hitless")]
    binary: PathBuf,
    /// How long each subject is measured in a round, in seconds
    #[arg(long = "for", default_value_t = 3)]
    seconds: u64,
    /// How often
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only rows whose names begin so: get-1k, tls; several with commas
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the figures go, as JSON
    #[arg(long, default_value = "target/bench.json")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match measure(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cannot measure: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Where everybody runs.
struct Places {
    load: Vec<usize>,
    origin: Vec<usize>,
    subjects: Vec<usize>,
}

/// Two processors each where there are six, otherwise the same two for all: every subject is treated alike.
fn places() -> anyhow::Result<Places> {
    let all = machine::processors()?;
    let pair = |first: usize| all[first.min(all.len() - 1)..].iter().copied().take(2).collect::<Vec<_>>();
    ensure!(!all.is_empty(), "no processor");
    Ok(match all.len() {
        ..6 => Places { load: pair(0), origin: pair(0), subjects: pair(0) },
        _ => Places { load: pair(0), origin: pair(2), subjects: pair(4) },
    })
}

fn measure(arguments: &Arguments) -> anyhow::Result<bool> {
    let places = places()?;
    let chosen: Vec<&Case> = CASES
        .iter()
        .filter(|case| {
            arguments.only.is_empty() || arguments.only.iter().any(|only| case.name.starts_with(only))
        })
        .collect();
    ensure!(!chosen.is_empty(), "no row is called so; there are {}", CASES.map(|case| case.name).join(", "));
    let versions = ALL.map(|name| subjects::version(name, &arguments.binary));
    let versions: Vec<String> = versions.into_iter().collect::<anyhow::Result<_>>()?;
    let folder = tempfile::tempdir()?;
    let pair = certificate(folder.path())?;
    let origin = Origin::start(&places.origin)?;
    println!(
        "{}",
        report::head(&versions, arguments.seconds, arguments.rounds, &places.load, &places.subjects)
    );
    let mut rows = vec![];
    for case in &chosen {
        let scene = Scene {
            origin: origin.address,
            tls: case.over.is_tls(),
            log: case.log,
            pair: (&pair.0, &pair.1),
            hitless: &arguments.binary,
        };
        let row = row(case, &scene, arguments, &places)
            .unwrap_or_else(|error| Row { failed: vec![format!("{error:#}")], ..Row::new(case) });
        println!("{row}");
        rows.push(row);
        std::fs::write(&arguments.output, serde_json::to_string_pretty(&report::json(&rows, &versions))?)
            .with_context(|| arguments.output.display().to_string())?;
    }
    println!("{}", report::tables(&rows));
    Ok(rows.iter().all(|row| row.failed.is_empty()))
}

/// All rounds of one case. A subject that cannot be measured is said and left out.
fn row(case: &'static Case, scene: &Scene, arguments: &Arguments, places: &Places) -> anyhow::Result<Row> {
    let mut row = Row::new(case);
    let mut subjects: Vec<Subject> = vec![];
    for name in ALL {
        machine::pin(&places.subjects)?;
        match Subject::start(name, scene) {
            Ok(subject) => subjects.push(subject),
            Err(error) => row.failed.push(format!("{}: {error:#}", name.word())),
        }
    }
    let time = Duration::from_secs(arguments.seconds);
    for round in 0..arguments.rounds {
        let mut measured: Vec<(Name, Measured)> = vec![];
        for subject in order(&subjects, round) {
            let load = measure::load(case, subject, scene.pair.0)?;
            let result = match case.over {
                Over::TlsHttp2 => measure::http2(case, subject, &places.load, time),
                _ => measure::closed_loop(&load, case, subject, &places.load, time),
            };
            match result {
                Ok(result) => measured.push((subject.name, result)),
                Err(error) => {
                    let said = subject.said();
                    row.failed.push(format!("{} in round {round}: {error:#} {said}", subject.name.word()));
                }
            }
        }
        row.rounds.push(measured);
    }
    let whole = row.failed.is_empty();
    for subject in subjects.iter().filter(|_| whole) {
        let load = measure::load(case, subject, scene.pair.0)?;
        match measure::system_calls(&load, case, subject, &places.load) {
            Ok(calls) => row.calls.push((subject.name, calls)),
            Err(error) => row.failed.push(format!("{}, traced: {error:#}", subject.name.word())),
        }
    }
    Ok(row)
}

/// Each is first, and last, as often as the others, and comes after each of the others.
fn order(subjects: &[Subject], round: usize) -> Vec<&Subject> {
    let mut order: Vec<&Subject> = subjects.iter().collect();
    let count = order.len().max(1);
    order.rotate_left(round % count);
    if round / count % 2 == 1 {
        order.reverse();
    }
    order
}

/// ECDSA over P-256, and its key.
fn certificate(folder: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (folder.join("certificate.pem"), folder.join("key.pem"));
    let output = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
        .args(["-days", "30", "-subj"])
        .arg(format!("/CN={}", generator::HOST))
        .arg("-addext")
        .arg(format!("subjectAltName=DNS:{}", generator::HOST))
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .output()
        .context("cannot run openssl")?;
    ensure!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    Ok((certificate, key))
}
