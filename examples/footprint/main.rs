//! What connections that do nothing, and contents that are large, cost a gateway in memory.
//!
//! `make footprint`. Promises: a gateway and an endpoint of its own, loopback only; bounded by counts; exit 0 when
//! every figure is within its bound, 1 when one is not, 2 when it could not measure.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

#[allow(dead_code, unused_imports, reason = "the floods use more of it")]
#[path = "../flood/engine/mod.rs"]
mod engine;

use std::any::Any;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use engine::Stage;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use socket2::{Domain, Socket, Type};

/// Measures the memory of a gateway under much that is idle, and under contents that are large.
#[derive(Parser)]
#[command(name = "footprint")]
struct Arguments {
    /// The gateway
    #[arg(long, default_value = "target/release/hitless")]
    binary: PathBuf,
    /// Idle kept-alive connections, after one request each
    #[arg(long, default_value_t = 9000)]
    connections: usize,
    /// Idle WebSockets
    #[arg(long, default_value_t = 4000)]
    tunnels: usize,
    /// Bytes of the upload, and of the download
    #[arg(long, default_value_t = 2 << 30)]
    content: u64,
    /// Where the report goes, as JSON
    #[arg(long, default_value = "target/footprint.json")]
    output: PathBuf,
}

/// One figure and what it may be.
#[derive(Serialize)]
struct Row {
    what: String,
    /// Of resident memory, and of the gateway's own share in it; of large contents both are the peak.
    resident_kib: f64,
    proportional_kib: f64,
    goal_kib: f64,
    bound_kib: f64,
    /// What the figures are divided by.
    count: usize,
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

fn measure(arguments: &Arguments) -> anyhow::Result<bool> {
    // The endpoint's end of a tunnel is in this process too.
    raise_descriptors(arguments.connections.max(2 * arguments.tunnels) as u64 + 2000)?;
    let binary = &arguments.binary;
    let rows = [
        idle("idle HTTP/1.1 connection", binary, arguments.connections, (2.0, 4.0), asked_once)?,
        idle("idle HTTP/1.1 connection over TLS", binary, arguments.connections, (4.0, 8.0), asked_securely)?,
        idle("idle WebSocket tunnel", binary, arguments.tunnels, (16.0, 16.0), switched)?,
        large("upload", binary, arguments.content, upload)?,
        large("download", binary, arguments.content, download)?,
    ];
    println!(
        "{:<34}{:>8}{:>14}{:>14}{:>10}{:>10}",
        "what", "count", "RSS KiB each", "PSS KiB each", "goal", "at most"
    );
    for row in &rows {
        println!(
            "{:<34}{:>8}{:>14.2}{:>14.2}{:>10}{:>10}  {}",
            row.what,
            row.count,
            row.resident_kib,
            row.proportional_kib,
            row.goal_kib,
            row.bound_kib,
            if row.is_sound() { "sound" } else { "too much" }
        );
    }
    std::fs::write(&arguments.output, serde_json::to_string_pretty(&rows)?)?;
    Ok(rows.iter().all(Row::is_sound))
}

impl Row {
    fn is_sound(&self) -> bool {
        self.resident_kib <= self.bound_kib
    }
}

/// The gateway inherits it.
fn raise_descriptors(wanted: u64) -> anyhow::Result<()> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    ensure!(
        maximum.is_none_or(|most| most >= wanted),
        "the limit of descriptors is {maximum:?}, needed are {wanted}"
    );
    let raised = Rlimit { current: Some(maximum.unwrap_or(wanted)), maximum };
    setrlimit(Resource::Nofile, raised).context("cannot raise the limit of descriptors")
}

