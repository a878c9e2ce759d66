//! The sockets of a gateway: those that systemd passed, by name, and those bound here.
//!
//! Promises: each configured listener has at least one socket, and each socket that systemd passed
//! has a configured listener, or there is an error with its remedy, all of them at once. A Unix
//! socket left behind by a dead process is replaced, one that is in use is not. The files of Unix
//! sockets bound here are removed when the sockets are closed.
//! Must not know: what is said over them.

use std::fs::{self, Permissions};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use super::Fatal;
use crate::config::settings::{Address, Listener, Settings};
use crate::handover::control::{Purpose, SocketRecord};
use crate::systemd::activation::{Kind, Passed};

/// A Unix socket may be used by the user and group of hitless (and root).
const UNIX_MODE: u32 = 0o660;
/// The keeper's own admin sockets see few connections.
const ADMIN_BACKLOG: u32 = 64;
/// The name of a mailbox in the fd store.
pub const STORED_NAME: &str = "mailbox";
/// The name of the accepted configuration there.
pub const CONFIGURATION_NAME: &str = "configuration";
/// The name of the accepted certificates there.
pub const CERTIFICATES_NAME: &str = "certificates";

/// Every socket of a gateway, with what it is for.
pub struct Sockets {
    pub opened: Vec<Opened>,
    /// Mailboxes that an earlier start has put into the fd store.
    pub stored: Vec<OwnedFd>,
}

pub struct Opened {
    pub record: SocketRecord,
    pub fd: OwnedFd,
    /// Dropped after the socket, in the order of the fields.
    file: Option<SocketFile>,
}

impl Opened {
    /// One that a keeper before this one has opened.
    pub fn resume(record: SocketRecord, fd: OwnedFd, file: Option<PathBuf>) -> Opened {
        Opened { record, fd, file: file.map(SocketFile) }
    }

    pub fn file(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| file.0.clone())
    }
}

/// The name of a Unix socket in the file system, removed at the end.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a gateway has had the kernel refuse newcomers on it (`listener::refusal`), because
/// systemd was about to close it. It stays so until it is closed.
fn refuses(fd: &OwnedFd) -> bool {
    let (mut interface, mut length) = (0 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    // SAFETY: the descriptor is open for the length of the call, which writes one int.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTOIFINDEX,
            (&raw mut interface).cast(),
            &raw mut length,
        )
    };
    done == 0 && interface == libc::c_int::MAX
}

