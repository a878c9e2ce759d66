//! One measurement of one subject: how much was answered in a while, and what that took.
//!
//! Promises: bounded; the figures are of the same while; anything that failed makes it an error.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, RootCertStore};

use super::cases::{Case, Over};
use super::generator::{Generator, HOST, Load};
use super::machine::{Ticks, Used};
use super::subjects::Subject;

/// One round of one subject.
pub struct Measured {
    pub requests: u64,
    pub cpu: Duration,
    /// Of the processor time, outside of the kernel.
    pub user: f64,
    pub took: Duration,
    /// Microseconds.
    pub p50: u32,
    pub p99: u32,
    pub p999: u32,
    /// Percent of all processors.
    pub stolen: f64,
    pub idle: f64,
}

impl Measured {
    pub fn cpu_s_per_100k(&self) -> f64 {
        self.cpu.as_secs_f64() * 100_000.0 / self.requests as f64
    }

    pub fn rps(&self) -> f64 {
        self.requests as f64 / self.took.as_secs_f64()
    }
}

/// What `case` asks of this subject.
pub fn load(case: &Case, subject: &Subject, certificate: &Path) -> anyhow::Result<Load> {
    let close = if case.over.is_fresh() { "Connection: close\r\n" } else { "" };
    let agent = "User-Agent: bench\r\nAccept: */*\r\n";
    let head = match case.content {
        0 => format!("GET {} HTTP/1.1\r\nHost: {HOST}\r\n{agent}{close}\r\n", case.path),
        size => format!(
            "POST {} HTTP/1.1\r\nHost: {HOST}\r\n{agent}Content-Type: application/octet-stream\r\n\
             Content-Length: {size}\r\n{close}\r\n",
            case.path
        ),
    };
    let mut request = head.into_bytes();
    request.resize(request.len() + case.content, b'x');
    let tls = case.over.is_tls().then(|| client(certificate, case.over == Over::TlsResumed)).transpose()?;
    Ok(Load {
        target: subject.address,
        request: Arc::new(request),
        connections: case.connections,
        fresh: case.over.is_fresh(),
        tls,
    })
}

/// TLS 1.3, one cipher suite and one group: what is negotiated is the same with all subjects.
fn client(certificate: &Path, resumes: bool) -> anyhow::Result<Arc<ClientConfig>> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate)?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = match resumes {
        false => Resumption::disabled(),
        true => Resumption::store(Arc::new(Tickets::default())),
    };
    Ok(Arc::new(config))
}

/// As many tickets as come: the store of rustls keeps eight, too few for connections that begin together.
#[derive(Debug, Default)]
struct Tickets(Mutex<Vec<Tls13ClientSessionValue>>);

impl Tickets {
    fn held(&self) -> MutexGuard<'_, Vec<Tls13ClientSessionValue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.held().push(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.held().pop()
    }
}

/// Warms up and measures for so long.
pub fn closed_loop(
    load: &Load,
    case: &Case,
    subject: &Subject,
    processors: &[usize],
    time: Duration,
) -> anyhow::Result<Measured> {
    let generator = Generator::start(load, processors, u64::MAX);
    let counts = generator.counts.clone();
    // Nothing is sent: only the time passes, or the generator ends too early.
    let lets_pass = |time: Duration| match generator.wait(time) {
        Err(_) => Ok(()),
        Ok(()) => bail!("the load ended before its time"),
    };
    let snapshot = || {
        let answered = counts.answered.load(Relaxed);
        anyhow::Ok((answered, Instant::now(), Used::by(subject.root())?, Ticks::now()?))
    };
    let measured = (|| {
        lets_pass(time.min(Duration::from_secs(2)) / 4)?;
        generator.measures(true);
        let before = snapshot()?;
        lets_pass(time)?;
        let after = snapshot()?;
        generator.measures(false);
        anyhow::Ok((before, after))
    })();
    // What failed says more than that the load has ended.
    let times = generator.finish()?;
    let (before, after) = measured?;
    let (cpu, user) = after.2.since(&before.2)?;
    let (stolen, idle) = after.3.since(before.3);
    let (handshakes, resumed) = (counts.handshakes.load(Relaxed), counts.resumed.load(Relaxed));
    match case.over {
        Over::TlsNew => ensure!(resumed == 0, "{resumed} of {handshakes} handshakes were resumed"),
        // The first of each connection has no ticket yet.
        Over::TlsResumed => ensure!(
            resumed as f64 > 0.98 * handshakes.saturating_sub(case.connections as u64) as f64,
            "only {resumed} of {handshakes} handshakes were resumed"
        ),
        _ => {}
    }
    ensure!(after.0 > before.0, "nothing was answered");
    Ok(Measured {
        requests: after.0 - before.0,
        cpu,
        user,
        took: after.1 - before.1,
        p50: percentile(&times, 0.5),
        p99: percentile(&times, 0.99),
        p999: percentile(&times, 0.999),
        stolen,
        idle,
    })
}

