//! `hitless prove`: a user sees the promise kept, or sees that it was not.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::daemon::{Daemon, Folder, stderr};
use crate::sample::Sample;

/// Two seconds of load around each transition, at the gateway of this test.
fn prove(daemon: &Daemon, url: &str, words: &[&str]) -> Output {
    let mut command = daemon.folder.command("prove");
    let socket = daemon.folder.admin();
    command.args([url, "--connect", &daemon.address(), "--for", "2", "--connections", "6", "--socket"]);
    command.arg(socket).args(words).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// An application of whose answers, from this one on, every other is a 503.
fn failing_from(first: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let asked = Arc::clone(&asked);
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                let ends = BufReader::new(stream).lines().map_while(Result::ok).filter(String::is_empty);
                for _ in ends {
                    let place = asked.fetch_add(1, Relaxed);
                    let fails = place >= first && place % 2 == 1;
                    let status = if fails { "503 Service Unavailable" } else { "200 OK" };
                    // The gateway may be gone.
                    let _ = write!(writer, "HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok");
                }
            });
        }
    });
    address
}

#[test]
fn a_reload_is_proved_to_lose_nothing() {
    let sample = Sample::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &sample.address);
    let daemon = folder.start().ready();
    let output = prove(&daemon, "http://shop.test/healthz", &["--reload"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{said}{output:?}");
    assert!(said.contains("GET http://shop.test/healthz, at 127.0.0.1:"), "what it does is said: {said}");
    assert!(said.contains("hitless reload: the configuration is loaded again"), "{said}");
    assert!(said.contains("kept    nothing\n") && said.contains("kept    hitless reload\n"), "{said}");
    assert_eq!(daemon.status()["generation"], 2, "it did reload, once");
}

#[test]
fn a_reload_that_is_refused_is_not_kept() {
    let sample = Sample::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &sample.address);
    let daemon = folder.start().ready();
    daemon.folder.service("blog", "hosts = 1");
    let output = prove(&daemon, "http://shop.test/", &["--reload"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{output:?}");
    assert!(said.contains("BROKEN  hitless reload\n        the command failed with 1: "), "{said}");
}

#[test]
fn an_application_that_fails_is_not_taken_for_one_that_works() {
    let folder = Folder::listening();
    folder.passing("shop", &failing_from(30));
    let daemon = folder.start().ready();
    let output = prove(&daemon, "http://shop.test/", &["--reload"]);
    let said = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{said}{output:?}");
    assert!(said.contains("BROKEN  nothing\n") && said.contains("BadStatus: 503"), "{said}");
    assert_eq!(daemon.status()["generation"], 1, "what fails anyway is not changed: {said}");
    assert!(stderr(&output).contains("although nothing is being changed"), "{output:?}");
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_is_done() {
    let folder = Folder::listening();
    folder.answering("blog", "one");
    let daemon = folder.start().ready();
    for (url, words, why) in [
        ("http://nobody.test/", &["--reload"][..], "http://nobody.test/ answers 421"),
        ("http://blog.test/", &["--restart"], "nothing was done; to do it, say --yes"),
        ("http://blog.test/", &["--reload", "--upgrade"], "nothing was done; to do it, say --yes"),
    ] {
        let output = prove(&daemon, url, words);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
    let mut command = daemon.folder.command("prove");
    let elsewhere = command.args(["http://blog.test/", "--reload", "--connect", "192.0.2.1:80"]);
    let output = elsewhere.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("not an address of this host"), "{output:?}");
    assert_eq!(daemon.status()["generation"], 1);
}
