//! Reloading: all or nothing, with a verdict.

use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use rustix::process::Signal;

use crate::byhand::{Door, Wire};
use crate::daemon::{Daemon, Folder, Process, admin, ask, get, stderr};
use crate::origin::Origin;

#[test]
fn a_good_configuration_is_served_when_reload_has_returned() {
    let folder = Folder::listening();
    folder.answering("blog", "one");
    let mut daemon = folder.start().ready();
    let address = daemon.address();
    daemon.folder.answering("blog", "two");
    let output = daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "configuration reloaded, generation 2 serves\n");
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\ntwo"));
    daemon.told("STATUS=serving 1 service on http (1 socket), generation 2");
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_explained_until_the_next_good_one() {
    let folder = Folder::listening();
    folder.answering("blog", "one");
    let mut daemon = folder.start().ready();
    let address = daemon.address();
    daemon.folder.service("blog", "hosts = 1\nendpoints = 2");
    let output = daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("configuration refused, generation 1 serves on:\n"), "{said}");
    assert!(said.contains("blog.toml:2:") && said.contains("blog.toml:3:"), "{said}");
    daemon.told("STATUS=configuration refused at ");
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\none"));
    assert_eq!(daemon.status()["last_reload"]["accepted"], false);
    assert!(daemon.log().contains("4fccc1d7244c6b0ef84f527c53ba239d"), "in the log, by its id");

    daemon.folder.answering("blog", "two");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(0));
    daemon.told("STATUS=serving 1 service on http (1 socket), generation 2");
}

#[test]
fn a_hangup_reloads() {
    let folder = Folder::listening();
    folder.answering("blog", "one");
    let mut daemon = folder.start().ready();
    daemon.folder.answering("blog", "two");
    daemon.signal(Signal::HUP);
    daemon.told("generation 2");
    assert!(get(&daemon.address(), "blog.test", "/").ends_with("\r\n\r\ntwo"));
    daemon.folder.service("blog", "hosts = 1");
    daemon.signal(Signal::HUP);
    daemon.told("STATUS=configuration refused at ");
}

#[test]
fn a_request_finishes_on_the_generation_it_began_with() {
    let origin = Origin::start();
    let folder = Folder::listening();
    folder.service("blog", &format!("hosts = [\"blog.test\"]\nendpoints = [\"{}\"]", origin.address));
    let daemon = folder.start().ready();
    let address = daemon.address();
    let slow = ask(&address, "blog.test", "/slow");
    origin.has_one();
    daemon.folder.answering("blog", "two");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(0));
    assert!(get(&address, "blog.test", "/").ends_with("\r\n\r\ntwo"));
    origin.release();
    assert!(slow.answer().ends_with("\r\n\r\ndone"));
}

/// Two services on one data thread, so that all requests of one share one pool.
fn two_services(shop: &Origin, blog: &Origin) -> Daemon {
    let folder = Folder::listening_with("[daemon]\nthreads = 1");
    folder.passing("shop", &shop.address);
    folder.passing("blog", &blog.address);
    folder.start().ready()
}

#[test]
fn a_service_that_did_not_change_keeps_its_connections_whatever_happens_to_the_other() {
    let (shop, blog, other) = (Origin::start(), Origin::start(), Origin::start());
    let mut daemon = two_services(&shop, &blog);
    let mut client = Wire::to(&daemon.address());
    for round in 0..20 {
        assert_eq!(client.get("shop.test", "/now").text(), "done");
        assert_eq!(client.get("blog.test", "/now").text(), "done");
        let endpoint = if round % 2 == 0 { &other.address } else { &blog.address };
        daemon.folder.passing("blog", endpoint);
        daemon.reloads();
    }
    assert_eq!((shop.connections(), blog.connections(), other.connections()), (1, 10, 10));
}

#[test]
fn a_service_whose_routes_change_keeps_its_connections() {
    let (shop, blog) = (Origin::start(), Origin::start());
    let mut daemon = two_services(&shop, &blog);
    let mut client = Wire::to(&daemon.address());
    for round in 0..10 {
        assert_eq!(client.get("shop.test", "/now").text(), "done");
        let route = format!("[[service.shop.route]]\n[[service.shop.route]]\npath = \"/{round}\"");
        daemon.folder.passing_with("shop", &shop.address, &route);
        daemon.reloads();
    }
    assert_eq!(shop.connections(), 1);
}

#[test]
fn the_connections_of_a_service_that_is_gone_are_closed_and_its_requests_are_finished() {
    let door = Door::tcp();
    let folder = Folder::listening_with("[daemon]\nthreads = 1");
    folder.passing("shop", &door.address);
    let mut daemon = folder.start().ready();
    let (mut idle, mut busy) = (Wire::to(&daemon.address()), Wire::to(&daemon.address()));
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst";
    let ask = |client: &mut Wire| {
        client.ask("shop.test", "/");
        let mut endpoint = door.accept();
        endpoint.message();
        endpoint.say(half);
        client.until("first");
        endpoint
    };
    let (mut two, mut one) = (ask(&mut busy), ask(&mut idle));
    one.say("whole");
    assert_eq!(idle.exactly(5), b"whole");
    std::fs::remove_file(daemon.folder.path().join("services.d/shop.toml")).unwrap();
    daemon.reloads();
    two.say("later");
    assert_eq!(busy.exactly(5), b"later");
    assert!(one.is_closed() && two.is_closed(), "nobody needs them any more");
    assert_eq!(idle.get("shop.test", "/").status(), 404);
}

