//! Limits of connections: each is reached, told by its name, and nobody else suffers from it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::byhand::Wire;
use crate::daemon::{BINARY, Daemon, Folder, eventually};
use crate::origin::Origin;

const FULL: &str = "accepting no more connections";
const FULL_BY_CONFIGURATION: &str = "as many as limits.connections allows";
const AGAIN: &str = "accepting connections again";

fn limited(threads: usize, limits: &str) -> Daemon {
    let folder = Folder::listening_with(&format!("[daemon]\nthreads = {threads}\n[limits]\n{limits}"));
    folder.answering("blog", "hello");
    folder.start().ready()
}

fn set(daemon: &mut Daemon, before: &str, after: &str) {
    let text = fs::read_to_string(daemon.folder.path().join("hitless.toml")).unwrap();
    assert!(text.contains(before), "{text}");
    daemon.folder.write("hitless.toml", &text.replace(before, after));
    daemon.reloads();
}

fn is_told(daemon: &Daemon, words: &str) {
    eventually(|| daemon.log().contains(words).then_some(()));
}

fn times_told(daemon: &Daemon, words: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains(words)).count()
}

fn reached(daemon: &Daemon, limit: &str) -> u64 {
    daemon.status()["totals"]["limits"][limit].as_u64().unwrap_or(0)
}

fn is_served(client: &mut Wire) {
    assert_eq!(client.get("blog.test", "/").text(), "hello");
}

/// A client that has been served, and stays.
fn served(address: &str) -> Wire {
    let mut client = Wire::to(address);
    is_served(&mut client);
    client
}

/// A client that asks, and may have to wait for its answer.
fn asking(address: &str) -> Wire {
    let mut client = Wire::to(address);
    client.ask("blog.test", "/");
    client
}

#[test]
fn newcomers_beyond_the_limit_wait_until_a_connection_has_gone() {
    let daemon = limited(2, "connections = 3");
    let address = daemon.address();
    let mut clients: Vec<_> = (0..3).map(|_| served(&address)).collect();
    let mut waiting: Vec<_> = (0..4).map(|_| asking(&address)).collect();
    is_told(&daemon, FULL_BY_CONFIGURATION);
    clients.iter_mut().for_each(is_served);
    // The kernel's queue is one of turns, and each that goes makes room for one.
    for mut client in waiting.drain(..) {
        clients.remove(0);
        assert_eq!(client.message().text(), "hello");
        clients.push(client);
    }
    clients.clear();
    served(&address);
    is_told(&daemon, AGAIN);
    assert_eq!((times_told(&daemon, FULL), times_told(&daemon, AGAIN)), (1, 1), "{}", daemon.log());
    assert_eq!(reached(&daemon, "limits.connections"), 1);
    assert!(daemon.log().contains("there are 3, as many as"), "{}", daemon.log());
}

#[test]
fn a_limit_that_is_raised_lets_in_who_waits_and_one_that_is_lowered_drops_nobody() {
    let mut daemon = limited(2, "connections = 1");
    let address = daemon.address();
    let mut first = served(&address);
    let mut waiting: Vec<_> = (0..3).map(|_| asking(&address)).collect();
    is_told(&daemon, FULL);
    set(&mut daemon, "connections = 1", "connections = 10");
    for client in &mut waiting {
        assert_eq!(client.message().text(), "hello");
    }
    is_told(&daemon, AGAIN);
    set(&mut daemon, "connections = 10", "connections = 2");
    is_served(&mut first);
    waiting.iter_mut().for_each(is_served);
    let mut late = asking(&address);
    eventually(|| (reached(&daemon, "limits.connections") == 2).then_some(()));
    waiting.iter_mut().for_each(is_served);
    // Three of four must go before there is room for one.
    waiting.clear();
    assert_eq!(late.message().text(), "hello");
    is_served(&mut first);
    set(&mut daemon, "connections = 2", "connections = \"off\"");
    let mut many: Vec<_> = (0..20).map(|_| served(&address)).collect();
    many.iter_mut().for_each(is_served);
}

/// The state letter of each data thread (proc_pid_stat(5)).
fn states(pid: i32) -> Vec<char> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let stats = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("stat")).unwrap());
    let data = stats.filter(|stat| stat.contains("(data-"));
    data.map(|stat| stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap()).collect()
}

#[test]
fn threads_that_cannot_accept_sleep() {
    let daemon = limited(3, "connections = 1");
    let (address, gateway) = (daemon.address(), daemon.gateway());
    let mut client = served(&address);
    let mut waiting: Vec<_> = (0..5).map(|_| asking(&address)).collect();
    is_told(&daemon, FULL);
    // The requests are the clock. A thread that spins is never seen asleep; one that waits for a busy
    // processor is not always.
    let mut asleep = [0; 3];
    for _ in 0..20_000 {
        if asleep.iter().all(|seen| *seen > 30) {
            break;
        }
        is_served(&mut client);
        for (seen, state) in asleep.iter_mut().zip(states(gateway.pid)) {
            *seen += usize::from(state == 'S');
        }
    }
    assert!(asleep.iter().all(|seen| *seen > 30), "{asleep:?}");
    assert_eq!((times_told(&daemon, FULL), reached(&daemon, "limits.connections")), (1, 1));
    drop(client);
    // One after the other: each that has its answer goes.
    for mut client in waiting.drain(..) {
        assert_eq!(client.message().text(), "hello");
    }
}