/// h2load for so long, with its handshakes; 4 requests at a time on each connection.
pub fn http2(
    case: &Case,
    subject: &Subject,
    processors: &[usize],
    time: Duration,
) -> anyhow::Result<Measured> {
    let folder = tempfile::tempdir()?;
    let log = folder.path().join("log");
    // What is started from now on runs there.
    super::machine::pin(processors)?;
    h2load(case, subject, &["-n", "2000"])?;
    let (began, used, ticks) = (Instant::now(), Used::by(subject.root())?, Ticks::now()?);
    let seconds = time.as_secs().max(1).to_string();
    let log_file = format!("--log-file={}", log.display());
    let said = h2load(case, subject, &["-D", &seconds, &log_file])?;
    let (took, after, later) = (began.elapsed(), Used::by(subject.root())?, Ticks::now()?);
    let (cpu, user) = after.since(&used)?;
    let (stolen, idle) = later.since(ticks);
    let text = std::fs::read_to_string(&log)?;
    // Begin, status and microseconds.
    let times = text.lines().filter_map(|line| line.split('\t').nth(2)?.parse().ok());
    let mut times: Vec<u32> = times.collect();
    times.sort_unstable();
    let requests = said;
    ensure!(requests > 0 && !times.is_empty(), "nothing was answered");
    Ok(Measured {
        requests,
        cpu,
        user,
        took,
        p50: percentile(&times, 0.5),
        p99: percentile(&times, 0.99),
        p999: percentile(&times, 0.999),
        stolen,
        idle,
    })
}

/// How many requests have succeeded; none may have failed.
fn h2load(case: &Case, subject: &Subject, arguments: &[&str]) -> anyhow::Result<u64> {
    let address = subject.address;
    let output = Command::new("h2load")
        .args(["-t", "2", "-m", "4", "-c", &case.connections.to_string()])
        .args(["--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519"])
        .arg(format!("--connect-to={address}"))
        .args(arguments)
        .arg(format!("https://{HOST}{}", case.path))
        .stdin(Stdio::null())
        .output()
        .context("cannot run h2load")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.starts_with("requests: ")).with_context(|| text.clone())?;
    ensure!(text.contains("Application protocol: h2"), "no HTTP/2 was negotiated: {text}");
    let count = |word: &str| -> anyhow::Result<u64> {
        let part = line.split(", ").find(|part| part.ends_with(word)).with_context(|| line.to_owned())?;
        Ok(part.trim_start_matches("requests: ").split(' ').next().unwrap_or_default().parse()?)
    };
    ensure!(count(" failed")? == 0 && count(" errored")? == 0, "requests failed: {line}");
    count(" succeeded")
}

/// How many system calls these requests take of a subject, each by name: of a warm one, by strace(1).
pub fn system_calls(
    load: &Load,
    case: &Case,
    subject: &Subject,
    processors: &[usize],
) -> anyhow::Result<Vec<(String, f64)>> {
    let folder = tempfile::tempdir()?;
    let summary = folder.path().join("summary");
    let (said, err) = std::io::pipe()?;
    let family = super::machine::family(subject.root())?;
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&summary);
    for process in &family {
        command.args(["-p", &process.to_string()]);
    }
    let mut strace = command.stdin(Stdio::null()).stderr(err).spawn().context("cannot run strace")?;
    // It holds what strace writes to, too.
    drop(command);
    // One line for each process, once it is attached with all of its threads.
    let (tell, attached) = channel();
    let reader = std::thread::spawn(move || {
        for line in std::io::BufRead::lines(std::io::BufReader::new(said)).map_while(Result::ok) {
            if line.contains(" attached") {
                let _ = tell.send(());
            }
        }
    });
    let patience = Duration::from_secs(30);
    let asked = (|| {
        for _ in &family {
            match attached.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    bail!("strace does not attach")
                }
                Ok(()) => {}
            }
        }
        if case.over == Over::TlsHttp2 {
            return h2load(case, subject, &["-n", &case.traced.to_string()]).map(drop);
        }
        let generator = Generator::start(load, processors, case.traced);
        let over = generator.wait(patience);
        generator.finish()?;
        over
    })();
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_child(&strace),
        rustix::process::Signal::INT,
    );
    strace.wait()?;
    let _ = reader.join();
    asked?;
    let text = std::fs::read_to_string(&summary)?;
    let mut calls: Vec<(String, f64)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (name, calls) = (words.next()?, words.next()?.parse::<f64>().ok()?);
            (name != "total").then(|| (name.to_owned(), calls / case.traced as f64))
        })
        .collect();
    ensure!(!calls.is_empty(), "strace says nothing: {text}");
    calls.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(calls)
}

fn percentile(sorted: &[u32], share: f64) -> u32 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
