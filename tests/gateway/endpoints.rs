//! Endpoints as an operator sees them: how they are, what is set by hand, what is tried again, and that all of it
//! stays over a reload and an upgrade.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering::SeqCst};

use crate::daemon::{Daemon, Folder, eventually, get, stderr};

/// An application that answers one request on each connection.
struct App {
    address: String,
    status: Arc<AtomicU16>,
    /// Requests of clients, not of health checks.
    asked: Arc<AtomicU32>,
}

impl App {
    fn start(status: u16) -> App {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (status, asked) = (Arc::new(AtomicU16::new(status)), Arc::new(AtomicU32::new(0)));
        let (said, count) = (Arc::clone(&status), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut head = vec![];
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    match stream.read(&mut byte) {
                        Ok(1) => head.push(byte[0]),
                        _ => break,
                    }
                }
                if !head.is_empty() && !head.starts_with(b"GET /healthz ") {
                    count.fetch_add(1, SeqCst);
                }
                let answer = format!(
                    "HTTP/1.1 {} X\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
                    said.load(SeqCst)
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        App { address, status, asked }
    }
}

/// What `hitless status` says of one endpoint of the first service.
fn state(daemon: &Daemon, app: &App) -> serde_json::Value {
    let status = daemon.status();
    let states = status["services"][0]["states"].as_array().unwrap().clone();
    states.into_iter().find(|state| state["endpoint"] == app.address.as_str()).unwrap()
}

fn breaker(daemon: &Daemon, hand: &str, whose: &str) -> std::process::Output {
    daemon.folder.command("breaker").args([hand, whose]).output().unwrap()
}

fn shop(folder: &Folder, apps: &[&App], lines: &str) {
    let endpoints: Vec<String> = apps.iter().map(|app| format!("{:?}", app.address)).collect();
    let endpoints = endpoints.join(", ");
    folder.service("shop", &format!("hosts = [\"shop.test\"]\nendpoints = [{endpoints}]\n{lines}"));
}

#[test]
fn an_endpoint_is_asked_how_it_is_and_left_out_while_it_is_ill() {
    let (ill, well) = (App::start(503), App::start(200));
    let folder = Folder::listening();
    shop(
        &folder,
        &[&ill, &well],
        "health = { path = \"/healthz\", interval = \"100ms\", fall = 1, rise = 1 }",
    );
    let daemon = folder.start().ready();
    let is =
        |app: &App, state_is: &str| eventually(|| (state(&daemon, app)["state"] == state_is).then_some(()));
    is(&ill, "unhealthy");
    is(&well, "healthy");
    let address = daemon.address();
    for _ in 0..10 {
        assert!(get(&address, "shop.test", "/").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!((ill.asked.load(SeqCst), well.asked.load(SeqCst)), (0, 10));
    ill.status.store(200, SeqCst);
    is(&ill, "healthy");
    assert!(daemon.log().contains(&format!(
        "shop: endpoint {} is unhealthy and gets no requests: it answers 503",
        ill.address
    )));
    let text = String::from_utf8(daemon.folder.verb("status").stdout).unwrap();
    assert!(
        text.contains(&format!("{}  healthy, breaker closed, weight 1, 0 in flight", well.address)),
        "{text}"
    );
}

#[test]
fn a_breaker_that_is_set_by_hand_stays_so_over_a_reload_and_an_upgrade() {
    let (one, other) = (App::start(200), App::start(200));
    let folder = Folder::listening();
    shop(&folder, &[&one, &other], "");
    let mut daemon = folder.start().ready();
    let output = breaker(&daemon, "open", &format!("shop/{}", one.address));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    shop(&daemon.folder, &[&one, &other], "balance.way = \"turns\"");
    daemon.reloads();
    assert_eq!(state(&daemon, &one)["breaker"], "open");
    let before = daemon.status()["pid"].clone();
    let output = daemon.folder.verb("upgrade");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_ne!(daemon.status()["pid"], before);
    eventually(|| (state(&daemon, &one)["by_hand"] == true).then_some(()));
    let address = daemon.address();
    for _ in 0..6 {
        assert!(get(&address, "shop.test", "/").starts_with("HTTP/1.1 200 "));
    }
    assert_eq!((one.asked.load(SeqCst), other.asked.load(SeqCst)), (0, 6));
    assert_eq!(breaker(&daemon, "auto", &format!("shop/{}", one.address)).status.code(), Some(0));
    assert_eq!(state(&daemon, &one)["breaker"], "closed");
    let unknown = breaker(&daemon, "open", "shop/127.0.0.1:1");
    assert_eq!(unknown.status.code(), Some(1));
    assert!(stderr(&unknown).contains("has no endpoint '127.0.0.1:1'; it has: "), "{unknown:?}");
    assert!(stderr(&breaker(&daemon, "open", "shp")).contains("no service is called 'shp'; there are: shop"));
    assert_eq!(breaker(&daemon, "open", "shop").status.code(), Some(0));
    let answer = get(&address, "shop.test", "/");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

#[test]
fn a_request_that_is_tried_again_is_told_with_its_attempts() {
    let (ill, well) = (App::start(502), App::start(200));
    let folder = Folder::listening_with("[log]\naccess = \"all\"");
    shop(&folder, &[&ill, &well], "");
    let daemon = folder.start().ready();
    let address = daemon.address();
    for _ in 0..4 {
        assert!(get(&address, "shop.test", "/").starts_with("HTTP/1.1 200 "));
    }
    let retries = daemon.status()["totals"]["retries"].as_u64().unwrap();
    assert!(retries > 0);
    let told = eventually(|| {
        let lines = daemon.accesses();
        (lines.len() == 4).then(|| lines.iter().filter(|line| line["attempts"] == 2).count())
    });
    assert_eq!(told as u64, retries);
    assert_eq!(ill.asked.load(SeqCst) as u64, retries);
}