/// Many of one kind; the first hundred are there before, so that what is allocated once does not count.
fn idle(
    what: &str,
    binary: &Path,
    count: usize,
    (goal_kib, bound_kib): (f64, f64),
    open: fn(&Stage, usize) -> anyhow::Result<Box<dyn Any>>,
) -> anyhow::Result<Row> {
    const FIRST: usize = 100;
    let stage = Stage::start(binary, "")?;
    let mut held = vec![];
    for number in 0..FIRST {
        held.push(open(&stage, number)?);
    }
    let before = (stage.resident_kib()?, stage.proportional_kib()?);
    for number in FIRST..FIRST + count {
        held.push(open(&stage, number).with_context(|| format!("after {number}"))?);
    }
    let after = (stage.resident_kib()?, stage.proportional_kib()?);
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    Ok(Row {
        what: what.to_owned(),
        resident_kib: each(before.0, after.0),
        proportional_kib: each(before.1, after.1),
        goal_kib,
        bound_kib,
        count,
    })
}

/// Loopback has many addresses, each with ports of its own.
fn connect(address: SocketAddr, number: usize) -> anyhow::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number / 10_000) as u8);
    socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    socket.connect(&address.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn asked_once(stage: &Stage, number: usize) -> anyhow::Result<Box<dyn Any>> {
    asked(connect(stage.address.parse()?, number)?)
}

fn asked_securely(stage: &Stage, number: usize) -> anyhow::Result<Box<dyn Any>> {
    asked(engine::storm::connect(connect(stage.secure.parse()?, number)?)?)
}

fn asked(mut stream: impl Read + Write + 'static) -> anyhow::Result<Box<dyn Any>> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: calm.test\r\n\r\n")?;
    until(&mut stream, b"\r\n\r\nok")?;
    Ok(Box::new(stream))
}

fn switched(stage: &Stage, number: usize) -> anyhow::Result<Box<dyn Any>> {
    let mut stream = connect(stage.address.parse()?, number)?;
    stream.write_all(
        b"GET /ws HTTP/1.1\r\nHost: calm.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
          Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )?;
    let head = until(&mut stream, b"\r\n\r\n")?;
    ensure!(head.starts_with(b"HTTP/1.1 101 "), "no tunnel: {}", String::from_utf8_lossy(&head));
    Ok(Box::new(stream))
}

fn until(stream: &mut impl Read, end: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut came = vec![];
    let mut space = [0; 4096];
    while !came.ends_with(end) {
        let count = stream.read(&mut space)?;
        ensure!(count > 0, "the end came after {:?}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&space[..count]);
    }
    Ok(came)
}

/// The peak of a gateway that did nothing else.
fn large(
    what: &str,
    binary: &Path,
    bytes: u64,
    pass: fn(&mut TcpStream, u64) -> anyhow::Result<()>,
) -> anyhow::Result<Row> {
    let stage = Stage::start(binary, "")?;
    pass(&mut connect(stage.address.parse()?, 0)?, bytes)?;
    let peak = stage.peak_kib()? as f64;
    Ok(Row {
        what: format!("peak of a {what} of {} MiB", bytes >> 20),
        resident_kib: peak,
        proportional_kib: peak,
        goal_kib: 65_536.0,
        bound_kib: 65_536.0,
        count: 1,
    })
}

fn upload(stream: &mut TcpStream, bytes: u64) -> anyhow::Result<()> {
    write!(stream, "POST / HTTP/1.1\r\nHost: calm.test\r\nContent-Length: {bytes}\r\n\r\n")?;
    std::io::copy(&mut std::io::repeat(b'x').take(bytes), stream)?;
    let answer = until(stream, bytes.to_string().as_bytes())?;
    ensure!(answer.starts_with(b"HTTP/1.1 200 "), "not taken: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

fn download(stream: &mut TcpStream, bytes: u64) -> anyhow::Result<()> {
    write!(stream, "GET /bytes/{bytes} HTTP/1.1\r\nHost: calm.test\r\nConnection: close\r\n\r\n")?;
    let mut came = 0;
    let mut space = vec![0; 64 * 1024];
    loop {
        match stream.read(&mut space)? {
            0 => break,
            count => came += count as u64,
        }
    }
    // With the head of the answer.
    ensure!((bytes..bytes + 4096).contains(&came), "{came} bytes came instead of {bytes}");
    Ok(())
}
