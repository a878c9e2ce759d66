//! Sockets from systemd, by name, and its watchdog.

use std::io::{Read, Write};

use hitless::handover::control::Destination;
use hitless::handover::mailbox::{self, Mailbox};
use hitless::handover::post::Dispatch;
use hitless::handover::{record, snapshot};

use crate::daemon::{Folder, get, listener};

#[test]
fn several_sockets_of_one_name_are_served() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    let ((one, first), (two, second)) = (listener(), listener());
    let daemon = folder.start_with("http", vec![first, second]).ready();
    for address in [one, two] {
        assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\nhello"));
    }
    assert_eq!(daemon.status()["listeners"][1]["from"], "systemd");
}

#[test]
fn a_connection_made_before_the_start_is_served() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    let (address, socket) = listener();
    let waiting = crate::daemon::ask(&address, "blog.test", "/");
    let _daemon = folder.start_with("http", vec![socket]);
    assert!(waiting.answer().ends_with("\r\n\r\nhello"));
}

#[test]
fn a_unix_socket_is_served() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    let path = folder.path().join("http.sock");
    let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut daemon = folder.start_with("http", vec![socket.into()]).ready();
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
    assert!(path.exists(), "the socket belongs to systemd");
}

#[test]
fn a_socket_that_the_configuration_does_not_name_ends_the_start_with_a_remedy() {
    let (_, socket) = listener();
    let mut daemon = Folder::new("").start_with("web", vec![socket]);
    assert!(daemon.told("STATUS=cannot start").contains("cannot use socket 'web'"));
    assert_eq!(daemon.ends().code(), Some(78));
    let said = daemon.log();
    assert!(
        said.contains("no listener has this name; the configuration has http; set FileDescriptorName="),
        "{said}"
    );
    assert!(said.contains("cannot open listener 'http': systemd passed no socket of this name"), "{said}");
}

#[test]
fn sockets_meant_for_another_process_are_left_alone() {
    let folder = Folder::listening();
    let mut command = folder.command("run");
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1").env("LISTEN_FDNAMES", "web");
    let daemon = folder.start_as(command).ready();
    assert_eq!(daemon.status()["listeners"][0]["from"], "configuration");
}

#[test]
fn the_watchdog_hears_from_a_gateway_that_is_well_and_not_from_one_that_is_stuck() {
    let folder = Folder::listening();
    let mut command = folder.command("run");
    command.env("WATCHDOG_USEC", "200000");
    let mut daemon = folder.start_as(command).ready();
    for _ in 0..3 {
        daemon.told("WATCHDOG=1");
    }
    let gateway = daemon.gateway();
    gateway.stop();
    assert!(daemon.falls_silent(), "a stopped gateway is reported as well");
    gateway.signal(rustix::process::Signal::CONT);
    daemon.told("WATCHDOG=1");
}

#[test]
fn a_watchdog_meant_for_another_process_is_not_ours() {
    let folder = Folder::listening();
    let mut command = folder.command("run");
    command.env("WATCHDOG_USEC", "50000").env("WATCHDOG_PID", "1");
    let mut daemon = folder.start_as(command).ready();
    assert!(daemon.falls_silent());
}

#[test]
fn what_an_earlier_start_has_stored_is_told_from_listening_sockets() {
    let folder = Folder::new("");
    let (address, socket) = listener();
    let (client, stored) = stored_connection();
    let mut daemon = folder.start_with("http:mailbox", vec![socket, stored]).ready();
    assert_eq!(daemon.status()["listeners"].as_array().unwrap().len(), 1);
    assert!(get(&address, "blog.test", "/").starts_with("HTTP/1.1 404 "));
    // It is served on, with what was read of it before, and the store is emptied.
    daemon.told("FDSTOREREMOVE=1\nFDNAME=mailbox");
    (&client).write_all(b"lf HTTP/1.1\r\nHost: blog.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    (&client).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[test]
fn a_restart_over_files_that_are_refused_goes_on_with_what_was_served() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    let sources = serde_json::to_vec(&hitless::config::read(folder.path()).unwrap()).unwrap();
    folder.append("services.d/blog.toml", "nonsense");
    let (address, socket) = listener();
    let (_client, stored) = stored_connection();
    let kept = vec![socket, stored, snapshot::seal(&sources).unwrap()];
    let mut daemon = folder.start_with("http:mailbox:configuration", kept);
    let status = daemon.told("STATUS=configuration refused");
    assert!(status.contains("blog.toml:"), "{status}");
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\nhello"));
    assert_eq!(daemon.log().matches("what was served before the restart serves on").count(), 1);
}

#[test]
fn without_what_was_served_a_start_over_files_that_are_refused_ends() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    folder.append("services.d/blog.toml", "nonsense");
    let no_configuration = snapshot::seal(b"{").unwrap();
    let mut daemon = folder.start_with("http:configuration", vec![listener().1, no_configuration]);
    assert_eq!(daemon.ends().code(), Some(78));
    assert!(daemon.log().contains("blog.toml:"), "{}", daemon.log());
}

/// A client, and the mailbox that an earlier start has put its connection into, with half of a head.
fn stored_connection() -> (std::net::TcpStream, std::os::fd::OwnedFd) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let connection = record::Connection {
        listener: "http".into(),
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        unread: b"GET /ha".to_vec(),
        ..record::Connection::default()
    };
    let fds = vec![listener.accept().unwrap().0.into()];
    let parcel = record::Parcel { record: record::Record::Connection(connection), fds };
    let (ours, stored) = mailbox::pair().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut dispatch = Dispatch::new(Mailbox::new(ours).unwrap(), Destination::Store);
        assert!(dispatch.send(vec![parcel]).await.unwrap().is_empty());
    });
    (client, stored)
}

#[test]
fn a_descriptor_that_is_no_listening_socket_ends_the_start() {
    let (stored, _other_end) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let mut daemon = Folder::listening().start_with("http", vec![stored.into()]);
    assert_eq!(daemon.ends().code(), Some(78));
    assert!(
        daemon.log().contains("it is not a listening stream socket; use ListenStream="),
        "{}",
        daemon.log()
    );
}

#[test]
fn the_gateway_inherits_nothing_but_what_it_needs() {
    let (_, socket) = listener();
    let daemon = Folder::new("").start_with("http", vec![socket]).ready();
    let environment = std::fs::read(format!("/proc/{}/environ", daemon.gateway().pid)).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"] {
        assert!(!environment.contains(name), "{environment}");
    }
}

#[test]
fn a_connection_that_comes_during_a_restart_waits_and_is_served() {
    let folder = Folder::new("");
    folder.answering("blog", "hello");
    let (address, socket) = listener();
    let mut daemon = folder.start_with("http", vec![socket.try_clone().unwrap()]).ready();
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
    let waiting = crate::daemon::ask(&address, "blog.test", "/");
    let again = Folder::new("");
    again.answering("blog", "hello again");
    let _daemon = again.start_with("http", vec![socket]).ready();
    assert!(waiting.answer().ends_with("\r\n\r\nhello again"));
}
