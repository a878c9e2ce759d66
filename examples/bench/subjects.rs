//! nginx, haproxy and hitless, each as an operator who wants speed runs it: processes of our own with a folder each.
//!
//! Promises: loopback only; two workers each; the same certificate, versions and tickets; connections to the origin
//! are kept; all processes are gone when it is dropped, or when the bench dies.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use super::generator::HOST;
use super::machine;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Nginx,
    Haproxy,
    Hitless,
}

pub const ALL: [Name; 3] = [Name::Nginx, Name::Haproxy, Name::Hitless];

impl Name {
    pub fn word(self) -> &'static str {
        match self {
            Name::Nginx => "nginx",
            Name::Haproxy => "haproxy",
            Name::Hitless => "hitless",
        }
    }
}

/// What the subjects of one row have in common.
pub struct Scene<'a> {
    pub origin: SocketAddr,
    pub tls: bool,
    pub log: bool,
    /// Of certificate and key.
    pub pair: (&'a Path, &'a Path),
    pub hitless: &'a Path,
}

pub struct Subject {
    pub name: Name,
    pub address: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl Subject {
    pub fn start(name: Name, scene: &Scene) -> anyhow::Result<Subject> {
        let folder = tempfile::Builder::new().prefix("hitless-bench-").tempdir()?;
        // Held until the subject listens there too.
        let reserved = reserve()?;
        let address = reserved.local_addr()?.as_socket().context("no address")?;
        let mut command = match name {
            Name::Nginx => nginx(folder.path(), address, scene)?,
            Name::Haproxy => haproxy(folder.path(), address, scene)?,
            Name::Hitless => hitless(folder.path(), scene)?,
        };
        let notify = UnixDatagram::bind(folder.path().join("notify"))?;
        command
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .env_remove("JOURNAL_STREAM")
            .env_remove("MAINPID")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("stderr"))?);
        // It is sent when the thread that starts it ends.
        // SAFETY: prctl(2) is a system call, and nothing else runs between fork and exec.
        unsafe {
            command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            })
        };
        let process = command.spawn().with_context(|| format!("cannot run {}", name.word()))?;
        let mut subject = Subject { name, address, process, folder };
        match name {
            Name::Hitless => subject.address = subject.told(&notify)?,
            Name::Nginx | Name::Haproxy => subject.answers()?,
        }
        Ok(subject)
    }

    /// The process that all others of it are below.
    pub fn root(&self) -> i32 {
        self.process.id() as i32
    }

    /// hitless says when it is ready, and where.
    fn told(&mut self, notify: &UnixDatagram) -> anyhow::Result<SocketAddr> {
        notify.set_read_timeout(Some(Duration::from_millis(100)))?;
        let patience = Instant::now() + Duration::from_secs(30);
        let mut told = [0; 8192];
        loop {
            match notify.recv(&mut told) {
                Ok(count) if String::from_utf8_lossy(&told[..count]).contains("READY=1") => break,
                _ => self.is_alive(patience)?,
            }
        }
        let status = Command::new(self.folder.path().join("program"))
            .args(["status", "--json", "--config"])
            .arg(self.folder.path())
            .output()?;
        let status: serde_json::Value = serde_json::from_slice(&status.stdout)?;
        Ok(status["listeners"][0]["address"].as_str().context("no address")?.parse()?)
    }

    /// The others say nothing: somebody has to knock.
    fn answers(&mut self) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_secs(30);
        let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
        while TcpStream::connect(self.address).is_err() {
            self.is_alive(patience)?;
            let _ = poll(&mut [], Some(&pause));
        }
        Ok(())
    }

    fn is_alive(&mut self, patience: Instant) -> anyhow::Result<()> {
        if self.process.try_wait()?.is_some() || Instant::now() > patience {
            bail!("{} does not start: {}", self.name.word(), self.said());
        }
        Ok(())
    }

    /// The last of what it wrote.
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("; ")
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let family: Vec<_> = machine::family(self.root())
            .unwrap_or_default()
            .into_iter()
            .filter_map(|process| pidfd_open(Pid::from_raw(process)?, PidfdFlags::empty()).ok())
            .collect();
        let root = Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(root, Signal::TERM);
        // Its keeper may have ended before a gateway has: each is waited for.
        for process in family {
            let mut waited = [PollFd::new(&process, PollFlags::IN)];
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            if !poll(&mut waited, Some(&patience)).is_ok_and(|ended| ended == 1) {
                let _ = pidfd_send_signal(&process, Signal::KILL);
            }
        }
        let _ = self.process.wait();
    }
}

pub fn version(name: Name, hitless: &Path) -> anyhow::Result<String> {
    let (program, argument) = match name {
        Name::Nginx => (PathBuf::from("/usr/sbin/nginx"), "-v"),
        Name::Haproxy => (PathBuf::from("/usr/sbin/haproxy"), "-v"),
        Name::Hitless => (hitless.to_owned(), "--version"),
    };
    let output =
        Command::new(&program).arg(argument).output().with_context(|| program.display().to_string())?;
    let text = String::from_utf8([output.stdout, output.stderr].concat())?;
    let word = text.split([' ', '/', '\n']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    Ok(word.context("no version")?.to_owned())
}

/// A port that is ours and on which nobody listens yet.
fn reserve() -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    Ok(socket)
}