#[test]
fn requests_during_many_reloads_are_all_answered_by_one_generation_or_the_next() {
    let origin = Origin::start();
    let folder = Folder::listening();
    folder.passing("shop", &origin.address);
    folder.answering("blog", "0");
    let daemon = folder.start().ready();
    let address = daemon.address();
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (address, over) = (address.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                let (mut client, mut last) = (Wire::to(&address), 0);
                while !over.load(SeqCst) {
                    assert_eq!(client.get("shop.test", "/now").text(), "done");
                    let now: u32 = client.get("blog.test", "/").text().parse().unwrap();
                    assert!(now >= last, "generation {now} after {last}");
                    last = now;
                }
                last
            })
        })
        .collect();
    for number in 1..=300 {
        daemon.folder.answering("blog", &number.to_string());
        assert!(admin(&daemon.folder, "POST /reload").starts_with("HTTP/1.1 200 "));
    }
    over.store(true, SeqCst);
    clients.into_iter().for_each(|client| assert!(client.join().unwrap() > 0));
    assert_eq!(daemon.status()["residue"], 0);
}

#[test]
fn a_reload_that_would_need_another_socket_is_refused_with_the_remedy() {
    let daemon = Folder::listening().start().ready();
    daemon.folder.append("hitless.toml", "[listener.internal]\nlisten = [\"127.0.0.1:0\"]\n");
    let output = daemon.folder.verb("reload");
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("listener.internal: needs a new socket"), "{said}");
    assert!(said.contains("systemctl restart hitless"), "{said}");
}

#[test]
fn files_are_watched_when_that_is_configured() {
    let folder =
        Folder::new("[listener.http]\nlisten = [\"127.0.0.1:0\"]\n[daemon]\nreload = \"on-change\"\n");
    let mut daemon = folder.start().ready();
    daemon.folder.answering("blog", "one");
    daemon.told("generation 2");
    // Written again with the same content, and something that is not configuration: no reload.
    daemon.folder.answering("blog", "one");
    daemon.folder.write("services.d/README", "x");
    daemon.folder.service("blog", "hosts = 1");
    daemon.told("STATUS=configuration refused at ");
    assert_eq!(daemon.status()["generation"], 2);
    daemon.folder.answering("blog", "two");
    daemon.told("generation 3");
    assert!(get(&daemon.address(), "blog.test", "/").ends_with("\r\n\r\ntwo"));
}

#[test]
fn ten_thousand_reloads_leave_memory_and_descriptors_where_they_were() {
    const COUNT: usize = 10_000;
    let folder = Folder::listening();
    folder.answering("blog", "one");
    folder.answering("shop", "shop");
    let mut daemon = folder.start().ready();
    let processes = [daemon.gateway(), Process::open(daemon.keeper.id() as i32)];
    let measure = || processes.each_ref().map(|process| (process.resident_kib(), process.open_descriptors()));
    let mut reload = |from: usize, to: usize| {
        for generation in from..=to {
            let answer = admin(&daemon.folder, "POST /reload");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            daemon.told(&format!("generation {generation}\n"));
        }
    };
    // Buffers and arenas have found their size.
    reload(2, 101);
    let before = measure();
    reload(102, 101 + COUNT);
    let after = measure();
    for (before, after) in before.iter().zip(after) {
        assert!(after.0 < before.0 + 2048, "grew from {before:?} to {after:?} KiB, descriptors");
        // The last admin connection may still be closing.
        assert!(after.1 <= before.1 + 2, "grew from {before:?} to {after:?} KiB, descriptors");
    }
}

#[test]
fn reload_fails_when_the_main_process_ends_meanwhile() {
    let folder = Folder::listening();
    // A hitless that takes the question and never answers.
    let stuck = UnixListener::bind(folder.admin()).unwrap();
    let mut main = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut command = folder.command("reload");
    let reload = command.env("MAINPID", main.id().to_string()).stderr(std::process::Stdio::piped());
    let reload = reload.spawn().unwrap();
    let _asked = stuck.accept().unwrap();
    main.kill().unwrap();
    main.wait().unwrap();
    let output = reload.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(stderr(&output).contains("cannot reload: hitless (process "), "{output:?}");
}

#[test]
fn reload_fails_when_the_gateway_ends_meanwhile() {
    let folder = Folder::listening();
    let stuck = UnixListener::bind(folder.admin()).unwrap();
    let reload = folder.command("reload").stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(stuck.accept().unwrap());
    let output = reload.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(70), "{output:?}");
    assert!(stderr(&output).contains("the gateway ended before it answered"), "{output:?}");
}