/// Matches what systemd passed with the configuration, and binds the rest.
pub fn gather(settings: &Settings, passed: Vec<Passed>) -> Result<Sockets, Fatal> {
    let (adopted, stored, mut errors) = adopt(settings, passed);
    errors.extend(settings.listeners.iter().filter_map(|listener| missing(listener, &adopted)));
    if !errors.is_empty() {
        return Err(Fatal::Refused(errors));
    }
    let mut opened = adopted;
    let to_bind: Vec<Wanted> = wanted(settings, &opened).collect();
    let v4_ports: Vec<u16> = to_bind.iter().filter_map(Wanted::v4_port).collect();
    for wanted in to_bind {
        match wanted.bind(&v4_ports) {
            Ok(socket) => opened.push(socket),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(Sockets { opened, stored }) } else { Err(Fatal::Unavailable(errors)) }
}

fn adopt(settings: &Settings, passed: Vec<Passed>) -> (Vec<Opened>, Vec<OwnedFd>, Vec<String>) {
    let (mut opened, mut stored, mut errors) = (vec![], vec![], vec![]);
    let names = settings.listeners.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
    for Passed { name, kind, fd } in passed {
        let known = settings.listeners.iter().any(|listener| listener.name == name);
        match kind {
            Kind::Listening if refuses(&fd) => errors.push(format!(
                "cannot use socket '{name}' ({}) passed by systemd: it was about to be closed, and refuses everybody \
                 since; restart its socket unit",
                address_of(&fd)
            )),
            Kind::Listening if known => {
                let record = SocketRecord {
                    purpose: Purpose::Listener(name),
                    address: address_of(&fd),
                    passed: true,
                };
                opened.push(Opened { record, fd, file: None });
            }
            Kind::Listening => errors.push(format!(
                "cannot use socket '{name}' ({}) passed by systemd: no listener has this name; the configuration has {names}; \
                 set FileDescriptorName= in the socket unit, or add [listener.{name}]",
                address_of(&fd)
            )),
            Kind::Stored if name == STORED_NAME => stored.push(fd),
            Kind::Stored => errors.push(format!(
                "cannot use descriptor '{name}' passed by systemd: it is not a listening stream socket; \
                 use ListenStream= and Accept=no in the socket unit"
            )),
        }
    }
    (opened, stored, errors)
}

fn missing(listener: &Listener, adopted: &[Opened]) -> Option<String> {
    let name = &listener.name;
    let passed = adopted.iter().any(|socket| socket.record.purpose == Purpose::Listener(name.clone()));
    (!passed && listener.listen.is_empty()).then(|| {
        // The package's own unit for it is not enabled before somebody wants it.
        let unit = match name.as_str() {
            "https" => "run 'systemctl enable hitless-https.socket' and 'systemctl restart hitless', or ",
            _ => "",
        };
        format!(
            "cannot open listener '{name}': systemd passed no socket of this name, and listener.{name}.listen is not set; \
             {unit}set FileDescriptorName={name} in a socket unit, or listener.{name}.listen, such as \"127.0.0.1:8080\""
        )
    })
}

/// A socket to bind.
struct Wanted {
    purpose: Purpose,
    address: Address,
    backlog: u32,
}

fn wanted<'a>(settings: &'a Settings, adopted: &'a [Opened]) -> impl Iterator<Item = Wanted> + 'a {
    let listeners = settings.listeners.iter().flat_map(move |listener| {
        let purpose = Purpose::Listener(listener.name.clone());
        // systemd's socket units win: with both, an operator can run the same files by hand.
        let passed = adopted.iter().any(|socket| socket.record.purpose == purpose);
        let addresses = if passed { &[] } else { listener.listen.as_slice() };
        addresses.iter().map(move |address| Wanted {
            purpose: purpose.clone(),
            address: address.clone(),
            backlog: listener.backlog,
        })
    });
    let own = Wanted {
        purpose: Purpose::Admin,
        address: Address::Unix(settings.admin.socket.clone()),
        backlog: ADMIN_BACKLOG,
    };
    let read_only = settings.admin.listen.iter().map(|address| Wanted {
        purpose: Purpose::AdminReadOnly,
        address: address.clone(),
        backlog: ADMIN_BACKLOG,
    });
    listeners.chain([own]).chain(read_only)
}

impl Wanted {
    fn v4_port(&self) -> Option<u16> {
        match self.address {
            Address::Ip(SocketAddr::V4(address)) => Some(address.port()),
            _ => None,
        }
    }

    fn bind(self, v4_ports: &[u16]) -> Result<Opened, String> {
        let bound = match &self.address {
            Address::Ip(address) => bind_tcp(*address, self.backlog, v4_ports).map(|socket| (socket, None)),
            Address::Unix(path) => bind_unix(path, self.backlog).map(|(socket, file)| (socket, Some(file))),
            Address::Name { .. } => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "a name is not an address"))
            }
        };
        let (socket, file) = bound.map_err(|cause| self.refusal(&cause))?;
        let fd = OwnedFd::from(socket);
        let record = SocketRecord { address: address_of(&fd), purpose: self.purpose, passed: false };
        Ok(Opened { record, fd, file })
    }

    fn refusal(&self, cause: &io::Error) -> String {
        let what = match &self.purpose {
            Purpose::Listener(name) => format!("listener '{name}'"),
            Purpose::Admin | Purpose::AdminReadOnly => "the admin socket".into(),
        };
        let text = cause.to_string();
        let text = text.split(" (os error").next().unwrap_or_default().to_lowercase();
        format!("cannot bind {what} to '{}': {text}; {}", self.address, self.remedy(cause.kind()))
    }

    fn remedy(&self, kind: io::ErrorKind) -> String {
        let key = match &self.purpose {
            Purpose::Listener(name) => format!("listener.{name}.listen"),
            Purpose::Admin => "admin.socket".into(),
            Purpose::AdminReadOnly => "admin.listen".into(),
        };
        match (&self.address, kind) {
            (Address::Ip(address), io::ErrorKind::AddrInUse) => {
                let port = address.port();
                format!("see who has it with: ss -ltnp 'sport = :{port}'; stop it, or change {key}")
            }
            (Address::Ip(address), io::ErrorKind::PermissionDenied) if address.port() < 1024 => {
                format!(
                    "let systemd pass it (ListenStream={} in hitless.socket), or use a port from 1024",
                    address.port()
                )
            }
            (Address::Unix(_), io::ErrorKind::AddrInUse) => {
                format!("another process listens there, perhaps another hitless; stop it, or change {key}")
            }
            (Address::Unix(path), _) => {
                let folder = path.parent().unwrap_or(path);
                format!(
                    "create the folder '{}' and let this user write to it, or change {key}",
                    folder.display()
                )
            }
            _ => format!("change {key}"),
        }
    }
}

fn bind_tcp(address: SocketAddr, backlog: u32, v4_ports: &[u16]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    // `[::]:80` alone serves IPv4 too, as with systemd; beside `0.0.0.0:80` it must not.
    if address.is_ipv6() && v4_ports.contains(&address.port()) {
        socket.set_only_v6(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    listen(socket, backlog)
}

fn bind_unix(path: &Path, backlog: u32) -> io::Result<(Socket, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let address = SockAddr::unix(path)?;
    if let Err(error) = socket.bind(&address) {
        if error.kind() != io::ErrorKind::AddrInUse || !is_left_behind(path) {
            return Err(error);
        }
        fs::remove_file(path)?;
        socket.bind(&address)?;
    }
    let file = SocketFile(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(UNIX_MODE))?;
    Ok((listen(socket, backlog)?, file))
}

fn listen(socket: Socket, backlog: u32) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket)
}