/// As its documentation has it: a pool to the origin, buffers that keep contents off the disk, a socket per worker.
fn nginx(folder: &Path, address: SocketAddr, scene: &Scene) -> anyhow::Result<Command> {
    let at = |name: &str| folder.join(name).display().to_string();
    let (certificate, key) = scene.pair;
    let door = match scene.tls {
        false => format!("listen {address} reuseport backlog=4096;"),
        true => format!(
            "listen {address} ssl http2 reuseport backlog=4096; ssl_certificate {}; ssl_certificate_key {};\n\
             ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; ssl_session_timeout 1h;",
            certificate.display(),
            key.display()
        ),
    };
    let log = match scene.log {
        false => "off".to_owned(),
        true => format!("{} combined buffer=64k flush=1s", at("access.log")),
    };
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {};", at(what)))
        .join(" ");
    let text = format!(
        "daemon off; {user} worker_processes 2; pid {pid}; error_log stderr error; worker_rlimit_nofile 20000;\n\
         events {{ worker_connections 8192; }}\n\
         http {{\n\
         access_log {log}; {places}\n\
         keepalive_requests 1000000000; keepalive_timeout 75s; tcp_nodelay on;\n\
         client_body_buffer_size 128k; proxy_buffers 16 32k; proxy_busy_buffers_size 64k;\n\
         proxy_max_temp_file_size 0;\n\
         upstream origin {{ server {origin}; keepalive 512; keepalive_requests 1000000000; }}\n\
         server {{\n{door}\nserver_name {HOST};\n\
         location / {{ proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
         proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header X-Forwarded-Proto $scheme; }}\n}}\n}}\n",
        pid = at("pid"),
        origin = scene.origin,
    );
    fs::write(folder.join("nginx.conf"), text)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-p").arg(folder).arg("-e").arg("stderr").arg("-c").arg(folder.join("nginx.conf"));
    Ok(command)
}

/// As its documentation has it: threads, connections to the origin shared by all clients.
fn haproxy(folder: &Path, address: SocketAddr, scene: &Scene) -> anyhow::Result<Command> {
    let pem = folder.join("pair.pem");
    let (certificate, key) = scene.pair;
    let tls = match scene.tls {
        false => String::new(),
        true => {
            fs::write(&pem, [fs::read(certificate)?, fs::read(key)?].concat())?;
            format!(" ssl crt {} alpn h2,http/1.1 ssl-min-ver TLSv1.2", pem.display())
        }
    };
    let (to, how) = match scene.log {
        false => (String::new(), String::new()),
        true => {
            // As /dev/log is: somebody reads it, whose time is not the subject's.
            let log = UnixDatagram::bind(folder.join("log"))?;
            log.set_read_timeout(Some(Duration::from_secs(1)))?;
            let gone = folder.join("log");
            std::thread::spawn(move || {
                let mut space = [0; 8192];
                while gone.exists() {
                    let _ = log.recv(&mut space);
                }
            });
            (format!("log {} local0", folder.join("log").display()), "log global\noption httplog".to_owned())
        }
    };
    let text = format!(
        "global\nnbthread 2\nmaxconn 8192\nno numa-cpu-mapping\n{to}\n\
         defaults\nmode http\n{how}\ntimeout connect 3s\ntimeout client 75s\ntimeout server 60s\n\
         timeout http-keep-alive 75s\noption http-keep-alive\nhttp-reuse always\noption forwardfor\n\
         frontend door\nbind {address} backlog 4096{tls}\n\
         http-request set-header X-Forwarded-Proto {scheme}\ndefault_backend origin\n\
         backend origin\nserver origin {origin}\n",
        scheme = if scene.tls { "https" } else { "http" },
        origin = scene.origin,
    );
    fs::write(folder.join("haproxy.cfg"), text)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(folder.join("haproxy.cfg"));
    Ok(command)
}

/// As it comes, with two data threads and a pool as large as nginx' one.
fn hitless(folder: &Path, scene: &Scene) -> anyhow::Result<Command> {
    let program = scene.hitless.canonicalize().context("no hitless")?;
    std::os::unix::fs::symlink(&program, folder.join("program"))?;
    fs::create_dir(folder.join("services.d"))?;
    let log = match scene.log {
        false => "access = \"off\"".to_owned(),
        true => format!("access = \"all\"\naccess-to = \"file:{}\"", folder.join("access.log").display()),
    };
    let (certificate, key) = scene.pair;
    let (name, door, pair) = match scene.tls {
        false => ("http", "", String::new()),
        true => (
            "https",
            "tls = true\n",
            format!("certificates = [{{ chain = {certificate:?}, key = {key:?} }}]\n"),
        ),
    };
    let settings = format!(
        "[daemon]\nthreads = 2\n[admin]\nsocket = {:?}\n[listener.{name}]\nlisten = [\"127.0.0.1:0\"]\n{door}[log]\n{log}\n",
        folder.join("admin.sock")
    );
    fs::write(folder.join("hitless.toml"), settings)?;
    let service = format!(
        "[service.bench]\nhosts = [{HOST:?}]\nendpoints = [\"{}\"]\n{pair}[service.bench.pool]\nmax-idle = 512\n",
        scene.origin
    );
    fs::write(folder.join("services.d/bench.toml"), service)?;
    let mut command = Command::new(program);
    command.args(["run", "--config"]).arg(folder);
    ensure!(folder.is_absolute(), "the temporary folder is relative");
    Ok(command)
}