fn from(source: Ipv4Addr, address: &str) -> Wire {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    Wire::of(socket)
}

/// The reset may be there before connect(2) has returned, which then says so itself.
fn is_turned_away(address: &str) -> bool {
    match std::net::TcpStream::connect(address) {
        Ok(socket) => Wire::of(socket.into()).is_closed(),
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn one_address_has_so_many_connections_and_others_have_theirs() {
    let mut daemon = limited(2, "connections-per-address = 2");
    let address = daemon.address();
    let mut clients: Vec<_> = (0..2).map(|_| served(&address)).collect();
    let flood = 40;
    for _ in 0..flood {
        assert!(is_turned_away(&address), "a reset, and no answer");
    }
    is_told(
        &daemon,
        "refused 1 connection, the last one of 127.0.0.1: it has 2, as many as limits.connections-per-address allows",
    );
    assert_eq!(reached(&daemon, "limits.connections-per-address"), flood);
    let lines = times_told(&daemon, "limits.connections-per-address allows");
    let uptime = daemon.status()["uptime_seconds"].as_f64().unwrap() as usize;
    assert!(lines <= uptime + 1, "{lines} lines in {uptime} s");
    clients.iter_mut().for_each(is_served);
    let mut other = from(OTHER, &address);
    is_served(&mut other);
    assert_eq!(daemon.status()["totals"]["connections_open"], 3);
    // A reload keeps the count, and the connections.
    set(&mut daemon, "per-address = 2", "per-address = 3");
    clients.push(served(&address));
    assert!(is_turned_away(&address));
    clients.remove(0);
    eventually(|| (daemon.status()["totals"]["connections_open"] == 3).then_some(()));
    clients.push(served(&address));
    assert!(is_turned_away(&address));
    clients.iter_mut().for_each(is_served);
    is_served(&mut other);
}

#[test]
fn a_limit_per_address_that_is_new_counts_who_is_there() {
    let mut daemon = limited(2, "connections-per-address = \"off\"");
    let address = daemon.address();
    let mut clients: Vec<_> = (0..5).map(|_| served(&address)).collect();
    set(&mut daemon, "per-address = \"off\"", "per-address = 2");
    assert!(is_turned_away(&address));
    clients.iter_mut().for_each(is_served);
    clients.truncate(1);
    eventually(|| (daemon.status()["totals"]["connections_open"] == 1).then_some(()));
    clients.push(served(&address));
    assert!(is_turned_away(&address));
}

#[test]
fn a_unix_socket_has_no_address_to_count() {
    let socket = tempfile::tempdir().unwrap();
    let path = format!("unix:{}/public.sock", socket.path().display());
    let limits = format!("[listener.http]\nlisten = [\"{path}\"]\n[limits]\nconnections-per-address = 1\n");
    let folder = Folder::new(&limits);
    folder.answering("blog", "hello");
    let daemon = folder.start().ready();
    let mut clients: Vec<_> = (0..5).map(|_| served(&path)).collect();
    clients.iter_mut().for_each(is_served);
    assert_eq!(reached(&daemon, "limits.connections-per-address"), 0);
}

#[test]
fn descriptors_are_left_for_the_applications_of_all_who_are_connected() {
    let origin = Origin::start();
    let folder = Folder::listening_with("[daemon]\nthreads = 1\n[limits]\nconnections = 100000");
    folder.passing("blog", &origin.address);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100; exec \"$@\"", "sh", BINARY, "run", "--config"]);
    command.arg(folder.path()).env_remove("JOURNAL_STREAM");
    let daemon = folder.start_as(command).ready();
    is_told(&daemon, "limits.connections is 100000, but LimitNOFILE= leaves");
    let address = daemon.address();
    let mut clients: Vec<_> = (0..100).map(|_| Wire::to(&address)).collect();
    is_told(&daemon, "and LimitNOFILE= leaves no more beside connections to applications");
    assert_eq!(reached(&daemon, "LimitNOFILE="), 1);
    // The kernel's queue is one of turns.
    let connected = daemon.status()["totals"]["connections_open"].as_u64().unwrap() as usize;
    assert!((20..50).contains(&connected), "{connected}");
    clients.truncate(connected);
    for client in &mut clients {
        client.ask("blog.test", "/slow");
    }
    clients.iter().for_each(|_| origin.has_one());
    clients.iter().for_each(|_| origin.release());
    for client in &mut clients {
        assert_eq!(client.message().text(), "done");
    }
}
