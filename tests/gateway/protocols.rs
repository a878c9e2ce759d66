//! Both versions of HTTP on one port, in front of endpoints of every kind.

use crate::byhand::{Wire, seen};
use crate::daemon::{Daemon, Folder};
use crate::http2::{Http2, curl, request, whole};
use crate::sample::Sample;

/// The sample application at every kind of address, by either protocol.
fn everywhere() -> (Daemon, Vec<(&'static str, &'static str)>, [Sample; 2]) {
    let folder = Folder::listening();
    let (tcp, unix) = (Sample::tcp(), Sample::unix(&folder.path().join("sample.sock")));
    let named = format!("localhost:{}", tcp.port());
    let mut services = vec![];
    for (kind, endpoint) in [("tcp", &tcp.address), ("unix", &unix.address), ("named", &named)] {
        folder.passing(kind, endpoint);
        folder.passing_with(&format!("{kind}2"), endpoint, "protocol = \"h2c\"");
        services.push((kind, "HTTP/1.1"));
        services.push((["tcp2", "unix2", "named2"][services.len() / 2], "HTTP/2.0"));
    }
    (folder.start().ready(), services, [tcp, unix])
}

#[test]
fn clients_of_both_versions_reach_endpoints_of_both_at_every_kind_of_address() {
    let (daemon, services, _samples) = everywhere();
    let address = daemon.address();
    let (mut http1, http2) = (Wire::to(&address), Http2::to(&address));
    for (service, version) in services {
        let (host, url) = (format!("{service}.test"), format!("http://{service}.test/echo"));
        let by_hand = http1.get(&host, "/echo").json();
        let by_hyper = serde_json::from_slice(&http2.get(&host, "/echo").1).unwrap();
        let parsed = |text: String| serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"));
        let by_curl = parsed(curl(&address, &[&url]));
        let by_curl2 = parsed(curl(&address, &["--http2-prior-knowledge", &url]));
        for (echo, via) in [
            (by_hand, "1.1 hitless"),
            (by_hyper, "2.0 hitless"),
            (by_curl, "1.1 hitless"),
            (by_curl2, "2.0 hitless"),
        ] {
            assert_eq!(echo["version"], version, "{service}: {echo}");
            let seen = seen(&echo, "via").join(", ");
            assert!(seen.starts_with(&format!("{via}-")) && !seen.contains(','), "{service}: {echo}");
        }
    }
}

#[test]
fn content_goes_both_ways_between_all_of_them() {
    let (daemon, services, _samples) = everywhere();
    let address = daemon.address();
    let (mut http1, http2) = (Wire::to(&address), Http2::to(&address));
    for (service, _) in services {
        let host = format!("{service}.test");
        let sent = http1.post(&host, "/upload", "hello").json();
        let sent2 = http2.send(request("POST", &host, "/upload", "hello")).1;
        assert_eq!(sent["bytes"], 5, "{service}");
        assert_eq!(sent, serde_json::from_slice::<serde_json::Value>(&sent2).unwrap(), "{service}");
        assert_eq!(http1.get(&host, "/download?bytes=300000").content.len(), 300_000, "{service}");
        assert_eq!(http2.get(&host, "/download?bytes=300000").1.len(), 300_000, "{service}");
    }
}

#[test]
fn a_hundred_streams_of_one_connection_are_served_at_once() {
    let (daemon, _, _samples) = everywhere();
    let client = Http2::to(&daemon.address());
    for host in ["tcp.test", "tcp2.test"] {
        client.runtime.block_on(async {
            let mut sender = client.sender.clone();
            let mut ask = |path| sender.send_request(request("GET", host, path, ""));
            let hanging: Vec<_> = (0..99).map(|_| ask("/slow?ms=3600000")).collect();
            // If it had to wait for one of them, it would wait for an hour.
            let last = ask("/slow?ms=1").await.unwrap();
            assert_eq!(whole(last).await.1, "waited 1 ms\n");
            drop(hanging);
        });
    }
}

#[test]
fn a_unix_listener_of_the_configuration_serves_both_versions() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("front.sock");
    let folder = Folder::new(&format!("[listener.http]\nlisten = [\"unix:{}\"]\n", path.display()));
    folder.answering("blog", "hello");
    let _daemon = folder.start().ready();
    let socket = path.to_str().unwrap();
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let said = curl("", &["--unix-socket", socket, version, "http://blog.test/"]);
        assert_eq!(said, "hello");
    }
}
