//! The ledger: every way in which a request, a connection or a tunnel can end is one word of it.

use rustix::process::Signal;
use serde_json::Value;

use crate::byhand::{Door, Wire};
use crate::daemon::{Daemon, Folder, ask, eventually, get};
use crate::origin::Origin;

/// What `hitless ledger` prints, when it finds nothing wrong.
fn printed(daemon: &Daemon) -> String {
    let output = daemon.folder.verb("ledger");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.ends_with("\nevery request is accounted for\n"), "{text}");
    text
}

/// The account of a service in this gateway's own page.
fn account(daemon: &Daemon, service: &str) -> Value {
    let ledger = daemon.ledger();
    let own = ledger["gateways"].as_array().unwrap().last().unwrap();
    own["services"][service].clone()
}

/// Waits until the account says so.
fn comes_to(daemon: &Daemon, service: &str, words: &[&str], count: u64) {
    eventually(|| {
        let account = account(daemon, service);
        let told = words.iter().fold(&account, |value, word| &value[*word]);
        (told == count).then_some(())
    });
}

#[test]
fn each_way_to_end_is_a_word_of_its_service() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    folder.passing("shop", &door.address);
    folder.passing("gone", "127.0.0.1:1");
    let daemon = folder.start().ready();
    let address = daemon.address();
    assert!(get(&address, "blog.test", "/").ends_with("hello"));
    assert!(get(&address, "nobody.test", "/").starts_with("HTTP/1.1 421 "));
    assert!(get(&address, "gone.test", "/").starts_with("HTTP/1.1 502 "));
    // Broken off by the endpoint, in the middle of its content.
    let half = ask(&address, "shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    endpoint.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
    drop(endpoint);
    assert!(half.answer().ends_with("half"));
    // Left by its client.
    let left = ask(&address, "shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    drop(left);
    comes_to(&daemon, "shop", &["client_gone"], 1);
    // And one that is still in flight.
    let waiting = ask(&address, "shop.test", "/");
    let mut endpoint = door.accept();
    endpoint.message();
    let shop = account(&daemon, "shop");
    assert_eq!((&shop["admitted"], &shop["in_flight"]), (&3.into(), &1.into()), "{shop}");
    assert_eq!(shop["cut"], serde_json::json!({ "truncated": 1 }));
    assert_eq!(account(&daemon, "-")["shed"], serde_json::json!({ "misdirected": 1 }));
    assert_eq!(account(&daemon, "gone")["shed"], serde_json::json!({ "unreachable": 1 }));
    assert_eq!(account(&daemon, "blog")["answered"], 1);
    let text = printed(&daemon);
    for line in [
        "  requests  admitted  answered  client gone  shed  cut  in flight  unaccounted for\n",
        "  shop             3         0            1     0    1          1                0\n",
        "  all              6         1            1     2    1          1                0\n",
        "  cut, shop: truncated 1\n",
        "gateway 1: hitless ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    endpoint.answer("done");
    assert!(waiting.answer().ends_with("done"));
    comes_to(&daemon, "shop", &["answered"], 1);
}

#[test]
fn tunnels_are_counted_for_their_service_and_a_service_that_is_gone_keeps_its_line() {
    let door = Door::tcp();
    let folder = Folder::listening();
    folder.passing("shop", &door.address);
    let mut daemon = folder.start().ready();
    let mut client = Wire::to(&daemon.address());
    client.say("GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
    let mut endpoint = door.accept();
    endpoint.head();
    endpoint.say("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: strange/1\r\n\r\n");
    assert_eq!(client.head().status(), 101);
    comes_to(&daemon, "shop", &["tunnels", "open"], 1);
    std::fs::remove_file(daemon.folder.path().join("services.d/shop.toml")).unwrap();
    daemon.folder.answering("blog", "hello");
    daemon.reloads();
    assert!(get(&daemon.address(), "blog.test", "/").ends_with("hello"));
    let shop = account(&daemon, "shop");
    assert_eq!(
        (&shop["admitted"], &shop["answered"], &shop["tunnels"]["open"]),
        (&1.into(), &1.into(), &1.into())
    );
    drop((client, endpoint));
    comes_to(&daemon, "shop", &["tunnels", "closed"], 1);
    let text = printed(&daemon);
    assert!(
        text.contains("  tunnels, shop      1        0     0       1      0                0\n"),
        "{text}"
    );
    // It comes back, and so does its line.
    daemon.folder.answering("shop", "again");
    daemon.reloads();
    assert!(get(&daemon.address(), "shop.test", "/").ends_with("again"));
    comes_to(&daemon, "shop", &["admitted"], 2);
}

#[test]
fn a_gateway_that_died_has_a_page_that_says_so() {
    let folder = Folder::listening();
    folder.answering("blog", "hello");
    let mut daemon = folder.start().ready();
    for _ in 0..2 {
        assert!(get(&daemon.address(), "blog.test", "/").ends_with("hello"));
        daemon.gateway().signal(Signal::KILL);
        daemon.told("the gateway died ");
    }
    let text = printed(&daemon);
    assert!(
        text.starts_with(
            "gateways 1 to 2: ended without a report: what was in flight is lost\n\ngateway 3: "
        ),
        "{text}"
    );
    let ledger = daemon.ledger();
    let page = |index: usize| ledger["gateways"][index].clone();
    assert_eq!((&page(0)["fate"], &page(0)["folded"]), (&"lost".into(), &1.into()));
    assert_eq!((&page(1)["fate"], &page(1)["gateway"]), (&"alive".into(), &3.into()));
    assert_eq!(page(1)["pid"], daemon.gateway().pid);
}

#[test]
fn a_drain_says_in_the_log_what_it_came_to() {
    let origin = Origin::start();
    let folder = Folder::listening_with("[drain]\ndeadline = \"300ms\"");
    folder.passing("shop", &origin.address);
    let mut daemon = folder.start().ready();
    let address = daemon.address();
    let cut = ask(&address, "shop.test", "/slow");
    origin.has_one();
    daemon.signal(Signal::TERM);
    assert!(cut.answer().starts_with("HTTP/1.1 503 "));
    assert_eq!(daemon.ends().code(), Some(0));
    let log = daemon.json_log();
    let told = log.iter().find(|line| line["transition"] == "drain").unwrap_or_else(|| panic!("{log:#?}"));
    assert_eq!(
        (&told["cut"], &told["cut_why"], &told["residue"]),
        (&1.into(), &"drained=1".into(), &0.into())
    );
    assert_eq!((&told["answered"], &told["client_gone"]), (&0.into(), &0.into()), "{told}");
    let message = told["message"].as_str().unwrap();
    assert!(message.starts_with("drain over in 0."), "{message}");
    assert!(
        message.contains(" s: 0 requests answered, 1 cut (drained 1), the longest took less than "),
        "{message}"
    );
    assert!(message.ends_with("; every request is accounted for"), "{message}");
}

#[test]
fn without_a_daemon_there_is_no_ledger_and_no_verdict() {
    let output = Folder::listening().verb("ledger");
    assert_eq!(output.status.code(), Some(69), "{output:?}");
    assert!(output.stdout.is_empty());
}
