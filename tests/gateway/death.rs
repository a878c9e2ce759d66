//! Dying: of the gateway, and of the keeper; and running out of what both live on.

use rustix::process::Signal;

use crate::byhand::Wire;
use crate::daemon::{Folder, ask, eventually, get};
use crate::origin::Origin;

#[test]
fn a_gateway_that_is_killed_is_replaced_and_waiting_connections_are_served() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    let mut daemon = folder.start().ready();
    let (address, gateway) = (daemon.address(), daemon.gateway());
    // Stopped, so that what comes now waits in the kernel.
    gateway.stop();
    let waiting: Vec<_> = (0..10).map(|_| ask(&address, "blog.test", "/")).collect();
    gateway.signal(Signal::KILL);
    for asking in waiting {
        assert!(asking.answer().ends_with("\r\n\r\nhello"));
    }
    daemon.told("the gateway died once, last at ");
    assert_eq!(daemon.status()["replacements"], 1);
    let log = daemon.log();
    for id in ["d3c873db04f38ceb985c98851d806db8", "65adfe42eb0b06b13919f56e12e3aa26"] {
        assert!(log.contains(id), "{log}");
    }
}

#[test]
fn a_replacement_starts_with_what_was_accepted_whatever_the_files_say() {
    let folder = Folder::listening();
    folder.answering("blog", "one");
    let mut daemon = folder.start().ready();
    daemon.folder.answering("blog", "two");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(0));
    daemon.told("generation 2");
    daemon.folder.service("blog", "this is not TOML");
    daemon.gateway().signal(Signal::KILL);
    daemon.told("the gateway died once");
    assert!(get(&daemon.address(), "blog.test", "/").ends_with("\r\n\r\ntwo"));
    assert_eq!(daemon.status()["generation"], 2);
}

#[test]
fn a_gateway_that_keeps_dying_is_replaced_again_and_again() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    let mut daemon = folder.start().ready();
    let address = daemon.address();
    for death in 1..=4 {
        daemon.gateway().signal(Signal::KILL);
        assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\nhello"), "after death {death}");
    }
    daemon.told("the gateway died 4 times");
    let children = format!("/proc/{0}/task/{0}/children", daemon.keeper.id());
    let children = std::fs::read_to_string(children).unwrap();
    assert_eq!(children.split_whitespace().count(), 1, "zombies: {children}");
}

#[test]
fn a_gateway_whose_keeper_is_gone_finishes_what_is_in_flight_and_exits() {
    let origin = Origin::start();
    let folder = Folder::listening();
    folder.service("blog", &format!("hosts = [\"blog.test\"]\nendpoints = [\"{}\"]", origin.address));
    let mut daemon = folder.start().ready();
    let gateway = daemon.gateway();
    let slow = ask(&daemon.address(), "blog.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::KILL);
    daemon.ends();
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
    gateway.ends();
}

#[test]
fn signals_meant_for_the_whole_group_do_not_stop_the_gateway() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    let daemon = folder.start().ready();
    let (address, gateway) = (daemon.address(), daemon.gateway());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        gateway.signal(signal);
    }
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\nhello"));
    assert_eq!(daemon.gateway().pid, gateway.pid);
}

#[test]
fn a_start_does_not_wait_for_a_gateway_that_outlived_its_keeper() {
    let origin = Origin::start();
    let folder = Folder::listening();
    folder.service("blog", &format!("hosts = [\"blog.test\"]\nendpoints = [\"{}\"]", origin.address));
    let mut daemon = folder.start().ready();
    let gateway = daemon.gateway();
    let slow = ask(&daemon.address(), "blog.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::KILL);
    daemon.ends();
    // Asked until the gateway has noticed: its end of the control socket is not ours to watch.
    while std::os::unix::net::UnixStream::connect(daemon.folder.admin()).is_ok() {}
    daemon.starts_again();
    daemon.told("READY=1");
    assert_ne!(daemon.gateway().pid, gateway.pid);
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
    gateway.ends();
}

#[test]
fn without_descriptors_connections_wait_until_there_are_some() {
    let origin = Origin::start();
    let folder = Folder::listening_with("[daemon]\nthreads = 1");
    folder.answering("blog", "hello");
    folder.passing("shop", &origin.address);
    let daemon = folder.start().ready();
    let (address, gateway) = (daemon.address(), daemon.gateway());
    let mut served = Wire::to(&address);
    assert_eq!(served.get("blog.test", "/").text(), "hello");
    // No number above those that are open: nothing can be opened any more.
    let most = gateway.descriptors().into_iter().max().unwrap() + 1;
    let limit = |current| {
        let ours = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = rustix::process::Rlimit { current, ..ours };
        let pid = rustix::process::Pid::from_raw(gateway.pid);
        rustix::process::prlimit(pid, rustix::process::Resource::Nofile, limit).unwrap()
    };
    // Lower ones that are free are taken by connections that say nothing.
    let free = (0..most).filter(|number| !gateway.descriptors().contains(number)).count();
    let before = limit(Some(most));
    let _silent: Vec<_> = (0..free).map(|_| Wire::to(&address)).collect();
    let mut waiting = Wire::to(&address);
    waiting.ask("blog.test", "/");
    eventually(|| daemon.log().contains("cannot accept a connection on 'http'").then_some(()));
    assert_eq!(served.get("blog.test", "/").text(), "hello", "who is connected is served");
    // It was called the fault of the application.
    let refused = served.get("shop.test", "/now");
    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")));
    eventually(|| daemon.log().contains("no-descriptor (hitless, connect)").then_some(()));
    drop(served);
    assert_eq!(waiting.message().text(), "hello");
    limit(before.current);
    assert!(get(&address, "blog.test", "/").ends_with("hello"));
    assert!(get(&address, "shop.test", "/now").ends_with("done"));
}
