//! The access log: off, sampled or all, to the log or to a file that is rotated.

use crate::byhand::Wire;
use crate::daemon::{Daemon, Folder, eventually};

fn logging(access: &str) -> Daemon {
    let folder = Folder::listening_with(&format!("[log]\n{access}"));
    folder.answering("blog", "hello");
    folder.passing_with("lost", "127.0.0.1:1", "timeout = { connect = \"1s\" }");
    folder.start().ready()
}

/// Asks for the blog so often, and once for what is lost, which is always told.
fn asked(daemon: &Daemon, times: usize) {
    let mut client = Wire::to(&daemon.address());
    for number in 0..times {
        let (head, end) = ("GET / HTTP/1.1\r\nHost: blog.test", "\r\n\r\n");
        client.say(format!("{head}\r\nX-Request-Id: good-{number}{end}"));
        assert_eq!(client.message().text(), "hello");
    }
    client.say("GET / HTTP/1.1\r\nHost: lost.test\r\nX-Request-Id: lost\r\n\r\n");
    assert_eq!(client.message().status(), 502);
}

fn good(daemon: &Daemon) -> usize {
    // The last of one connection is told last: what came before it is there.
    daemon.access("lost");
    daemon.accesses().iter().filter(|line| line["code"] == "ok").count()
}

#[test]
fn off_tells_only_what_failed() {
    let daemon = logging("");
    asked(&daemon, 100);
    assert_eq!(good(&daemon), 0);
}

#[test]
fn all_tells_everything_in_the_order_in_which_it_ended() {
    let daemon = logging("access = \"all\"");
    asked(&daemon, 100);
    assert_eq!(good(&daemon), 100);
    let ids: Vec<_> = daemon.accesses().iter().map(|line| line["request_id"].clone()).collect();
    assert_eq!((&ids[0], &ids[99], &ids[100]), (&"good-0".into(), &"good-99".into(), &"lost".into()));
}

#[test]
fn sampled_tells_its_share() {
    let daemon = logging("access = \"sampled\"\naccess-sample = 0.5");
    asked(&daemon, 1000);
    // Beyond ten standard deviations.
    assert!((340..=660).contains(&good(&daemon)), "{} of 1000", good(&daemon));
}

#[test]
fn a_reload_changes_what_is_told() {
    let mut daemon = logging("access = \"all\"");
    asked(&daemon, 10);
    assert_eq!(good(&daemon), 10);
    let settings = std::fs::read_to_string(daemon.folder.path().join("hitless.toml")).unwrap();
    daemon.folder.write("hitless.toml", &settings.replace("\"all\"", "\"off\""));
    daemon.reloads();
    asked(&daemon, 10);
    eventually(|| (daemon.accesses().len() == 12).then_some(()));
    assert_eq!(good(&daemon), 10);
}

#[test]
fn a_file_that_was_rotated_is_opened_anew_and_no_line_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let (log, rotated) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
    let daemon = logging(&format!("access = \"all\"\naccess-to = \"file:{}\"", log.display()));
    let ids = |path: &std::path::Path| -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        text.lines().map(|text| line(text)["request_id"].as_str().unwrap().to_owned()).collect()
    };
    asked(&daemon, 50);
    eventually(|| (ids(&log).len() == 51).then_some(()));
    std::fs::rename(&log, &rotated).unwrap();
    asked(&daemon, 50);
    eventually(|| (ids(&log).len() + ids(&rotated).len() == 102).then_some(()));
    asked(&daemon, 1);
    eventually(|| (ids(&log).contains(&"lost".to_owned())).then_some(()));
    // A failure is found where an operator looks first as well, and nothing else.
    assert!(daemon.accesses().iter().all(|line| line["code"] == "unreachable"));
}

#[test]
fn every_line_on_standard_error_is_json_with_its_level() {
    let mut daemon = logging("access = \"all\"\nlevel = \"debug\"");
    asked(&daemon, 3);
    daemon.access("lost");
    daemon.folder.service("blog", "hosts = 1");
    assert_eq!(daemon.folder.verb("reload").status.code(), Some(1));
    daemon.told("STATUS=configuration refused");
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.ends().code(), Some(0));
    let log = daemon.json_log();
    for line in &log {
        for name in ["time", "level", "process", "message"] {
            assert!(line[name].is_string(), "{name}: {line}");
        }
    }
    let of = |process: &str| log.iter().filter(|line| line["process"] == process).count();
    assert!(of("keeper") >= 3 && of("gateway") >= 3, "{log:#?}");
    let refused = log.iter().find(|line| line["message_id"] == "4fccc1d7244c6b0ef84f527c53ba239d").unwrap();
    assert!(refused["message"].as_str().unwrap().contains("blog.toml:2:"), "{refused}");
}

/// A head that was refused left no trace but an answer.
#[test]
fn what_is_refused_before_it_is_a_request_is_told_as_far_as_it_is_known() {
    let daemon = logging("access = \"all\"");
    for (head, status, method, path, code) in [
        ("GET /a?b HTTP/1.1\r\nHost : blog.test\r\n\r\n", 400, "GET", "/a?b", "bad-request"),
        ("POST /x HTTP/3.0\r\n", 505, "POST", "/x", "unsupported-version"),
        ("\u{16}\u{3}\u{1}", 400, "-", "-", "bad-request"),
    ] {
        let mut client = Wire::to(&daemon.address());
        let answer = client.say(head).message();
        assert_eq!((answer.status(), answer.field("connection")), (status, Some("close")), "{head:?}");
        assert!(client.is_closed());
        let id = answer.field("x-request-id").unwrap();
        assert!(answer.text().contains(id), "{answer:?}");
        let line = daemon.access(id);
        assert_eq!((&line["status"], &line["code"]), (&status.into(), &code.into()), "{line}");
        assert_eq!((&line["method"], &line["path"]), (&method.into(), &path.into()), "{line}");
    }
}
