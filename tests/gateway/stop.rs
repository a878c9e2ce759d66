//! Stopping: what is in flight is finished, and a stop ends.

use rustix::process::Signal;

use crate::daemon::{Daemon, Folder, admin, ask};
use crate::origin::Origin;

fn serving(origin: &Origin, drain: &str) -> Daemon {
    let folder = Folder::new(&format!("[listener.http]\nlisten = [\"127.0.0.1:0\"]\n[drain]\n{drain}\n"));
    folder.service("blog", &format!("hosts = [\"blog.test\"]\nendpoints = [\"{}\"]", origin.address));
    folder.start().ready()
}

#[test]
fn a_stop_waits_for_the_last_request() {
    for signal in [Signal::TERM, Signal::INT] {
        let origin = Origin::start();
        let mut daemon = serving(&origin, "");
        let slow = ask(&daemon.address(), "blog.test", "/slow");
        origin.has_one();
        daemon.signal(signal);
        daemon.told("STOPPING=1");
        let told = daemon.told("STATUS=draining: 1 request, ");
        assert!(told.contains(" s left"), "{told}");
        origin.release();
        assert!(slow.answer().ends_with("\r\n\r\ndone"));
        assert_eq!(daemon.ends().code(), Some(0));
        daemon.told("1 answered, 0 cut");
        assert!(!daemon.folder.admin().exists(), "the admin socket is left behind");
        let log = daemon.log();
        for id in ["0d86496cd38364e7f435fbe61257cea2", "2ec3107ed3043e338f210971c61ff2fd"] {
            assert!(log.contains(id), "{log}");
        }
    }
}

/// They waited in the kernel's queue for the whole drain, and were then reset.
#[test]
fn a_stop_refuses_newcomers_where_nobody_will_listen_again() {
    let origin = Origin::start();
    let mut daemon = serving(&origin, "idle-grace = \"30s\"");
    let address = daemon.address();
    let slow = ask(&address, "blog.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::TERM);
    daemon.told("STOPPING=1");
    // Whoever gets in is answered, until nobody gets in.
    while let Ok(stream) = std::net::TcpStream::connect(&address) {
        drop(stream);
    }
    daemon.told("STATUS=draining: 1 request, ");
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
    assert_eq!(daemon.ends().code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let origin = Origin::start();
    // Nobody waits for an hour here: what ends at all has ended by the second signal.
    let mut daemon = serving(&origin, "deadline = \"1h\"");
    let slow = ask(&daemon.address(), "blog.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::TERM);
    daemon.told("STATUS=draining: 1 request, ");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
    let answer = slow.answer();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn what_is_in_flight_at_the_deadline_gets_503_and_is_counted() {
    let origin = Origin::start();
    let mut daemon = serving(&origin, "deadline = \"300ms\"");
    let slow = ask(&daemon.address(), "blog.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::TERM);
    assert!(slow.answer().starts_with("HTTP/1.1 503 "));
    assert_eq!(daemon.ends().code(), Some(0));
    daemon.told("0 answered, 1 cut");
    let ages = daemon.json_log().into_iter().filter_map(|line| line["age_ms"].as_u64());
    let ages: Vec<u64> = ages.collect();
    assert!(ages.len() == 1 && ages[0] >= 300, "{ages:?}: {}", daemon.log());
}

#[test]
fn a_lame_duck_is_not_ready_and_serves() {
    let origin = Origin::start();
    let mut daemon = serving(&origin, "lame-duck = \"30s\"");
    let address = daemon.address();
    daemon.signal(Signal::TERM);
    daemon.told("STATUS=draining: ");
    assert!(admin(&daemon.folder, "GET /readyz").starts_with("HTTP/1.1 503 "));
    assert!(admin(&daemon.folder, "GET /healthz").starts_with("HTTP/1.1 200 "));
    assert!(ask(&address, "blog.test", "/now").answer().ends_with("\r\n\r\ndone"));
    let refused = daemon.folder.verb("reload");
    assert_eq!(refused.status.code(), Some(1));
    assert!(crate::daemon::stderr(&refused).contains("cannot reload: hitless is stopping"), "{refused:?}");
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
}

#[test]
fn a_gateway_that_does_not_end_is_killed() {
    let origin = Origin::start();
    let mut daemon = serving(&origin, "deadline = \"100ms\"");
    let gateway = daemon.gateway();
    gateway.stop();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
    gateway.ends();
    assert!(daemon.log().contains("killing the gateway"), "{}", daemon.log());
}