/// A socket whose process is dead refuses; a file that is no socket gives another error.
fn is_left_behind(path: &Path) -> bool {
    UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        && fs::symlink_metadata(path).is_ok_and(|found| {
            use std::os::unix::fs::FileTypeExt;
            found.file_type().is_socket()
        })
}

/// As people know it: `127.0.0.1:8080`, `unix:/run/x.sock`.
fn address_of(fd: &OwnedFd) -> String {
    let Ok(address) = SockRef::from(fd).local_addr() else { return "unknown".into() };
    match (address.as_socket(), address.as_pathname()) {
        (Some(address), _) => address.to_string(),
        (None, Some(path)) => format!("unix:{}", path.display()),
        (None, None) => "unix:(unnamed)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::{
        AccessLog, AccessSink, Admin, Daemon, Drain, DrainDeadline, Log, LogLevel,
    };
    use std::net::TcpListener;
    use std::time::Duration;

    fn settings(dir: &Path, listeners: &[(&str, &[&str])]) -> Settings {
        let listener = |(name, listen): &(&str, &[&str])| Listener {
            name: (*name).into(),
            listen: listen.iter().map(|address| Address::Ip(address.parse().unwrap())).collect(),
            backlog: 16,
            tls: false,
            proxy: vec![],
        };
        Settings {
            daemon: Daemon { threads: 1, reload_on_change: false },
            listeners: listeners.iter().map(listener).collect(),
            admin: Admin { socket: dir.join("admin.sock"), listen: vec![], faults: false },
            drain: Drain {
                deadline: DrainDeadline::Fixed(Duration::from_secs(1)),
                idle_grace: Duration::ZERO,
                lame_duck: Duration::ZERO,
                extend: false,
                tunnel_jitter: Duration::ZERO,
            },
            upgrade: Default::default(),
            log: Log {
                level: LogLevel::Info,
                access: AccessLog::Off,
                access_to: AccessSink::File("x".into()),
            },
            limits: crate::config::settings::Limits::default(),
            tls: Default::default(),
            errors: Default::default(),
            trusted_proxies: vec![],
            services: vec![],
        }
    }

    fn passed(name: &str) -> Passed {
        let fd = TcpListener::bind("127.0.0.1:0").unwrap().into();
        Passed { name: name.into(), kind: Kind::Listening, fd }
    }

    #[test]
    fn every_mismatch_between_systemd_and_the_configuration_is_told_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), &[("http", &[]), ("internal", &["127.0.0.1:0"])]);
        let Err(Fatal::Refused(errors)) = gather(&settings, vec![passed("web")]) else { panic!() };
        assert_eq!(errors.len(), 2);
        assert!(errors[0].starts_with("cannot use socket 'web' (127.0.0.1:"), "{errors:?}");
        assert!(errors[0].ends_with(
            "no listener has this name; the configuration has http, internal; \
                                     set FileDescriptorName= in the socket unit, or add [listener.web]"
        ));
        assert!(errors[1].starts_with("cannot open listener 'http': systemd passed no socket of this name"));
    }

    #[test]
    fn sockets_of_systemd_come_first_and_the_rest_is_bound() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), &[("http", &["127.0.0.1:1"]), ("internal", &["127.0.0.1:0"])]);
        let sockets = gather(&settings, vec![passed("http"), passed("http")]).unwrap();
        let found: Vec<_> =
            sockets.opened.iter().map(|s| (s.record.purpose.clone(), s.record.passed)).collect();
        let listener = |name: &str| Purpose::Listener(name.into());
        assert_eq!(
            found,
            [
                (listener("http"), true),
                (listener("http"), true),
                (listener("internal"), false),
                (Purpose::Admin, false)
            ]
        );
        assert!(dir.path().join("admin.sock").exists());
        drop(sockets);
        assert!(!dir.path().join("admin.sock").exists());
    }

    #[test]
    fn a_unix_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), &[("http", &["127.0.0.1:0"])]);
        drop(std::os::unix::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap());
        let first = gather(&settings, vec![]).unwrap();
        let Err(Fatal::Unavailable(errors)) = gather(&settings, vec![]) else { panic!() };
        assert!(errors[0].contains("address already in use; another process listens there"), "{errors:?}");
        drop(first);
    }

    #[test]
    fn a_socket_that_refuses_everybody_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let socket = passed("http");
        let interface = libc::c_int::MAX;
        // SAFETY: the call reads one int.
        let done = unsafe {
            let (fd, option) = (socket.fd.as_raw_fd(), libc::SO_BINDTOIFINDEX);
            libc::setsockopt(fd, libc::SOL_SOCKET, option, (&raw const interface).cast(), 4)
        };
        assert_eq!(done, 0);
        let Err(Fatal::Refused(errors)) = gather(&settings(dir.path(), &[("http", &[])]), vec![socket])
        else {
            panic!()
        };
        assert!(errors[0].ends_with("refuses everybody since; restart its socket unit"), "{errors:?}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("admin.sock"), "mine").unwrap();
        assert!(gather(&settings(dir.path(), &[("http", &["127.0.0.1:0"])]), vec![]).is_err());
        assert_eq!(fs::read(dir.path().join("admin.sock")).unwrap(), b"mine");
    }
}
